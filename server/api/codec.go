package api

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

// codec is gRPC's codec for protobuf, except for events, which are encoded already. All streams
// that send a response of Subscribe share its buffers, and a page of ListEvents is not copied
// again.
type codec struct {
	encoding.CodecV2
}

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal encodes v.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch response := v.(type) {
	case *event.Response:
		return response.Buffers(), nil
	case *ongairv1.ListEventsResponse:
		if response.GetEvents() == nil && response.GetCursor() == "" && response.GetPending() == 0 {
			return mem.BufferSlice{mem.SliceBuffer(response.ProtoReflect().GetUnknown())}, nil // Service.ListEvents sets no other
		}
	}
	return c.CodecV2.Marshal(v)
}
