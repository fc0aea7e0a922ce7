package api

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/ongair/ongair-gateway/server/event"
)

// codec is gRPC's codec for protobuf, except for responses of Subscribe. Those are encoded
// already, and all streams that send a response share its buffers.
type codec struct {
	encoding.CodecV2
}

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal encodes v.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	response, ok := v.(*event.Response)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	return response.Buffers(), nil
}
