package fanout

import (
	"context"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// Start is the place where a reader begins. The first field that is set counts: Cursor, Time,
// Earliest (the beginning of the log). If none is set, the reader begins at the end of the log.
type Start struct {
	// Cursor is a cursor from an earlier response. The reader continues after it.
	Cursor string
	// Time selects the first event that was received at or after this time.
	Time     time.Time
	Earliest bool
}

// Open returns a reader that begins at start, for a stream that ends with ctx. If the log cannot
// be read from the cursor, Open returns the log's error. The caller MUST close the reader.
func (f *Fanout) Open(ctx context.Context, start Start, filter event.Filter) (*Reader, error) {
	opened := f.tail.Load().replacements // before the log is asked for the position
	position, err := f.position(ctx, start)
	if err != nil {
		return nil, err
	}
	r := f.NewReader(ctx, position, filter)
	r.opened = opened
	return r, nil
}

func (f *Fanout) position(ctx context.Context, start Start) (uint64, error) {
	switch {
	case start.Cursor != "":
		return f.seek(ctx, start.Cursor)
	case !start.Time.IsZero():
		return f.log.SeekTime(ctx, start.Time)
	case start.Earliest:
		return f.log.Earliest(ctx)
	}
	return f.log.Latest(ctx)
}

// seek returns the position of a cursor. If the ring has the cursor, seek does not read the log.
// This matters when many subscribers reconnect at the same time.
func (f *Fanout) seek(ctx context.Context, cursor string) (uint64, error) {
	position, err := f.log.Position(cursor)
	if err != nil {
		return 0, err
	}
	if f.ringCursor(position) == cursor {
		// Check that retention has not removed the next events. Removed events must not be
		// delivered, even if they are still in memory.
		return position, f.log.Reach(ctx, position)
	}
	return f.log.Seek(ctx, cursor)
}
