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

// serverLogger passes on what the embedded server logs. Its notices are details
// of a part that no user of the gateway knows, so they are debug here.
type serverLogger struct {
	log *slog.Logger
	// writeFailed is told why the server takes no more writes.
	writeFailed context.CancelCauseFunc
	lastFatal   atomic.Pointer[string]
}

func (l *serverLogger) Noticef(format string, v ...any) { l.log.Debug(line(format, v)) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.log.Warn(line(format, v)) }

// Errorf looks for the one sign that nats-server gives of a stream that takes no
// more writes.
func (l *serverLogger) Errorf(format string, v ...any) {
	said := line(format, v)
	l.log.Error(said)
	if strings.Contains(strings.ToLower(said), "critical write error") {
		l.writeFailed(errors.New(said))
	}
}

// Fatalf is where nats-server's own logger ends the process; here the start
// fails instead, with what was said.
func (l *serverLogger) Fatalf(format string, v ...any) {
	said := fmt.Sprintf(format, v...)
	l.lastFatal.Store(&said)
}

// fatal returns why the server did not start; nil where it did.
func (l *serverLogger) fatal() error {
	if said := l.lastFatal.Load(); said != nil {
		return errors.New(*said)
	}
	return nil
}

func line(format string, v []any) string { return "embedded NATS: " + fmt.Sprintf(format, v...) }

// redact returns the hosts of a list of URLs: what stands before a host may be a
// password, or a token in the place of a user name.
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
