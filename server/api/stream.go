package api

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// streams is the interceptor of streams: one in place of a chain, and mindful of
// its stack. A stream waits below it for hours, and a goroutine's stack, once it
// has grown, shrinks only while less than a quarter of it is in use. With the five
// interceptors that unary calls go through, ten thousand waiting streams kept
// 16 KiB each; so they keep 8 (docs/performance.md).
type streams struct {
	authenticator *auth.Authenticator
	validator     protovalidate.Validator
	log           *slog.Logger
	lines         logging.Logger
}

// intercept logs a stream's end, explains its error, recovers from a panic,
// authenticates its caller and has its requests validated.
func (s *streams) intercept(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			err = panicked(stream.Context(), s.log, p)
		}
		err = explain(err)
		s.logEnd(stream.Context(), info.FullMethod, start, err)
	}()
	checked := &checkedStream{ServerStream: stream, ctx: stream.Context(), validator: s.validator}
	if !isHealth(info.FullMethod) {
		if checked.ctx, err = s.authenticator.Authenticate(checked.ctx); err != nil {
			return err
		}
	}
	return handler(srv, checked)
}

// isHealth reports whether a method is one of grpc.health.v1: load balancers and
// orchestrators ask for health, and have no key.
func isHealth(method string) bool {
	return strings.HasPrefix(method, "/"+healthv1.Health_ServiceDesc.ServiceName+"/")
}

// panicked is the error of a call that panicked, which says nothing to the caller
// and all to the log.
func panicked(ctx context.Context, log *slog.Logger, p any) error {
	log.ErrorContext(ctx, "a call panicked", "panic", p, "stack", string(debug.Stack()))
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "the gateway failed; its log says why")
}

// logEnd logs the end of a stream as the logging interceptor does that of a call.
// That one would also look at each message, of which there are many.
func (s *streams) logEnd(ctx context.Context, fullMethod string, start time.Time, err error) {
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	code := status.Code(err)
	fields := logging.Fields{
		logging.ServiceFieldKey, service, logging.MethodFieldKey, method, logging.MethodTypeFieldKey, "server_stream",
	}
	if p, ok := peer.FromContext(ctx); ok {
		fields = append(fields, "peer.address", p.Addr.String())
	}
	fields = append(fields, "grpc.code", code.String())
	if err != nil {
		fields = append(fields, logFields(err)...)
	}
	fields = append(fields, logging.DurationToTimeMillisFields(time.Since(start))...)
	s.lines.Log(ctx, logLevel(code), "finished call", fields...)
}

// checkedStream validates what a stream receives, and knows its caller.
type checkedStream struct {
	grpc.ServerStream
	ctx       context.Context
	validator protovalidate.Validator
}

// Context is the stream's, with the caller in it.
func (s *checkedStream) Context() context.Context { return s.ctx }

// RecvMsg receives a message and checks it against the rules of the proto.
func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return elsewhere(func() error { return validate(s.validator, m) })
}

// elsewhere runs f on a stack of its own, where the caller is going to wait for
// long on one that f would have made larger. A panic of f is the caller's.
func elsewhere(f func() error) error {
	type outcome struct {
		err      error
		panicked any
	}
	ended := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panicked = recover()
			ended <- o
		}()
		o.err = f()
	}()
	o := <-ended
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}
