package listen

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// maxLargeHeaders bounds the requests of a port whose headers exceed MaxHeaderBytes at a time.
// The headers of one take up to 1 MiB of memory.
const maxLargeHeaders = 16

// headerListener is a listener whose connections bound the memory of headers.
type headerListener struct {
	net.Listener
	server *HTTPServer
}

// Accept implements net.Listener.
func (l headerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headerConn{Conn: conn, server: l.server}, nil
}

// headerConn is a connection of an HTTP server. When it has read more than MaxHeaderBytes
// without a request, it waits for one of the places for large headers. It fails if there is
// none within bufferTimeout.
type headerConn struct {
	net.Conn
	server *HTTPServer

	mu sync.Mutex
	// read is the number of bytes that were read since the last request.
	read int
	// requests is the number of running requests, of which HTTP/2 has several. Bytes that are
	// read during a request are not counted as headers.
	requests int
	// placed means that the connection has a place, and full that it got none. If full, every
	// read fails, because net/http reads on after an error in headers.
	placed, full bool
}

// Read implements io.Reader.
func (c *headerConn) Read(p []byte) (int, error) {
	if c.needsPlace() {
		ctx, cancel := context.WithTimeout(context.Background(), bufferTimeout)
		defer cancel()
		err := c.server.largeHeaders.Acquire(ctx, 1)
		c.mu.Lock()
		c.placed, c.full = err == nil, err != nil
		c.mu.Unlock()
	}
	if c.isFull() {
		return 0, ErrBuffersFull
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == 0 {
		c.read += n
	}
	return n, err
}

// needsPlace reports whether the next byte belongs to large headers.
func (c *headerConn) needsPlace() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests == 0 && !c.placed && !c.full && c.read >= MaxHeaderBytes
}

func (c *headerConn) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full
}

// begin is called when a request or stream begins, after its headers were read. It releases the
// place, because a stream may last long. Handlers reject large headers or answer soon.
func (c *headerConn) begin() {
	if c == nil {
		return // it is not a connection of an HTTPServer
	}
	c.server.running.Begin()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	c.read = 0
	c.release()
}

// end is called when a request or stream has ended.
func (c *headerConn) end() {
	if c == nil {
		return
	}
	defer c.server.running.End()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests--
	c.read = 0
}

// closed is called when a stream has closed the connection, of which net/http knows nothing.
func (c *headerConn) closed() {
	if c != nil && c.server.ConnState != nil {
		c.server.ConnState(c, http.StateClosed)
	}
}

// Close implements io.Closer.
func (c *headerConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
	return c.Conn.Close()
}

// release releases the place. c.mu MUST be held.
func (c *headerConn) release() {
	if c.placed {
		c.placed = false
		c.server.largeHeaders.Release(1)
	}
}

// CloseWrite closes the writing side. net/http does that before it closes a connection, so that
// the client gets the last answer.
func (c *headerConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type headerConnKey struct{}

// withHeaderConn is an http.Server's ConnContext.
func withHeaderConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, headerConnKey{}, headerConnOf(conn))
}

// headerConnOf returns the headerConn of a net/http connection, or nil.
func headerConnOf(conn net.Conn) *headerConn {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	c, _ := conn.(*headerConn)
	return c
}
