package webhook

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/servertest/syncbuffer"
)

const (
	testChannel = "support"
	testSecret  = "canary-secret-0123456789_-"
	formType    = "application/x-www-form-urlencoded"
)

var (
	channels = map[string]Credentials{testChannel: {Secret: testSecret}, "sales": {Secret: "another-secret-0123456789"}}
	discard  = slog.New(slog.DiscardHandler)
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// memoryLog records appended events. If before is not nil, it runs first and may return an error.
type memoryLog struct {
	before func(context.Context) error

	mu     sync.Mutex
	events []*ongairv1.Event
}

func (l *memoryLog) Append(ctx context.Context, e *ongairv1.Event) (bool, error) {
	if l.before != nil {
		if err := l.before(ctx); err != nil {
			return false, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, earlier := range l.events {
		if earlier.GetId() == e.GetId() {
			return false, nil
		}
	}
	l.events = append(l.events, proto.CloneOf(e))
	return true, nil
}

func (l *memoryLog) appended() []*ongairv1.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events
}

// logBuffer collects log lines.
type logBuffer struct{ syncbuffer.Buffer }

// logger returns a logger that writes all levels to b.
func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// serve serves handler on loopback and returns its base URL.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// answer is the part of a response that tests check.
type answer struct {
	status int
	header http.Header
}

// post posts a body. It sends no Content-Type header if contentType is empty.
func post(t *testing.T, url, contentType string, body []byte, change ...func(*http.Request)) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		request.Header["Content-Type"] = []string{contentType}
	}
	// The client waits for 100 Continue. Otherwise the reset of a connection with unread bytes could
	// discard the rejection.
	request.Header.Set("Expect", "100-continue")
	for _, c := range change {
		c(request)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header}
}

// slogToStandard returns a logger for net/http that writes to b.
func slogToStandard(b *logBuffer) *log.Logger {
	return slog.NewLogLogger(b.logger().Handler(), slog.LevelDebug)
}
