package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// handler passes the requests of unary RPCs to next, and serves the streams. It rejects requests
// that grpc-gateway would accept or ignore.
func (r routes) handler(requests Requests, bodies *listen.Bodies, next http.Handler) http.Handler {
	streams := newSubscriptions(requests, bodies)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		methods, ok := r[req.URL.Path]
		if !ok {
			write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN, "unknown path"))
			return
		}
		target, ok := methods[req.Method]
		if !ok {
			allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
			w.Header().Set("Allow", allowed)
			write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED, "method not allowed: use %s", allowed))
			return
		}
		if target.streams {
			streams.serve(w, req, target)
			return
		}
		md, done, err := requests.Admit(req, target.rpc)
		if err != nil {
			write(w, err)
			return
		}
		defer done()
		req = req.WithContext(context.WithValue(req.Context(), admittedKey{}, md))
		for _, check := range []func(*http.Request) *fault.Fault{checkHeader, target.checkQuery} {
			if err := check(req); err != nil {
				write(w, err)
				return
			}
		}
		release, invalid := checkBody(bodies, w, req)
		defer release()
		if invalid != nil {
			reject(w, req, invalid)
			return
		}
		next.ServeHTTP(timedWriter{w}, req)
	})
}

type admittedKey struct{}

// admitted returns the metadata of a request that was admitted.
func admitted(ctx context.Context, _ *http.Request) metadata.MD {
	md, _ := ctx.Value(admittedKey{}).(metadata.MD)
	return md
}

// checkHeader rejects a key that gRPC metadata cannot contain. grpc-gateway would drop it, and
// make the call without a key.
func checkHeader(req *http.Request) *fault.Fault {
	for _, key := range req.Header.Values(idempotencyKey) {
		if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fault.Invalid(fault.Violation{Field: "request_id", Description: idempotencyKey + " must be printable ASCII", Reason: fault.ViolationMalformed})
		}
	}
	return nil
}

// checkBody reads the whole body, within listen.MaxBodyBytes, and checks that it is one JSON
// value. A decoder alone would stop after the first value. release MUST be called at the end of
// the request.
func checkBody(bodies *listen.Bodies, w http.ResponseWriter, req *http.Request) (release func(), f *fault.Fault) {
	body, release, err := bodies.Read(w, req)
	switch {
	case errors.Is(err, listen.ErrBodyTooLarge):
		return release, fault.New(ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE, "the body is larger than %d bytes", listen.MaxBodyBytes)
	case errors.Is(err, listen.ErrBuffersFull):
		f := fault.New(ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED, "too many large requests; nothing was done")
		f.Effect, f.RetryAfter = fault.EffectNone, time.Second
		f.Metadata = map[string]string{"limit": "body_bytes"}
		return release, f
	case err != nil:
		return release, fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the body is incomplete")
	}
	body = bytes.Trim(body, " \t\r\n")
	switch {
	case len(body) == 0: // a request without fields
	case req.Method == http.MethodGet:
		return release, fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "unexpected body: use query parameters")
	case !json.Valid(body):
		return release, fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the body is not JSON")
	}
	req.Body = &heldBody{bytes.NewReader(body), release}
	return release, nil
}

// heldBody is a body in memory. It releases its memory when it has been read, because a call
// may last much longer.
type heldBody struct {
	*bytes.Reader
	release func()
}

// Read implements io.Reader.
func (b *heldBody) Read(p []byte) (n int, err error) {
	n, err = b.Reader.Read(p)
	if b.Len() == 0 {
		b.Reset(nil)
		b.release()
	}
	return n, err
}

// Close implements io.Closer.
func (b *heldBody) Close() error { return nil }
