// Package storage keeps what the gateway stores: streams of messages, and records
// under keys. It is the only package of the gateway that knows NATS.
//
// Storage is a JetStream: one embedded in this process, or one that runs elsewhere. What
// is above it is the same on both.
//
//   - A Stream is an ordered log of messages (stream.go). Append stores one, Read returns
//     those from a sequence on, and Follow delivers them as they are stored.
//   - Records are values under keys (records.go). Put stores one if its key still has the
//     revision that the caller expects.
//   - Append and Put return once the data is on the disk. Those that wait at the same time
//     share the syncing of the disk (commit.go, staging.go).
//
// The embedded server has no listener: this process alone reaches it, through a
// pipe in memory. It writes with SyncAlways, so that a publish is acknowledged
// only once its data is synced to the disk. nats-server does not lock its
// directory, and two processes on one would destroy each other's data, so Open
// takes a lock of its own first, which the kernel releases however the process
// ends.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxPayload is the largest message that the gateway writes, in bytes: an event
// made of a webhook of 1 MiB fits. NATS allows 1 MiB unless told otherwise.
const MaxPayload = 4 << 20

// Config says where the storage is.
type Config struct {
	// URL of an external NATS server with JetStream, or several separated by
	// commas. Empty means to embed one.
	URL string
	// Dir is the data directory of the embedded one; it is made if it is not
	// there. Not used with URL.
	Dir string
	// EncryptionKeys, where there are any, encrypt what the embedded one writes: the first
	// of them from now on, and any may be what it was encrypted with (encryption.go).
	EncryptionKeys []string
	// Unsynced has the embedded one acknowledge data before it is on the disk: for
	// benchmarks that prepare a large log.
	Unsynced bool
	// Logger gets what the embedded server and the connection log; nil discards it.
	Logger *slog.Logger

	// memory is another place for files in memory, for tests.
	memory string
}

// Storage is an open storage. Its methods are safe for concurrent use.
type Storage struct {
	conn     *nats.Conn
	api      jetstream.JetStream
	embedded *embedded // nil for an external one
	log      *slog.Logger
}

// Open connects to the NATS server at cfg.URL, or starts one on cfg.Dir, which
// takes as long as its files take to recover. It fails where the directory is in
// use, cannot be written or has files that cannot be read, and where the
// external server cannot be reached, has no JetStream or takes messages of less
// than MaxPayload. The caller MUST Close what it gets.
func Open(ctx context.Context, cfg Config) (*Storage, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.URL != "" {
		return connect(ctx, cfg)
	}
	return embed(ctx, cfg)
}

func connect(ctx context.Context, cfg Config) (*Storage, error) {
	conn, err := nats.Connect(cfg.URL, append(options(cfg.Logger), nats.MaxReconnects(-1))...)
	if _, malformed := errors.AsType[*url.Error](err); malformed {
		// The cause repeats the URL, and the password in it.
		return nil, fmt.Errorf("NATS at %s: want nats://HOST:PORT, special characters in a password percent-encoded",
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
	s, err := attach(ctx, conn, cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", redact(cfg.URL), err)
	}
	return s, nil
}

// attach takes over conn: it is closed where attach fails.
func attach(ctx context.Context, conn *nats.Conn, log *slog.Logger) (*Storage, error) {
	api, err := jetstream.New(conn)
	if err == nil {
		_, err = api.AccountInfo(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	return &Storage{conn: conn, api: api, log: log}, nil
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

// URL returns the address of the NATS server that it is connected to, without a password;
// empty while there is no connection, and for an embedded one.
func (s *Storage) URL() string {
	if s.embedded != nil {
		return ""
	}
	return s.conn.ConnectedUrlRedacted()
}

// InProcessConn returns another connection to the embedded server, for tests that look at
// what is stored. It fails for an external one.
func (s *Storage) InProcessConn() (net.Conn, error) {
	if s.embedded == nil {
		return nil, errors.New("the storage is not embedded")
	}
	return s.embedded.InProcessConn()
}

// Writable returns a context that ends, with the reason, when the storage finds
// that it cannot write any more. Each later call returns the one of that moment:
// an ended one until it can again. Only the embedded one is known to fail so.
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

// stageAgain prepares the staging of batches anew, after it failed.
func (s *Storage) stageAgain() {
	if s.embedded != nil && s.embedded.staged.Load() {
		s.embedded.stage()
	}
}

// ReplaceKeys puts keys in the place of Config.EncryptionKeys, while everything goes on.
// When it returns, the first of them is what the directory is opened with. Where it
// fails, the one before is, or, if it was the disk that failed, either may be. It fails
// unless one of keys is what the directory is encrypted with, and where there were keys
// and would be none, or the other way round. With nothing to replace it does nothing.
// Calls MUST NOT overlap.
func (s *Storage) ReplaceKeys(keys []string) error {
	encrypted := s.embedded != nil && s.embedded.key != ""
	if encrypted != (len(keys) > 0) {
		return errors.New("a log is encrypted from its beginning, and to its end, or not at all")
	}
	if !encrypted || keys[0] == s.embedded.sealedWith {
		return nil
	}
	return s.embedded.replaceKeys(keys)
}

// Run brings an embedded storage that cannot write back when it can, until ctx
// ends, and then returns nil. It MUST be called once, and end before Close.
func (s *Storage) Run(ctx context.Context) error {
	if s.embedded != nil {
		s.embedded.run(ctx)
	}
	return nil
}

// Close ends the connection and, for the embedded one, the server, and releases
// the directory. What was acknowledged is on the disk before.
func (s *Storage) Close() error {
	s.conn.Close()
	if s.embedded == nil {
		return nil
	}
	return s.embedded.close()
}
