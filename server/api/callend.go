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

// explain makes sure that every error has a status of our making, or of gRPC's
// own. A fault is taken out of what is wrapped around it: grpc-go would give the
// whole text, which is not for callers, as the status's message.
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

// explainCall is explain, and says of a defect in a sending call that the message may
// have gone out: it may have been met before that or after, nobody knows.
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
	channel          string          // that the call was on, if it got that far
	err              error
}

// onChannel is the error of a call on a configured channel, which may be logged: what
// a request says of its channel can be anything.
type onChannel struct {
	error
	channel string
}

func (e onChannel) Unwrap() error { return e.error }

func channelOf(err error) string {
	on, _ := errors.AsType[onChannel](err)
	return on.channel
}

// logEnd logs the end of a call under the names that OpenTelemetry and the gRPC
// middlewares use. The error's text is left out: it holds what the caller is told,
// and that can be Ongair's own words, with a phone number in them.
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
		delete(facts, "channel") // as the request says
		if f.Cause != nil {
			facts["cause"] = f.Cause.Error()
		}
	} else if e.err != nil {
		facts["cause"] = e.err.Error() // gRPC's own, of a broken stream for example
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

// The lines that are logged for each reason: ten a second, and a hundred at once.
const (
	endedInterval = 100 * time.Millisecond
	endedBurst    = 100
)

// logLevel says how loud the end of a call is: what an operator should look into
// is a warning or an error, what a caller did wrong is for information, and what
// went well, or was given up, is for debugging.
func logLevel(code codes.Code, reason ongairv1.ErrorReason) slog.Level {
	if reason == ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN {
		return slog.LevelInfo // as it should be
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
