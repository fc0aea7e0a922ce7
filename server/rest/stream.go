package rest

import (
	"context"
	"errors"
	"io"
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
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
	// cursor is that of the last response that Recv returned.
	cursor string
}

// Recv returns the first response, then those that follow. The error that ends the stream
// has the cursor of the last response.
func (s *eagerStream) Recv() (*ongairv1.SubscribeResponse, error) {
	response := s.first
	if s.first = nil; response == nil {
		var err error
		if response, err = s.ServerStreamingClient.Recv(); err != nil {
			return nil, withCursor(err, s.cursor)
		}
	}
	s.cursor = response.GetCursor()
	return response, nil
}

// withCursor adds the cursor to continue from to the error that ends a stream. The errors
// after which that cursor does not work get none: a client has to start elsewhere.
func withCursor(err error, cursor string) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	s := status.Convert(explain(err, fault.EffectNotApplicable))
	switch fault.ReasonOf(s) {
	case ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED, ongairv1.ErrorReason_ERROR_REASON_LOG_REPLACED:
		return s.Err()
	default:
	}
	p := s.Proto()
	for _, detail := range p.GetDetails() {
		info := &errdetails.ErrorInfo{}
		if detail.UnmarshalTo(info) != nil {
			continue // another detail
		}
		if info.Metadata == nil {
			info.Metadata = map[string]string{}
		}
		info.Metadata["cursor"] = cursor
		if err := detail.MarshalFrom(info); err != nil {
			return err
		}
	}
	return status.ErrorProto(p)
}
