// Package telemetry makes the logger, which is passed to every part: none is global.
// Throttle bounds how often a line is logged, and RedirectGRPCLog sends grpc-go's own log there.
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
		return level, fmt.Errorf("log level %q: want debug, info, warn or error", name)
	}
	return level, nil
}

// NewLogger returns a logger that writes to w: a line for each record, in the
// format, from the level on (ParseLevel).
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
	return nil, fmt.Errorf("log format %q: want %s or %s", format, FormatText, FormatJSON)
}

// RedirectGRPCLog has what grpc-go and grpc-gateway log about connections go to a logger, for
// debugging: how calls end is logged by the gateway itself. It is for the whole process, and
// MUST be called before anything of gRPC.
func RedirectGRPCLog(logger *slog.Logger) {
	w := slog.NewLogLogger(logger.With("from", "grpc").Handler(), slog.LevelDebug).Writer()
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, w, w))
}
