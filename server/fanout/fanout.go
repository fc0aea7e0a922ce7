// Package fanout lets any number of readers follow one log.
//
// It keeps the newest events of the log in memory, encoded, in a ring that is
// bounded in bytes (ring.go), and fills it from one subscription to the log's
// tail. A reader is a position and nothing else: no queue, no goroutine and no
// copy of anything (reader.go). One that is within the ring takes a stretch of it
// from there; one that is behind reads the log, in pages that readers in the same
// stretch share (pages.go), until it is within the ring again. Both are steps of
// one loop over positions, so there is no seam between replay and live at which
// an event could be missed or seen twice. A slow reader holds up nobody, and
// memory does not grow with how far it is behind.
//
// Most readers are at the end of the log, where thousands of them want the same
// event at the same moment. So that end is a value of its own, which is replaced
// with each event and read without a lock, and the response with the newest events
// is made by the first reader that wants it and shared by those after it.
package fanout

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

// DefaultRingBytes is the default bound of the ring: at 250 bytes an event,
// nearly 100,000 events.
const DefaultRingBytes = 32 << 20

const (
	// retryDelay is the pause before the log is followed again after it failed.
	retryDelay = 500 * time.Millisecond
	// awayAfter is how long the log may be away before readers that wait for it fail: longer
	// than an election, or a restart of a NATS server.
	awayAfter = 10 * time.Second
	// unavailableDelay is when a client of a log that is away may subscribe again.
	unavailableDelay = time.Second
	// logInterval is the shortest time between two lines about a log that cannot be followed.
	logInterval = time.Minute
)

// Log is what a Fanout needs of the event log. A position is right after the
// event with that sequence.
type Log interface {
	// Newest returns a position from which on the events have about that many
	// bytes.
	Newest(ctx context.Context, bytes int) (from uint64, err error)
	// Head is the newest sequence that is known without asking.
	Head() uint64
	// Read returns the events after a position, bounded in count and bytes.
	Read(ctx context.Context, position uint64, maxEvents, maxBytes int) (event.Segment, error)
	// ReadMatching is Read for the events of a channel, a documented type, or both;
	// an empty one means all. It also returns the position up to which there are no
	// others: the one where it began where the log cannot look for them, and all have to
	// be read.
	ReadMatching(ctx context.Context, position uint64, channel, notificationType string, maxEvents, maxBytes int) (event.Segment, uint64, error)
	// Follow delivers the events after a position until ctx ends or it fails. It calls
	// caughtUp if there are none when it begins.
	Follow(ctx context.Context, position uint64, caughtUp func(), deliver func(event.Entry)) error
	// Earliest and Latest return the positions before the oldest event and after the newest
	// one, and SeekTime the one before the first event at or after a time.
	Earliest(ctx context.Context) (uint64, error)
	Latest(ctx context.Context) (uint64, error)
	SeekTime(ctx context.Context, t time.Time) (uint64, error)
	// Position returns the position that a cursor names. Seek also finds out whether
	// the log still has what the cursor was made with, and Reach whether it has what
	// comes after a position.
	Position(cursor string) (uint64, error)
	Seek(ctx context.Context, cursor string) (uint64, error)
	Reach(ctx context.Context, position uint64) error
	// Cursor returns a cursor of a position without asking the log, and CursorOf the one that
	// names the event before it.
	Cursor(position uint64) string
	CursorOf(ctx context.Context, position uint64) (string, error)
}

// Config of a Fanout. The zero value has the defaults.
type Config struct {
	// RingBytes bounds the events kept in memory.
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

	// tail is the end of the ring as readers see it.
	tail atomic.Pointer[tail]
	// lostAt is when following the log failed, in nanoseconds since 1970; 0 while the log is
	// followed.
	lostAt atomic.Int64

	mu   sync.RWMutex
	ring ring
	// waiting are the readers to wake with the next event, spare is memory for the
	// next ones. spare belongs to the one goroutine that changes the ring.
	waiting, spare []*Reader
}

// tail is the end of the ring at a moment. It is immutable but for shared.
type tail struct {
	// newest holds the events after from, up to and including head.
	newest     event.Segment
	from, head uint64
	// shared is a response that goes up to head, of all events.
	shared atomic.Pointer[sharedResponse]
}

// sharedResponse is a response with every event after a position.
type sharedResponse struct {
	after    uint64
	response *event.Response
}

// pending is how many events the log has after a position: also those that have
// not come to the ring, which may be filling, or cut off from the log.
func (f *Fanout) pending(t *tail, position uint64) uint64 {
	return max(t.head, f.log.Head(), position) - position
}

// respond returns the response with those of some events, which come after a
// position, that a filter takes.
func (f *Fanout) respond(t *tail, filter *event.Filter, position uint64, events event.Segment) *event.Response {
	last := events.Last()
	if last != t.head || !filter.MatchesAll() {
		return events.Respond(filter, f.pending(t, last))
	}
	if shared := t.shared.Load(); shared != nil && shared.after == position {
		return shared.response
	}
	response := events.Respond(filter, f.pending(t, last))
	t.shared.Store(&sharedResponse{after: position, response: response})
	return response
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
		log:    log,
		logger: cfg.Logger,
		ready:  make(chan struct{}),
		ring:   ring{maxBytes: cfg.RingBytes},
	}
	f.tail.Store(&tail{})
	f.pages = newPages(log, cfg.PageBytes, f.behind)
	return f
}

