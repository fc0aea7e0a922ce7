package eventlog

import (
	"cmp"
	"context"

	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/storage"
)

// Read returns events after a position, oldest first: at most maxEvents, and at
// most about maxBytes of them. It returns none where the position is the newest.
// It fails with CURSOR_EXPIRED where retention has removed the next one.
//
// It keeps nothing on the server, so a reader that goes away leaves nothing
// behind, and any replica can go on for it.
func (l *Log) Read(ctx context.Context, position uint64, maxEvents, maxBytes int) (event.Segment, error) {
	entries, err := l.readBare(ctx, position, maxEvents, maxBytes)
	if err != nil || len(entries) > 0 {
		return segment(entries, err)
	}
	// There is nothing, or something is special about the next entries.
	for {
		var gap uint64 // the sequence behind a gap, 0 where there is none
		last := position
		_, err := l.read(ctx, storage.ReadRequest{From: position + 1, MaxMessages: maxEvents, MaxBytes: maxBytes},
			func(sequence uint64, data []byte) bool {
				if sequence != last+1 {
					// Retention may be at work between any two entries of an answer.
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

// segment makes a segment of entries, unless there was an error.
func segment(entries []event.Entry, err error) (event.Segment, error) {
	if err != nil {
		return event.Segment{}, err
	}
	return event.SegmentOf(entries)
}

// readBare reads entries without their sequences, which cost the storage more than the
// events do. Their sequences are then not known, only how
// many entries there are and which one is the last; where that does not add up to
// a run without gaps, or an entry is no event, it returns none.
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

// ReadMatching returns the events after a position that are of a channel, of a
// documented type, or of both (an empty one means all), and the position up to
// which there are no others. The storage finds them by their subjects, without
// reading the rest. Where the log has replicas it does not look for any: then that is
// the position where it began, and all are to be read. It fails as Read does.
func (l *Log) ReadMatching(ctx context.Context, position uint64, channel, notificationType string, maxEvents, maxBytes int,
) (events event.Segment, upTo uint64, err error) {
	// The answer may come from a replica that is behind, and nothing in it says how far:
	// what it does not have yet must not be taken for not there.
	if l.replicated.Load() {
		return event.Segment{}, position, nil
	}
	// What is appended while this reads is left for the next time.
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
	// The events between two that match are not seen here, so only the log's
	// beginning tells whether one that would match is gone.
	events, err = segment(entries, l.checkEnd(ctx, position))
	return events, upTo, err
}

// checkEnd fails where nothing comes after a position not because it is the
// newest, but because all that came is gone.
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

// maxSkipped bounds how many entries that are no events are remembered.
const maxSkipped = 1000

// verify returns an entry of the log as one of a segment. It fails where the entry
// is not one that a Log appended.
func (l *Log) verify(sequence uint64, data []byte) (event.Entry, error) {
	e, checksum, err := event.Verify(data)
	return event.Entry{Sequence: sequence, Event: e, Cursor: encodeCursor(l.id, position{sequence, checksum})}, err
}

// entry is verify, and false where it fails: on a NATS that others use, too,
// anybody may have published into the log's subjects. Such an entry is reported
// once and passed over, since no subscriber could read it and no later event
// should wait behind it.
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
		l.logger.Error("an entry of the event log is not an event of the gateway and is passed over: who else publishes there?",
			"sequence", sequence, "subject_prefix", subjectPrefix, "error", err)
	}
	return event.Entry{}, false
}
