package fanout

import (
	"context"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// catchUp is how long List waits for events that are in the log and not yet in the ring. They
// usually arrive within milliseconds after their append.
const catchUp = time.Second

// List fills a page with the events after the reader's position, if they match the filter. It
// returns the page as a response. It returns
//
//   - when the page is full;
//   - when the reader has caught up and has an event;
//   - when the reader has caught up and the page is empty, and wait has passed or Hurry was
//     called;
//   - when the time scan has passed. Otherwise a filter that matches almost no events would make
//     one call read the whole log.
//
// If List fails, it returns the log's error, or the cause (context.Cause) of ctx if ctx has
// ended.
func (r *Reader) List(page *event.Page, wait, scan time.Duration) (*event.Response, error) {
	start := time.Now()
	cursor := "" // cursor of r.position; empty if not known yet
	for {
		if r.ctx.Err() != nil {
			return nil, context.Cause(r.ctx)
		}
		hurry := r.hurry.Load()
		tail := r.fanout.tail.Load()
		if err := tail.replaced(r.opened); err != nil {
			return nil, err
		}
		before := r.position
		events, upTo, err := r.read(tail)
		if err != nil && cursor == "" {
			return nil, r.cause(err)
		}
		full := err != nil // return what is in the page; the next call returns the error
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

// Hurry makes List return what it has instead of waiting. It is safe for concurrent use.
func (r *Reader) Hurry() {
	r.hurry.Store(true)
	r.signal()
}

// respond returns the response for a page.
func (r *Reader) respond(page *event.Page, t *tail, cursor string) (*event.Response, error) {
	if page.Events() == 0 && !r.fanout.follows() {
		// The log may have events that the ring lacks.
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
