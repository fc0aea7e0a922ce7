package server

import (
	"context"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/jetstream"
)

// readyTimeout bounds the look at the log that readiness takes: less than the
// second that an orchestrator commonly waits.
const readyTimeout = 800 * time.Millisecond

// readiness says whether the gateway should be sent work.
type readiness struct {
	serving atomic.Bool
	js      *jetstream.JetStream
	log     *eventlog.Log
}

func newReadiness(js *jetstream.JetStream, log *eventlog.Log) *readiness {
	return &readiness{js: js, log: log}
}

func (r *readiness) set(serving bool) { r.serving.Store(serving) }

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
	if _, err := r.log.Bounds(ctx); err != nil {
		return "the event log is not available"
	}
	return ""
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
