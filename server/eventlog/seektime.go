package eventlog

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

const (
	// maxDisorder is how far the order of receive times may differ from the order of the
	// log. Gateways have clocks of their own, and webhooks that come together are appended
	// in any order.
	maxDisorder = time.Minute

	// seekTimeout bounds the search for a time. The next search continues where it ended.
	seekTimeout = 10 * time.Second

	// lagDelay is the first delay before a replica that lags behind is asked again. The delay
	// doubles each time, for about one second in total. A longer lag is an outage.
	lagDelay    = 10 * time.Millisecond
	maxLagDelay = 640 * time.Millisecond
)

// errReplaced means that the remembered blocks belong to another history of the log.
var errReplaced = errors.New("the log was replaced")

// SeekTime returns the position before the first event that was received at t or later;
// if there is none, the position after the newest. It looks at receive times only, so the
// clocks of NATS servers do not matter.
//
// The answer is exact if no event was received more than maxDisorder before one that comes
// earlier in the log. A binary search finds the last block that begins with an event which
// was received more than maxDisorder before t: all before it was received before t. From
// there on the events are looked through.
func (l *Log) SeekTime(ctx context.Context, t time.Time) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, seekTimeout)
	defer cancel()
	// Before the first read, so that nothing is passed over that comes after it.
	bounds, err := l.Bounds(ctx)
	if err != nil || bounds.First > bounds.Last {
		return bounds.Last, err
	}
	first, err := l.firstSince(ctx, t, bounds)
	for errors.Is(err, errReplaced) {
		l.starts.clear()
		l.latest.clear()
		first, err = l.firstSince(ctx, t, bounds)
	}
	if err != nil || first == 0 {
		return bounds.Last, err
	}
	return first - 1, nil
}

// firstSince returns the sequence of the first event that was received at t or later, or 0 if
// no event was. It fails with errReplaced if it found events of another history.
func (l *Log) firstSince(ctx context.Context, t time.Time, bounds Bounds) (uint64, error) {
	from, passed, err := l.bisect(ctx, t.Add(-maxDisorder), bounds)
	if err != nil {
		return 0, err
	}
	for from <= bounds.Last {
		number := blockOf(from)
		last := firstOf(number+1) - 1
		if last < bounds.Last {
			latest, complete, err := l.latestOf(ctx, number)
			if err != nil {
				return 0, err
			}
			if complete && latest.received.Before(t) {
				if latest.sequence > 0 {
					passed = latest.mark
				}
				from = last + 1
				continue
			}
		}
		first, err := l.find(ctx, t, passed, from, min(last, bounds.Last), bounds.replicated)
		if err != nil || first > 0 {
			return first, err
		}
		from = last + 1
	}
	return 0, nil
}

// bisect returns the first sequence of a block. The block begins with an event that was
// received before t, and the next one does not. If no block is known to begin so, it returns
// the first sequence of the log.
//
// A replica that is behind may not have an event. It is then taken for one that was received
// at t or later: the sequence that is returned is lower by as much as the replica is behind.
func (l *Log) bisect(ctx context.Context, t time.Time, bounds Bounds) (from uint64, start mark, err error) {
	from = bounds.First
	number := blockOf(bounds.First)
	sort.Search(int(blockOf(bounds.Last)-number)+1, func(i int) bool {
		if err != nil {
			return true
		}
		var e moment
		var ok bool
		e, ok, err = l.startOf(ctx, number+uint64(i))
		if err != nil || !ok || !e.received.Before(t) {
			return true
		}
		from, start = max(bounds.First, firstOf(number+uint64(i))), e.mark
		return false
	})
	return from, start, err
}

// find reads the events of the sequences from to last, and returns the sequence of the first
// one that was received at t or later, 0 if there is none. It begins with the event passed,
// if there is one, and fails with errReplaced if another is in its place.
func (l *Log) find(ctx context.Context, t time.Time, passed mark, from, last uint64, replicated bool) (first uint64, err error) {
	next := from
	if passed.sequence > 0 {
		next = passed.sequence
	}
	for delay := lagDelay; ; {
		replaced, before := false, next
		err := l.readRun(ctx, next, blockEvents+1, func(sequence uint64, data []byte) bool {
			next = sequence + 1
			e, isEvent := momentOf(sequence, data)
			switch {
			case sequence == passed.sequence:
				replaced = e.mark != passed
			case isEvent && !e.received.Before(t):
				first = sequence
			}
			return !replaced && first == 0 && sequence < last
		})
		switch {
		case err != nil:
			return 0, err
		case replaced:
			return 0, errReplaced
		case first > 0 || next > last:
			return first, nil
		case next > before:
			delay = lagDelay
			continue
		case !replicated || delay > maxLagDelay:
			return 0, nil // they were removed, or deleted by an operator
		}
		select {
		case <-time.After(delay):
			delay *= 2
		case <-ctx.Done():
			return 0, unavailable("read", ctx.Err())
		}
	}
}

// momentOf returns an entry of the log with the time when it was received. ok is false if it
// is not an event.
func momentOf(sequence uint64, data []byte) (m moment, ok bool) {
	e, checksum, err := event.Verify(data)
	if err != nil {
		return moment{}, false
	}
	received, err := event.ReceiveTime(e)
	return moment{mark{sequence, checksum}, received}, err == nil
}
