package listen_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admin"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
	"github.com/ongair/ongair-gateway/server/rest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// Bounds of the HTTP ports, which clients and proxies rely on.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 30 * time.Second
	idleTimeout    = 2 * time.Minute
)

// openRequests admits every request. Its subscriptions have a response every ten seconds.
type openRequests struct{}

func (openRequests) Admit(*http.Request, string) (metadata.MD, func(), error) {
	return nil, func() {}, nil
}

func (openRequests) Subscribe(r *http.Request, _ string, receive func(*ongairv1.SubscribeRequest) error, send func(*event.Response) error, _ func()) error {
	if err := receive(&ongairv1.SubscribeRequest{}); err != nil {
		return err
	}
	for {
		select {
		case <-time.After(10 * time.Second):
		case <-r.Context().Done():
			return r.Context().Err()
		}
		if err := send(event.Heartbeat("x", 0)); err != nil {
			return err
		}
	}
}

// noLog takes nothing.
type noLog struct{ t *testing.T }

func (l noLog) Append(context.Context, *ongairv1.Event) (bool, error) {
	l.t.Error("a webhook that never came whole was stored")
	return false, nil
}

func TestAStreamIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, err := rest.New(t.Context(), rest.Config{Requests: openRequests{}, Bodies: listen.NewBodies()})
		require.NoError(t, err)
		conn, done := listentest.ServeHTTP(t, listen.NewHTTPServer(handler, nil, 0, slog.New(slog.DiscardHandler)))
		defer done()
		start := time.Now()
		_, err = io.WriteString(conn, "GET /v1/events:subscribe HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		lines := bufio.NewScanner(conn)
		for responses := 0; responses < 100; {
			require.True(t, lines.Scan(), "the stream ended after %s", time.Since(start))
			if strings.HasPrefix(lines.Text(), `{"result":`) {
				responses++
			}
		}
		assert.Greater(t, time.Since(start), 15*time.Minute)
	})
}

const slowSecret = "the-secret-of-the-tests"

func webhookServer(log webhook.Log) *listen.HTTPServer {
	discard := slog.New(slog.DiscardHandler)
	access := webhook.Access{Channels: map[string]webhook.Credentials{"default": {Secret: slowSecret}}}
	return listen.NewHTTPServer(webhook.New(webhook.Config{Access: access, Log: log, Logger: discard}), nil, webhook.AnswerTimeout, discard)
}

func callsServer(t *testing.T) *listen.HTTPServer {
	handler, err := rest.New(t.Context(), rest.Config{Requests: openRequests{}, Bodies: listen.NewBodies()}) // no call is ever made
	require.NoError(t, err)
	return listen.NewHTTPServer(handler, nil, 0, slog.New(slog.DiscardHandler))
}

func adminServer() *listen.HTTPServer {
	discard := slog.New(slog.DiscardHandler)
	return listen.NewHTTPServer(admin.Handler(admin.NewReadiness(nil, nil, discard)), nil, admin.AnswerTimeout, discard)
}

func withLength(request string) string {
	return request + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
}

// Who sends a byte a second, and shows no credential, holds a connection for as long as
// the bounds say and no longer.
func TestASlowSenderIsCutOff(t *testing.T) {
	intake := func(t *testing.T) *listen.HTTPServer { return webhookServer(noLog{t}) }
	operators := func(*testing.T) *listen.HTTPServer { return adminServer() }
	for name, tt := range map[string]struct {
		server func(*testing.T) *listen.HTTPServer
		atOnce string
		within time.Duration
	}{
		"a webhook's headers":               {intake, "POST /webhooks/default/", headerTimeout},
		"a webhook's body":                  {intake, withLength("POST " + webhook.Path("default", slowSecret)), requestTimeout},
		"a body without the secret":         {intake, withLength("POST " + webhook.Path("default", "wrong")), requestTimeout},
		"a call's headers":                  {callsServer, "POST /v1/", headerTimeout},
		"a call's body":                     {callsServer, withLength("POST /v1/messages:send"), requestTimeout},
		"a body of a call that takes none":  {callsServer, withLength("GET /v1/events:subscribe"), requestTimeout},
		"a body of no call":                 {callsServer, withLength("POST /v1/nothing"), requestTimeout},
		"a body of no call that takes none": {callsServer, withLength("GET /v1/nothing"), requestTimeout},
		"a body of another method":          {callsServer, withLength("GET /v1/messages:send"), requestTimeout},
		"a body of a page of elsewhere":     {callsServer, strings.Replace(withLength("POST /v1/messages:send"), "Host: x", "Host: x\r\nSec-Fetch-Site: cross-site", 1), requestTimeout},
		"an operator's headers":             {operators, "GET /live", headerTimeout},
		"an operator's body":                {operators, withLength("GET /livez"), requestTimeout},
		"an operator's body of no page":     {operators, withLength("POST /nothing"), requestTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, done := listentest.ServeHTTP(t, tt.server(t))
				defer done()
				go func() { _, _ = io.Copy(io.Discard, conn) }() // what is answered
				start := time.Now()
				_, err := io.WriteString(conn, tt.atOnce)
				require.NoError(t, err)
				for err == nil && time.Since(start) < time.Hour {
					time.Sleep(time.Second)
					_, err = conn.Write([]byte("x"))
				}
				assert.LessOrEqual(t, time.Since(start), tt.within+2*time.Second)
			})
		})
	}
}

