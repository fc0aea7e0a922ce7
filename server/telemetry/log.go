// Package telemetry makes the logger. The logger is passed to every part; none is global.
// Throttle bounds how often a line is logged. RedirectGRPCLog sends grpc-go's log to the
// logger.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"

	"google.golang.org/grpc/grpclog"
)

// Log formats.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// ParseLevel returns the level of a name: "debug", "info", "warn" or "error".
func ParseLevel(name string) (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return level, fmt.Errorf("invalid log level %q: use debug, info, warn or error", name)
	}
	return level, nil
}

// NewLogger returns a logger that writes a line to w for each record of at least the level
// (ParseLevel).
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	l, err := ParseLevel(level)
	if err != nil {
		return nil, err
	}
	return NewLoggerFrom(w, l, format)
}

// NewLoggerFrom is NewLogger with a level that may change.
func NewLoggerFrom(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case FormatText:
		return slog.New(slog.NewTextHandler(w, options)), nil
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("invalid log format %q: use %s or %s", format, FormatText, FormatJSON)
}

// RedirectGRPCLog sends the logs of grpc-go and grpc-gateway to a logger, at debug level. The
// gateway itself logs how calls end. RedirectGRPCLog affects the whole process, and MUST be
// called before any other function of gRPC.
func RedirectGRPCLog(logger *slog.Logger) {
	w := slog.NewLogLogger(logger.With("from", "grpc").Handler(), slog.LevelDebug).Writer()
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, w, w))
}
