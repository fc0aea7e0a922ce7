package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
)

// serverLogger forwards the log of the embedded server. Its notices are internal details, so they
// are logged at debug level.
type serverLogger struct {
	log *slog.Logger
	// writeFailed is called when the server stops accepting writes.
	writeFailed context.CancelCauseFunc
	lastFatal   atomic.Pointer[string]
}

func (l *serverLogger) Noticef(format string, v ...any) { l.log.Debug(line(format, v)) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.log.Warn(line(format, v)) }

// Errorf logs an error. It also detects a stream that accepts no more writes: nats-server reports
// that only in its log.
func (l *serverLogger) Errorf(format string, v ...any) {
	said := line(format, v)
	l.log.Error(said)
	if strings.Contains(strings.ToLower(said), "critical write error") {
		l.writeFailed(errors.New(said))
	}
}

// Fatalf makes the start fail. The logger of nats-server would end the process.
func (l *serverLogger) Fatalf(format string, v ...any) {
	said := fmt.Sprintf(format, v...)
	l.lastFatal.Store(&said)
}

// fatal returns why the server did not start, or nil.
func (l *serverLogger) fatal() error {
	if said := l.lastFatal.Load(); said != nil {
		return errors.New(*said)
	}
	return nil
}

func line(format string, v []any) string { return "embedded NATS: " + fmt.Sprintf(format, v...) }

// redact returns the hosts of a list of URLs. The part before a host may contain a password or a
// token.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part // as the client reads it
		}
		if u, err := url.Parse(part); err == nil {
			parts[i] = u.Scheme + "://" + u.Host
		} else {
			parts[i] = "(not a URL)"
		}
	}
	return strings.Join(parts, ",")
}
