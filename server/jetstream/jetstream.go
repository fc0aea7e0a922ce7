// Package jetstream opens the JetStream that the gateway keeps its log and its
// idempotency records in: one embedded in this process, or one that runs
// elsewhere. What is above it is the same on both.
//
// The embedded server has no listener: this process alone reaches it, through a
// pipe in memory. It writes with SyncAlways, so that a publish is acknowledged
// only once its data is synced to the disk. nats-server does not lock its
// directory, and two processes on one would destroy each other's data, so Open
// takes a lock of its own first, which the kernel releases however the process
// ends.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxPayload is the largest message that the gateway writes, in bytes: an event
// made of a webhook of 1 MiB fits. NATS allows 1 MiB unless told otherwise.
const MaxPayload = 4 << 20

// readyTimeout bounds the start of the embedded server after its files are read.
const readyTimeout = 30 * time.Second

// Config says where the JetStream is.
type Config struct {
	// URL of an external NATS server with JetStream, or several separated by
	// commas. Empty means to embed one.
	URL string
	// Dir is the data directory of the embedded one; it is made if it is not
	// there. Not used with URL.
	Dir string
	// Logger gets what the embedded server and the connection have to say.
	Logger *slog.Logger
}

// JetStream is an open JetStream. Its methods are safe for concurrent use.
type JetStream struct {
	conn   *nats.Conn
	api    jetstream.JetStream
	server *server.Server // nil for an external one
	lock   *flock.Flock   // nil for an external one
}

// Open connects to the JetStream at cfg.URL, or starts one on cfg.Dir, which
// takes as long as its files take to recover. It fails where the directory is in
// use, cannot be written or has files that cannot be read, and where the
// external server cannot be reached, has no JetStream or takes messages of less
// than MaxPayload. The caller MUST Close what it gets.
func Open(ctx context.Context, cfg Config) (*JetStream, error) {
	if cfg.URL != "" {
		return connect(ctx, cfg)
	}
	return embed(ctx, cfg)
}

func connect(ctx context.Context, cfg Config) (*JetStream, error) {
	conn, err := nats.Connect(cfg.URL, append(options(cfg.Logger), nats.MaxReconnects(-1))...)
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", redact(cfg.URL), err)
	}
	if limit := conn.MaxPayload(); limit < MaxPayload {
		conn.Close()
		return nil, fmt.Errorf("NATS at %s takes messages of at most %d bytes, the gateway needs %d: raise its max_payload",
			redact(cfg.URL), limit, MaxPayload)
	}
	js, err := attach(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", redact(cfg.URL), err)
	}
	return js, nil
}

func embed(ctx context.Context, cfg Config) (_ *JetStream, err error) {
	// The log holds what customers wrote: its owner alone may read it.
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Unlock())
		}
	}()
	logger := &serverLogger{log: cfg.Logger}
	ns, err := server.NewServer(&server.Options{
		ServerName:             "ongair-gateway",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               filepath.Join(cfg.Dir, "jetstream"),
		SyncAlways:             true,
		MaxPayload:             MaxPayload,
		DisableJetStreamBanner: true,
		NoSigs:                 true,
		// JetStream reserves a stream's limit against this one, which by default
		// is a part of the disk's free space: a small disk would refuse the
		// default retention. What the disk holds is found out by writing.
		JetStreamMaxStore: math.MaxInt64,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	ns.SetLoggerV2(logger, false, false, false)
	ns.Start()
	stop := func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
	if !ns.JetStreamEnabled() {
		stop()
		return nil, fmt.Errorf("embedded NATS in %s: %w", cfg.Dir, logger.fatal())
	}
	if !ns.ReadyForConnections(readyTimeout) {
		stop()
		return nil, fmt.Errorf("embedded NATS in %s was not ready within %s", cfg.Dir, readyTimeout)
	}
	conn, err := nats.Connect("", append(options(cfg.Logger), nats.InProcessServer(ns))...)
	if err != nil {
		stop()
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	js, err := attach(ctx, conn)
	if err != nil {
		stop()
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	js.server, js.lock = ns, lock
	return js, nil
}

// lockDir makes sure that no other process has the directory open, for as long
// as the lock is held.
func lockDir(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	if !held {
		return nil, fmt.Errorf("data directory %s is in use by another process", dir)
	}
	return lock, nil
}

// attach takes over conn: it is closed where attach fails.
func attach(ctx context.Context, conn *nats.Conn) (*JetStream, error) {
	api, err := jetstream.New(conn)
	if err == nil {
		_, err = api.AccountInfo(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	return &JetStream{conn: conn, api: api}, nil
}

func options(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name("ongair-gateway"),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("lost the connection to NATS", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to NATS again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("NATS reported an error", "error", err)
		}),
	}
}

// Conn is the connection, for what API does not offer.
func (j *JetStream) Conn() *nats.Conn { return j.conn }

// API is JetStream's own interface.
func (j *JetStream) API() jetstream.JetStream { return j.api }

// Close ends the connection and, for the embedded one, the server, and releases
// the directory. What was acknowledged is on the disk before.
func (j *JetStream) Close() error {
	j.conn.Close()
	if j.server == nil {
		return nil
	}
	j.server.Shutdown()
	j.server.WaitForShutdown()
	return j.lock.Unlock()
}
