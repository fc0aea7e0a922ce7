package fanout

import (
	"slices"

	"github.com/ongair/ongair-gateway/server/event"
)

// Bounds of a segment. A reader gets at most one segment at a time. So a response has at most 256
// KiB, or one larger event. 256 KiB is one sixteenth of the 4 MiB that gRPC clients accept by
// default. So the cost of a response is spread over hundreds of events, and a slow client keeps
// only little memory in use.
const (
	segmentBytes  = 256 << 10
	segmentEvents = 1024
	// minSegments is the least number of segments of a full ring. The ring evicts whole
	// segments.
	minSegments = 16
)

// ring holds all events after the position floor, without gaps. It evicts the oldest segments to
// stay within maxBytes, but never the one that is being filled. It is not safe for concurrent
// use.
type ring struct {
	maxBytes int
	// sealed is the size of all segments except the last one, in bytes.
	sealed   int
	floor    uint64
	segments []event.Segment // the last one is being filled
}

// reset empties the ring at a position of the log.
func (r *ring) reset(position uint64) {
	r.segments, r.sealed, r.floor = nil, 0, position
}

// newest returns the segment that is being filled, or an empty one.
func (r *ring) newest() event.Segment {
	if len(r.segments) == 0 {
		return event.Segment{}
	}
	return r.segments[len(r.segments)-1]
}

// head returns the position after the newest event.
func (r *ring) head() uint64 {
	if len(r.segments) == 0 {
		return r.floor
	}
	return r.newest().Last()
}

// add appends an event. Retention may remove events before the log delivers them. If events
// before this one are missing, add first empties the ring. Readers that need the missing events
// then read the log, which reports the gap. If the event cannot be decoded, add returns an error
// and does not add it.
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
		r.evict()
		return nil
	}
	longer, err := newest.Append(e)
	if err != nil {
		return err
	}
	r.segments[len(r.segments)-1] = longer
	return nil
}

// evict removes the oldest segments until the ring is within maxBytes.
func (r *ring) evict() {
	for len(r.segments) > 1 && r.sealed+r.newest().Memory() > r.maxBytes {
		oldest := r.segments[0]
		r.sealed -= oldest.Memory()
		r.floor = oldest.Last()
		r.segments[0] = event.Segment{} // clear it; otherwise the slice's array would keep the segment in memory
		r.segments = r.segments[1:]
	}
}

// after returns events that come after a position, at most those of one segment. behind is true
// if the ring has already evicted events after the position.
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

// cursorAt returns the cursor of the position right after an event. It is empty if the ring does
// not have the event.
func (r *ring) cursorAt(sequence uint64) string {
	if sequence == 0 {
		return ""
	}
	events, _ := r.after(sequence - 1)
	return events.CursorAt(sequence)
}
