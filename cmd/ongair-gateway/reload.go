package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
)

// reloadInterval is the interval at which the files of the configuration are checked for
// changes.
const reloadInterval = 5 * time.Second

// hangups receives SIGHUP. It is registered first, because SIGHUP would end the process
// otherwise.
type hangups <-chan os.Signal

// logWarnings logs the warnings of a valid configuration.
func logWarnings(log *slog.Logger, l config.Loaded) {
	for _, warning := range l.Warnings() {
		log.Warn("the configuration may have a mistake", "warning", warning)
	}
}

// reloader reloads the gateway when its configuration changes.
type reloader struct {
	source  config.Source
	gateway *server.Server
	level   *slog.LevelVar
	log     *slog.Logger
	// before is the configuration that the gateway uses. complaint is the last logged error of
	// a later one.
	before    config.Loaded
	complaint string
	// last is the configuration that was read last, and lastErr its error. It is pending if it
	// is valid and the gateway rejected it.
	last    config.Loaded
	lastErr error
	pending bool
}

// run reloads the configuration until ctx ends, after each SIGHUP and after a file has changed.
// An invalid configuration is logged once and changes nothing.
func (r *reloader) run(ctx context.Context, hangup hangups) {
	select {
	case <-r.gateway.Ready():
	case <-ctx.Done():
		return
	}
	ticker := time.NewTicker(reloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			r.reload(true)
		case <-ticker.C:
			r.reload(false)
		}
	}
}

// reload applies a changed configuration to the gateway and logs the result. If it was not
// asked for, it reads nothing unless a file has changed, and does not log that nothing changed.
// A configuration that the gateway rejected is applied again, because the cause may have been
// its disk.
func (r *reloader) reload(asked bool) {
	if asked || r.last.FilesChanged() {
		source := r.source
		source.Running = true
		r.last, r.lastErr = config.Load(source)
		r.last.Config.Logger = r.log
	} else if !r.pending {
		return
	}
	now, err := r.last, r.lastErr
	unchanged := err == nil && now.Equal(r.before)
	r.pending = false
	if err == nil && !unchanged {
		err = now.Locate(r.gateway.Reload(now.Config))
		r.pending = err != nil
	}
	switch {
	case err != nil && (asked || err.Error() != r.complaint):
		r.complaint = err.Error()
		r.log.Error("configuration not reloaded: the previous one stays in use", "error", err)
	case err != nil:
	case unchanged && r.complaint != "":
		r.complaint = ""
		r.log.Info("configuration valid again and unchanged")
	case unchanged && asked:
		r.log.Info("configuration unchanged")
	case !unchanged:
		changed := r.before.Changes(now)
		r.level.Set(min(r.before.Config.LogLevel, now.Config.LogLevel)) // so that the next line is logged
		r.before, r.complaint = now, ""
		r.log.Info("configuration reloaded", "changed", strings.Join(changed, ", "),
			"channels", len(now.Config.Channels), "callers", now.Config.CallerCount())
		logWarnings(r.log, now)
		r.level.Set(now.Config.LogLevel)
	}
}