// What a request asks for, as a stream or a profile, may take longer than the request.
func TestLongAnswersAreNotCutOff(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable)
		case <-time.After(10 * requestTimeout):
		}
	})
	discard := slog.New(slog.DiscardHandler)
	for name, body := range map[string]string{
		"no body": "\r\n", "a body": "Content-Length: 2\r\n\r\n{}", "a body in chunks": "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, done := listentest.ServeHTTP(t, listen.NewHTTPServer(slow, nil, 0, discard))
				defer done()
				_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+body)
				require.NoError(t, err)
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				assert.Equal(t, http.StatusOK, response.StatusCode)
			})
		})
	}
	t.Run("over HTTP/2", func(t *testing.T) {
		other := httptest.NewTLSServer(nil) // it lends its certificate
		defer other.Close()
		synctest.Test(t, func(t *testing.T) {
			conn, done := listentest.ServeHTTP(t, listen.NewHTTPServer(slow, &tls.Config{Certificates: other.TLS.Certificates, NextProtos: []string{"h2"}}, 0, discard))
			defer done()
			trusted := x509.NewCertPool()
			trusted.AddCert(other.Certificate())
			client := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
				return tls.Client(conn, &tls.Config{RootCAs: trusted, ServerName: "example.com", NextProtos: []string{"h2"}}), nil
			}}
			defer client.CloseIdleConnections()
			for _, body := range []string{"", "{}"} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/", strings.NewReader(body))
				require.NoError(t, err)
				response, err := client.RoundTrip(request)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				assert.Equal(t, http.StatusOK, response.StatusCode)
				assert.Equal(t, 2, response.ProtoMajor)
			}
		})
	})
}

// everyWebhook is a log that takes everything.
type everyWebhook struct{}

func (everyWebhook) Append(context.Context, *ongairv1.Event) (bool, error) { return true, nil }

func TestASenderThatDoesNotReadItsAnswerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, done := listentest.ServeHTTP(t, webhookServer(everyWebhook{}))
		defer done()
		start := time.Now()
		require.NoError(t, conn.SetDeadline(start.Add(time.Hour)))
		_, err := io.WriteString(conn, "POST "+webhook.Path("default", slowSecret)+" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b")
		for err == nil {
			_, err = conn.Write([]byte("x")) // until the other side hangs up
		}
		require.ErrorIs(t, err, io.ErrClosedPipe)
		assert.Equal(t, webhook.AnswerTimeout, time.Since(start))
	})
}

func TestAnUnusedConnectionEnds(t *testing.T) {
	for name, server := range map[string]func(*testing.T) *listen.HTTPServer{
		"webhooks":  func(*testing.T) *listen.HTTPServer { return webhookServer(everyWebhook{}) },
		"calls":     callsServer,
		"operators": func(*testing.T) *listen.HTTPServer { return adminServer() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, done := listentest.ServeHTTP(t, server(t))
				defer done()
				require.NoError(t, conn.SetDeadline(time.Now().Add(time.Hour)))
				_, err := io.WriteString(conn, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
				require.NoError(t, err)
				reader := bufio.NewReader(conn)
				response, err := http.ReadResponse(reader, nil)
				require.NoError(t, err)
				_, err = io.Copy(io.Discard, response.Body)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				answered := time.Now()
				_, err = reader.ReadByte()
				require.ErrorIs(t, err, io.EOF)
				assert.Equal(t, idleTimeout, time.Since(answered))
			})
		})
	}
}
