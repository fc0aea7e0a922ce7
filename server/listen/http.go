package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of what a client may send, in bytes.
const (
	// MaxBodyBytes bounds a webhook, the body of a REST request, and a gRPC request. Every
	// field of a request at its bound fits several times.
	MaxBodyBytes = 1 << 20
	// MaxHeaderBytes bounds the headers of an HTTP request: several times what clients send.
	MaxHeaderBytes = 16 << 10
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

// NewHTTPServer returns a server for a port. tlsConfig is nil for clear text. writeTimeout
// bounds an answer from the end of the request's headers; zero means no bound, for a port
// with streams.
func NewHTTPServer(handler http.Handler, tlsConfig *tls.Config, writeTimeout time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP serves a port until the server is shut down. A Listener then knows which of its
// connections are idle.
func ServeHTTP(server *http.Server, listener net.Listener) error {
	if l, ok := listener.(*Listener); ok {
		server.ConnState = l.connState
	}
	serve := server.Serve
	if server.TLSConfig != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ShutdownHTTP lets running requests finish until ctx ends, and then closes their
// connections.
func ShutdownHTTP(ctx context.Context, server *http.Server) {
	if server.Shutdown(ctx) != nil {
		_ = server.Close() // the grace is over
	}
}
