// Package admin serves the admin port: liveness, readiness and profiles. It is for operators
// and orchestrators. It needs no key, and shows nothing about customers.
//
// /readyz and grpc.health.v1 on the gRPC port report the same readiness. The gateway is ready
// between Start and Stop, while its log can be read and written. An outage of the log makes
// the gateway not ready and does not restart it: /livez does not depend on the log.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	// readyTimeout bounds a check of the log. Orchestrators commonly wait for one second.
	readyTimeout = 800 * time.Millisecond
	// readyInterval is the time between two checks for the clients of Watch.
	readyInterval = time.Second
	// AnswerTimeout bounds an answer. A profile may take this long beyond its duration.
	AnswerTimeout = 30 * time.Second
)

// Readiness tracks whether the gateway is ready. Its methods are safe for concurrent use.
type Readiness struct {
	serving  atomic.Bool
	check    func(context.Context) (why string)
	services []string
	health   *health.Server
	log      *slog.Logger
}

// NewReadiness returns a Readiness, which is not ready before Start. check returns why the log
// is unavailable, or an empty string. services are the gRPC services that have this health,
// in addition to the whole server.
func NewReadiness(check func(context.Context) (why string), services []string, log *slog.Logger) *Readiness {
	r := &Readiness{check: check, services: append([]string{""}, services...), health: health.NewServer(), log: log}
	r.setStatus(healthv1.HealthCheckResponse_NOT_SERVING)
	return r
}

// Health returns the server of grpc.health.v1.
func (r *Readiness) Health() *health.Server { return r.health }

func (r *Readiness) setStatus(status healthv1.HealthCheckResponse_ServingStatus) {
	for _, service := range r.services {
		r.health.SetServingStatus(service, status)
	}
}

// Start makes the gateway ready.
func (r *Readiness) Start() {
	r.serving.Store(true)
	r.setStatus(healthv1.HealthCheckResponse_SERVING)
}

// Watch updates the health when the log becomes available or unavailable, and logs each
// change, until ctx ends.
func (r *Readiness) Watch(ctx context.Context) {
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
			r.setStatus(healthv1.HealthCheckResponse_SERVING)
		} else {
			r.log.Warn("the gateway is not ready", "why", why)
			r.setStatus(healthv1.HealthCheckResponse_NOT_SERVING)
		}
	}
}

// Stop makes the gateway not ready for good.
func (r *Readiness) Stop() {
	r.serving.Store(false)
	r.health.Shutdown() // every status becomes NOT_SERVING and stays so
}

// why returns why the gateway is not ready; empty if it is.
func (r *Readiness) why(ctx context.Context) string {
	if !r.serving.Load() {
		return "starting or stopping"
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return r.check(ctx)
}

// Handler returns the handler of the admin port.
func Handler(ready *Readiness) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text + "\n")) // fails if the client has left
	}
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
