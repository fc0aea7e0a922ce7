package event

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Response is a SubscribeResponse that is already encoded: runs of a segment's
// records, which many streams share. It is immutable, and may itself be sent on
// any number of streams at the same time.
type Response struct {
	// Events is how many there are.
	Events int

	buffers mem.BufferSlice
}

// Respond returns the response with the events of a segment that a filter takes.
// Its cursor is after the segment's last event, whether the filter takes that or
// not, and pending says how many events the log has after it. The segment MUST
// NOT be empty.
func (s Segment) Respond(f *Filter, pending uint64) *Response {
	r := &Response{buffers: make(mem.BufferSlice, 0, 2)}
	if f.TakesAll() {
		r.take(s, 0, s.Len())
	} else {
		from := 0 // where the run begins that event i may end
		for i := range s.records {
			if !f.takes(s.wire, &s.records[i]) {
				r.take(s, from, i)
				from = i + 1
			}
		}
		r.take(s, from, s.Len())
	}
	// An event's cursor and a response's are the same bytes.
	r.buffers = append(r.buffers, mem.SliceBuffer(s.cursor(s.Len()-1)))
	return r.pending(pending)
}

// take adds the events from index i up to j.
func (r *Response) take(s Segment, i, j int) {
	if i == j {
		return
	}
	end := s.records[j-1].end
	r.buffers = append(r.buffers, mem.SliceBuffer(s.wire[s.records[i].start:end:end]))
	r.Events += j - i
}

// Heartbeat returns the response without events at a cursor.
func Heartbeat(cursor string, pending uint64) *Response {
	field := protowire.AppendTag(nil, responseCursor, protowire.BytesType)
	field = protowire.AppendString(field, cursor)
	return (&Response{buffers: mem.BufferSlice{mem.SliceBuffer(field)}}).pending(pending)
}

func (r *Response) pending(events uint64) *Response {
	if events > 0 {
		field := protowire.AppendTag(nil, responsePending, protowire.VarintType)
		r.buffers = append(r.buffers, mem.SliceBuffer(protowire.AppendVarint(field, events)))
	}
	return r
}

// Buffers returns the encoding, which MUST NOT be changed. Its buffers count no
// references and are never put into a pool, so that gRPC cannot free what other
// streams still send.
func (r *Response) Buffers() mem.BufferSlice { return r.buffers }
