package event

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

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

// Buffers returns the encoding. Its buffers are shared by every response that has
// the same records: they count no references and are never put into a pool, so
// that gRPC cannot free what others still send.
func (r *Response) Buffers() mem.BufferSlice {
	buffers := make(mem.BufferSlice, 0, len(r.Records)+1)
	for _, record := range r.Records {
		buffers = append(buffers, record.buffer)
	}
	return append(buffers, mem.SliceBuffer(r.tail))
}
