// Package listentest serves in memory. Tests in virtual time (testing/synctest) need that,
// because they cannot wait for real connections.
package listentest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ongair/ongair-gateway/server/listen"
)

// listener is a listener in memory.
type listener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// Serve serves in memory and returns a connection, whose other side holds nothing that is
// not read. done closes the connection and stops the server.
func Serve(t *testing.T, serve func(net.Listener) error, stop func()) (conn net.Conn, done func()) {
	t.Helper()
	l, served := &listener{conns: make(chan net.Conn), done: make(chan struct{})}, make(chan error, 1)
	go func() { served <- serve(l) }()
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours, func() {
		require.NoError(t, ours.Close())
		stop()
		require.NoError(t, <-served)
	}
}

// ServeHTTP is Serve for an HTTP server.
func ServeHTTP(t *testing.T, server *listen.HTTPServer) (conn net.Conn, done func()) {
	t.Helper()
	return Serve(t, server.Serve, func() { require.NoError(t, server.Close()) })
}

// ServeGRPC serves in memory until the test ends, and returns a client's connection.
func ServeGRPC(t *testing.T, server *grpc.Server, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, done := DialGRPC(t, server, options...)
	t.Cleanup(done)
	return conn
}

// DialGRPC serves in memory and returns a client's connection. done closes the connection and
// stops the server.
func DialGRPC(t *testing.T, server *grpc.Server, options ...grpc.DialOption) (conn *grpc.ClientConn, done func()) {
	t.Helper()
	pipe := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(pipe) }()
	conn, err := grpc.NewClient("passthrough:memory", append(options,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)...)
	require.NoError(t, err)
	return conn, func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	}
}
