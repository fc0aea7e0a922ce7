package fanout

import (
	"context"
	"time"

	"github.com/ongair/ongair-gateway/server/event"
)

// Start is where a reader begins: at Cursor if that is set, else at Time if that is set, else
// at the beginning of the log if Earliest is set, else at its end.
type Start struct {
	// Cursor is where an earlier reader was.
	Cursor string
	// Time is that of the first event to read, or of the first one after it.
	Time     time.Time
	Earliest bool
}

// Open returns a reader that begins at start, for a stream that ends with ctx. If the cursor
// cannot be served, Open fails with the error of the log. The caller MUST close the reader.
func (f *Fanout) Open(ctx context.Context, start Start, filter event.Filter) (*Reader, error) {
	position, err := f.position(ctx, start)
	if err != nil {
		return nil, err
	}
	return f.NewReader(ctx, position, filter), nil
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

// seek returns the position of a cursor. It reads the log only if the ring does not have the
// cursor, because many subscribers come back at the same time.
func (f *Fanout) seek(ctx context.Context, cursor string) (uint64, error) {
	position, err := f.log.Position(cursor)
	if err != nil {
		return 0, err
	}
	if f.ringCursor(position) == cursor {
		// Events that retention has removed are not served, though they may be in memory.
		return position, f.log.Reach(ctx, position)
	}
	return f.log.Seek(ctx, cursor)
}
