// Package server assembles the gateway.
//
// Run starts the parts in the order in which they need each other: the listeners
// (a port in use is found before anything is touched), JetStream, the log and
// what stands on it, then the servers of the four ports. What fails unwinds what
// was started before it. A stop goes the other way round: the gateway says that
// it is not ready, ends its streams with a reason, lets running calls finish
// within the grace period, tells those that do not what became of them, and closes the
// log last, so that nothing that was accepted is dropped.
package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/jetstream"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/rest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// The connection between REST and gRPC, in bytes for each direction.
const (
	// memoryPipe is its buffer: a few responses of a stream.
	memoryPipe = 1 << 20
	// memoryWindow is how much of one stream is on its way to REST. What grpc-go finds out
	// by itself, up to 16 MiB, is made for a network, and is what each subscriber who does
	// not read would hold.
	memoryWindow = 256 << 10
	// memoryConnWindow is that of all streams together. It is given back before a stream
	// is read, so that those who do not read do not use it up.
	memoryConnWindow = 16 << 20
)

// Server is a gateway. Make one with New.
type Server struct {
	cfg       Config
	ready     chan struct{}
	listeners *listeners

	// What Reload replaces (reload.go).
	transport     *http.Transport
	authenticator *auth.Authenticator
	tls           atomic.Pointer[tlsFiles]
	js            *jetstream.JetStream
	mu            sync.Mutex
	current       Config
	upstreams     map[string]api.Upstream
	replace       func(Config, map[string]api.Upstream)
}

// New returns a gateway that is not started. It fails with what is wrong with the
// configuration (Config.Check).
func New(cfg Config) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	asked := cfg.MaxConnections
	cfg.setDefaults()
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
		authenticator: auth.New(cfg.callers()),
	}
	var err error
	if s.upstreams, err = s.newUpstreams(cfg); err != nil {
		return nil, err
	}
	files, problem := cfg.loadTLS()
	if problem != nil {
		return nil, *problem
	}
	s.tls.Store(files)
	return s, nil
}

// Ready is closed once every port serves.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addresses are where a gateway listens, host:port each.
type Addresses struct{ GRPC, HTTP, Webhook, Admin string }

// Addresses returns where the gateway listens. It MUST NOT be called before
// Ready is closed.
func (s *Server) Addresses() Addresses { return s.listeners.addresses() }

// Run runs the gateway until ctx ends, and returns nil after an orderly stop,
// during its start, too. It fails where a part cannot start or ends by itself.
// It MUST be called once.
func (s *Server) Run(ctx context.Context) error {
	err := s.run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // what the stop interrupted
	}
	return err
}

func (s *Server) run(ctx context.Context) (err error) {
	log := s.cfg.Logger
	if s.listeners, err = listen(ctx, s.cfg); err != nil {
		return err
	}
	defer s.listeners.close()
	js, err := jetstream.Open(ctx, jetstream.Config{
		URL: s.cfg.NATSURL, Dir: s.cfg.DataDir, EncryptionKeys: s.cfg.EncryptionKeys, Logger: log,
	})
	if err != nil {
		return err
	}
	s.js = js
	defer func() {
		if closeErr := js.Close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	events, err := eventlog.Open(ctx, js.Conn(), js.API(), eventlog.Config{
		RetentionAge:    s.cfg.RetentionAge,
		RetentionBytes:  s.cfg.RetentionBytes,
		DuplicateWindow: s.cfg.DuplicateWindow,
		Writable:        js.Writable,
		Logger:          log,
	})
	if err != nil {
		return err
	}
	once, err := idempotency.Open(ctx, js.Conn(), js.API(), idempotency.Config{Keep: s.cfg.RequestIDAge, Writable: js.Writable, Logger: log})
	if err != nil {
		return err
	}
	defer once.Wait()
	tail := fanout.New(events, fanout.Config{Logger: log})
	p, err := s.assemble(ctx, js, events, tail, once)
	if err != nil {
		return err
	}
	return s.serve(ctx, p, js, tail)
}

// parts are the servers of the ports, and what a stop needs.
type parts struct {
	service *api.Service
	// grpc serves the gRPC port, memory the calls that come over REST.
	grpc, memory         *grpc.Server
	pipe                 *bufconn.Listener
	conn                 *grpc.ClientConn
	http, webhook, admin *http.Server
	readiness            *readiness
}

func (s *Server) assemble(ctx context.Context, js *jetstream.JetStream, events *eventlog.Log, tail *fanout.Fanout, once *idempotency.Store) (*parts, error) {
	log := s.cfg.Logger
	p := &parts{
		service: api.NewService(api.Config{
			Channels: s.upstreams, Again: s.authenticator.Again, Log: events, Fanout: tail, Once: once,
		}),
		pipe:      bufconn.Listen(memoryPipe),
		readiness: newReadiness(js, events, log),
	}
	limits := &api.Limits{}
	s.listeners.grpc.tell(limits)
	s.listeners.http.tell(limits)
	cfg := api.ServerConfig{
		Service: p.service, Health: p.readiness.health, Authenticator: s.authenticator, Limits: limits, Logger: log,
	}
	var err error
	cfg.Origin = auth.ForwardedOrigin
	if p.memory, err = api.NewServer(cfg); err != nil {
		return nil, err
	}
	cfg.Origin = auth.PeerOrigin
	cfg.MaxStreams = s.cfg.maxStreams()
	cfg.TLS = s.tlsConfig((*tlsFiles).callers)
	if p.grpc, err = api.NewServer(cfg); err != nil {
		return nil, err
	}
	if p.conn, err = dialMemory(p.pipe); err != nil {
		return nil, err
	}
	handler, err := rest.New(ctx, p.conn)
	if err != nil {
		return nil, err
	}
	p.http = newHTTPServer(handler, s.tlsConfig((*tlsFiles).callers), log)
	intake := webhook.New(webhook.Config{Access: s.cfg.webhookAccess(), Log: events, Logger: log})
	p.webhook = newWebhookServer(intake, s.tlsConfig((*tlsFiles).public), log)
	s.replace = func(cfg Config, upstreams map[string]api.Upstream) {
		s.authenticator.Replace(cfg.callers())
		p.service.Replace(upstreams)
		intake.Replace(cfg.webhookAccess())
	}
	p.admin = newAdminServer(p.readiness, s.tlsConfig((*tlsFiles).public), log)
	p.http.ConnState, p.webhook.ConnState, p.admin.ConnState = s.listeners.http.note, s.listeners.webhook.note, s.listeners.admin.note
	return p, nil
}

// dialMemory returns the connection that REST calls are made on.
func dialMemory(pipe *bufconn.Listener) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(memoryWindow),
		grpc.WithStaticConnWindowSize(memoryConnWindow),
		// A response is bounded by what the log holds, not by a client's caution.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*jetstream.MaxPayload)),
	)
}

