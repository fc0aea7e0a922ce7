package rest

import (
	"context"
	"net/http"

	"google.golang.org/grpc"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// setStreamHeader keeps proxies from holding lines back. nginx buffers an answer unless
// X-Accel-Buffering says no, and others do to compress it.
func setStreamHeader(header http.Header) {
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no")
}

// eagerStreams is a client whose Subscribe returns once the first response is
// there, which the API promises at once. A subscription that is refused is then
// an error of the call, for which grpc-gateway has the right answer, and not an
// error within a stream that has begun with 200.
type eagerStreams struct {
	ongairv1.OngairServiceClient
}

func (c eagerStreams) Subscribe(ctx context.Context, req *ongairv1.SubscribeRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[ongairv1.SubscribeResponse], error) {
	stream, err := c.OngairServiceClient.Subscribe(ctx, req, opts...)
	if err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return &eagerStream{ServerStreamingClient: stream, first: first}, nil
}

type eagerStream struct {
	grpc.ServerStreamingClient[ongairv1.SubscribeResponse]
	first *ongairv1.SubscribeResponse
}

// Recv returns the first response, then those that follow.
func (s *eagerStream) Recv() (*ongairv1.SubscribeResponse, error) {
	if first := s.first; first != nil {
		s.first = nil
		return first, nil
	}
	return s.ServerStreamingClient.Recv()
}
