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
	// pipeBuffer holds a few responses of a stream.
	pipeBuffer = 1 << 20
	// streamWindow is how much of one stream is on its way to a client. grpc-go would by
	// itself choose up to 16 MiB, which suits a network; here it is what each client that
	// does not read would hold.
	streamWindow = 256 << 10
	// connWindow is that of all streams together. It is given back before a stream is read,
	// so that clients that do not read do not use it up.
	connWindow = 16 << 20
)

// Pipe is the connection in memory between the HTTP port and a gRPC server, which serves
// it as a listener.
type Pipe struct{ *bufconn.Listener }

// NewPipe returns a pipe.
func NewPipe() *Pipe { return &Pipe{bufconn.Listen(pipeBuffer)} }

// Dial returns the connection that requests become calls on. maxResponse bounds a
// response, in bytes. The caller closes the connection.
func (p *Pipe) Dial(maxResponse int) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	)
}
