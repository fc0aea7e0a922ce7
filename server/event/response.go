package event

import (
	"math"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Response is an encoded SubscribeResponse or ListEventsResponse; the two messages have the same
// fields. Its records are shared by many calls. A Response is immutable, and may be sent on any
// number of streams at the same time.
type Response struct {
	// Events is the number of events.
	Events int

	buffers mem.BufferSlice

	// The same for the text formats (text.go). one has the first run, since most responses have
	// no other.
	runs   []Segment
	one    [1]Segment
	cursor []byte // the field
	after  uint64 // how many events the log has after the cursor
}

// Respond returns the response with the events of a segment that a filter matches. Its cursor is
// after the segment's last event, even if the filter does not match that event. pending is the
// number of events that the log has after it. The segment MUST NOT be empty.
func (s Segment) Respond(f *Filter, pending uint64) *Response {
	r := &Response{buffers: make(mem.BufferSlice, 0, 2)}
	if f.MatchesAll() {
		r.addRun(s, 0, s.Len())
	} else {
		from := 0 // where the run begins that event i may end
		for i := range s.records {
			if !f.matches(s.wire, &s.records[i]) {
				r.addRun(s, from, i)
				from = i + 1
			}
		}
		r.addRun(s, from, s.Len())
	}
	// An event's cursor and a response's are the same bytes.
	r.cursor = s.cursor(s.Len() - 1)
	r.buffers = append(r.buffers, mem.SliceBuffer(r.cursor))
	return r.pending(pending)
}

// Page collects the events of a ListEventsResponse from consecutive segments. It
// is not safe for concurrent use.
type Page struct {
	// MaxEvents and MaxBytes bound the events of the page. An event of more than
	// MaxBytes is a page of its own.
	MaxEvents, MaxBytes int

	response Response
	bytes    int
}

// Events is the number of events that the page has.
func (p *Page) Events() int { return p.response.Events }

// Add adds the events of a segment that a filter matches, up to the bounds of the page. It returns
// the sequence of the last event that it examined, and whether the page is full. last is 0 if the
// first event does not fit. The segment MUST NOT be empty, and the page MUST NOT be full.
func (p *Page) Add(s Segment, f *Filter) (last uint64, full bool) {
	from := 0 // where the run begins that event i may continue
	for i := range s.records {
		r := &s.records[i]
		size := int(r.end - r.start)
		switch {
		case !f.matches(s.wire, r):
			p.response.addRun(s, from, i)
			from = i + 1
		case p.bytes > 0 && p.bytes+size > p.MaxBytes:
			p.response.addRun(s, from, i)
			return last, true
		default:
			p.bytes += size
			if p.response.Events+i+1-from == p.MaxEvents {
				p.response.addRun(s, from, i+1)
				return r.sequence, true
			}
		}
		last = r.sequence
	}
	p.response.addRun(s, from, s.Len())
	return last, false
}

// Respond returns the response with the events of the page. cursor MUST be after the last event
// that was examined. pending is the number of events that the log has after it. The page MUST NOT
// be used after that.
func (p *Page) Respond(cursor string, pending uint64) *Response {
	return p.response.at(cursor).pending(pending)
}

// addRun adds the events from index i up to j.
func (r *Response) addRun(s Segment, i, j int) {
	if i == j {
		return
	}
	end := s.records[j-1].end
	r.buffers = append(r.buffers, mem.SliceBuffer(s.wire[s.records[i].start:end:end]))
	if r.runs == nil {
		r.runs = r.one[:0]
	}
	r.runs = append(r.runs, Segment{wire: s.wire, records: s.records[i:j:j]})
	r.Events += j - i
}

// Heartbeat returns the response without events at a cursor.
func Heartbeat(cursor string, pending uint64) *Response {
	return (&Response{}).at(cursor).pending(pending)
}

// at adds the response's cursor.
func (r *Response) at(cursor string) *Response {
	field := protowire.AppendTag(nil, responseCursor, protowire.BytesType)
	r.cursor = protowire.AppendString(field, cursor)
	r.buffers = append(r.buffers, mem.SliceBuffer(r.cursor))
	return r
}

// pending adds the number of events after the cursor. The field is an int32, so
// that it is a number in JSON and in JavaScript: larger numbers saturate.
func (r *Response) pending(events uint64) *Response {
	r.after = min(events, math.MaxInt32)
	if events > 0 {
		field := protowire.AppendTag(nil, responsePending, protowire.VarintType)
		r.buffers = append(r.buffers, mem.SliceBuffer(protowire.AppendVarint(field, r.after)))
	}
	return r
}

// Buffers returns the encoding, which MUST NOT be changed. Its buffers have no reference count and
// no pool, so gRPC cannot free buffers that other streams still send.
func (r *Response) Buffers() mem.BufferSlice { return r.buffers }
