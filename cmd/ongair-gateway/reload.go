package main

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/ongair/ongair-gateway/server"
)

// reloadEvery is how often it is looked whether the configuration changed. It is read
// anew each time, since what it says may stand in other files, which may be links that
// are replaced, as Kubernetes does it.
const reloadEvery = 5 * time.Second

// hangups are the SIGHUPs that came. They are collected from the first moment of the
// process on, which SIGHUP would end otherwise.
type hangups <-chan os.Signal

// loaded is what the configuration was when it was read: what it says, what is in
// the files that the gateway reads itself, and where it is from.
type loaded struct {
	cfg     server.Config
	files   map[string][sha256.Size]byte
	reading *reading
}

// load reads the configuration.
func (c serveCmd) load() (loaded, error) {
	cfg, r, err := c.settings()
	return loaded{cfg: cfg, reading: r, files: map[string][sha256.Size]byte{
		"tls_cert": hashOfFile(cfg.TLSCertFile), "tls_key": hashOfFile(cfg.TLSKeyFile), "tls_client_ca": hashOfFile(cfg.TLSClientCAFile),
	}}, err
}

// hashOfFile is zero for a file that cannot be read: whoever needs it says why.
func hashOfFile(path string) [sha256.Size]byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(content)
}

// warn logs what may be a mistake.
func (l loaded) warn(log *slog.Logger) {
	for _, warning := range l.reading.warnings {
		log.Warn("the configuration is taken, and may be a mistake", "warning", l.reading.located(warning))
	}
}

// changes returns the names of the settings that differ.
func (l loaded) changes(now loaded) []string {
	names := server.Changes(l.cfg, now.cfg)
	for _, name := range []string{"tls_cert", "tls_key", "tls_client_ca"} {
		if l.files[name] != now.files[name] {
			names = append(names, name)
		}
	}
	return names
}

// reloader has the gateway take what changes in the configuration.
type reloader struct {
	serveCmd
	gateway *server.Server
	level   *slog.LevelVar
	log     *slog.Logger
	// before is what the gateway has, and complaint what is wrong with what came since.
	before    loaded
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
	now, err := r.load()
	now.cfg.Logger = r.log
	unchanged := err == nil && reflect.DeepEqual(now.cfg, r.before.cfg) && maps.Equal(now.files, r.before.files)
	if err == nil && !unchanged {
		err = now.reading.locate(r.gateway.Reload(now.cfg))
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
		changed := r.before.changes(now)
		r.level.Set(min(r.before.cfg.LogLevel, now.cfg.LogLevel)) // so that it is said
		r.before, r.complaint = now, ""
		r.log.Info("configuration reloaded", "changed", strings.Join(changed, ", "),
			"channels", len(now.cfg.Channels), "callers", now.cfg.CallerCount())
		now.warn(r.log)
		r.level.Set(now.cfg.LogLevel)
	}
}
