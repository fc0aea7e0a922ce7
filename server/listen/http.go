package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// Bounds of requests, in bytes.
const (
	// MaxBodyBytes bounds a webhook, the body of a REST request, and a gRPC request. It is
	// several times the size of a request whose fields are at their bounds.
	MaxBodyBytes = 1 << 20
	// MaxHeaderBytes bounds the request line and headers of a REST request. It is several times
	// what clients send.
	MaxHeaderBytes = 16 << 10
	// MaxReadHeaderBytes bounds the headers that the HTTP ports read. It is more than
	// MaxHeaderBytes so that REST can answer with a reason. net/http answers headers beyond it
	// with a bare 431. Webhooks may use all of it, because their fields may be in the URL and a
	// rejected webhook is lost. Such headers take 90 KiB of memory, or 1 MiB if there are
	// thousands of short ones, so a port reads few at a time (maxLargeHeaders).
	MaxReadHeaderBytes = 64 << 10
	// MaxMetadataBytes bounds the metadata of a gRPC call. Client libraries and meshes add to
	// it. grpc-go's default is 16 MiB.
	MaxMetadataBytes = 64 << 10
)

// Bounds of the HTTP ports.
const (
	// headerTimeout bounds the time for the headers of a request.
	headerTimeout = 10 * time.Second
	// requestTimeout bounds the time for a request with its body. It includes the rest of a
	// body that a handler leaves, which net/http reads to reuse the connection. It does not
	// bound the answer, so streams may last longer.
	requestTimeout = 30 * time.Second
	// idleTimeout closes unused keep-alive connections.
	idleTimeout = 2 * time.Minute
)

// HTTPServer is the server of an HTTP port. Its methods are safe for concurrent use.
type HTTPServer struct {
	*http.Server
	running Running
	// largeHeaders has the places for requests with large headers.
	largeHeaders *semaphore.Weighted
}

// NewHTTPServer returns a server for a port. A nil tlsConfig means clear text. writeTimeout
// bounds an answer from the end of the request's headers. Zero means no bound, for a port with
// streams.
func NewHTTPServer(handler http.Handler, tlsConfig *tls.Config, writeTimeout time.Duration, log *slog.Logger) *HTTPServer {
	s := &HTTPServer{largeHeaders: semaphore.NewWeighted(maxLargeHeaders), Server: &http.Server{
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxReadHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       withHeaderConn,
	}}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn, _ := req.Context().Value(headerConnKey{}).(*headerConn)
		conn.begin()
		defer conn.end()
		req.Body = awaitedBody{req.Body, &s.running}
		handler.ServeHTTP(w, req)
	})
	return s
}

// awaitedBody is the body of a request. A request does not count as running while it waits for
// its body.
type awaitedBody struct {
	io.ReadCloser
	running *Running
}

// Read implements io.Reader.
func (b awaitedBody) Read(p []byte) (int, error) {
	b.running.End()
	defer b.running.Begin()
	return b.ReadCloser.Read(p)
}

// Serve serves a port until the server is stopped. It reports idle connections to a Listener.
func (s *HTTPServer) Serve(listener net.Listener) error {
	if l, ok := listener.(*Listener); ok {
		s.ConnState = l.connState
	}
	listener = headerListener{listener, s}
	serve := s.Server.Serve
	if s.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
	}
	if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Stop waits for running requests and streams until ctx ends, and closes all connections. See the
// function Stop. It cannot end the streams, which have to end by themselves.
func (s *HTTPServer) Stop(ctx context.Context) {
	cut, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	Stop(ctx, &s.running, func() {
		_ = s.Shutdown(cut) // fails if the listener is closed already
		select {
		case <-s.running.untilIdle(): // Shutdown does not wait for streams
		case <-cut.Done():
		}
	}, func() {
		_ = s.Close() // likewise
		cancel()
	})
}
