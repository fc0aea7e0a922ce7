package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/ongair/ongair-gateway/server/auth"
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
	// maxHeaderBytes is several times what any client of ours sends.
	maxHeaderBytes = 16 << 10
	// answerTimeout bounds a webhook from the end of its headers to that of its answer.
	answerTimeout = 30 * time.Second
)

// listeners are the four ports.
type listeners struct{ grpc, http, webhook, admin *port }

// listen opens all ports, or none.
func listen(ctx context.Context, cfg Config) (*listeners, error) {
	l := &listeners{}
	for _, p := range []struct {
		name     string
		addr     string
		listener **port
	}{
		{auth.PortGRPC, cfg.GRPCAddr, &l.grpc},
		{auth.PortHTTP, cfg.HTTPAddr, &l.http},
		{"webhook", cfg.WebhookAddr, &l.webhook},
		{"admin", cfg.AdminAddr, &l.admin},
	} {
		listener, err := listenTCP(ctx, p.addr)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("%s port: %w", p.name, err)
		}
		*p.listener = bound(listener, p.name, cfg.MaxConnections, cfg.Logger)
	}
	return l, nil
}

func listenTCP(ctx context.Context, addr string) (*net.TCPListener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// close closes what is open; what a server has closed already stays so.
func (l *listeners) close() {
	for _, listener := range []*port{l.grpc, l.http, l.webhook, l.admin} {
		if listener != nil {
			_ = listener.Close() // an error says that it was closed before
		}
	}
}

func (l *listeners) addresses() Addresses {
	return Addresses{
		GRPC:    l.grpc.Addr().String(),
		HTTP:    l.http.Addr().String(),
		Webhook: l.webhook.Addr().String(),
		Admin:   l.admin.Addr().String(),
	}
}

func newHTTPServer(handler http.Handler, tlsConfig *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// newWebhookServer is newHTTPServer with a bound on the answer, too. A webhook is small
// and Ongair's servers are fast: who takes longer is holding a connection.
func newWebhookServer(handler http.Handler, tlsConfig *tls.Config, log *slog.Logger) *http.Server {
	server := newHTTPServer(handler, tlsConfig, log)
	server.WriteTimeout = answerTimeout
	return server
}

// serveHTTP serves until the server is shut down.
func serveHTTP(server *http.Server, listener net.Listener) error {
	serve := server.Serve
	if server.TLSConfig != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// serveGRPC serves until the server is stopped, which may be before it begins.
func serveGRPC(server *grpc.Server, listener net.Listener) error {
	if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// shutdownHTTP lets running requests finish until ctx ends.
func shutdownHTTP(ctx context.Context, server *http.Server) {
	if server.Shutdown(ctx) != nil {
		_ = server.Close() // what is left is cut off: the grace is over
	}
}

// shutdownGRPC lets running calls finish until ctx ends.
func shutdownGRPC(ctx context.Context, server *grpc.Server) {
	defer context.AfterFunc(ctx, server.Stop)()
	server.GracefulStop()
}
