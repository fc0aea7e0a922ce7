package fanout

import (
	"slices"

	"github.com/ongair/ongair-gateway/server/event"
)

// Bounds of a segment, which is also what a reader gets at a time: a response is
// at most 256 KiB, or one event, a sixteenth of what gRPC clients take by default.
// It is large enough that what a response costs is shared by hundreds of events,
// and small enough that one which a slow client holds on to is nothing.
const (
	segmentBytes  = 256 << 10
	segmentEvents = 1024
	// minSegments is how many segments a small ring has at least, since it forgets
	// one at a time.
	minSegments = 16
)

// ring holds every event after floor, without a gap, and forgets the oldest ones
// to stay within its bytes: a segment at a time, so that the one which is being
// filled is all that it has at the least. It is not safe for concurrent use.
type ring struct {
	maxBytes int
	// sealed is what all segments take but the last one, in bytes.
	sealed   int
	floor    uint64
	segments []event.Segment // the last one is being filled
}

// reset empties the ring at a position of the log.
func (r *ring) reset(position uint64) {
	r.segments, r.sealed, r.floor = nil, 0, position
}

// newest is the segment that is being filled; an empty one where there is none.
func (r *ring) newest() event.Segment {
	if len(r.segments) == 0 {
		return event.Segment{}
	}
	return r.segments[len(r.segments)-1]
}

// head is the position after the newest event that the ring has seen.
func (r *ring) head() uint64 {
	if len(r.segments) == 0 {
		return r.floor
	}
	return r.newest().Last()
}

// add puts an event at the end. Where events before it are missing, because
// retention was faster than the log could deliver them, the ring starts anew with
// it, so that readers who need them look into the log and learn of the gap there.
// It fails where the event cannot be read, and then has it not.
func (r *ring) add(e event.Entry) error {
	if e.Sequence <= r.head() {
		return nil
	}
	newest := r.newest()
	gap := e.Sequence != r.head()+1
	if gap || newest.Len() == 0 || newest.Len() == segmentEvents || newest.Room() < e.Size() {
		room := max(e.Size(), min(segmentBytes, r.maxBytes/minSegments))
		next, err := event.NewSegment(room).Append(e)
		if err != nil {
			return err
		}
		if gap {
			r.reset(e.Sequence - 1)
			newest = event.Segment{}
		}
		r.sealed += newest.Memory()
		r.segments = append(r.segments, next)
		r.forget()
		return nil
	}
	longer, err := newest.Append(e)
	if err != nil {
		return err
	}
	r.segments[len(r.segments)-1] = longer
	return nil
}

// forget drops the oldest segments, as many as it takes to be within the bytes.
func (r *ring) forget() {
	for len(r.segments) > 1 && r.sealed+r.newest().Memory() > r.maxBytes {
		oldest := r.segments[0]
		r.sealed -= oldest.Memory()
		r.floor = oldest.Last()
		r.segments[0] = event.Segment{} // the array behind the slice lives on until it grows
		r.segments = r.segments[1:]
	}
}

// after returns events after a position, as many as one segment has; none where
// there are none. behind is true where the ring has forgotten some of them.
func (r *ring) after(position uint64) (events event.Segment, behind bool) {
	if position < r.floor {
		return event.Segment{}, true
	}
	i, _ := slices.BinarySearchFunc(r.segments, position, func(s event.Segment, position uint64) int {
		if s.Last() <= position {
			return -1
		}
		return 1
	})
	if i == len(r.segments) {
		return event.Segment{}, false
	}
	return r.segments[i].After(position), false
}

// cursorAt returns the cursor right after an event; empty where the ring does not
// have it.
func (r *ring) cursorAt(sequence uint64) string {
	if sequence == 0 {
		return ""
	}
	events, _ := r.after(sequence - 1)
	return events.CursorAt(sequence)
}
