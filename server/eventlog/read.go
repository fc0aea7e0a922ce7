package eventlog

import (
	"cmp"
	"context"

	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/storage"
)

// Read returns events after a position, oldest first: at most maxEvents, and about maxBytes at
// most. It returns none if there is no newer event. It fails with CURSOR_EXPIRED if retention has
// removed the next event.
//
// It leaves no state on the server, so any replica can continue for the reader.
func (l *Log) Read(ctx context.Context, position uint64, maxEvents, maxBytes int) (event.Segment, error) {
	entries, err := l.readBare(ctx, position, maxEvents, maxBytes)
	if err != nil || len(entries) > 0 {
		return segment(entries, err)
	}
	// There are no events, a gap, or entries that are not events.
	for {
		var gap uint64 // the sequence after a gap, or 0
		last := position
		_, err := l.read(ctx, storage.ReadRequest{From: position + 1, MaxMessages: maxEvents, MaxBytes: maxBytes},
			func(sequence uint64, data []byte) bool {
				if sequence != last+1 {
					// Retention may remove entries between two entries of an answer.
					gap = sequence
					return false
				}
				last = sequence
				if e, ok := l.entry(sequence, data); ok {
					entries = append(entries, e)
				}
				return true
			})
		switch {
		case err != nil || len(entries) > 0:
			return segment(entries, err)
		case last > position:
			position = last // none of these entries was an event
		case gap > 0:
			return event.Segment{}, l.expired(position, gap)
		default:
			return event.Segment{}, l.checkEnd(ctx, position)
		}
	}
}

// segment returns a segment of entries, or err.
func segment(entries []event.Entry, err error) (event.Segment, error) {
	if err != nil {
		return event.Segment{}, err
	}
	return event.SegmentOf(entries)
}

// readBare reads entries without their sequences, because reading those costs more than reading
// the events. It knows only the number of entries and the sequence of the last one. It returns
// no entries if these do not match a run without gaps, or if an entry is not an event.
func (l *Log) readBare(ctx context.Context, position uint64, maxEvents, maxBytes int) ([]event.Entry, error) {
	entries := make([]event.Entry, 0, maxEvents)
	last := position
	end, err := l.read(ctx, storage.ReadRequest{From: position + 1, MaxMessages: maxEvents, MaxBytes: maxBytes, Bare: true},
		func(_ uint64, data []byte) bool {
			last++
			e, err := l.verify(last, data)
			entries = append(entries, e)
			return err == nil
		})
	if err != nil || end.Last != last {
		return nil, err
	}
	return entries, nil
}

// ReadMatching returns the events after a position with a channel, a documented type, or both. An
// empty channel or type means all. It also returns the position up to which there are no other
// matching events. The storage finds the events by their subjects. On a replicated log
// ReadMatching returns no events and the given position. It fails as Read does.
func (l *Log) ReadMatching(ctx context.Context, position uint64, channel, notificationType string, maxEvents, maxBytes int,
) (events event.Segment, upTo uint64, err error) {
	// The answer may come from a replica that lags behind by an unknown number of events, which
	// it would report as not there.
	if l.replicated.Load() {
		return event.Segment{}, position, nil
	}
	// Events that are appended meanwhile are for the next call.
	bounds, err := l.Bounds(ctx)
	if err != nil || bounds.replicated {
		return event.Segment{}, position, err
	}
	upTo = max(position, bounds.Last)
	request := storage.ReadRequest{
		From:        position + 1,
		Subject:     subject(cmp.Or(channel, "*"), cmp.Or(notificationType, "*"), "*"),
		MaxMessages: maxEvents,
		MaxBytes:    maxBytes,
	}
	var entries []event.Entry
	last := position
	end, err := l.read(ctx, request, func(sequence uint64, data []byte) bool {
		last = sequence
		if e, ok := l.entry(sequence, data); ok {
			entries = append(entries, e)
		}
		return true
	})
	if err != nil {
		return event.Segment{}, position, err
	}
	if end.Pending > 0 {
		upTo = last
	}
	// The events between two matching ones are not read, so only the beginning of the log shows
	// whether retention removed a matching event.
	events, err = segment(entries, l.checkEnd(ctx, position))
	return events, upTo, err
}

// checkEnd fails if there is no event after a position because retention removed all of them.
func (l *Log) checkEnd(ctx context.Context, position uint64) error {
	bounds, err := l.Bounds(ctx)
	if err != nil {
		return err
	}
	if position+1 < bounds.First {
		return l.expired(position, bounds.First)
	}
	return nil
}

// maxSkipped bounds how many skipped entries are remembered.
const maxSkipped = 1000

// verify returns an entry for a segment. It fails if the entry was not appended by a Log.
func (l *Log) verify(sequence uint64, data []byte) (event.Entry, error) {
	e, checksum, err := event.Verify(data)
	return event.Entry{Sequence: sequence, Event: e, Cursor: encodeCursor(l.identity(), position{sequence, checksum})}, err
}

// entry is verify, and returns false if it fails. Other clients of the NATS server may have
// published into the log's subjects. entry logs such an entry once and skips it, because no
// subscriber could read it.
func (l *Log) entry(sequence uint64, data []byte) (event.Entry, bool) {
	e, err := l.verify(sequence, data)
	if err == nil {
		return e, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, reported := l.skipped[sequence]; !reported {
		if len(l.skipped) == maxSkipped {
			clear(l.skipped)
		}
		l.skipped[sequence] = struct{}{}
		l.logger.Error("skipped an entry of the event log that the gateway did not store: check for other publishers",
			"sequence", sequence, "subject_prefix", subjectPrefix, "error", err)
	}
	return event.Entry{}, false
}
