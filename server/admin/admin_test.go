package admin

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// fixture is a Readiness whose log can be made to fail.
type fixture struct {
	*Readiness
	broken atomic.Bool
	lines  bytes.Buffer
}

func newFixture() *fixture {
	f := &fixture{}
	f.Readiness = NewReadiness(func(context.Context) string {
		if f.broken.Load() {
			return "the event log is not available"
		}
		return ""
	}, []string{"a.Service"}, slog.New(slog.NewTextHandler(&f.lines, nil)))
	return f
}

func (f *fixture) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	answer := httptest.NewRecorder()
	Handler(f.Readiness).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return answer.Code, answer.Body.String()
}

// requireReady checks /readyz and the gRPC health service.
func (f *fixture) requireReady(t *testing.T, want bool, why string) {
	t.Helper()
	status, body := f.get(t, "/readyz")
	for _, service := range []string{"", "a.Service"} {
		response, err := f.Health().Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		assert.Equal(t, want, response.GetStatus() == healthv1.HealthCheckResponse_SERVING, service)
	}
	if want {
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "ok\n", body)
		return
	}
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "not ready: "+why+"\n", body)
}

func TestReadinessFollowsStartStopAndTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.requireReady(t, false, "starting or stopping")
		f.Start()
		f.requireReady(t, true, "")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); f.Watch(ctx) }()

		f.broken.Store(true)
		time.Sleep(2 * readyInterval)
		f.requireReady(t, false, "the event log is not available")
		time.Sleep(10 * readyInterval)
		assert.Equal(t, 1, strings.Count(f.lines.String(), "not ready"), "a change must be logged once")
		status, _ := f.get(t, "/livez")
		assert.Equal(t, http.StatusOK, status, "an outage must not restart the gateway")

		f.broken.Store(false)
		time.Sleep(2 * readyInterval)
		f.requireReady(t, true, "")
		assert.Contains(t, f.lines.String(), "ready again")
		stop()
		<-ended
		f.Stop()
		f.requireReady(t, false, "starting or stopping")
		f.setStatus(healthv1.HealthCheckResponse_SERVING)
		f.requireReady(t, false, "starting or stopping")
	})
}

func TestOtherPathsAreNotServed(t *testing.T) {
	f := newFixture()
	for _, path := range []string{"/", "/readyz/", "/metrics", "/debug", "/v1/messages:send"} {
		status, _ := f.get(t, path)
		assert.Equal(t, http.StatusNotFound, status, path)
	}
	status, _ := f.get(t, "/debug/pprof/")
	assert.Equal(t, http.StatusOK, status)
}
