package rest

import (
	"context"
	"math"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// writeError answers with the error of a call.
func writeError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	write(w, explain(err))
}

// writeRoutingError answers a request that no RPC takes.
func (r routes) writeRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, req *http.Request, httpStatus int) {
	if target, ok := r[req.URL.Path]; ok && httpStatus == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", target.method)
		write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED, "this path takes %s only", target.method))
		return
	}
	write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN, "there is no such path"))
}

// explain gives a reason to the errors that grpc-gateway makes itself, which are
// about the request's JSON; all others have one.
func explain(err error) error {
	s := status.Convert(err)
	switch {
	case fault.Info(s) != nil:
		return err
	case s.Code() == codes.InvalidArgument:
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "%s", s.Message())
	case s.Code() == codes.ResourceExhausted:
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE, "%s", s.Message())
	case s.Code() == codes.Canceled:
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_CANCELLED, "the caller gave up")
	case s.Code() == codes.Unavailable:
		// The server at the other end of the connection in memory is stopping.
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, "the gateway is stopping")
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "the gateway failed; its log says why")
	f.Cause = err
	return f
}

// write answers with err as a google.rpc.Status. A client that has gone does not
// learn it, which is all that a failing write can mean.
func write(w http.ResponseWriter, err error) {
	s := status.Convert(err)
	reason := fault.ReasonOf(s)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Del("Transfer-Encoding") // set for a stream that did not begin
	if reason == ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING || reason == ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID {
		header.Set("WWW-Authenticate", "Bearer")
	}
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			header.Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.GetRetryDelay().AsDuration().Seconds()))))
		}
	}
	body, marshalErr := protojson.MarshalOptions{UseProtoNames: true}.Marshal(s.Proto())
	if marshalErr != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(fault.HTTPStatus(reason))
	_, _ = w.Write(append(body, '\n'))
}
