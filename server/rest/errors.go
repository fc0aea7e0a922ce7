package rest

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// writeError answers with the error of a call. The effect of a send that failed without a reason
// is unknown.
func (r routes) writeError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, req *http.Request, err error) {
	effect := fault.EffectNotApplicable
	if r[req.URL.Path][req.Method].sends {
		effect = fault.EffectUnknown
	}
	write(w, explain(err, effect))
}

// explain adds a reason to an error without one: an error of grpc-gateway about the request's JSON,
// or of the connection in memory, if the call was cancelled or cut off. effect is the effect of the
// call then.
func explain(err error, effect fault.Effect) error {
	s := status.Convert(err)
	if fault.Info(s) != nil {
		return err
	}
	var f *fault.Fault
	switch s.Code() {
	case codes.InvalidArgument:
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "%s", s.Message())
	case codes.ResourceExhausted:
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE, "%s", s.Message())
	case codes.Canceled:
		f = fault.From(context.Canceled)
	case codes.DeadlineExceeded:
		f = fault.From(context.DeadlineExceeded)
	case codes.Unavailable:
		// The server at the other end is stopping.
		f = fault.Stopping(effect, "the gateway is stopping")
	default:
		f = fault.From(err)
	}
	f.Effect = effect
	return f
}

// write answers with err as a google.rpc.Status, under the HTTP status of its reason.
func write(w http.ResponseWriter, err error) {
	writeAs(w, fault.HTTPStatus(fault.ReasonOf(status.Convert(err))), err)
}

// writeAs answers with err as a google.rpc.Status, with an HTTP status that is more precise
// than that of its reason. A failed write means that the client has left.
func writeAs(w http.ResponseWriter, httpStatus int, err error) {
	s := status.Convert(err)
	reason := fault.ReasonOf(s)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	if reason == ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING || reason == ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID {
		header.Set("WWW-Authenticate", "Bearer")
	}
	if reason == ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED && fault.Info(s).GetMetadata()["limit"] == "connections" {
		header.Set("Connection", "close") // which it is going to be
	}
	if delay, ok := retryDelay(s); ok {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(delay.Seconds()))))
	}
	body, marshalErr := statusJSON(s)
	if marshalErr != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(httpStatus)
	_, _ = timedWriter{w}.Write(append(body, '\n'))
}

// reject answers with err, and reads the rest of a body that is too large.
func reject(w http.ResponseWriter, req *http.Request, err error) {
	write(w, err)
	if fault.ReasonOf(status.Convert(err)) == ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE {
		listen.Drain(w, req)
	}
}

// statusJSON returns a status as the JSON of a google.rpc.Status.
func statusJSON(s *status.Status) ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(s.Proto())
}

// retryDelay returns the delay of the RetryInfo of a status, if it has one.
func retryDelay(s *status.Status) (delay time.Duration, ok bool) {
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}
