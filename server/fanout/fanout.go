// Package fanout lets any number of readers follow one log.
//
// One subscription to the log fills a ring in memory with the newest events, already
// encoded. The ring is bounded in bytes (ring.go). A reader is a position in the log
// (reader.go). It has no queue, no goroutine and no copy of an event.
//
//   - A reader whose position is in the ring gets events from the ring.
//   - If a reader's position is older than the ring, the reader reads pages of the log (pages.go)
//     until its position is in the ring. Readers at about the same position share pages.
//
// The same loop reads from the log and from the ring, by position. So no event is missed or
// repeated when a reader changes from old events to new ones. A slow reader does not delay the
// others, and memory does not grow with how far it is behind.
//
// Most readers are at the end of the log, where thousands want the same event at the same moment.
// Therefore the end of the ring (tail) is an immutable value. Readers load it without a lock. The
// first reader that needs the response with the newest events makes it, and the others share it.
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

// DefaultRingBytes is the default maximum size of the ring. It holds nearly 100,000 events of 250
// bytes.
const DefaultRingBytes = 32 << 20

const (
	// retryDelay is the pause before Run follows the log again after a failure.
	retryDelay = 500 * time.Millisecond
	// awayAfter is how long the log may be unavailable before waiting readers fail. That is long
	// enough for a NATS cluster to elect a leader, or for a NATS server to restart.
	awayAfter = 10 * time.Second
	// unavailableDelay is how long a client should wait before it subscribes again.
	unavailableDelay = time.Second
	// logInterval is the shortest time between two log lines about a failure.
	logInterval = time.Minute
)

// Log has the methods of the event log that a Fanout uses. A position is a sequence number. It
// stands for the place right after the event with that sequence number.
type Log interface {
	// Newest returns a position such that all events after it together have about the given
	// number of bytes.
	Newest(ctx context.Context, bytes int) (from uint64, err error)
	// Head returns the newest sequence that is known without a request to the storage.
	Head() uint64
	// Read returns the events after a position, bounded in count and bytes.
	Read(ctx context.Context, position uint64, maxEvents, maxBytes int) (event.Segment, error)
	// ReadMatching is like Read, but returns only the events of a channel, of a documented type,
	// or of both. An empty channel or type means all. It also returns a position. Up to that
	// position, the log has no matching events besides the returned ones. If the log cannot
	// search, it returns no events and the given position.
	ReadMatching(ctx context.Context, position uint64, channel, notificationType string, maxEvents, maxBytes int) (event.Segment, uint64, error)
	// Follow delivers the events after a position until ctx ends or Follow fails. If there are no
	// events after the position when Follow begins, it calls caughtUp.
	Follow(ctx context.Context, position uint64, caughtUp func(), deliver func(event.Entry)) error
	// Renew reports whether the log is not the one any more in which a cursor was made, and takes it
	// as it is now.
	Renew(ctx context.Context, cursor string) (replaced bool, err error)
	// Earliest returns the position before the oldest event. Latest returns the position after
	// the newest event. SeekTime returns the position before the first event at or after a time.
	Earliest(ctx context.Context) (uint64, error)
	Latest(ctx context.Context) (uint64, error)
	SeekTime(ctx context.Context, t time.Time) (uint64, error)
	// Position returns the position that a cursor names. Seek also checks that the log still has
	// the event from which the cursor was made. Reach checks that the log has the events after a
	// position.
	Position(cursor string) (uint64, error)
	Seek(ctx context.Context, cursor string) (uint64, error)
	Reach(ctx context.Context, position uint64) error
	// CursorOf returns the cursor of a position, with the checksum of the event before it. Cursor
	// does not read the log, and so returns a cursor without that checksum.
	Cursor(position uint64) string
	CursorOf(ctx context.Context, position uint64) (string, error)
}

// Config configures a Fanout. Zero values mean the defaults.
type Config struct {
	// RingBytes bounds the events kept in memory.
	RingBytes int
	// PageBytes bounds the pages that are cached for readers behind the ring.
	PageBytes int
	// Logger logs failures of the log.
	Logger *slog.Logger
}

