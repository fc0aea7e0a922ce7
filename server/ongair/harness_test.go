package ongair

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	testToken   = "meowmeowmeow"
	testContact = "+254722200200"
	testText    = "Habari, a private text"

	answerSent = `{"sent":"true","id":"35345432","conversation_id":"22"}`
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// newClient returns a client of baseURL that does not retry. Its idle connections are closed when the
// test ends.
func newClient(t *testing.T, baseURL string, change ...func(*Config)) *Client {
	t.Helper()
	config := Config{BaseURL: baseURL, Token: testToken}
	for _, c := range change {
		c(&config)
	}
	client, err := New(config)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	client.tries = 1
	return client
}

func withForm(form AuthForm) func(*Config) {
	return func(c *Config) { c.AuthForm = form }
}

// withinTest returns a context that ends long before the timeout of the test binary, so that a call
// that hangs fails its own test.
func withinTest(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func send(t *testing.T, client *Client) (Receipt, error) {
	t.Helper()
	return client.Send(withinTest(t), Text{ExternalID: testContact, Text: testText})
}

// serve runs an HTTP server on loopback until the test ends.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// answering returns a handler that gives the same answer to every request.
func answering(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// listen runs a TCP server on loopback. handle gets each connection and its number, from 1.
// Connections that handle leaves open are closed when the test ends.
func listen(t *testing.T, handle func(conn *net.TCPConn, number int)) (baseURL string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		open    []net.Conn
	)
	running.Go(func() {
		for number := 1; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			running.Go(func() { handle(conn.(*net.TCPConn), number) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "http://" + listener.Addr().String()
}

// readRequest reads a whole request. It returns false if the connection ends before.
func readRequest(reader *bufio.Reader) bool {
	request, err := http.ReadRequest(reader)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, request.Body)
	return err == nil
}

// reset closes the connection with a RST.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// unusedAddress returns a base URL without a listener.
func unusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return "http://" + listener.Addr().String()
}

// requireFault requires a fault with a reason and an effect, and checks the rules for all faults.
func requireFault(
	t *testing.T, err error, reason ongairv1.ErrorReason, effect fault.Effect,
) *fault.Fault {
	t.Helper()
	require.Error(t, err)
	f, ok := errors.AsType[*fault.Fault](err)
	require.Truef(t, ok, "%T is not a fault: %v", err, err)
	require.Equalf(t, reason.String(), f.Reason.String(), "%v", err)
	require.Equalf(t, effect, f.Effect, "%v", err)
	if f.RetryAfter > 0 {
		require.Equal(t, fault.EffectNone, f.Effect, "a call that may have had an effect must not be retried")
	}
	assert.NotContains(t, err.Error(), testToken)
	assert.NotContains(t, f.Message, testText)
	assert.NotContains(t, f.Message, testContact)
	return f
}

func answerFile(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "answers", name+".json"))
	require.NoError(t, err)
	return string(content)
}

// roundTripper is a function that implements http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
