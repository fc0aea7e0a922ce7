package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// stopGrace is how long calls in flight may take after Run's context has ended. Waiting faults end
// with the context, so only a client that sends its body slowly needs this time.
const stopGrace = time.Second

// Run serves the Handler on l and posts the webhooks that calls cause, until ctx ends. Then it
// stops and returns nil:
//
//   - It ends waiting faults.
//   - It waits up to one second for calls in flight.
//   - It keeps queued webhooks for the next Run.
//   - It waits for every goroutine that it started.
//
// Run fails if the Config is invalid, if it is already running or if l fails. It always closes l.
func (s *Sandbox) Run(ctx context.Context, l net.Listener) error {
	if err := s.check(); err != nil {
		return errors.Join(err, l.Close())
	}
	if !s.running.CompareAndSwap(false, true) {
		return errors.Join(errors.New("sandbox: already running"), l.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var own sync.WaitGroup
	server := s.newServer(ctx, &own)
	served := make(chan error, 1)
	own.Go(func() { s.deliver(ctx) })
	own.Go(func() { served <- server.Serve(l) })
	s.logger.Info("sandbox is listening", "addr", l.Addr().String())

	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("sandbox: serve: %w", err)
	}
	cancel()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer done()
	if server.Shutdown(grace) != nil {
		_ = server.Close() // the listener is already closed, and errors of connections do not matter
	}
	own.Wait()
	// Keep this order: a post that sees running as false closes its own idle connection.
	s.running.Store(false)
	s.closeIdle()
	return err
}

// newServer returns the server of one Run. own counts its connections and its handlers. A
// connection counts from before its goroutine starts until it is closed or hijacked. Handlers count
// because a handler that hijacked its connection must still close it.
func (s *Sandbox) newServer(ctx context.Context, own *sync.WaitGroup) *http.Server {
	handler := s.Handler()
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			own.Add(1)
			defer own.Done()
			handler.ServeHTTP(w, r)
		}),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				own.Add(1)
			case http.StateClosed, http.StateHijacked:
				own.Done()
			case http.StateActive, http.StateIdle: // still the same connection
			}
		},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
}

func (s *Sandbox) check() error {
	if s.config.Token == "" {
		return errors.New("sandbox: Config.Token is empty")
	}
	if s.config.WebhookURL == "" {
		return nil
	}
	u, err := url.Parse(s.config.WebhookURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		// The cause would contain the URL and its secret.
		return errors.New("sandbox: Config.WebhookURL is not an absolute http or https URL")
	}
	return nil
}
