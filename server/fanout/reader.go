package fanout

import (
	"context"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// Bounds of one batch. A response is at most 1 MiB, or one event: a quarter of
// what gRPC clients take by default. 512 events a batch cost about what one
// does.
const (
	maxBatchEvents = 512
	maxBatchBytes  = 1 << 20
)

// Batch is what a reader gets at a time.
type Batch struct {
	// Records passed the filter. They are the caller's for as long as it likes.
	Records []*event.Record
	// Position is after all of Records and after whatever the filter hid among
	// and behind them.
	Position uint64
	// Pending is how many events the log has after Position.
	Pending uint64
}

// Reader is a position in the log. It is for one goroutine, and needs no
// closing. Between two calls it holds no records, and no memory to put them in:
// most readers wait most of the time.
type Reader struct {
	fanout   *Fanout
	filter   event.Filter
	position uint64
	// sparse says that the filter took little of what was read from the log.
	sparse bool
}

// NewReader returns a reader at a position.
func (f *Fanout) NewReader(position uint64, filter event.Filter) *Reader {
	return &Reader{fanout: f, filter: filter, position: position}
}

// Next waits for events that pass the filter and returns them, or returns a
// batch without events when idle is over: at once, for an idle of zero. It
// fails with what the log failed with, or with ctx's cause.
func (r *Reader) Next(ctx context.Context, idle time.Duration) (Batch, error) {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		// A reader that never has to wait ends with ctx, too.
		if ctx.Err() != nil {
			return Batch{}, context.Cause(ctx)
		}
		seen, behind, head, changed := r.fanout.view(r.position, maxBatchEvents)
		before, upTo := r.position, r.position
		if behind {
			var err error
			if seen, upTo, err = r.replay(ctx); err != nil {
				return Batch{}, cause(ctx, err)
			}
		}
		if taken := r.take(seen, upTo); len(taken) > 0 || idle <= 0 {
			return r.batch(taken, head), nil
		}
		if r.position > before {
			// The filter hid all of it: on to the next page, unless it is time for
			// a sign of life.
			select {
			case <-timer.C:
				return r.batch(nil, head), nil
			default:
				continue
			}
		}
		select {
		case <-ctx.Done():
			return Batch{}, context.Cause(ctx)
		case <-timer.C:
			return r.batch(nil, head), nil
		case <-changed:
		}
	}
}

// sparseness is how many events are read from the log for one that is taken
// before it pays to let the log look for them: it finds them by channel and type
// alone, and what it reads for one reader no other one shares.
const sparseness = 16

// replay returns records of the log after the position, and the position up to
// which the filter takes no others.
func (r *Reader) replay(ctx context.Context) (records []*event.Record, upTo uint64, err error) {
	if channel, notificationType, ok := r.filter.Single(); ok && r.sparse {
		return r.fanout.log.ReadMatching(ctx, r.position, channel, notificationType, maxBatchEvents, maxBatchBytes)
	}
	records, err = r.fanout.pages.after(ctx, r.position)
	takes := 0
	for _, record := range records {
		upTo = record.Sequence
		if r.filter.Takes(record) {
			takes++
		}
	}
	r.sparse = takes*sparseness < len(records)
	return records, upTo, err
}

// take moves the position over records, and up to upTo where all that pass are
// taken. It returns those that pass, as many as fit into a batch, in the same
// slice. What else was in there is let go of, since a slow caller holds its batch
// for long.
func (r *Reader) take(records []*event.Record, upTo uint64) []*event.Record {
	taken, bytes := records[:0], 0
	for _, record := range records {
		if r.filter.Takes(record) {
			if len(taken) == maxBatchEvents || len(taken) > 0 && bytes+record.Size() > maxBatchBytes {
				upTo = 0
				break
			}
			taken = append(taken, record)
			bytes += record.Size()
		}
		r.position = record.Sequence
	}
	r.position = max(r.position, upTo)
	clear(records[len(taken):])
	return taken
}

func (r *Reader) batch(records []*event.Record, head uint64) Batch {
	b := Batch{Records: records, Position: r.position}
	if head > r.position {
		b.Pending = head - r.position
	}
	return b
}

// cause prefers why ctx ended to the error that its end led to.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
