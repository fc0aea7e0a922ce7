package ongair

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	unreachable = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_UNREACHABLE
	lost        = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CONNECTION_LOST

	keptAlive = "HTTP/1.1 200 OK\r\nContent-Length: 54\r\n\r\n" + answerSent
)

func TestARefusedConnectionSentNothing(t *testing.T) {
	_, err := send(t, newClient(t, unusedAddress(t)))
	f := requireFault(t, err, unreachable, fault.EffectNone)
	assert.Equal(t, time.Second, f.RetryAfter)
	assert.ErrorIs(t, f.Cause, syscall.ECONNREFUSED)
}

func TestAFailedTLSHandshakeSentNothing(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the server received a request")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, err := send(t, newClient(t, server.URL))
	requireFault(t, err, unreachable, fault.EffectNone)
}

func TestTLSUsesHTTP1(t *testing.T) {
	protocol := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol <- r.Proto
		answering(http.StatusOK, "application/json", answerSent)(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := NewTransport()
	transport.TLSClientConfig = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	_, err := send(t, newClient(t, server.URL, func(c *Config) { c.Transport = transport }))
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1", <-protocol)
}

func TestAConnectionThatBreaks(t *testing.T) {
	for name, handle := range map[string]func(*net.TCPConn){
		"reset before the whole request is read": func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1))
			reset(conn)
		},
		"reset after the request is read": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			reset(conn)
		},
		"closed after the request is read": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_ = conn.Close()
		},
		"closed after half a header": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Le")
			_ = conn.Close()
		},
		"closed after half an answer": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, keptAlive[:len(keptAlive)-20])
			_ = conn.Close()
		},
		"reset after half an answer": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, keptAlive[:len(keptAlive)-20])
			reset(conn)
		},
		"closed within a chunk": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n36\r\n{\"sent\":")
			_ = conn.Close()
		},
		"closed between chunks, after a whole object": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n36\r\n"+answerSent+"\r\n")
			_ = conn.Close()
		},
		"an answer that is not HTTP": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.6\r\n\r\n")
			_ = conn.Close()
		},
		"an endless header": func(conn *net.TCPConn) {
			readRequest(bufio.NewReader(conn))
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(conn, "X-Nonsense: nonsense\r\n")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var connections atomic.Int32
			client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
				connections.Add(1)
				handle(conn)
			}))
			_, err := send(t, client)
			f := requireFault(t, err, lost, fault.EffectUnknown)
			assert.Zero(t, f.RetryAfter)
			assert.Error(t, f.Cause)
			assert.EqualValues(t, 1, connections.Load())
		})
	}
}

// The kernel decides whether anything is written to a connection that is reset immediately. The effect
// must match the reason in either case.
func TestAConnectionThatIsResetImmediately(t *testing.T) {
	client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) { reset(conn) }))
	for range 20 {
		_, err := send(t, client)
		f, ok := errors.AsType[*fault.Fault](err)
		require.True(t, ok)
		if f.Effect == fault.EffectNone {
			requireFault(t, err, unreachable, fault.EffectNone)
		} else {
			requireFault(t, err, lost, fault.EffectUnknown)
		}
	}
}

func TestATruncatedAnswerWithoutALengthIsUnreadable(t *testing.T) {
	_, err := send(t, newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
		readRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+answerSent[:30])
		_ = conn.Close()
	})))
	requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_ANSWER_UNREADABLE, fault.EffectUnknown)
}

func TestAStatusDecidesIfTheBodyIsLost(t *testing.T) {
	for status, want := range map[string]struct {
		reason ongairv1.ErrorReason
		effect fault.Effect
	}{
		"422 Unprocessable Entity":  {ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, fault.EffectNone},
		"429 Too Many Requests":     {ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED, fault.EffectNone},
		"401 Unauthorized":          {ongairv1.ErrorReason_ERROR_REASON_ONGAIR_TOKEN_REJECTED, fault.EffectNone},
		"500 Internal Server Error": {ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED, fault.EffectUnknown},
		"302 Found":                 {ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REDIRECTED, fault.EffectUnknown},
		"101 Switching Protocols":   {ongairv1.ErrorReason_ERROR_REASON_ONGAIR_ANSWER_UNREADABLE, fault.EffectUnknown},
	} {
		t.Run(status, func(t *testing.T) {
			_, err := send(t, newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
				readRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 100\r\n\r\n{\"error\":")
				_ = conn.Close()
			})))
			requireFault(t, err, want.reason, want.effect)
		})
	}
}

func TestATransportWithoutTracesIsAssumedToHaveSent(t *testing.T) {
	silent := roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
	_, err := send(t, newClient(t, "http://ongair.im", func(c *Config) { c.Transport = silent }))
	requireFault(t, err, lost, fault.EffectUnknown)

	inner := NewTransport()
	t.Cleanup(inner.CloseIdleConnections)
	wrapped := roundTripper(inner.RoundTrip)
	_, err = send(t, newClient(t, unusedAddress(t), func(c *Config) { c.Transport = wrapped }))
	requireFault(t, err, unreachable, fault.EffectNone)
}
