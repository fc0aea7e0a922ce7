package eventlog

import (
	"context"
	"strconv"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
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

// Newest returns the position after which the events have about that many bytes. It uses the
// average size of the events.
func (l *Log) Newest(ctx context.Context, bytes int) (uint64, error) {
	info, err := l.info(ctx)
	if err != nil {
		return 0, err
	}
	if info.Messages == 0 {
		return info.Last, nil
	}
	average := max(1, info.Bytes/info.Messages)
	return info.Last - min(info.Messages, uint64(bytes)/average), nil
}

// Position returns the position that a cursor names, without reading the log. It fails with
// CURSOR_MALFORMED or CURSOR_FOREIGN.
func (l *Log) Position(cursor string) (uint64, error) {
	at, err := decodeCursor(l.identity(), cursor)
	return at.sequence, err
}

// Seek returns the position of a cursor, and checks that the log can be read from there. It fails
// with CURSOR_MALFORMED, CURSOR_FOREIGN, CURSOR_AHEAD or CURSOR_EXPIRED.
func (l *Log) Seek(ctx context.Context, cursor string) (uint64, error) {
	at, err := decodeCursor(l.identity(), cursor)
	if err != nil {
		return 0, err
	}
	if err := l.Reach(ctx, at.sequence); err != nil || at.checksum == 0 {
		return at.sequence, err
	}
	stored, err := l.checksumAt(ctx, at.sequence)
	// An event that retention has removed cannot be compared.
	if err == nil && stored != 0 && stored != at.checksum {
		err = fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN,
			"the cursor is of another history of this log: its data was replaced by an older copy")
	}
	return at.sequence, err
}

// Reach fails with CURSOR_AHEAD or CURSOR_EXPIRED if the log cannot be read from a position.
//
// On a replicated log the answer may be of a server that lags behind, and CURSOR_AHEAD would tell
// clients to throw a good cursor away. So Reach asks again for a second, and then fails with
// LOG_UNAVAILABLE.
func (l *Log) Reach(ctx context.Context, position uint64) error {
	deadline := time.Now().Add(staleTime)
	for {
		bounds, err := l.Bounds(ctx)
		if err != nil {
			return err
		}
		if position <= bounds.Last {
			if position+1 < bounds.First {
				return l.expired(position, bounds.First)
			}
			return nil
		}
		if !bounds.replicated {
			return fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD,
				"the cursor is %d events ahead of the newest one: start from a start_time",
				position-bounds.Last)
		}
		if time.Now().After(deadline) {
			return unavailable("seek", errShort)
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return unavailable("seek", ctx.Err())
		}
	}
}

// CursorOf returns the cursor of a position. It has the checksum of the event before the position,
// if the log still has that event.
func (l *Log) CursorOf(ctx context.Context, at uint64) (string, error) {
	if at == 0 {
		return l.Cursor(0), nil
	}
	checksum, err := l.checksumAt(ctx, at)
	return encodeCursor(l.identity(), position{at, checksum}), err
}

// checksumAt returns the checksum of an event, or 0 if the log does not have the event.
func (l *Log) checksumAt(ctx context.Context, sequence uint64) (checksum uint32, err error) {
	_, err = l.read(ctx, storage.ReadRequest{From: sequence, MaxMessages: 1}, func(found uint64, data []byte) bool {
		if found == sequence {
			if _, sum, err := event.Verify(data); err == nil {
				checksum = sum
			}
		}
		return true
	})
	return checksum, err
}

// expired returns the fault of a reader at a position whose next event was removed. first is the
// sequence of the oldest event.
func (l *Log) expired(position, first uint64) error {
	lost := first - position - 1
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED,
		"retention has removed %d events after the cursor: continue from oldest_cursor %s", lost, l.Cursor(first-1))
	f.Metadata = map[string]string{
		"oldest_cursor": l.Cursor(first - 1),
		"lost_events":   strconv.FormatUint(lost, 10),
	}
	return f
}
