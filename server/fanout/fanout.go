// Package fanout lets any number of readers follow one log.
//
// It keeps the newest records of the log in memory, in a ring that is bounded in
// bytes, and fills it from one subscription to the log's tail. A reader is a
// position and nothing else: no queue, no goroutine and no copy of anything. One
// that is within the ring takes the shared records from there; one that is
// behind it reads the log, in pages that readers in the same stretch share
// (pages.go), until it is within the ring again. Both are steps of one loop over positions, so there is no seam between
// replay and live at which an event could be missed or seen twice. A slow reader
// holds up nobody, and memory does not grow with how far it is behind.
package fanout

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// DefaultRingBytes is the default bound of the ring: at 250 bytes an event,
// about 100,000 events.
const DefaultRingBytes = 32 << 20

// retryDelay is the pause before the log is followed again after it failed.
const retryDelay = 500 * time.Millisecond

// Log is what a Fanout needs of the event log. A position is right after the
// event with that sequence.
type Log interface {
	// Newest returns a position from which on the events have about that many
	// bytes, and the position after the newest one.
	Newest(ctx context.Context, bytes int) (from, latest uint64, err error)
	// Read returns the events after a position, bounded in count and bytes. The
	// slice is the caller's.
	Read(ctx context.Context, position uint64, maxEvents, maxBytes int) ([]*event.Record, error)
	// ReadMatching is Read for the events of a channel, a documented type, or both;
	// an empty one means all. It also returns the position up to which there are
	// no others.
	ReadMatching(ctx context.Context, position uint64, channel, notificationType string, maxEvents, maxBytes int) ([]*event.Record, uint64, error)
	// Follow delivers the events after a position until ctx ends or it fails.
	Follow(ctx context.Context, position uint64, deliver func(*event.Record)) error
}

// Config of a Fanout. The zero value has the defaults.
type Config struct {
	// RingBytes bounds the records kept in memory.
	RingBytes int
	// PageBytes bounds what is kept of the log for readers behind the ring.
	PageBytes int
	// Logger gets the failures of the log.
	Logger *slog.Logger
}

// Fanout is a log with its tail in memory. Its methods are safe for concurrent
// use.
type Fanout struct {
	log    Log
	pages  *pages
	logger *slog.Logger
	ready  chan struct{}

	mu   sync.RWMutex
	ring ring
	// latest is the end of the log when it was first looked at: until the ring has
	// come there, readers are told how far they are behind that.
	latest uint64
	// changed is closed, and replaced, when the ring changes.
	changed chan struct{}
}

// New returns a Fanout over log. It starts nothing: readers get nothing new
// until Run.
func New(log Log, cfg Config) *Fanout {
	if cfg.RingBytes == 0 {
		cfg.RingBytes = DefaultRingBytes
	}
	if cfg.PageBytes == 0 {
		cfg.PageBytes = DefaultPageBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fanout{
		log:     log,
		logger:  cfg.Logger,
		ready:   make(chan struct{}),
		ring:    ring{maxBytes: cfg.RingBytes},
		changed: make(chan struct{}),
	}
	f.pages = newPages(log, cfg.PageBytes, f.behind)
	return f
}

// Run follows the log until ctx ends, and then returns nil. Where the log fails
// it tries again, from where it was. It MUST be called once.
func (f *Fanout) Run(ctx context.Context) error {
	started := false
	for {
		err := f.follow(ctx, &started)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is what was asked for
		}
		f.logger.Warn("cannot follow the event log, trying again", "error", err, "delay", retryDelay)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryDelay):
		}
	}
}

// Ready is closed once the tail is followed.
func (f *Fanout) Ready() <-chan struct{} { return f.ready }

func (f *Fanout) follow(ctx context.Context, started *bool) error {
	if !*started {
		// Those who come back after a restart mostly want what is newest, so the
		// ring begins with that: it comes first from following the log from there.
		from, latest, err := f.log.Newest(ctx, f.ring.maxBytes)
		if err != nil {
			return err
		}
		f.change(func() {
			f.ring.reset(from)
			f.latest = latest
		})
		*started = true
		close(f.ready)
	}
	return f.log.Follow(ctx, f.head(), f.add)
}

// behind reports whether the ring does not reach back to a position.
func (f *Fanout) behind(position uint64) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return position < f.ring.floor
}

func (f *Fanout) head() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ring.head()
}

func (f *Fanout) add(record *event.Record) {
	f.change(func() { f.ring.add(record) })
}

// change changes the ring and wakes the readers.
func (f *Fanout) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// view returns a copy of the records after position, at most limit. behind is
// true where the ring does not reach back that far; then there are none. changed
// is closed when the ring is another one than was seen here.
func (f *Fanout) view(position uint64, limit int) (records []*event.Record, behind bool, head uint64, changed <-chan struct{}) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	records, behind = f.ring.after(position, limit)
	return records, behind, max(f.ring.head(), f.latest), f.changed
}
