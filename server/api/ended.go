package api

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
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

// logEnd logs the end of a call under the names that OpenTelemetry and the gRPC
// middlewares use. The error's text is left out: it holds what the caller is told,
// and that can be Ongair's own words, with a phone number in them.
func (c *calls) logEnd(ctx context.Context, fullMethod, kind string, start time.Time, err error) {
	code := status.Code(err)
	level := logLevel(code)
	if !c.log.Enabled(ctx, level) {
		return
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	attrs := []slog.Attr{
		slog.String("grpc.service", service),
		slog.String("grpc.method", method),
		slog.String("grpc.method_type", kind),
	}
	if caller := auth.FromContext(ctx).Name; caller != "" {
		attrs = append(attrs, slog.String("caller", caller))
	}
	if p, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("peer.address", p.Addr.String()))
	}
	attrs = append(attrs, slog.String("grpc.code", code.String()))
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		attrs = append(attrs, slog.String("reason", fault.ReasonName(f.Reason)))
		if f.Effect != fault.EffectNotApplicable {
			attrs = append(attrs, slog.String("effect", string(f.Effect)))
		}
		if status, ok := f.Metadata["upstream_status"]; ok {
			attrs = append(attrs, slog.String("upstream_status", status))
		}
		if f.Cause != nil {
			attrs = append(attrs, slog.String("cause", f.Cause.Error()))
		}
	} else if err != nil {
		attrs = append(attrs, slog.String("cause", err.Error())) // gRPC's own, of a broken stream for example
	}
	attrs = append(attrs, slog.Float64("grpc.time_ms", float64(time.Since(start).Microseconds())/1000))
	c.log.LogAttrs(ctx, level, "finished call", attrs...)
}

// logLevel says how loud the end of a call is: what an operator should look into
// is a warning or an error, what a caller did wrong is for information, and what
// went well, or was given up, is for debugging.
func logLevel(code codes.Code) slog.Level {
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
