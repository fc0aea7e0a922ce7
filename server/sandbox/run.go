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

// stopGrace is how long calls in flight may take to finish once Run's context has ended. Waiting faults end with the
// context, so only a client that is slow to send its body needs it.
const stopGrace = time.Second

// Run serves the Handler on l and posts the webhooks that calls cause, until ctx ends. It then ends waiting faults,
// gives calls in flight a second, keeps what is still queued for the next Run, waits for every goroutine it started
// and returns nil. It always closes l. It fails if the Config cannot work, if it is already running or if l fails.
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
		_ = server.Close() // the listener is closed already, and connections have no error to tell
	}
	own.Wait()
	// In this order: whoever posts a webhook from now on sees that nobody else will close its connection.
	s.running.Store(false)
	s.closeIdle()
	return err
}

// newServer makes the server of one Run. own counts its connections and its handlers: connections from before their
// goroutine starts until they are closed or handed over, handlers because one that took its connection over still has
// to close it.
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
		// Without the cause, which would repeat the URL and the secret in it.
		return errors.New("sandbox: Config.WebhookURL is not an absolute http or https URL")
	}
	return nil
}
