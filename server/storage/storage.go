// Package storage stores streams of messages, and records under keys. It is the only package
// of the gateway that uses NATS.
//
// A Storage is NATS JetStream: embedded in this process, or on external servers. Both behave
// the same to the packages that use it.
//
//   - A Stream is an ordered log of messages (stream.go). Append stores one, Read returns
//     those from a sequence on, and Follow delivers them as they are stored.
//   - Records are values under keys (records.go). Put stores a value if its key still has the
//     revision that the caller expects.
//   - Append and Put return once the data is on the disk. Concurrent calls share a sync of the
//     disk (commit.go, staging.go).
//
// The embedded server has no listener: only this process reaches it, through a pipe in memory.
// It writes with SyncAlways, so it acknowledges a publish only once the data is synced.
//
// nats-server does not lock its directory, and two processes on one directory would destroy
// each other's data. So Open first takes a lock, which the kernel releases when the process
// ends.
package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxPayload is the size of the largest message that the gateway writes, in bytes. The event of
// a webhook of 1 MiB fits. The default of NATS is 1 MiB.
const MaxPayload = 4 << 20

// Config configures a Storage.
type Config struct {
	// URL is the URL of an external NATS server with JetStream, or several separated by
	// commas. Empty means an embedded server.
	URL string
	// External configures the external server. It is not used without URL.
	External External
	// Dir is the data directory of the embedded server. Open creates it if it does not exist.
	// It is not used with URL.
	Dir string
	// EncryptionKeys encrypt the data of the embedded server (encryption.go). The first key is
	// used from now on. The data may be encrypted with any of them. Empty means clear text.
	EncryptionKeys []string
	// Unsynced makes the embedded server acknowledge data before it is on the disk, for
	// benchmarks that prepare a large log.
	Unsynced bool
	// Logger logs for the embedded server and the connection. Nil discards the log.
	Logger *slog.Logger

	// memory replaces memoryDir, and startTimeout that of a start, in tests.
	memory       string
	startTimeout time.Duration
}

// Storage is an open storage. Its methods are safe for concurrent use.
type Storage struct {
	conn     *nats.Conn
	api      jetstream.JetStream
	embedded *embedded // nil for an external one
	log      *slog.Logger
	// settings are those for an external server.
	settings External
	// connection is the present connection (follow.go).
	connection atomic.Pointer[connection]
	// apiPrefix is the prefix of the subjects of JetStream's API.
	apiPrefix string
	start     start
}

// Open connects to the NATS server at cfg.URL, or starts one on cfg.Dir and waits until it has
// recovered its files. The caller MUST Close the Storage. Open fails if
//
//   - the directory is in use, cannot be written, or has files that cannot be read;
//   - the external server cannot be reached or has no leader for 45 s;
//   - the external server rejects the gateway, has no JetStream, or its max_payload is below
//     MaxPayload.
func Open(ctx context.Context, cfg Config) (*Storage, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.URL != "" {
		return connect(ctx, cfg)
	}
	return embed(ctx, cfg)
}

// connect connects to an external server, and waits for it if it is not available yet.
func connect(ctx context.Context, cfg Config) (*Storage, error) {
	external, err := cfg.External.options(cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", redact(cfg.URL), err)
	}
	waits := start{
		until:  time.Now().Add(cmp.Or(cfg.startTimeout, startTimeout)),
		domain: cfg.External.Domain != "",
		log:    cfg.Logger.With("url", redact(cfg.URL)),
	}
	var conn *nats.Conn
	err = waits.await(ctx, "a connection", func(context.Context) (err error) {
		conn, err = nats.Connect(cfg.URL, append(options(cfg.Logger), external...)...)
		return err
	})
	if _, malformed := errors.AsType[*url.Error](err); malformed {
		// The cause contains the URL, with its password.
		return nil, fmt.Errorf("NATS at %s: invalid URL: use nats://HOST:PORT, and percent-encode special characters in a password",
			redact(cfg.URL))
	}
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", redact(cfg.URL), err)
	}
	if limit := conn.MaxPayload(); limit < MaxPayload {
		conn.Close()
		return nil, fmt.Errorf("NATS at %s takes messages of at most %d bytes, the gateway needs %d: raise its max_payload",
			redact(cfg.URL), limit, MaxPayload)
	}
	s := &Storage{conn: conn, log: cfg.Logger, settings: cfg.External, start: waits}
	if err := s.attach(ctx); err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", redact(cfg.URL), err)
	}
	return s, nil
}

