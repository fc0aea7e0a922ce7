// Package listentest serves ports in memory, for tests in virtual time
// (testing/synctest), which cannot wait for real connections.
package listentest

import (
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

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
func ServeHTTP(t *testing.T, server *http.Server) (conn net.Conn, done func()) {
	t.Helper()
	return Serve(t, func(l net.Listener) error { return listen.ServeHTTP(server, l) }, func() { require.NoError(t, server.Close()) })
}
