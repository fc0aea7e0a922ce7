package listen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// lastSendTimeout bounds the time in which a client must read each of the last parts of a stream
// that the gateway ends. A slower client resumes from the last part that it read.
const lastSendTimeout = 500 * time.Millisecond

// maxKeptBuffer bounds the buffers that are kept for later parts of any stream.
const maxKeptBuffer = 512 << 10

// chunkHead is the room for the size of a chunk: 8 hexadecimal digits and a line break.
const chunkHead = 8 + len("\r\n")

// Streams serves streams. The zero value is ready to use, and safe for concurrent use.
type Streams struct {
	// buffers has buffers of one part each (*[]byte), so that a stream that waits has none.
	buffers sync.Pool
}

// Stream is the answer to a request whose parts reach the client one by one, at any time. Its
// methods MUST be called by one goroutine at a time, except Interrupt.
//
// Over HTTP/1, a stream takes its connection from net/http, which would keep its buffers and a large
// stack as long as the stream lasts. 1,000 streams take 39 MB of memory, and took 59 MB before
// (ongair-bench, W1). Over HTTP/2, net/http writes the stream.
type Stream struct {
	streams *Streams
	// w is nil once the stream has the connection.
	w      http.ResponseWriter
	header http.Header
	// minor is the minor version of HTTP/1. HTTP/1.0 has no chunks.
	minor int
	// cancel ends the context of the stream, and detach separates that context from net/http's.
	cancel context.CancelFunc
	detach func() bool

	begun, broken bool
	// taken is closed when the stream has taken the connection.
	taken chan struct{}

	mu          sync.Mutex
	conn        net.Conn // nil as long as net/http has it
	interrupted bool
}

// Serve answers req with a stream. It calls serve, which sends the parts, and whose request has a
// context that ends when the client leaves. If serve returns before it has sent anything, Serve
// returns its error, and the caller MUST answer the request. After the first part Serve returns nil,
// and w MUST NOT be used. The stream may then still last, and counts as a running request of its
// server.
func (t *Streams) Serve(w http.ResponseWriter, req *http.Request, serve func(*http.Request, *Stream) error) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
	s := &Stream{
		streams: t, w: w, header: w.Header(), minor: req.ProtoMinor, cancel: cancel,
		detach: context.AfterFunc(req.Context(), cancel), taken: make(chan struct{}),
	}
	counted, _ := req.Context().Value(headerConnKey{}).(*headerConn)
	counted.begin()
	ended := make(chan outcome, 1)
	go s.run(req.WithContext(ctx), serve, counted, ended)
	select {
	case <-s.taken:
		return nil
	case o := <-ended:
		if o.panicked != nil {
			panic(o.panicked)
		}
		return o.err
	}
}

// outcome is how a stream ended before it had taken the connection.
type outcome struct {
	err      error
	panicked any
}

// run serves the stream on a small stack of its own.
func (s *Stream) run(req *http.Request, serve func(*http.Request, *Stream) error, counted *headerConn, ended chan<- outcome) {
	var o outcome
	defer func() {
		o.panicked = recover()
		s.cancel()
		s.detach()
		if s.conn != nil {
			s.close(req, o.panicked)
			counted.closed()
		}
		s.mu.Lock()
		s.w = nil // net/http may use it for another request
		s.mu.Unlock()
		counted.end()
		if s.begun {
			o.err = nil
		}
		ended <- o
	}()
	o.err = serve(req, s)
}

// Header returns the header of the answer. Changes after the first Send have no effect.
func (s *Stream) Header() http.Header { return s.header }

// Begun reports whether the client was sent something, so that the answer has the status 200.
func (s *Stream) Begun() bool { return s.begun }

// Send sends one part, which appendTo appends to a buffer. It blocks for as long as the client does
// not read, unless it is interrupted. If appendTo fails, nothing is sent.
func (s *Stream) Send(appendTo func([]byte) ([]byte, error)) error {
	buffer, ok := s.streams.buffers.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	defer func() {
		if cap(*buffer) <= maxKeptBuffer {
			s.streams.buffers.Put(buffer)
		}
	}()
	b, err := appendTo(append((*buffer)[:0], "........\r\n"...)) // the size is known later
	*buffer = b
	if err != nil {
		return err
	}
	if !s.begun {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if s.conn == nil {
		s.extend()
		if _, err := s.w.Write(b[chunkHead:]); err != nil {
			return err
		}
		return http.NewResponseController(s.w).Flush()
	}
	if s.minor == 0 {
		return s.write(b[chunkHead:])
	}
	var digits [chunkHead]byte
	size := strconv.AppendInt(digits[:0], int64(len(b)-chunkHead), 16)
	start := chunkHead - len("\r\n") - len(size)
	copy(b[start:], size)
	*buffer = append(b, "\r\n"...)
	return s.write((*buffer)[start:])
}

// Interrupt limits the current Send, and each later one, to 500 ms. It is safe for concurrent use.
func (s *Stream) Interrupt() {
	s.mu.Lock()
	s.interrupted = true
	s.mu.Unlock()
	s.extend()
}

// extend starts the time limit of a write, if the stream was interrupted.
func (s *Stream) extend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	deadline := time.Now().Add(lastSendTimeout)
	switch {
	case !s.interrupted:
	case s.conn != nil:
		_ = s.conn.SetWriteDeadline(deadline) // fails if it is closed
	case s.w != nil:
		_ = http.NewResponseController(s.w).SetWriteDeadline(deadline) // likewise
	}
}

// begin sends the header. Over HTTP/1 it takes the connection.
func (s *Stream) begin() error {
	s.begun = true
	conn, _, err := http.NewResponseController(s.w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		s.w.WriteHeader(http.StatusOK)
		return nil
	}
	if err != nil {
		return err
	}
	if counted, ok := conn.(*headerConn); ok {
		conn = counted.Conn // the stream has its own use of it
	}
	s.detach()
	s.mu.Lock()
	s.conn, s.w = conn, nil
	s.mu.Unlock()
	close(s.taken)
	go func() {
		defer s.cancel()
		discard(conn)
	}()
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.%d 200 OK\r\nDate: %s\r\nConnection: close\r\n", s.minor, time.Now().UTC().Format(http.TimeFormat))
	if s.minor > 0 {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	}
	if err := s.header.Write(&head); err != nil {
		return err // never: it is a buffer
	}
	head.WriteString("\r\n")
	s.header = nil
	return s.write(head.Bytes())
}

// write writes to the connection.
func (s *Stream) write(b []byte) error {
	s.extend()
	_, err := s.conn.Write(b)
	s.broken = s.broken || err != nil
	return err
}

// discard reads from a connection until it ends. A client of a stream sends nothing more.
func discard(conn net.Conn) {
	var ignored [64]byte
	for {
		if _, err := conn.Read(ignored[:]); err != nil {
			return
		}
	}
}

// close ends the answer and closes the connection.
func (s *Stream) close(req *http.Request, panicked any) {
	if server, ok := req.Context().Value(http.ServerContextKey).(*http.Server); ok && panicked != nil {
		server.ErrorLog.Printf("panic serving a stream: %v\n%s", panicked, debug.Stack()) // as net/http does
	}
	s.broken = s.broken || panicked != nil
	if !s.broken && s.minor > 0 {
		s.Interrupt()
		_ = s.write([]byte("0\r\n\r\n")) // fails if the client has left
	}
	_ = s.conn.Close() // nothing is left to write
}
