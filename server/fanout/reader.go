package fanout

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// Reader is a position in the log. It is for one goroutine. Between two calls it
// holds no events, and no memory to put them in: most readers wait most of the
// time.
type Reader struct {
	fanout *Fanout
	// ctx is that of the stream whose position this is, and ends its waiting.
	ctx      context.Context
	filter   event.Filter
	position uint64
	// sparse says that the filter took little of what was read from the log.
	sparse bool
	// hurry says that List waits no longer.
	hurry atomic.Bool

	// wake has a token when there is a reason to look again: an event, a timer, the
	// end of ctx. One channel for all of them, since waiting for several costs
	// several times as much.
	wake chan struct{}
	// place is where the reader is among those that wait for events, less than 0
	// where it is not. It is the fanout's.
	place int
	// timer sends a token at alarm. It is set again only once it has fired or would
	// fire too late: a stream that gets an event every few milliseconds need not
	// touch it each time.
	timer *time.Timer
	alarm time.Time
	// stop has ctx forget the reader.
	stop func() bool
}

// NewReader returns a reader at a position, for a stream that ends with ctx. It
// MUST be closed.
func (f *Fanout) NewReader(ctx context.Context, position uint64, filter event.Filter) *Reader {
	return &Reader{fanout: f, ctx: ctx, filter: filter, position: position, wake: make(chan struct{}, 1), place: -1}
}

// Position returns the position of the last response.
func (r *Reader) Position() uint64 { return r.position }

// Close lets go of what a reader waits with.
func (r *Reader) Close() {
	if r.stop == nil {
		return // it never waited
	}
	r.stop()
	r.timer.Stop()
	r.fanout.leave(r)
}

// Next waits for events that pass the filter and returns the response with them,
// or one without events when idle is over: at once, for an idle of zero, and no sooner
// than the log is followed again if it was lost. Its cursor is after whatever the
// filter hid among and behind the events. It fails with what the log failed with, with
// LOG_UNAVAILABLE if the log has been away for 10 s, or with the cause of ctx.
func (r *Reader) Next(idle time.Duration) (*event.Response, error) {
	var deadline time.Time // unset as long as there was no need to look at the clock
	for {
		// A reader that never has to wait ends with ctx, too.
		if r.ctx.Err() != nil {
			return nil, context.Cause(r.ctx)
		}
		tail := r.fanout.tail.Load()
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
			deadline = now.Add(min(idle, retryDelay)) // nobody knows whether there is nothing
		}
		if !now.Before(deadline) {
			cursor, err := r.fanout.cursor(r.ctx, r.position)
			if err != nil {
				return nil, r.cause(err)
			}
			return event.Heartbeat(cursor, r.fanout.pending(tail, r.position)), nil
		}
		// Where the filter hid all of it, there may be more.
		if r.position == before {
			r.wait(now, deadline)
		}
	}
}

// cause prefers why ctx ended to the error that its end led to.
func (r *Reader) cause(err error) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return err
}

// read returns events after the position, or none and the position up to which
// the filter takes none.
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

// sparseness is how many events are read from the log for one that is taken
// before it pays to let the log look for them: it finds them by channel and type
// alone, and what it reads for one reader no other one shares.
const sparseness = 16

// replay returns events of the log after the position, and the position up to
// which the filter takes no others.
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

// wait waits for a token, but not beyond a deadline, nor the end of ctx.
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

// signal gives the reader a token, unless it has one.
func (r *Reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
