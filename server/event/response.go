package event

import "google.golang.org/protobuf/encoding/protowire"

// Response is a SubscribeResponse that is already encoded: buffers that many
// streams share, and a few bytes of its own. It is read-only once it is made.
type Response struct {
	// Records are the events, in the order of the log.
	Records []*Record
	// tail is the fields cursor and pending, encoded.
	tail []byte
}

// NewResponse makes the response that carries records, whose cursor is cursor,
// with pending events behind it. It keeps records and does not copy them.
func NewResponse(records []*Record, cursor string, pending uint64) *Response {
	tail := make([]byte, 0, 2*protowire.SizeVarint(pending)+protowire.SizeBytes(len(cursor))+2)
	tail = protowire.AppendTag(tail, responseCursor, protowire.BytesType)
	tail = protowire.AppendString(tail, cursor)
	if pending > 0 {
		tail = protowire.AppendTag(tail, responsePending, protowire.VarintType)
		tail = protowire.AppendVarint(tail, pending)
	}
	return &Response{Records: records, tail: tail}
}

// Buffers calls yield with each buffer of the encoding, in order. The buffers
// are shared: yield MUST NOT change them.
func (r *Response) Buffers(yield func([]byte)) {
	for _, record := range r.Records {
		yield(record.wire)
	}
	yield(r.tail)
}
