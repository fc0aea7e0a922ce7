package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// readyTimeout bounds the start of the embedded server after it has read its files.
	readyTimeout = 30 * time.Second
	// probeInterval is the interval at which an unwritable directory is tried again.
	probeInterval = time.Second
	// probeBytes is how much room there has to be before the server is restarted. It is the
	// size of several of the largest messages, so that the server does not fail at once.
	probeBytes = 4 * MaxPayload
	// reconnectWait is short, because the client is in the same process.
	reconnectWait = 10 * time.Millisecond
)

// embedded is a NATS server in this process. When it cannot write any more, it is replaced by
// a new server on the same directory.
//
// After a failed write, for example because the disk is full, nats-server rejects all writes
// to that stream without an answer, even when there is room again (observed with 2.15). Only
// a restart helps. So embedded watches the server's log for that state. The old server serves
// reads until there is room, and then a new one replaces it.
type embedded struct {
	dir      string
	unsynced bool
	// key is the key that the directory is encrypted with. Empty means clear text.
	key string
	// sealedWith is the configured key that key is encrypted with on the disk. It is empty if
	// that is not certain.
	sealedWith string
	log        *slog.Logger
	lock       *flock.Flock
	current    atomic.Pointer[server.Server]
	// writable ends, with the reason, when a write fails. The next server has a new one.
	writable atomic.Pointer[writability]
	// memory is memoryDir, except in tests.
	memory string
	// staged means that batches are staged in memory (staging.go). staging protects changes.
	staged  atomic.Bool
	staging sync.Mutex
}

type writability struct {
	ctx  context.Context
	fail context.CancelCauseFunc
}

func newWritability() *writability {
	ctx, fail := context.WithCancelCause(context.Background())
	return &writability{ctx, fail}
}

func embed(ctx context.Context, cfg Config) (_ *Storage, err error) {
	// The log contains messages of customers, so only its owner may read it.
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", cfg.Dir, err)
	}
	if err := closeToOthers(cfg.Dir); err != nil {
		// Only the owner can read the files in it in any case.
		cfg.Logger.Warn("the data directory is readable by other users", "dir", cfg.Dir, "error", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	e := &embedded{
		dir: cfg.Dir, unsynced: cfg.Unsynced, log: cfg.Logger, lock: lock,
		memory: cmp.Or(cfg.memory, memoryDir),
	}
	err = checkDir(cfg.Dir)
	if err == nil {
		e.key, e.sealedWith, err = directoryKey(cfg.Dir, cfg.EncryptionKeys, cfg.Logger)
	}
	if err == nil {
		err = e.open()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	conn, err := nats.Connect("", append(options(cfg.Logger),
		nats.InProcessServer(e),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		// A publish fails at once while there is no server.
		nats.ReconnectBufSize(-1),
	)...)
	if err == nil {
		s := &Storage{conn: conn, embedded: e, log: cfg.Logger}
		if err = s.attach(ctx); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("embedded NATS: %w", err), e.close())
}

// closeToOthers makes an existing directory accessible only to its owner. It fails if the
// directory has other files, which others may need (it may be /tmp), or another owner.
func closeToOthers(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !slices.Contains([]string{storeDir, formatFile, formatFile + ".new", keyFile, keyFile + ".new", lockFile, "lost+found"}, entry.Name()) {
			return fmt.Errorf("its permissions stay as they are, because it also contains %s", entry.Name())
		}
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // a directory has to be entered
}

// Names in a data directory, in addition to formatFile and keyFile.
const (
	storeDir = "jetstream"
	lockFile = "lock"
)

// lockDir locks a directory for this process.
func lockDir(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	if !held {
		return nil, fmt.Errorf("data directory %s is in use by another process", dir)
	}
	return lock, nil
}

// open starts a server on the directory.
func (e *embedded) open() error {
	store := filepath.Join(e.dir, storeDir)
	if err := syncFiles(store); err != nil {
		return fmt.Errorf("data directory %s: %w", e.dir, err)
	}
	writable := newWritability()
	logger := &serverLogger{log: e.log, writeFailed: writable.fail}
	ns, err := server.NewServer(&server.Options{
		ServerName:             "ongair-gateway",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               store,
		SyncAlways:             !e.unsynced,
		MaxPayload:             MaxPayload,
		DisableJetStreamBanner: true,
		NoSigs:                 true,
		// The limits of all streams have to fit into this one. Its default is a part of the
		// disk's free space, so a small disk would reject the default retention.
		JetStreamMaxStore: math.MaxInt64,
		JetStreamKey:      e.key,
		JetStreamCipher:   server.ChaCha,
	})
	if err != nil {
		return fmt.Errorf("embedded NATS: %w", err)
	}
	ns.SetLoggerV2(logger, false, false, false)
	ns.Start()
	if err := logger.fatal(); err != nil {
		shutdown(ns)
		return fmt.Errorf("embedded NATS in %s: %w", e.dir, err)
	}
	if !ns.ReadyForConnections(readyTimeout) {
		shutdown(ns)
		return fmt.Errorf("embedded NATS in %s was not ready within %s", e.dir, readyTimeout)
	}
	e.stage()
	e.current.Store(ns)
	e.writable.Store(writable)
	return nil
}

// syncFiles syncs every file below a directory, if it exists. A server that was killed between
// a write and its sync leaves data that is not synced. The next server reads that data,
// delivers it, and drops redeliveries as duplicates. So the data has to be synced first. Synced
// files cost little: 65 ms for the 1,300 files of a log of 10 GiB (measured on ext4).
func syncFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err // a link leads to staged batches, which need not be durable
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the gateway's own directory; Windows syncs no file that is open for reading
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a server that was shut down in this process may still be removing files
		}
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

func shutdown(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

// InProcessConn connects to the present server, so a client that reconnects finds the new one.
func (e *embedded) InProcessConn() (net.Conn, error) { return e.current.Load().InProcessConn() }

// run replaces the server when it cannot write, until ctx ends.
func (e *embedded) run(ctx context.Context) {
	for {
		writable := e.writable.Load()
		select {
		case <-ctx.Done():
			return
		case <-writable.ctx.Done():
		}
		e.log.Error("cannot write the event log: webhooks are rejected", "dir", e.dir,
			"error", context.Cause(writable.ctx))
		for e.replace() != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(probeInterval):
			}
		}
		e.log.Info("the event log is writable again", "dir", e.dir)
	}
}

// replace starts a new server on the directory, if there is room.
func (e *embedded) replace() error {
	if err := probe(e.dir); err != nil {
		e.log.Debug("still cannot write the event log", "dir", e.dir, "error", err)
		return err
	}
	shutdown(e.current.Load())
	if err := e.open(); err != nil {
		e.log.Error("cannot open the event log", "dir", e.dir, "error", err)
		return err
	}
	return nil
}

// probe checks that a directory can be written.
func probe(dir string) (err error) {
	f, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, probeBytes)); err != nil {
		return err
	}
	return f.Sync()
}

// close stops the server and releases the directory.
func (e *embedded) close() error {
	shutdown(e.current.Load())
	e.unstage()
	return e.lock.Unlock()
}
