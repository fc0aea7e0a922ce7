package main

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fanout"
)

const (
	// bareReadBuffer is large enough for the requests of streams.
	bareReadBuffer = 2 << 10
)

// serveBareCmd is the simplest fan-out over gRPC. It has no log, filters, cursors, heartbeats or
// interceptors. Frames are encoded once and shared. Each stream is a goroutine that walks the chain
// without a queue, lock or timer.
type serveBareCmd struct {
	Send string `required:"" enum:"frames,batches,runs"`
}

// The ways in which the bare server sends.
const (
	// oneFrame sends one event per frame.
	oneFrame = "frames"
	// batches sends the backlog of a stream in batches of shared records, as the gateway does.
	batches = "batches"
	// runs sends such batches from chunks in which records are next to each other, so that a batch
	// is a few buffers instead of hundreds.
	runs = "runs"
)

// Run serves until stdin ends.
func (c *serveBareCmd) Run(ctx context.Context, io stdio) error {
	ctx = untilClosed(ctx, io.in)
	events := newChain(fanout.DefaultRingBytes, c.Send == runs)
	walk := walkFrames
	switch c.Send {
	case batches:
		walk = walkBatches
	case runs:
		walk = walkRuns
	}
	server := grpc.NewServer(
		grpc.ForceServerCodecV2(passingCodec{encoding.GetCodecV2(proto.Name)}),
		grpc.ReadBufferSize(bareReadBuffer),
	)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: ongairv1.OngairService_ServiceDesc.ServiceName,
		Streams: []grpc.StreamDesc{{StreamName: "Subscribe", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			return bareSubscribe(events, stream, walk)
		}}},
	}, nil)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	context.AfterFunc(ctx, server.Stop)
	group.Go(func() error {
		return servePosts(ctx, func(_ context.Context, body []byte) error {
			events.add(body)
			return nil
		}, func(url string) error {
			return announce(io.out, addresses{GRPC: listener.Addr().String(), Post: url})
		})
	})
	return group.Wait()
}

// bareSubscribe serves one stream. It starts at the oldest event if the request asks for it, and
// otherwise after the newest.
func bareSubscribe(events *chain, stream grpc.ServerStream, walk func(grpc.ServerStream, *link) error) error {
	request := &ongairv1.SubscribeRequest{}
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	oldest, at := events.ends()
	if request.GetPosition() == ongairv1.Position_POSITION_EARLIEST {
		at = oldest
	}
	// Send the first response at once, as the gateway does.
	if err := stream.SendMsg(mem.BufferSlice{}); err != nil {
		return err
	}
	return walk(stream, at)
}

// passingCodec passes buffers to the transport unchanged.
type passingCodec struct {
	encoding.CodecV2
}

// Marshal returns v unchanged if it is encoded, and encodes it otherwise.
func (c passingCodec) Marshal(v any) (mem.BufferSlice, error) {
	if buffers, ok := v.(mem.BufferSlice); ok {
		return buffers, nil
	}
	return c.CodecV2.Marshal(v)
}

// startBare starts a bare server that sends in the given way.
func (r *runner) startBare(ctx context.Context, send string) (*process, error) {
	return r.start(ctx, "serve-bare", "--send", send)
}
