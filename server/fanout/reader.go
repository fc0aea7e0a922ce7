package fanout

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// Reader is a position in the log. It MUST be used by one goroutine at a time. Between two
// calls it holds no events and no buffer, because most readers wait most of the time.
type Reader struct {
	fanout *Fanout
	// ctx is the context of the reader's stream. Its end wakes the reader.
	ctx      context.Context
	filter   event.Filter
	position uint64
	// opened is the number of replacements of the log when the reader was opened.
	opened uint64
	// sparse is true if the filter matched only few of the events in the last page from the log.
	sparse bool
	// hurry is true if List must not wait any more.
	hurry atomic.Bool

	// wake contains a token if the reader may have something to do, because an event came, the
	// timer fired or ctx ended. One channel serves all three purposes, because a select over
	// three channels would cost several times as much.
	wake chan struct{}
	// place is the reader's index in Fanout.waiting. It is negative if the reader is not in it.
	// Fanout.mu protects it.
	place int
	// timer puts a token into wake at the time alarm. To save work on streams with frequent
	// events, it is reset only if it has fired or would fire too late.
	timer *time.Timer
	alarm time.Time
	// stop unregisters the function that wakes the reader when ctx ends.
	stop func() bool
}

// NewReader returns a reader at a position, for a stream that ends with ctx. The caller MUST
// close it.
func (f *Fanout) NewReader(ctx context.Context, position uint64, filter event.Filter) *Reader {
	return &Reader{
		fanout: f, ctx: ctx, filter: filter, position: position, opened: f.tail.Load().replacements,
		wake: make(chan struct{}, 1), place: -1,
	}
}

// Position returns the position of the last response.
func (r *Reader) Position() uint64 { return r.position }

// Close releases the resources that the reader uses to wait (its timer and its registrations).
func (r *Reader) Close() {
	if r.stop == nil {
		return // it never waited
	}
	r.stop()
	r.timer.Stop()
	r.fanout.leave(r)
}

// Next waits for events that the filter matches, and returns a response with them. If none comes
// within the time idle, it returns a response without events. If the log is not being followed at
// that moment, Next first waits until it is followed again. The cursor of a response is also
// after the events that Next read and the filter did not match.
//
// Next fails with the error of the log, with LOG_REPLACED if the log was replaced since the reader
// was opened, with LOG_UNAVAILABLE if the log has been unavailable for 10 s, or with the cause of
// ctx.
func (r *Reader) Next(idle time.Duration) (*event.Response, error) {
	var deadline time.Time // unset until the clock is needed
	for {
		// Check ctx here, because a reader that always finds events never gets to the wait.
		if r.ctx.Err() != nil {
			return nil, context.Cause(r.ctx)
		}
		tail := r.fanout.tail.Load()
		if err := tail.replaced(r.opened); err != nil {
			return nil, err
		}
		events, upTo, err := r.read(tail)
		if err != nil {
			return nil, r.cause(err)
		}
		before := r.position
		if events.Len() > 0 {
			response := r.fanout.respond(tail, &r.filter, before, events)
			r.position = max(events.Last(), upTo)
			if response.Events > 0 {
				return response, nil
			}
		}
		r.position = max(r.position, upTo)
		now := time.Now()
		if err := r.fanout.away(now); err != nil {
			return nil, err
		}
		if deadline.IsZero() {
			deadline = now.Add(idle)
		}
		if !now.Before(deadline) && idle > 0 && !r.fanout.follows() {
			deadline = now.Add(min(idle, retryDelay)) // the log may have events that are not in the ring
		}
		if !now.Before(deadline) {
			cursor, err := r.fanout.cursor(r.ctx, r.position)
			if err != nil {
				return nil, r.cause(err)
			}
			return event.Heartbeat(cursor, r.fanout.pending(tail, r.position)), nil
		}
		// If the position has moved (the filter matched none of the events read), read on instead
		// of waiting.
		if r.position == before {
			r.wait(now, deadline)
		}
	}
}

// cause returns the cause of ctx if ctx has ended, and err otherwise.
func (r *Reader) cause(err error) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return err
}

// read returns events after the position. If upTo is not 0, the filter matches no event up to
// upTo other than the returned ones.
func (r *Reader) read(t *tail) (events event.Segment, upTo uint64, err error) {
	if r.position >= t.head {
		return event.Segment{}, 0, nil
	}
	if r.position >= t.from {
		return t.newest.After(r.position), 0, nil
	}
	events, behind := r.fanout.after(r.position)
	if behind {
		return r.replay()
	}
	return events, 0, nil
}

// If a page has more than sparseness events for each match, it is cheaper to let the log search
// for matching events. The log can search only by channel and type. The results of a search are
// not shared with other readers.
const sparseness = 16

// replay reads from the log. It returns events after the reader's position. If upTo is not 0, the
// filter matches no other event up to upTo.
func (r *Reader) replay() (events event.Segment, upTo uint64, err error) {
	if channel, notificationType, ok := r.filter.Single(); ok && r.sparse {
		events, upTo, err = r.fanout.log.ReadMatching(r.ctx, r.position, channel, notificationType, segmentEvents, segmentBytes)
		if err != nil || upTo > r.position {
			return events, upTo, err
		}
	}
	events, err = r.fanout.pages.after(r.ctx, r.position)
	r.sparse = !r.filter.MatchesAll() && r.filter.Count(events)*sparseness < events.Len()
	return events, 0, err
}

// wait waits for a token until the deadline or the end of ctx.
func (r *Reader) wait(now, deadline time.Time) {
	if r.stop == nil {
		r.stop = context.AfterFunc(r.ctx, r.signal)
		r.timer = time.AfterFunc(deadline.Sub(now), r.signal)
		r.alarm = deadline
	} else if !r.alarm.After(now) || r.alarm.After(deadline) {
		r.timer.Reset(deadline.Sub(now))
		r.alarm = deadline
	}
	if r.fanout.join(r) {
		<-r.wake
	}
}

// signal gives the reader a token if it has none.
func (r *Reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
