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

// calls is what every call goes through: it recovers from panics, explains and logs
// how the call ended, authenticates its caller and validates what it asks for.
//
// It does that before the call's message is read, of which gRPC would hold as much as
// comes, for whomever and for as long as they like: a caller who is not known, or over its
// limits, is answered at the headers. For streams an interceptor does that. One for calls
// with one answer would come after the message, so their methods are wrapped instead.
// (An InTapHandle runs in the goroutine that reads for the whole connection, and grpc-go
// keeps the timers of calls that it refuses until the deadlines that their clients chose.)
//
// It is one interceptor in place of a chain of ready-made ones. Each of those takes
// stack of its own. A goroutine's stack is copied when it grows, which was an eighth
// of the time of a call, and shrinks only while less than a quarter of it is in use:
// under five interceptors, ten thousand waiting streams kept 16 KiB each, and now
// keep 8 (docs/performance.md).
type calls struct {
	gate *admission.Gate
	// inMemory means that calls come from the HTTP port, which has admitted them.
	inMemory  bool
	validator protovalidate.Validator
	running   *listen.Running
	log       *slog.Logger
	throttles *telemetry.Throttles[ongairv1.ErrorReason] // of lines about calls that ended
}

func newCalls(gate *admission.Gate, log *slog.Logger) *calls {
	return &calls{gate: gate, log: log, throttles: telemetry.NewThrottles[ongairv1.ErrorReason](endedInterval, endedBurst)}
}

// methodHandler is that of a grpc.MethodDesc: it reads the message with receive, and passes
// it to the interceptor.
type methodHandler = func(srv any, ctx context.Context, receive func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error)

// wrapUnary returns a service whose unary methods go through c. A service that is registered
// without it is open to every client.
func (c *calls) wrapUnary(service grpc.ServiceDesc) *grpc.ServiceDesc {
	service.Methods = slices.Clone(service.Methods)
	for i, method := range service.Methods {
		service.Methods[i].Handler = c.unary("/"+service.ServiceName+"/"+method.MethodName, method.Handler)
	}
	return &service
}

// unary returns the handler of a method with one answer, around its own.
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
				// A long poll lasts as a stream does, and would keep short calls waiting.
				if err := call.MakeStream(); err != nil {
					return nil, err
				}
			}
			return handler(ctx, req)
		})
	}
}

// growStack grows the goroutine's stack once, to what a call needs, while little is on it that
// has to be copied. Without it the stack grows step by step, each time with more frames: a
// Send then costs 1.15 to 1.3 times the CPU (ongair-bench, S1). CockroachDB's package growstack
// does the same.
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
		if c.inMemory && call != nil && err != nil {
			call.Interrupt()
		}
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

// panicked is the error of a call that panicked, which says nothing to the caller
// and all to the log.
func (c *calls) panicked(ctx context.Context, p any) error {
	c.log.ErrorContext(ctx, "a call panicked", "panic", p, "stack", string(debug.Stack()))
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "the gateway failed; its log says why")
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
	if err := receiveWithTimeout(s.ctx, m, s.ServerStream.RecvMsg); err != nil {
		return err
	}
	return runOnNewStack(func() error { return validate(s.validator, m) })
}

// messageTimeout bounds how long a message takes, from when its headers are there: as long
// as a body over REST.
const messageTimeout = 30 * time.Second

// receiveWithTimeout receives a message that the client owes, and ends the stream where that takes
// too long. Nothing else ends the wait: the deadline of a call is its client's to choose.
func receiveWithTimeout(ctx context.Context, m any, receive func(any) error) error {
	// A context of our own, to be cancelled, would be memory of each stream for as long as
	// that lives.
	timer := time.AfterFunc(messageTimeout, func() { interrupt(ctx, messageTimeoutError()) })
	err := receive(m)
	if !timer.Stop() {
		return messageTimeoutError() // as the client was told, also where the message came after all
	}
	return err
}

func messageTimeoutError() error {
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the message did not come within %s", messageTimeout)
}

// runOnNewStack runs f on a stack of its own. A stream waits for long on its stack, which f
// would have grown: ten thousand idle streams keep 8 KiB of stack each, and 16 KiB without
// this (ongair-bench, F4). If f panics, the caller does.
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
