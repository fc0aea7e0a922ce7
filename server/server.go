// Package server assembles the gateway.
//
// Run starts the parts in order of dependency: the listeners, so that a port in use is found
// first; JetStream; the log and the packages that use it; the servers of the four ports. If a
// part fails to start, Run stops the parts before it.
//
// A stop goes through these steps (lifecycle.go):
//
//  1. The gateway becomes not ready.
//  2. Streams end with a reason.
//  3. The ports of calls and webhooks stop together. Running calls finish within the grace
//     period, or get an error that explains their effect.
//  4. The connection in memory, the admin port and the log stop, in this order, so that no
//     accepted request is dropped.
package server

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/streamticket"
)

// Server is a gateway. Make one with New.
type Server struct {
	cfg       config.Config
	ready     chan struct{}
	listeners *listeners

	// What Reload replaces (reload.go).
	transport     *http.Transport
	authenticator *auth.Authenticator
	tls           listen.ReplaceableTLS
	store         *storage.Storage
	mu            sync.Mutex
	current       config.Config
	upstreams     map[string]api.Upstream
	replace       func(config.Config, map[string]api.Upstream)
}

// New returns a gateway that is not started. It fails if the configuration is invalid
// (config.Config.Check).
func New(cfg config.Config) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	asked := cfg.MaxConnections
	cfg = cfg.WithDefaults()
	if asked > cfg.MaxConnections {
		cfg.Logger.Warn("max_connections is more than a quarter of the files that the process may have open, and counts as that",
			"max_connections", cfg.MaxConnections)
	}
	s := &Server{
		cfg:     cfg,
		current: cfg,
		ready:   make(chan struct{}),
		// One pool of connections for all channels: they are the same few hosts.
		transport:     ongair.NewTransport(),
		authenticator: auth.New(cfg.AllCallers()),
	}
	var err error
	if s.upstreams, err = s.newUpstreams(cfg); err != nil {
		return nil, err
	}
	files, err := cfg.LoadTLS()
	if err != nil {
		return nil, err
	}
	s.tls.Replace(files)
	return s, nil
}

// Ready is closed once every port serves.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addresses has the address of each port, as host:port.
type Addresses struct{ GRPC, HTTP, Webhook, Admin string }

// Addresses returns the addresses of the ports. It MUST NOT be called before Ready is closed.
func (s *Server) Addresses() Addresses { return s.listeners.addresses() }

// Run runs the gateway until ctx ends, and returns nil after an orderly stop. It fails if a part
// cannot start, or ends by itself. It MUST be called once.
func (s *Server) Run(ctx context.Context) error {
	err := s.run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // the stop interrupted the start
	}
	return err
}

func (s *Server) run(ctx context.Context) (err error) {
	log := s.cfg.Logger
	gate := admission.New(s.authenticator)
	if s.listeners, err = openPorts(ctx, s.cfg, gate); err != nil {
		return err
	}
	defer s.listeners.close()
	started := false
	defer func() {
		if started {
			log.Info("gateway stopped")
		}
	}()
	store, err := storage.Open(ctx, storage.Config{
		URL: s.cfg.NATSURL, External: s.cfg.External(), Dir: s.cfg.DataDir, EncryptionKeys: s.cfg.EncryptionKeys, Logger: log,
	})
	if err != nil {
		return err
	}
	s.store = store
	defer func() {
		if closeErr := store.Close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	events, err := eventlog.Open(ctx, store, eventlog.Config{
		RetentionAge:    s.cfg.RetentionAge,
		RetentionBytes:  s.cfg.RetentionBytes,
		DuplicateWindow: s.cfg.DuplicateWindow,
		Logger:          log,
	})
	if err != nil {
		return err
	}
	once, err := idempotency.Open(ctx, store, idempotency.Config{Keep: s.cfg.RequestIDAge, Logger: log})
	if err != nil {
		return err
	}
	defer once.Wait()
	tickets, err := streamticket.Open(ctx, store)
	if err != nil {
		return err
	}
	tail := fanout.New(events, fanout.Config{Logger: log})
	p, err := s.assemble(ctx, gate, store, events, tail, once, tickets)
	if err != nil {
		return err
	}
	started = true
	return s.serve(ctx, p, store, events, tail)
}