// serve runs everything until ctx ends or a part fails, and stops it in order.
func (s *Server) serve(ctx context.Context, p *parts, js *jetstream.JetStream, tail *fanout.Fanout) error {
	group, groupCtx := errgroup.WithContext(context.WithoutCancel(ctx))
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return js.Run(logCtx) })
	group.Go(func() error { return tail.Run(logCtx) })
	group.Go(func() error { return serveGRPC(p.memory, p.pipe) })
	group.Go(func() error { return serveGRPC(p.grpc, s.listeners.grpc) })
	group.Go(func() error { return serveHTTP(p.http, s.listeners.http) })
	group.Go(func() error { return serveHTTP(p.webhook, s.listeners.webhook) })
	group.Go(func() error { return serveHTTP(p.admin, s.listeners.admin) })
	group.Go(func() error {
		select {
		case <-tail.Ready():
			p.readiness.start()
			close(s.ready)
			s.logReady(groupCtx, p.readiness.events)
			running, stop := context.WithCancel(groupCtx)
			defer stop()
			defer context.AfterFunc(ctx, stop)()
			p.readiness.watch(running)
		case <-groupCtx.Done():
		case <-ctx.Done():
		}
		s.cfg.Logger.Info("gateway stopping", "grace", s.cfg.Grace.String())
		p.stop(s.cfg.Grace)
		stopLog()
		return nil
	})
	err := group.Wait()
	s.cfg.Logger.Info("gateway stopped")
	return err
}

// logReady says where the gateway listens, and what it stands on: a directory that was
// mistyped, or a volume that is not there, looks like a log without events.
func (s *Server) logReady(ctx context.Context, events *eventlog.Log) {
	addresses := s.Addresses()
	attrs := []any{
		"grpc", addresses.GRPC, "http", addresses.HTTP, "webhook", addresses.Webhook, "admin", addresses.Admin,
		"channels", len(s.cfg.Channels), "callers", s.cfg.CallerCount(),
	}
	if s.cfg.NATSURL == "" {
		attrs = append(attrs, "data_dir", s.cfg.DataDir, "encrypted", len(s.cfg.EncryptionKeys) > 0)
	} else {
		attrs = append(attrs, "nats", s.js.Conn().ConnectedUrlRedacted())
	}
	if bounds, err := events.Bounds(ctx); err == nil {
		attrs = append(attrs, "events", bounds.Last+1-bounds.First, "newest_event", bounds.Last)
	}
	s.cfg.Logger.Info("gateway ready", attrs...)
}

// stop ends the parts in order, within grace.
func (p *parts) stop(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	p.readiness.stop()
	p.service.Drain()
	defer time.AfterFunc(grace-api.AnswerTime(grace), p.service.CutOff).Stop()
	// All ports at once: net/http waits 5 s for a connection that never sent a request,
	// and ports one after the other would wait that long each. memory goes after them,
	// since REST calls come in on it, and the admin port last: it tells an orchestrator
	// that the gateway is alive.
	var ports sync.WaitGroup
	ports.Go(func() { shutdownHTTP(ctx, p.webhook) })
	ports.Go(func() { shutdownHTTP(ctx, p.http) })
	ports.Go(func() { shutdownGRPC(ctx, p.grpc) })
	ports.Wait()
	shutdownGRPC(ctx, p.memory)
	_ = p.conn.Close() // of a connection in memory, whose server is gone
	shutdownHTTP(ctx, p.admin)
}
