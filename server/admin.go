package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/jetstream"
)

// readyTimeout bounds the look at the log that readiness takes: less than the
// second that an orchestrator commonly waits.
const readyTimeout = 800 * time.Millisecond

// readyInterval is how often readiness is looked at for those who watch it.
const readyInterval = time.Second

// readiness says whether the gateway should be sent work, over HTTP to who asks
// (adminHandler) and over gRPC to who asks or watches.
type readiness struct {
	serving atomic.Bool
	js      *jetstream.JetStream
	events  *eventlog.Log
	health  *health.Server
	log     *slog.Logger
}

func newReadiness(js *jetstream.JetStream, events *eventlog.Log, log *slog.Logger) *readiness {
	r := &readiness{js: js, events: events, health: health.NewServer(), log: log}
	r.tell(healthv1.HealthCheckResponse_NOT_SERVING)
	return r
}

// tell says to those who ask over gRPC, or watch, what they are to do.
func (r *readiness) tell(status healthv1.HealthCheckResponse_ServingStatus) {
	r.health.SetServingStatus("", status)
	r.health.SetServingStatus(ongairv1.OngairService_ServiceDesc.ServiceName, status)
}

// start says that the gateway is ready.
func (r *readiness) start() {
	r.serving.Store(true)
	r.tell(healthv1.HealthCheckResponse_SERVING)
}

// watch tells of each change after start, until ctx ends.
func (r *readiness) watch(ctx context.Context) {
	var before string
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		why := r.why(ctx)
		if ctx.Err() != nil || why == before {
			continue
		}
		if before = why; why == "" {
			r.log.Info("the gateway is ready again")
			r.tell(healthv1.HealthCheckResponse_SERVING)
		} else {
			r.log.Warn("the gateway is not ready", "why", why)
			r.tell(healthv1.HealthCheckResponse_NOT_SERVING)
		}
	}
}

// stop says that the gateway is not ready, and never will be again.
func (r *readiness) stop() {
	r.serving.Store(false)
	r.health.Shutdown() // all statuses become NOT_SERVING, and stay so
}

// why returns why the gateway is not ready; empty when it is.
func (r *readiness) why(ctx context.Context) string {
	if !r.serving.Load() {
		return "starting or stopping"
	}
	if r.js.Writable().Err() != nil {
		return "the event log cannot be written"
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if _, err := r.events.Bounds(ctx); err != nil {
		return "the event log is not available"
	}
	return ""
}

// adminAnswerTimeout bounds a page, and what a profile takes beyond the time that it was
// asked for.
const adminAnswerTimeout = 30 * time.Second

func newAdminServer(ready *readiness, tlsConfig *tls.Config, log *slog.Logger) *http.Server {
	server := newHTTPServer(adminHandler(ready), tlsConfig, log)
	server.WriteTimeout = adminAnswerTimeout
	return server
}

// adminHandler serves what operators and orchestrators ask. It never asks for a
// key, and never says anything about customers.
func adminHandler(ready *readiness) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text + "\n")) // whoever asked has gone
	}
	// Alive is whoever answers: an outage of something else MUST NOT restart the
	// gateway.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if why := ready.why(r.Context()); why != "" {
			answer(w, http.StatusServiceUnavailable, "not ready: "+why)
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
