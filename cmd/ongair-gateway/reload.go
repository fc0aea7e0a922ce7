package main

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/ongair/ongair-gateway/server"
)

// reloadEvery is how often it is looked whether the configuration changed. It is read
// anew each time, since what it says may stand in other files, which may be links that
// are replaced, as Kubernetes does it.
const reloadEvery = 5 * time.Second

// loaded is what the configuration was when it was read: what it says, and what is in
// the files that the gateway reads itself.
type loaded struct {
	cfg   server.Config
	files [3][sha256.Size]byte
}

// load reads the configuration again.
func (c serveCmd) load(log *slog.Logger) (loaded, error) {
	cfg, _, _, err := c.settings()
	cfg.Logger = log
	return loaded{cfg, [3][sha256.Size]byte{
		hashOfFile(cfg.TLSCertFile), hashOfFile(cfg.TLSKeyFile), hashOfFile(cfg.TLSClientCAFile),
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

// reload has the gateway take what changes in the configuration, until ctx ends: on
// SIGHUP at once, and by itself soon after it changed. What is wrong is logged, once,
// and changes nothing.
func (c serveCmd) reload(ctx context.Context, gateway *server.Server, before loaded) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	select {
	case <-gateway.Ready():
	case <-ctx.Done():
		return
	}
	ticker := time.NewTicker(reloadEvery)
	defer ticker.Stop()
	log, complaint := before.cfg.Logger, ""
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			asked = true
		case <-ticker.C:
		}
		now, err := c.load(log)
		if err == nil {
			if !asked && reflect.DeepEqual(now, before) {
				complaint = ""
				continue
			}
			err = gateway.Reload(now.cfg)
		}
		switch {
		case err == nil:
			before, complaint = now, ""
			log.Info("configuration reloaded", "channels", len(now.cfg.Channels), "callers", now.cfg.CallerCount())
		case asked || err.Error() != complaint:
			complaint = err.Error()
			log.Error("the configuration was not reloaded: the one before stays in force", "error", err)
		}
	}
}
