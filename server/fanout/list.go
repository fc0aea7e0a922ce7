package fanout

import (
	"context"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// catchUp is how long List waits for events that are known to be in the log and
// have not come to the ring: after an append that takes a few milliseconds.
const catchUp = time.Second

// List fills a page with the events after the position that pass the filter, and
// returns its response. The response comes when the page is full or the reader has
// caught up. If it has caught up without an event, List waits for one, as long as
// wait says or until Hurry. A page that is not full after scan is returned as it
// is: a filter that passes next to nothing would otherwise take as long as the log
// is. List fails with what the log failed with, or with the cause of ctx.
func (r *Reader) List(page *event.Page, wait, scan time.Duration) (*event.Response, error) {
	start := time.Now()
	cursor := "" // of the position, if it is known
	for {
		if r.ctx.Err() != nil {
			return nil, context.Cause(r.ctx)
		}
		hurry := r.hurry.Load()
		tail := r.fanout.tail.Load()
		before := r.position
		events, upTo, err := r.read(tail)
		if err != nil && cursor == "" {
			return nil, r.cause(err)
		}
		full := err != nil // the next page begins with the error
		if events.Len() > 0 {
			var last uint64
			if last, full = page.Add(events, &r.filter); last > r.position {
				r.position, cursor = last, events.CursorAt(last)
			}
		}
		if !full && upTo > r.position {
			r.position, cursor = upTo, ""
		}
		now := time.Now()
		switch {
		case full, now.Sub(start) >= scan:
			return r.respond(page, tail, cursor)
		case r.position > before:
			continue
		case page.Events() > 0 || hurry:
			return r.respond(page, tail, cursor)
		}
		deadline := start.Add(wait)
		if r.fanout.pending(tail, r.position) > 0 {
			deadline = start.Add(max(wait, catchUp))
		}
		if !now.Before(deadline) {
			return r.respond(page, tail, cursor)
		}
		r.wait(now, deadline)
	}
}

// Hurry ends the waiting of List, which then returns what it has. It is safe for
// concurrent use.
func (r *Reader) Hurry() {
	r.hurry.Store(true)
	r.signal()
}

// respond returns the response with a page, at the reader's position.
func (r *Reader) respond(page *event.Page, t *tail, cursor string) (*event.Response, error) {
	if page.Events() == 0 && !r.fanout.follows() {
		// The ring says nothing about what the log has by now.
		if err := r.fanout.log.Reach(r.ctx, r.position); err != nil {
			return nil, r.cause(err)
		}
	}
	if cursor == "" {
		var err error
		if cursor, err = r.fanout.cursor(r.ctx, r.position); err != nil {
			return nil, r.cause(err)
		}
	}
	return page.Respond(cursor, r.fanout.pending(t, r.position)), nil
}
