// Package fanout lets any number of readers follow one log.
//
// One subscription to the log fills a ring in memory with the newest events, already
// encoded. The ring is bounded in bytes (ring.go). A reader is a position in the log
// (reader.go). It has no queue, no goroutine and no copy of an event.
//
//   - A reader whose position is in the ring gets events from the ring.
//   - A reader that is behind the ring reads pages of the log (pages.go), until its
//     position is in the ring. Readers at about the same position share pages.
//
// One loop over positions does both, so no event is missed or repeated when a reader
// changes from replay to live events. A slow reader does not delay the others, and memory
// does not grow with how far it is behind.
//
// Most readers are at the end of the log, where thousands want the same event at the same
// moment. The end is therefore an immutable value that readers load without a lock. The
// first reader that needs the response with the newest events makes it, and the others
// share it.
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
	// retryDelay is the pause before Run follows the log again after a failure.
	retryDelay = 500 * time.Millisecond
	// awayAfter is how long the log may be unavailable before waiting readers fail. It is
	// longer than an election and a restart of a NATS server.
	awayAfter = 10 * time.Second
	// unavailableDelay is how long a client should wait before it subscribes again.
	unavailableDelay = time.Second
	// logInterval is the shortest time between two log lines about a failure.
	logInterval = time.Minute
)

// Log is what a Fanout needs of the event log. A position is right after the
// event with that sequence.
type Log interface {
	// Newest returns the position after which the events have about that many bytes.
	Newest(ctx context.Context, bytes int) (from uint64, err error)
	// Head is the newest sequence that is known without asking.
	Head() uint64
	// Read returns the events after a position, bounded in count and bytes.
	Read(ctx context.Context, position uint64, maxEvents, maxBytes int) (event.Segment, error)
	// ReadMatching is Read for the events of a channel, a documented type, or both. An
	// empty channel or type means all. It also returns the position up to which there are
	// no other matching events. If the log cannot search, that is the given position.
	ReadMatching(ctx context.Context, position uint64, channel, notificationType string, maxEvents, maxBytes int) (event.Segment, uint64, error)
	// Follow delivers the events after a position until ctx ends or it fails. It calls
	// caughtUp if there are none when it begins.
	Follow(ctx context.Context, position uint64, caughtUp func(), deliver func(event.Entry)) error
	// Earliest and Latest return the positions before the oldest event and after the newest
	// one, and SeekTime the one before the first event at or after a time.
	Earliest(ctx context.Context) (uint64, error)
	Latest(ctx context.Context) (uint64, error)
	SeekTime(ctx context.Context, t time.Time) (uint64, error)
	// Position returns the position that a cursor names. Seek also checks that the log
	// still has the event that the cursor was made with. Reach checks that the log has the
	// events after a position.
	Position(cursor string) (uint64, error)
	Seek(ctx context.Context, cursor string) (uint64, error)
	Reach(ctx context.Context, position uint64) error
	// CursorOf returns the cursor of a position, with the checksum of the event before it.
	// Cursor returns a cursor without the checksum, and does not read the log.
	Cursor(position uint64) string
	CursorOf(ctx context.Context, position uint64) (string, error)
}

// Config of a Fanout. The zero value has the defaults.
type Config struct {
	// RingBytes bounds the events kept in memory.
	RingBytes int
	// PageBytes bounds the pages that are cached for readers behind the ring.
	PageBytes int
	// Logger logs failures of the log.
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
	// waiting are the readers to wake with the next event. spare is the slice for the
	// next ones. Only the goroutine that changes the ring uses spare.
	waiting, spare []*Reader
}

// tail is the end of the ring at a moment. It is immutable, except for shared.
type tail struct {
	// newest holds the events after from, up to and including head.
	newest     event.Segment
	from, head uint64
	// shared is a response with all events up to head.
	shared atomic.Pointer[sharedResponse]
}

// sharedResponse is a response with every event after a position.
type sharedResponse struct {
	after    uint64
	response *event.Response
}

// pending returns how many events the log has after a position. It counts events that are
// not in the ring yet.
func (f *Fanout) pending(t *tail, position uint64) uint64 {
	return max(t.head, f.log.Head(), position) - position
}

// respond returns the response with the events that a filter matches. The events come
// right after position.
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

// New returns a Fanout over log. Readers get no new events until Run.
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

// Run follows the log until ctx ends, and then returns nil. If the log fails, Run follows
// it again from the last event. Run MUST be called once.
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
			f.logger.Warn("cannot follow the event log: streams are paused", "error", err, "tried_every", retryDelay)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryDelay):
		}
	}
}

// Ready returns a channel that is closed once Run follows the log.
func (f *Fanout) Ready() <-chan struct{} { return f.ready }

func (f *Fanout) follow(ctx context.Context, started *bool) error {
	if !*started {
		// Most clients that resume after a restart need the newest events. So the ring
		// starts that far back.
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

// follows reports whether the log is followed. If it is, the ring has all new events.
func (f *Fanout) follows() bool { return f.lostAt.Load() == 0 }

// away fails with LOG_UNAVAILABLE if the log has been unavailable for awayAfter.
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
	if f.lostAt.Load() != 0 { // a write for each event would slow down all readers
		f.lostAt.Store(0)
	}
}

func (f *Fanout) add(e event.Entry) {
	f.regained()
	f.change(func() {
		if err := f.ring.add(e); err != nil {
			// The log has verified the event, so this is a defect. Readers find the gap.
			f.logger.Error("cannot read an event of the log", "error", err)
		}
	})
}

// change changes the ring and wakes the readers. Calls MUST NOT overlap.
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

// wakeAll wakes all readers, without an event.
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

// join registers a reader to be woken by the next event. It returns false if that event is
// already there.
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

// leave removes a reader from those to be woken.
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

// behind reports whether a position is older than the ring.
func (f *Fanout) behind(position uint64) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return position < f.ring.floor
}

// after returns the events of one segment after a position. behind is true if the position
// is older than the ring.
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

// Cursor returns a cursor of a position without reading the log. It has the checksum of the
// event before the position only if that event is in memory.
func (f *Fanout) Cursor(position uint64) string {
	return cmp.Or(f.ringCursor(position), f.log.Cursor(position))
}

func (f *Fanout) ringCursor(position uint64) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ring.cursorAt(position)
}
