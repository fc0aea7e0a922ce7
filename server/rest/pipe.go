package rest

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// Sizes of the connection in memory, in bytes for each direction.
const (
	// pipeBuffer is several times the size of a response.
	pipeBuffer = 1 << 20
	// streamWindow bounds the data of one call in transit. grpc-go's default is up to 16 MiB,
	// which suits a network.
	streamWindow = 256 << 10
	// connWindow bounds the data of all calls in transit.
	connWindow = 16 << 20
)

// Pipe is the connection in memory between the HTTP port and a gRPC server. The server serves
// it as a listener.
type Pipe struct{ *bufconn.Listener }

// NewPipe returns a pipe.
func NewPipe() *Pipe { return &Pipe{bufconn.Listen(pipeBuffer)} }

// Dial returns the connection for calls. maxResponse bounds a response, in bytes. The caller
// MUST close the connection.
func (p *Pipe) Dial(maxResponse int) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	)
}
