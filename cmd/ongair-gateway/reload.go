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

// reloadInterval is the interval between checks of the configuration's files.
const reloadInterval = 5 * time.Second

// hangups receives SIGHUP.
type hangups <-chan os.Signal

// logWarnings logs the warnings of a valid configuration.
func logWarnings(log *slog.Logger, l config.Loaded) {
	for _, warning := range l.Warnings() {
		log.Warn("configuration warning", "warning", warning)
	}
}

// reloader reloads the gateway when its configuration changes.
type reloader struct {
	source  config.Source
	gateway *server.Server
	level   *slog.LevelVar
	log     *slog.Logger
	// current is the configuration in use.
	current config.Loaded
	// loggedErr is the last logged error of a newer configuration.
	loggedErr string
	// last is the configuration that was read last, and lastErr its error. It is pending if it
	// is valid but the gateway rejected it.
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

// reload applies a changed configuration to the gateway and logs the result. Unless requested,
// it reads the files only if one has changed, and does not log an unchanged configuration. It
// retries a configuration that the gateway rejected, because the cause may have been its disk.
func (r *reloader) reload(requested bool) {
	if requested || r.last.FilesChanged() {
		source := r.source
		source.Running = true
		r.last, r.lastErr = config.Load(source)
		r.last.Config.Logger = r.log
	} else if !r.pending {
		return
	}
	now, err := r.last, r.lastErr
	unchanged := err == nil && now.Equal(r.current)
	r.pending = false
	if err == nil && !unchanged {
		err = now.Locate(r.gateway.Reload(now.Config))
		r.pending = err != nil
	}
	switch {
	case err != nil && (requested || err.Error() != r.loggedErr):
		r.loggedErr = err.Error()
		r.log.Error("configuration not reloaded: the previous one stays in use", "error", err)
	case err != nil:
	case unchanged && r.loggedErr != "":
		r.loggedErr = ""
		r.log.Info("configuration valid again and unchanged")
	case unchanged && requested:
		r.log.Info("configuration unchanged")
	case !unchanged:
		changed := r.current.Changes(now)
		r.level.Set(min(r.current.Config.LogLevel, now.Config.LogLevel)) // logs the next line at either level
		r.current, r.loggedErr = now, ""
		r.log.Info("configuration reloaded", "changed", strings.Join(changed, ", "),
			"channels", len(now.Config.Channels), "callers", now.Config.CallerCount())
		logWarnings(r.log, now)
		r.level.Set(now.Config.LogLevel)
	}
}
