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

// reloadEvery is how often the reloader looks whether a file of the configuration changed.
const reloadEvery = 5 * time.Second

// hangups are the SIGHUPs that came. They are collected from the first moment of the
// process on, which SIGHUP would end otherwise.
type hangups <-chan os.Signal

// logWarnings logs what is valid and may be a mistake.
func logWarnings(log *slog.Logger, l config.Loaded) {
	for _, warning := range l.Warnings() {
		log.Warn("the configuration is taken, and may be a mistake", "warning", warning)
	}
}

// reloader reloads the gateway when its configuration changes.
type reloader struct {
	source  config.Source
	gateway *server.Server
	level   *slog.LevelVar
	log     *slog.Logger
	// before is what the gateway has, and complaint what is wrong with what came since.
	before    config.Loaded
	complaint string
	// last is what was read last, or lastErr why it is invalid. It is pending if it is valid
	// and the gateway did not take it.
	last    config.Loaded
	lastErr error
	pending bool
}

// run reloads until ctx ends: on a hangup at once, and by itself soon after something
// changed. What is wrong is logged, once, and changes nothing.
func (r *reloader) run(ctx context.Context, hangup hangups) {
	select {
	case <-r.gateway.Ready():
	case <-ctx.Done():
		return
	}
	ticker := time.NewTicker(reloadEvery)
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

// reload gives the gateway what changed, and logs what became of it. Unless somebody asked,
// it reads nothing if no file changed, and does not log that nothing did. What the gateway
// did not take is given to it again, since the reason may have been its disk.
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
		r.log.Error("the configuration was not reloaded: the one before stays in force", "error", err)
	case err != nil:
	case unchanged && r.complaint != "":
		r.complaint = ""
		r.log.Info("configuration valid again: it is the one that the gateway has")
	case unchanged && asked:
		r.log.Info("configuration unchanged")
	case !unchanged:
		changed := r.before.Changes(now)
		r.level.Set(min(r.before.Config.LogLevel, now.Config.LogLevel)) // so that it is said
		r.before, r.complaint = now, ""
		r.log.Info("configuration reloaded", "changed", strings.Join(changed, ", "),
			"channels", len(now.Config.Channels), "callers", now.Config.CallerCount())
		logWarnings(r.log, now)
		r.level.Set(now.Config.LogLevel)
	}
}
