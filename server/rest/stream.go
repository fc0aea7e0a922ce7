package rest

import (
	"context"
	"net/http"

	"google.golang.org/grpc"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// setStreamHeader prevents proxies from delaying lines. nginx buffers an answer unless
// X-Accel-Buffering is no, and other proxies buffer to compress.
func setStreamHeader(header http.Header) {
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no")
}

// eagerStreams is a client whose Subscribe waits for the first response, which the API sends at once.
// So a rejected subscription is an error of the call, which grpc-gateway answers with its status,
// and not an error within a stream that began with 200.
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