// Run follows the log until ctx ends, and then returns nil. Where the log fails
// it tries again, from where it was. It MUST be called once.
func (f *Fanout) Run(ctx context.Context) error {
	started := false
	throttle := telemetry.NewThrottle(logInterval, 1)
	away := time.AfterFunc(awayAfter, f.wakeAll)
	away.Stop() // until the log is lost
	defer away.Stop()
	for {
		err := f.follow(ctx, &started)
		if ctx.Err() != nil {
			return nil // the end of ctx is what was asked for
		}
		if f.lostAt.CompareAndSwap(0, time.Now().UnixNano()) {
			away.Reset(awayAfter)
		}
		if _, ok := throttle.Allow(); ok {
			f.logger.Warn("cannot follow the event log: subscribers get nothing until it is back", "error", err, "tried_every", retryDelay)
		}
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
		from, err := f.log.Newest(ctx, f.ring.maxBytes)
		if err != nil {
			return err
		}
		f.change(func() { f.ring.reset(from) })
		*started = true
		close(f.ready)
	}
	return f.log.Follow(ctx, f.tail.Load().head, f.regained, f.add)
}

// follows reports whether the log is followed, so that what the ring has is all there is.
func (f *Fanout) follows() bool { return f.lostAt.Load() == 0 }

// away fails with LOG_UNAVAILABLE if the log has been away for awayAfter.
func (f *Fanout) away(now time.Time) error {
	lost := f.lostAt.Load()
	if lost == 0 || now.UnixNano()-lost < int64(awayAfter) {
		return nil
	}
	away := fault.New(ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE,
		"the event log has not been available for %s; continue from your cursor", awayAfter)
	away.RetryAfter = unavailableDelay
	return away
}

// regained notes that the log is followed again.
func (f *Fanout) regained() {
	if f.lostAt.Load() != 0 { // no event has to write to memory that all readers read
		f.lostAt.Store(0)
	}
}

func (f *Fanout) add(e event.Entry) {
	f.regained()
	f.change(func() {
		if err := f.ring.add(e); err != nil {
			// What the log gives was verified, so this is a defect; readers find the
			// gap where it is.
			f.logger.Error("an event of the log cannot be read", "error", err)
		}
	})
}

// change changes the ring and wakes the readers. It is for one goroutine at a
// time.
func (f *Fanout) change(change func()) {
	f.mu.Lock()
	change()
	newest, head := f.ring.newest(), f.ring.head()
	from := head
	if newest.Len() > 0 {
		from = newest.First() - 1
	}
	f.tail.Store(&tail{newest: newest, from: from, head: head})
	woken := f.waiting
	f.waiting = f.spare
	for _, r := range woken {
		r.place = -1
	}
	f.mu.Unlock()
	for _, r := range woken {
		r.signal()
	}
	clear(woken)
	f.spare = woken[:0]
}

// wakeAll wakes the readers without an event.
func (f *Fanout) wakeAll() {
	f.mu.Lock()
	woken := f.waiting
	f.waiting = nil
	for _, r := range woken {
		r.place = -1
	}
	f.mu.Unlock()
	for _, r := range woken {
		r.signal()
	}
}

// join has a reader woken by the next event. It is false where there is one
// already.
func (f *Fanout) join(r *Reader) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.position < f.ring.head() {
		return false
	}
	if r.place < 0 {
		r.place = len(f.waiting)
		f.waiting = append(f.waiting, r)
	}
	return true
}

// leave has a reader not woken any more.
func (f *Fanout) leave(r *Reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.place < 0 {
		return
	}
	last := len(f.waiting) - 1
	f.waiting[r.place] = f.waiting[last]
	f.waiting[r.place].place = r.place
	f.waiting[last] = nil
	f.waiting = f.waiting[:last]
	r.place = -1
}

// behind reports whether the ring does not reach back to a position.
func (f *Fanout) behind(position uint64) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return position < f.ring.floor
}

// after returns events of the ring after a position, as many as a segment has.
// behind is true where the ring does not reach back that far.
func (f *Fanout) after(position uint64) (events event.Segment, behind bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ring.after(position)
}

// cursor returns the cursor of a position.
func (f *Fanout) cursor(ctx context.Context, position uint64) (string, error) {
	if cursor := f.ringCursor(position); cursor != "" {
		return cursor, nil
	}
	return f.log.CursorOf(ctx, position)
}

// Cursor returns a cursor of a position without asking the log. It does not name the event
// before the position if that is not in memory.
func (f *Fanout) Cursor(position uint64) string {
	return cmp.Or(f.ringCursor(position), f.log.Cursor(position))
}

func (f *Fanout) ringCursor(position uint64) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ring.cursorAt(position)
}
