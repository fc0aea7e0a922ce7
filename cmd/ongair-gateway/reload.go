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

// reloadEvery is how often it is looked whether the configuration changed. It is read
// anew each time, since what it says may stand in other files, which may be links that
// are replaced, as Kubernetes does it.
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

// reload looks for what changed, and says what became of it; that nothing did, only to
// who asked.
func (r *reloader) reload(asked bool) {
	source := r.source
	source.Running = true
	now, err := config.Load(source)
	now.Config.Logger = r.log
	unchanged := err == nil && now.Equal(r.before)
	if err == nil && !unchanged {
		err = now.Locate(r.gateway.Reload(now.Config))
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
