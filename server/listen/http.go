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

// Bounds of what a client may send, in bytes.
const (
	// MaxBodyBytes bounds a webhook, the body of a REST request, and a gRPC request. Every
	// field of a request at its bound fits several times.
	MaxBodyBytes = 1 << 20
	// MaxHeaderBytes bounds the request line and headers of a REST request: several times
	// what clients send.
	MaxHeaderBytes = 16 << 10
	// MaxReadHeaderBytes bounds what the HTTP ports read of them. net/http answers what is
	// over it with a bare 431, so REST reads more than it takes, and explains. A webhook may
	// be as large: it is lost if it is refused, and its fields may be in the URL. They take
	// 90 KiB of memory if one header is large, and 1 MiB if thousands are short, so a port
	// reads few of them at a time (maxLargeHeaders).
	MaxReadHeaderBytes = 64 << 10
	// MaxMetadataBytes bounds the metadata of a gRPC call, which clients' libraries and meshes
	// add to. gRPC by itself reads 16 MiB.
	MaxMetadataBytes = 64 << 10
)

// Bounds of the HTTP ports.
const (
	// headerTimeout ends a connection that does not finish its headers.
	headerTimeout = 10 * time.Second
	// requestTimeout ends a connection that does not finish a request, its body included,
	// whatever becomes of it: what a handler leaves of a body net/http reads, to use the
	// connection again. It does not bound what the request asks for, as a stream.
	requestTimeout = 30 * time.Second
	// idleTimeout ends a kept-alive connection that nobody uses.
	idleTimeout = 2 * time.Minute
)

// HTTPServer is the server of an HTTP port. Its methods are safe for concurrent use.
type HTTPServer struct {
	*http.Server
	running Running
	// largeHeaders has the places of requests with large headers.
	largeHeaders *semaphore.Weighted
}

// NewHTTPServer returns a server for a port. tlsConfig is nil for clear text. writeTimeout
// bounds an answer from the end of the request's headers; zero means no bound, for a port
// with streams.
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
		s.running.Begin()
		defer s.running.End()
		req.Body = awaitedBody{req.Body, &s.running}
		handler.ServeHTTP(w, req)
	})
	return s
}

// awaitedBody is the body of a request that does not count as running while it waits for
// its client.
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

// Serve serves a port until the server is stopped. A Listener then knows which of its
// connections are idle.
func (s *HTTPServer) Serve(listener net.Listener) error {
	if l, ok := listener.(*Listener); ok {
		s.ConnState = l.connState
	}
	listener = headerListener{listener, s.largeHeaders}
	serve := s.Server.Serve
	if s.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
	}
	if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Stop lets running requests finish until ctx ends, and closes all connections (Stop).
func (s *HTTPServer) Stop(ctx context.Context) {
	Stop(ctx, &s.running,
		func() { _ = s.Shutdown(context.WithoutCancel(ctx)) }, // fails if the listener was closed before
		func() { _ = s.Close() })                              // likewise
}