// attach prepares the use of JetStream over the connection. It closes the connection if it fails.
func (s *Storage) attach(ctx context.Context) error {
	s.watchConnection()
	s.apiPrefix = s.settings.apiPrefix()
	err := s.start.await(ctx, "JetStream", func(ctx context.Context) (err error) {
		if s.embedded == nil {
			if err := s.checkInbox(ctx); err != nil {
				return err
			}
		}
		if err := s.checkPermissions(ctx, s.apiPrefix+"INFO"); err != nil {
			return err
		}
		if s.api, err = jetstream.NewWithAPIPrefix(s.conn, s.apiPrefix); err != nil {
			return err
		}
		_, err = s.api.AccountInfo(ctx)
		return err
	})
	if err != nil {
		s.conn.Close()
		return fmt.Errorf("JetStream: %w", err)
	}
	return nil
}

func options(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name("ongair-gateway"),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to NATS lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connection to NATS restored") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("NATS reported an error", "error", err)
		}),
	}
}

// URL returns the address of the connected NATS server, without a password. It is empty while
// there is no connection, and for an embedded server.
func (s *Storage) URL() string {
	if s.embedded != nil {
		return ""
	}
	return s.conn.ConnectedUrlRedacted()
}

// InProcessConn returns another connection to the embedded server, for tests that inspect the
// stored data. It fails for an external server.
func (s *Storage) InProcessConn() (net.Conn, error) {
	if s.embedded == nil {
		return nil, errors.New("the storage is not embedded")
	}
	return s.embedded.InProcessConn()
}

// Writable returns a context that ends, with the reason, when the storage cannot write any
// more. While it cannot write, Writable returns a context that has ended. Only an embedded
// server reports that.
func (s *Storage) Writable() context.Context {
	if s.embedded == nil {
		return context.Background()
	}
	return s.embedded.writable.Load().ctx
}

// minBatch is the size from which a batch is cheaper than single publishes.
func (s *Storage) minBatch() int {
	if s.embedded != nil && s.embedded.staged.Load() {
		return minBatchInMemory
	}
	return minBatchOnDisk
}

// stageAgain repairs the staging of batches after a failure.
func (s *Storage) stageAgain() {
	if s.embedded != nil && s.embedded.staged.Load() {
		s.embedded.stage()
	}
}

// ReplaceKeys replaces Config.EncryptionKeys while the storage is in use. When it returns, the
// next start needs the first of keys. If it fails, the next start needs the previous key, or
// either of them if the disk failed. It fails if
//
//   - none of keys is the key of the directory;
//   - the directory is encrypted and keys is empty, or the other way round.
//
// Calls MUST NOT overlap.
func (s *Storage) ReplaceKeys(keys []string) error {
	encrypted := s.embedded != nil && s.embedded.key != ""
	if encrypted != (len(keys) > 0) {
		return errors.New("encryption cannot be changed for an existing log")
	}
	if !encrypted || keys[0] == s.embedded.sealedWith {
		return nil
	}
	return s.embedded.replaceKeys(keys)
}

// Run restarts an embedded server that cannot write any more, once there is room, until ctx
// ends. It then returns nil. It MUST be called once, and return before Close is called.
func (s *Storage) Run(ctx context.Context) error {
	if s.embedded != nil {
		s.embedded.run(ctx)
	}
	return nil
}

// Close closes the connection. It also stops an embedded server and releases its directory.
// Acknowledged data is on the disk before.
func (s *Storage) Close() error {
	s.conn.Close()
	if s.embedded == nil {
		return nil
	}
	return s.embedded.close()
}
