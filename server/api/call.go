package api

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

// calls handles every call: it recovers from panics, logs and explains how the call ended,
// admits the call and validates its message.
//
// A call is admitted before its message is read. Otherwise gRPC would buffer the messages of
// unknown callers. Streams are admitted by an interceptor. An interceptor of unary calls runs
// after the message is read, so their methods are wrapped instead. An InTapHandle is no
// alternative: it blocks the connection's reader, and grpc-go keeps the timer of a call that
// it rejects until the client's deadline.
//
// It is one interceptor instead of a chain of ready-made ones, because each interceptor needs
// stack. Growing a goroutine's stack took an eighth of the time of a call, and the stack of a
// waiting stream shrinks only below a quarter in use. With five interceptors ten thousand
// waiting streams kept 16 KiB each; now they keep 8 KiB (docs/performance.md).
type calls struct {
	gate *admission.Gate
	// inMemory means that calls come from the HTTP port, which has admitted them.
	inMemory  bool
	validator protovalidate.Validator
	running   *listen.Running
	log       *slog.Logger
	throttles *telemetry.Throttles[ongairv1.ErrorReason] // of log lines about calls that ended
}

func newCalls(gate *admission.Gate, log *slog.Logger) *calls {
	return &calls{gate: gate, log: log, throttles: telemetry.NewThrottles[ongairv1.ErrorReason](endedInterval, endedBurst)}
}

// methodHandler is the handler of a grpc.MethodDesc. It reads the message with receive, and
// passes it to the interceptor.
type methodHandler = func(srv any, ctx context.Context, receive func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error)

// wrapUnary returns a service whose unary methods are handled by c. A service MUST NOT be
// registered without it, or it is open to every client.
func (c *calls) wrapUnary(service grpc.ServiceDesc) *grpc.ServiceDesc {
	service.Methods = slices.Clone(service.Methods)
	for i, method := range service.Methods {
		service.Methods[i].Handler = c.unary("/"+service.ServiceName+"/"+method.MethodName, method.Handler)
	}
	return &service
}

// unary wraps the handler of a unary method.
func (c *calls) unary(fullMethod string, next methodHandler) methodHandler {
	return func(srv any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (response any, err error) {
		growStack(0)
		start := time.Now()
		var req any
		var call *admission.Call
		defer func() {
			if p := recover(); p != nil {
				err = c.panicked(ctx, p)
			}
			channel := channelOf(err)
			err = explainCall(req, err)
			c.logEnd(ctx, ended{fullMethod, "unary", start, call, channel, err})
		}()
		if call, err = c.admit(ctx, fullMethod, false); err != nil {
			return nil, err
		}
		defer c.done(call)
		ctx = auth.NewContext(ctx, call.Principal)
		receiveInTime := func(m any) error { return receiveWithTimeout(ctx, m, receive) }
		return next(srv, ctx, receiveInTime, func(ctx context.Context, m any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			c.running.Begin()
			defer c.running.End()
			req = m
			if err := applyIdempotencyKey(ctx, req); err != nil {
				return nil, err
			}
			if err := validate(c.validator, req); err != nil {
				return nil, err
			}
			if poll, ok := req.(*ongairv1.ListEventsRequest); ok && poll.GetWait().AsDuration() > 0 {
				// A long poll lasts as long as a stream, and would use up the limit of calls.
				if err := call.MakeStream(); err != nil {
					return nil, err
				}
			}
			return handler(ctx, req)
		})
	}
}

// growStack grows the goroutine's stack once to what a call needs, while there is little on it
// to copy. Without it the stack grows in steps, and a Send costs 1.15 to 1.3 times the CPU
// (ongair-bench, S1). CockroachDB's package growstack does the same.
//
//go:noinline
func growStack(i int) byte {
	var room [12 << 10]byte
	return room[i]
}

// stream is the interceptor of streams.
func (c *calls) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	start := time.Now()
	ctx := stream.Context()
	var call *admission.Call
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(ctx, p)
		}
		channel := channelOf(err)
		err = explain(err)
		c.logEnd(ctx, ended{info.FullMethod, "server_stream", start, call, channel, err})
	}()
	if call, err = c.admit(ctx, info.FullMethod, true); err != nil {
		return err
	}
	defer c.done(call)
	// Streams share their encoded responses. If the client compresses its request, gRPC
	// would compress every response again for every stream.
	if err := grpc.SetSendCompressor(ctx, encoding.Identity); err != nil {
		return err
	}
	ctx = auth.NewContext(ctx, call.Principal)
	return handler(srv, &checkedStream{ServerStream: stream, ctx: ctx, validator: c.validator})
}

// panicked returns the error of a call that panicked, and logs the panic. The error does not
// describe the panic.
func (c *calls) panicked(ctx context.Context, p any) error {
	c.log.ErrorContext(ctx, "a call panicked", "panic", p, "stack", string(debug.Stack()))
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "internal error: see the gateway's log")
}

// checkedStream is a stream with an authenticated caller. It validates what it receives.
type checkedStream struct {
	grpc.ServerStream
	ctx       context.Context
	validator protovalidate.Validator
}

// Context returns the context of the stream, with the caller.
func (s *checkedStream) Context() context.Context { return s.ctx }

// RecvMsg receives a message and validates it against the rules of the proto.
func (s *checkedStream) RecvMsg(m any) error {
	if err := receiveWithTimeout(s.ctx, m, s.ServerStream.RecvMsg); err != nil {
		return err
	}
	return runOnNewStack(func() error { return validate(s.validator, m) })
}

// messageTimeout bounds how long a message takes to arrive after the headers. A body over REST
// has the same time.
const messageTimeout = 30 * time.Second

// receiveWithTimeout receives a message, and ends the stream if that takes longer than
// messageTimeout. The deadline of the call is no bound, because the client chooses it.
func receiveWithTimeout(ctx context.Context, m any, receive func(any) error) error {
	// A context with a timeout would take memory for as long as the stream lasts.
	timer := time.AfterFunc(messageTimeout, func() { interrupt(ctx, messageTimeoutError()) })
	err := receive(m)
	if !timer.Stop() {
		return messageTimeoutError() // which the client has got, even if the message has arrived now
	}
	return err
}

func messageTimeoutError() error {
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request message did not arrive within %s", messageTimeout)
}

// runOnNewStack runs f in another goroutine and waits for it. If f panics, so does the caller.
// f needs more stack than a stream that waits: without this, ten thousand idle streams keep
// 16 KiB of stack each, and 8 KiB with it (ongair-bench, F4).
func runOnNewStack(f func() error) error {
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