// Fanout keeps the newest events of a log in memory, for many readers. Its methods are safe for
// concurrent use.
type Fanout struct {
	log    Log
	pages  *pages
	logger *slog.Logger
	ready  chan struct{}
	// readyOnce closes ready.
	readyOnce sync.Once

	// tail is the end of the ring as readers see it.
	tail atomic.Pointer[tail]
	// lostAt is the time at which Follow failed, in nanoseconds since 1970. It is 0 while Run
	// follows the log.
	lostAt atomic.Int64

	mu   sync.RWMutex
	ring ring
	// replacements is how often the log was replaced.
	replacements uint64
	// waiting are the readers to wake with the next event. spare is an empty slice that becomes
	// the next waiting, so that its memory is used again. Only the goroutine that changes the
	// ring uses spare.
	waiting, spare []*Reader
}

// tail is a snapshot of the end of the ring. Only its field shared can change.
type tail struct {
	// newest holds the events after from, up to and including head.
	newest     event.Segment
	from, head uint64
	// replacements is how often the log was replaced.
	replacements uint64
	// shared is a response with all events from its position (after) up to head. Readers at that
	// position share it.
	shared atomic.Pointer[sharedResponse]
}

// sharedResponse is a response with every event after a position.
type sharedResponse struct {
	after    uint64
	response *event.Response
}

// pending returns how many events the log has after a position. The number includes events that
// are in the log but not in the ring yet.
func (f *Fanout) pending(t *tail, position uint64) uint64 {
	return max(t.head, f.log.Head(), position) - position
}

// respond returns a response with those of the given events that the filter matches. The given
// events MUST be the ones right after position.
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

// New returns a Fanout over log. Readers get no new events until Run is called.
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

// Run follows the log until ctx ends, and then returns nil. If following the log fails, Run
// starts again after the last event that it received. Run MUST be called once.
func (f *Fanout) Run(ctx context.Context) error {
	started := false
	throttle := telemetry.NewThrottle(logInterval, 1)
	away := time.AfterFunc(awayAfter, f.wakeAll)
	away.Stop() // until the log is lost
	defer away.Stop()
	for {
		err := f.follow(ctx, &started)
		if ctx.Err() != nil {
			return nil // the caller ended ctx, so this is not a failure
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
	if *started {
		replaced, err := f.log.Renew(ctx, f.Cursor(f.tail.Load().head))
		if err != nil {
			return err
		}
		if replaced {
			*started = false
			f.pages.clear()
			f.change(func() {
				f.ring.reset(0)
				f.replacements++
			})
		}
	}
	if !*started {
		// Most clients that resume after a restart need recent events. So the ring first loads
		// the newest events, as many as fit into it.
		from, err := f.log.Newest(ctx, f.ring.maxBytes)
		if err != nil {
			return err
		}
		f.change(func() { f.ring.reset(from) })
		*started = true
		f.readyOnce.Do(func() { close(f.ready) })
	}
	return f.log.Follow(ctx, f.tail.Load().head, f.regained, f.add)
}

// replaced returns the error that ends the readers of a log that was replaced, or nil. opened is
// the number of replacements when the reader was opened.
func (t *tail) replaced(opened uint64) error {
	if t.replacements == opened {
		return nil
	}
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_LOG_REPLACED,
		"the event log was replaced, or has lost its newest events: start from POSITION_EARLIEST or a start_time")
}

// follows reports whether Run is receiving the log's new events. If it is, the ring has all new
// events.
func (f *Fanout) follows() bool { return f.lostAt.Load() == 0 }

// away returns the error LOG_UNAVAILABLE if the log has been unavailable for awayAfter or longer,
// and nil otherwise.
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
	if f.lostAt.Load() != 0 { // a store for each event would slow down all readers
		f.lostAt.Store(0)
	}
}

func (f *Fanout) add(e event.Entry) {
	f.regained()
	f.change(func() {
		if err := f.ring.add(e); err != nil {
			// The log has already verified the event, so this failure is a defect of the gateway.
			// The event is missing in the ring, and readers detect the gap.
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
	f.tail.Store(&tail{newest: newest, from: from, head: head, replacements: f.replacements})
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

// join registers a reader to be woken by the next event. If the ring already has that event, join
// returns false and does not register the reader.
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

// leave removes a reader from the list of waiting readers.
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

// after returns events that come after a position, at most those of one segment. behind is true
// if the position is older than the ring.
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
