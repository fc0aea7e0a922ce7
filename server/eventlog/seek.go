package eventlog

import (
	"context"
	"math"
	"strconv"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// Earliest returns the position before the oldest event that is kept.
func (l *Log) Earliest(ctx context.Context) (uint64, error) {
	bounds, err := l.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	return bounds.First - 1, nil
}

// Latest returns the position after the newest event.
func (l *Log) Latest(ctx context.Context) (uint64, error) {
	bounds, err := l.Bounds(ctx)
	return bounds.Last, err
}

// Newest returns a position from which on the events have about that many bytes,
// by the average of the log, and the position after the newest event.
func (l *Log) Newest(ctx context.Context, bytes int) (from, latest uint64, err error) {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return 0, 0, unavailable("stream info", err)
	}
	state := info.State
	if state.Msgs == 0 {
		return state.LastSeq, state.LastSeq, nil
	}
	average := max(1, state.Bytes/state.Msgs)
	return state.LastSeq - min(state.Msgs, uint64(bytes)/average), state.LastSeq, nil
}

// Seek returns the position of a cursor. It fails with CURSOR_MALFORMED,
// CURSOR_FOREIGN, CURSOR_AHEAD or CURSOR_EXPIRED where nothing can be served
// from there.
func (l *Log) Seek(ctx context.Context, cursor string) (uint64, error) {
	position, err := decodeCursor(l.id, cursor)
	if err != nil {
		return 0, err
	}
	bounds, err := l.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	if position > bounds.Last {
		return 0, fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD,
			"the cursor is %d events ahead of the newest one: was the log restored from an older copy?",
			position-bounds.Last)
	}
	if position+1 < bounds.First {
		return 0, l.expired(position, bounds.First)
	}
	return position, nil
}

// SeekTime returns the position before the first event that was stored at or
// after t; where there is none, the position after the newest.
func (l *Log) SeekTime(ctx context.Context, t time.Time) (uint64, error) {
	bounds, err := l.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	// JetStream counts nanoseconds in an int64, which other times overflow.
	if t.Before(time.Unix(0, 0)) {
		t = time.Unix(0, 0)
	} else if last := time.Unix(0, math.MaxInt64); t.After(last) {
		t = last
	}
	t = t.UTC()
	var first uint64
	_, err = l.get(ctx, getRequest{StartTime: &t, Batch: 1}, func(sequence uint64, _ []byte) bool {
		first = sequence
		return true
	})
	switch {
	case err != nil:
		return 0, err
	case first == 0:
		return bounds.Last, nil
	}
	return first - 1, nil
}

// expired is the fault of a reader at a position whose next event is gone; first
// is the oldest event that is kept.
func (l *Log) expired(position, first uint64) error {
	lost := first - position - 1
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED,
		"retention has removed %d events after the cursor; the oldest one that still works is %s", lost, l.Cursor(first-1))
	f.Metadata = map[string]string{
		"oldest_cursor": l.Cursor(first - 1),
		"lost_events":   strconv.FormatUint(lost, 10),
	}
	return f
}
