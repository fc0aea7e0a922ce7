package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/storage"
)

// serve runs everything until ctx ends or a part fails, and stops it in order.
func (s *Server) serve(ctx context.Context, p *parts, store *storage.Storage, events *eventlog.Log, tail *fanout.Fanout) error {
	group, groupCtx := errgroup.WithContext(context.WithoutCancel(ctx))
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return store.Run(logCtx) })
	group.Go(func() error { return tail.Run(logCtx) })
	group.Go(func() error { return serveGRPC(p.memory, p.pipe) })
	group.Go(func() error { return serveGRPC(p.grpc, s.listeners.grpc) })
	group.Go(func() error { return p.http.Serve(s.listeners.http) })
	group.Go(func() error { return p.webhook.Serve(s.listeners.webhook) })
	group.Go(func() error { return p.admin.Serve(s.listeners.admin) })
	group.Go(func() error {
		select {
		case <-tail.Ready():
			p.readiness.Start()
			close(s.ready)
			s.logReady(groupCtx, events)
			running, stop := context.WithCancel(groupCtx)
			defer stop()
			defer context.AfterFunc(ctx, stop)()
			p.readiness.Watch(running)
		case <-groupCtx.Done():
		case <-ctx.Done():
		}
		s.cfg.Logger.Info("gateway stopping", "grace", s.cfg.Grace.String())
		p.stop(s.cfg.Grace)
		stopLog()
		return nil
	})
	return group.Wait()
}

// logReady logs the addresses, the data directory and the size of the log. A mistyped directory or
// a missing volume shows up as a log without events.
func (s *Server) logReady(ctx context.Context, events *eventlog.Log) {
	addresses := s.Addresses()
	attrs := []any{
		"grpc", addresses.GRPC, "http", addresses.HTTP, "webhook", addresses.Webhook, "admin", addresses.Admin,
		"channels", len(s.cfg.Channels), "callers", s.cfg.CallerCount(),
	}
	if s.cfg.NATSURL == "" {
		attrs = append(attrs, "data_dir", s.cfg.DataDir, "encrypted", len(s.cfg.EncryptionKeys) > 0)
	} else {
		attrs = append(attrs, "nats", s.store.URL())
	}
	if bounds, err := events.Bounds(ctx); err == nil {
		attrs = append(attrs, "events", bounds.Last+1-bounds.First, "newest_event", bounds.Last)
	}
	s.cfg.Logger.Info("gateway ready", attrs...)
}

// silentDelay bounds the time until the first call of a connection while the gateway stops.
const silentDelay = 250 * time.Millisecond

// adminTimeout is how long the admin port waits for its requests once everything else has
// stopped: probes take milliseconds.
const adminTimeout = 250 * time.Millisecond

// stop ends the parts in order, within grace.
func (p *parts) stop(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	p.readiness.Stop()
	p.service.Drain()
	defer time.AfterFunc(grace-api.AnswerTime(grace), p.service.CutOff).Stop()
	// grpc-go sends GOAWAY only when no connection is in a handshake.
	defer time.AfterFunc(silentDelay, func() { p.gate.CloseSilent(admission.PortGRPC, api.HandshakeTimeout) }).Stop()
	// The ports stop at the same time, because each may wait for its clients. memory stops
	// after them, because it serves REST calls. The admin port stops last, because it reports
	// that the gateway is alive.
	var ports sync.WaitGroup
	ports.Go(func() { p.webhook.Stop(ctx) })
	ports.Go(func() { p.http.Stop(ctx) })
	ports.Go(func() { listen.Stop(ctx, &p.running, p.grpc.GracefulStop, p.grpc.Stop) })
	ports.Wait()
	listen.Stop(ctx, &listen.Running{}, p.memory.GracefulStop, p.memory.Stop)
	_ = p.conn.Close() // fails if its server has closed it
	last, done := context.WithTimeout(ctx, adminTimeout)
	defer done()
	p.admin.Stop(last)
}

// serveGRPC serves until the server is stopped, which may be before the call.
func serveGRPC(server *grpc.Server, listener net.Listener) error {
	if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
