package api

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/fault"
)

// explain returns err as a fault, or as a status of gRPC. It unwraps a fault, because grpc-go
// would send the whole text of the wrapped error, which is not for callers.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return f
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return fault.From(err)
}

// explainCall is explain for a call. After a defect in a sending call the effect is unknown,
// because the defect may have occurred before or after sending.
func explainCall(req any, err error) error {
	err = explain(err)
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok || f.Reason != ongairv1.ErrorReason_ERROR_REASON_INTERNAL || f.Effect != fault.EffectNotApplicable ||
		requestIDField(req) == nil {
		return err
	}
	unknown := *f
	unknown.Effect = fault.EffectUnknown
	return &unknown
}

// ended is the end of a call.
type ended struct {
	fullMethod, kind string
	start            time.Time
	call             *admission.Call // nil if it was not admitted
	channel          string          // empty if it was not selected yet
	err              error
}

// onChannel is the error of a call on a configured channel. Only the name of a configured
// channel is logged, because a request may name anything.
type onChannel struct {
	error
	channel string
}

func (e onChannel) Unwrap() error { return e.error }

func channelOf(err error) string {
	on, _ := errors.AsType[onChannel](err)
	return on.channel
}

// logEnd logs the end of a call, with the keys of OpenTelemetry and the gRPC middlewares. It
// leaves out the error's message, which may contain Ongair's text with a phone number.
func (c *calls) logEnd(ctx context.Context, e ended) {
	f, isFault := errors.AsType[*fault.Fault](e.err)
	reason := ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED
	if isFault {
		reason = f.Reason
	}
	level := logLevel(status.Code(e.err), reason)
	if !c.log.Enabled(ctx, level) {
		return
	}
	suppressed := 0
	if level > slog.LevelDebug {
		var ok bool
		if suppressed, ok = c.throttles.Allow(reason); !ok {
			return
		}
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(e.fullMethod, "/"), "/")
	attrs := []slog.Attr{
		slog.String("grpc.service", service),
		slog.String("grpc.method", method),
		slog.String("grpc.method_type", e.kind),
	}
	if e.call != nil && e.call.Principal.Name != "" {
		attrs = append(attrs, slog.String("caller", e.call.Principal.Name))
	}
	if e.call != nil && e.call.Origin.Remote() != "" {
		attrs = append(attrs, slog.String("peer.address", e.call.Origin.Remote()))
	}
	attrs = append(attrs, slog.String("grpc.code", status.Code(e.err).String()))
	facts := map[string]string{}
	if isFault {
		attrs = append(attrs, slog.String("reason", fault.ReasonName(f.Reason)))
		if f.Effect != fault.EffectNotApplicable {
			attrs = append(attrs, slog.String("effect", string(f.Effect)))
		}
		maps.Copy(facts, f.Metadata)
		delete(facts, "channel") // the request's name of it
		if f.Cause != nil {
			facts["cause"] = f.Cause.Error()
		}
	} else if e.err != nil {
		facts["cause"] = e.err.Error() // an error of gRPC, for example of a broken stream
	}
	if e.channel != "" {
		facts["channel"] = e.channel
	}
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		attrs = append(attrs, slog.String(name, facts[name]))
	}
	attrs = append(attrs, slog.Float64("grpc.time_ms", float64(time.Since(e.start).Microseconds())/1000))
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("suppressed", suppressed))
	}
	c.log.LogAttrs(ctx, level, "finished call", attrs...)
}

// Bounds of the lines for each reason: ten a second, with bursts of a hundred.
const (
	endedInterval = 100 * time.Millisecond
	endedBurst    = 100
)

// logLevel returns the level of the line about a call's end. What an operator should look into
// is a warning or an error. A caller's mistake is an info. A success or a cancelled call is
// logged at debug level.
func logLevel(code codes.Code, reason ongairv1.ErrorReason) slog.Level {
	if reason == ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN {
		return slog.LevelInfo // this is expected
	}
	switch code {
	case codes.OK, codes.Canceled:
		return slog.LevelDebug
	case codes.Internal, codes.DataLoss:
		return slog.LevelError
	case codes.Unavailable, codes.Unknown, codes.ResourceExhausted, codes.DeadlineExceeded, codes.FailedPrecondition:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}
