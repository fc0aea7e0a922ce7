package server

import (
	"context"

	"google.golang.org/grpc"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admin"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/rest"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/streamticket"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// listeners are the four ports.
type listeners struct{ grpc, http, webhook, admin *listen.Listener }

// openPorts opens all ports, or none. The gate observes the connections of callers.
func openPorts(ctx context.Context, cfg config.Config, gate *admission.Gate) (*listeners, error) {
	l := &listeners{}
	for _, p := range []struct {
		name, addr string
		observer   listen.Observer
		listener   **listen.Listener
	}{
		{"gRPC", cfg.GRPCAddr, gate.Observe(admission.PortGRPC), &l.grpc},
		{"HTTP", cfg.HTTPAddr, gate.Observe(admission.PortHTTP), &l.http},
		{"webhook", cfg.WebhookAddr, nil, &l.webhook},
		{"admin", cfg.AdminAddr, nil, &l.admin},
	} {
		listener, err := listen.TCP(ctx, listen.Config{
			Addr: p.addr, Name: p.name, MaxConnections: cfg.MaxConnections, Observer: p.observer, Logger: cfg.Logger,
		})
		if err != nil {
			l.close()
			return nil, err
		}
		*p.listener = listener
	}
	return l, nil
}

// close closes all ports.
func (l *listeners) close() {
	for _, listener := range []*listen.Listener{l.grpc, l.http, l.webhook, l.admin} {
		if listener != nil {
			_ = listener.Close() // fails if its server has closed it
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

// parts has the servers of the ports, and what a stop needs.
type parts struct {
	service *api.Service
	// grpc serves the gRPC port, and memory the connection in memory for REST calls.
	grpc, memory *grpc.Server
	// running are the calls of grpc that a stop waits for.
	running              listen.Running
	gate                 *admission.Gate
	pipe                 *rest.Pipe
	conn                 *grpc.ClientConn
	http, webhook, admin *listen.HTTPServer
	readiness            *admin.Readiness
}

func (s *Server) assemble(ctx context.Context, gate *admission.Gate, store *storage.Storage, events *eventlog.Log, tail *fanout.Fanout, once *idempotency.Store, tickets *streamticket.Tickets) (*parts, error) {
	log := s.cfg.Logger
	p := &parts{
		service: api.NewService(api.Config{
			Channels: s.upstreams, Reauthenticate: s.authenticator.Reauthenticate, Fanout: tail, Once: once, Tickets: tickets,
		}),
		gate:      gate,
		pipe:      rest.NewPipe(),
		readiness: admin.NewReadiness(checkLog(store, events), []string{ongairv1.OngairService_ServiceDesc.ServiceName}, log),
	}
	cfg := api.ServerConfig{Service: p.service, Health: p.readiness.Health(), Gate: gate, InMemory: true, Logger: log}
	var err error
	if p.memory, err = api.NewServer(cfg); err != nil {
		return nil, err
	}
	cfg.InMemory, cfg.Running = false, &p.running
	cfg.MaxStreams = s.cfg.MaxStreams()
	cfg.TLS = s.tls.Config((*listen.TLS).Callers)
	if p.grpc, err = api.NewServer(cfg); err != nil {
		return nil, err
	}
	if p.conn, err = p.pipe.Dial(2 * storage.MaxPayload); err != nil {
		return nil, err
	}
	requests, err := api.NewRequests(p.service, gate, log)
	if err != nil {
		return nil, err
	}
	handler, err := rest.New(ctx, rest.Config{Conn: p.conn, Requests: requests, Bodies: listen.NewBodies(), CORSOrigins: s.cfg.CORSOrigins})
	if err != nil {
		return nil, err
	}
	intake := webhook.New(webhook.Config{Access: webhookAccess(s.cfg), Log: events, Logger: log})
	p.http = listen.NewHTTPServer(handler, s.tls.Config((*listen.TLS).Callers), 0, log)
	p.webhook = listen.NewHTTPServer(intake, s.tls.Config((*listen.TLS).Public), webhook.AnswerTimeout, log)
	p.admin = listen.NewHTTPServer(admin.Handler(p.readiness), s.tls.Config((*listen.TLS).Public), admin.AnswerTimeout, log)
	s.replace = func(cfg config.Config, upstreams map[string]api.Upstream) {
		s.authenticator.Replace(cfg.AllCallers())
		p.service.Replace(upstreams)
		intake.Replace(webhookAccess(cfg))
	}
	return p, nil
}

// checkLog returns the check of the log for readiness.
func checkLog(store *storage.Storage, events *eventlog.Log) func(context.Context) (why string) {
	return func(ctx context.Context) string {
		if store.Writable().Err() != nil {
			return "the event log cannot be written"
		}
		if _, err := events.Bounds(ctx); err != nil {
			return "the event log is not available"
		}
		return ""
	}
}
