package sandbox

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	token    = "meowmeowmeow"
	customer = "+254722200200"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// posted is a webhook as the receiver got it.
type posted struct {
	contentType string
	body        string
}

// receiver answers webhooks with status and returns them in a channel.
func receiver(t *testing.T, status int) (url string, webhooks <-chan posted) {
	t.Helper()
	got := make(chan posted, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- posted{r.Header.Get("Content-Type"), string(body)}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

// start runs a sandbox on loopback until the test ends.
func start(t *testing.T, config Config) (s *Sandbox, baseURL string) {
	t.Helper()
	config.Token = token
	s = New(config)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-stopped)
	})
	return s, "http://" + l.Addr().String()
}

// quick returns a Config without delays of webhooks.
func quick(webhookURL string) Config {
	return Config{WebhookURL: webhookURL, SentDelay: -1, AnswerDelay: -1}
}

// httpClient returns a client with a timeout. Its connections are closed when the test ends.
func httpClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// exchange makes one call and reads its whole answer.
func exchange(t *testing.T, method, url, contentType, body string, header ...string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := httpClient(t).Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(read)
}

// call makes an authenticated call of the API. The body has the Content-Type that curl would send.
func call(t *testing.T, baseURL, path, body string) (status int, answer string) {
	t.Helper()
	return exchange(t, http.MethodPost, baseURL+apiPath+path, formType, body, "Authorization", "Token token:"+token)
}

// ask makes a call directly on the handler, for tests in virtual time.
func ask(s *Sandbox, path, body string) (status int, answer string) {
	request := httptest.NewRequest(http.MethodPost, apiPath+path, strings.NewReader(body))
	request.Header.Set("Authorization", "Token token:"+token)
	recorder := httptest.NewRecorder()
	s.Handler().ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

func golden(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, path...)...))
	require.NoError(t, err)
	return string(content)
}

func receive(t *testing.T, webhooks <-chan posted) posted {
	t.Helper()
	select {
	case got := <-webhooks:
		return got
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no webhook arrived")
		return posted{}
	}
}
