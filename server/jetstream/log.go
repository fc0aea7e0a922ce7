package jetstream

import (
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
	log       *slog.Logger
	lastFatal atomic.Pointer[string]
}

func (l *serverLogger) Noticef(format string, v ...any) { l.log.Debug(line(format, v)) }
func (l *serverLogger) Debugf(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l *serverLogger) Tracef(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.log.Warn(line(format, v)) }
func (l *serverLogger) Errorf(format string, v ...any)  { l.log.Error(line(format, v)) }

// Fatalf is where nats-server's own logger ends the process; here the start
// fails instead, with what was said.
func (l *serverLogger) Fatalf(format string, v ...any) {
	said := fmt.Sprintf(format, v...)
	l.lastFatal.Store(&said)
}

// fatal returns why the server did not start.
func (l *serverLogger) fatal() error {
	if said := l.lastFatal.Load(); said != nil {
		return errors.New(*said)
	}
	return errors.New("JetStream did not start")
}

func line(format string, v []any) string { return "embedded NATS: " + fmt.Sprintf(format, v...) }

// redact returns a list of URLs without their passwords.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil {
			parts[i] = u.Redacted()
		} else {
			parts[i] = "(not a URL)"
		}
	}
	return strings.Join(parts, ",")
}
