// Package telemetry makes what the gateway reports about itself. It is made
// here, passed in everywhere, and global nowhere.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// Log formats.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// NewLogger returns a logger that writes to w: a line for each record, in the
// format, from the level on ("debug", "info", "warn" or "error").
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case FormatText:
		return slog.New(slog.NewTextHandler(w, options)), nil
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %q: want %s or %s", format, FormatText, FormatJSON)
}
