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
	// readyTimeout bounds the start of the embedded server after its files are
	// read.
	readyTimeout = 30 * time.Second
	// probeInterval is how often a directory that could not be written is tried.
	probeInterval = time.Second
	// probeBytes is how much room there has to be before the server is opened
	// again: some of the largest messages, so that it does not fail at once.
	probeBytes = 4 * MaxPayload
	// reconnectWait is short, since who reconnects is in the same process.
	reconnectWait = 10 * time.Millisecond
)

// embedded is a NATS server in this process, which is replaced by a new one on
// the same directory when it cannot write any more.
//
// Where a write fails, the disk being full for example, nats-server takes no
// write for that stream again, not even when there is room, and does not answer
// those who publish: only opening the directory anew brings it back (observed
// with 2.15). So its log is watched for that state; until there is room the old
// server goes on serving what can be read, and then a new one takes its place.
type embedded struct {
	dir      string
	unsynced bool
	// key is what the directory is encrypted with; empty for none.
	key string
	// sealedWith is what key is surely encrypted with on the disk; empty where that is
	// not known.
	sealedWith string
	log        *slog.Logger
	lock       *flock.Flock
	current    atomic.Pointer[server.Server]
	// writable ends, with the reason, when a write fails; the next server has
	// another one.
	writable atomic.Pointer[writability]
	// memory is where files are in memory: memoryDir, except in tests.
	memory string
	// staged says that batches are staged in memory (staging.go). It changes under staging.
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
	// The log holds what customers wrote: its owner alone may read it.
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", cfg.Dir, err)
	}
	if err := closeToOthers(cfg.Dir); err != nil {
		// All that is in it is its owner's alone in any case.
		cfg.Logger.Warn("others can look into the data directory", "dir", cfg.Dir, "error", err)
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
		// What is published while there is no server fails at once.
		nats.ReconnectBufSize(-1),
	)...)
	if err == nil {
		var s *Storage
		if s, err = attach(ctx, conn, cfg.Logger); err == nil {
			s.embedded = e
			return s, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("embedded NATS: %w", err), e.close())
}

// closeToOthers leaves a directory that was there before to its owner alone. It fails where
// there is something else in it, since others may need that (it may be /tmp), or where the
// directory is not this process's own.
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
			return fmt.Errorf("it has %s in it, too, and stays as it is", entry.Name())
		}
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // a directory has to be entered
}

// What is in a data directory, beside formatFile and keyFile.
const (
	storeDir = "jetstream"
	lockFile = "lock"
)

// lockDir makes sure that no other process has the directory open, for as long
// as the lock is held.
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
		// JetStream reserves a stream's limit against this one, which by default
		// is a part of the disk's free space: a small disk would refuse the
		// default retention. What the disk holds is found out by writing.
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

// syncFiles syncs every file below a directory, if it is there. A server that was
// killed between a write and its sync leaves data which the next one reads, and
// takes for stored: whoever publishes them again is told that they are a duplicate,
// and subscribers get them. So they have to be on the disk first. Files that are
// cost little: 65 ms for the 1,300 of a log of 10 GiB (measured on ext4).
func syncFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err // a link is to the staging of batches, which need not last
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

// InProcessConn connects to the server of the moment: this is how the client
// finds the next one when it reconnects.
func (e *embedded) InProcessConn() (net.Conn, error) { return e.current.Load().InProcessConn() }

// run replaces the server whenever it cannot write, until ctx ends.
func (e *embedded) run(ctx context.Context) {
	for {
		writable := e.writable.Load()
		select {
		case <-ctx.Done():
			return
		case <-writable.ctx.Done():
		}
		e.log.Error("the event log cannot be written; webhooks are refused until it can", "dir", e.dir,
			"error", context.Cause(writable.ctx))
		for e.replace() != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(probeInterval):
			}
		}
		e.log.Info("the event log can be written again", "dir", e.dir)
	}
}

// replace opens the directory anew, if there is room in it.
func (e *embedded) replace() error {
	if err := probe(e.dir); err != nil {
		e.log.Debug("the event log still cannot be written", "dir", e.dir, "error", err)
		return err
	}
	shutdown(e.current.Load())
	if err := e.open(); err != nil {
		e.log.Error("the event log cannot be opened", "dir", e.dir, "error", err)
		return err
	}
	return nil
}

// probe finds out whether a directory can be written, by writing.
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
