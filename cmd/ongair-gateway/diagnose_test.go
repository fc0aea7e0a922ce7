package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	. "github.com/ongair/ongair-gateway/server/servertest"
)

// advices returns every advice for a server that uses another protocol.
func advices() []string { return []string{adviceTLS, adviceClear, adviceHTTPPort} }

// assertAdvice asserts that the output contains the wanted advice, if any, and no other.
func assertAdvice(t *testing.T, want, errOut string) {
	t.Helper()
	for _, advice := range advices() {
		if advice == want {
			assert.Contains(t, errOut, advice)
		} else {
			assert.NotContains(t, errOut, advice)
		}
	}
	if want == "" {
		assert.NotContains(t, errOut, "TLS")
	}
}

func TestTheErrorAdvisesAboutAWrongPortOrProtocol(t *testing.T) {
	cert, key := Certificate(t, t.TempDir())
	clear := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	secure := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	for _, tt := range []struct {
		name, addr            string
		advice, adviceWithTLS string
		code                  int
	}{
		{"gRPC", clear.GRPC, "-", adviceClear, exitUnavailable},
		{"HTTP", clear.HTTP, adviceHTTPPort, adviceHTTPPort, exitUnavailable},
		{"webhooks", clear.Webhook, adviceHTTPPort, adviceHTTPPort, exitUnavailable},
		{"admin", clear.Admin, adviceHTTPPort, adviceHTTPPort, exitUnavailable},
		{"gRPC over TLS", secure.GRPC, adviceTLS, "-", exitUnavailable},
		{"HTTP over TLS", secure.HTTP, adviceTLS, adviceHTTPPort, exitRejected},
		{"webhooks over TLS", secure.Webhook, adviceTLS, adviceHTTPPort, exitRejected},
		{"admin over TLS", secure.Admin, adviceTLS, adviceHTTPPort, exitRejected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, args := range [][]string{{"send", "--external-id", Contact, "--text", "Hello"}, {"tail"}} {
				args = append(args, "--addr", tt.addr)
				if tt.advice != "-" {
					got := command(t, nil, args...)
					assert.Equal(t, exitUnavailable, got.code)
					assertAdvice(t, tt.advice, got.errOut)
				}
				if tt.adviceWithTLS != "-" {
					got := command(t, nil, append(args, "--tls-ca", cert)...)
					assert.Equal(t, tt.code, got.code)
					assertAdvice(t, tt.adviceWithTLS, got.errOut)
				}
			}
		})
	}
}

// listenAndHandle returns the address of a server that handles and then closes each connection.
func listenAndHandle(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				handle(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// respond answers the first bytes of a connection. It reads the rest, because closing a
// connection with unread data could drop the answer.
func respond(answer string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1024))
		_, _ = io.WriteString(conn, answer)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}
}

func TestSendAdvisesTLSOnlyIfTheServerUsesIt(t *testing.T) {
	cert, key := Certificate(t, t.TempDir())
	certificate, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	handshake := func(config *tls.Config) func(net.Conn) {
		config.Certificates = []tls.Certificate{certificate}
		return func(conn net.Conn) { _ = tls.Server(conn, config).Handshake() }
	}
	for name, tt := range map[string]struct {
		handle func(net.Conn)
		advice string
	}{
		"closes at once":                     {func(net.Conn) {}, ""},
		"closes without an answer":           {respond(""), ""},
		"resets":                             {func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, ""},
		"is SSH":                             {respond("SSH-2.0-OpenSSH_9.6\r\n"), ""},
		"is Redis":                           {respond("-ERR unknown command 'PRI'\r\n"), ""},
		"answers zeros":                      {respond(strings.Repeat("\x00", 64)), ""},
		"answers one byte":                   {respond("\x15"), ""},
		"answers an almost valid TLS record": {respond("\x15\x02\x01\x00\x02\x02\x16"), ""},
		"is HTTP/1.1":                        {respond("HTTP/1.1 400 Bad Request\r\n\r\n"), adviceHTTPPort},
		"is HTTP/1.0 with a long answer":     {respond("HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", 64<<10)), adviceHTTPPort},
		"answers a TLS alert":                {respond("\x15\x03\x01\x00\x02\x02\x16"), adviceTLS},
		"is TLS 1.2":                         {handshake(&tls.Config{MaxVersion: tls.VersionTLS12}), adviceTLS},
		"is TLS 1.3":                         {handshake(&tls.Config{MinVersion: tls.VersionTLS13}), adviceTLS},
		"is TLS without HTTP/2":              {handshake(&tls.Config{NextProtos: []string{"http/1.1"}}), adviceTLS},
		"is TLS with client certificates":    {handshake(&tls.Config{ClientAuth: tls.RequireAnyClientCert}), adviceTLS},
		"is TLS for another host name": {handshake(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, errors.New("no such host")
		}}), adviceTLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := command(t, nil, "send", "--addr", listenAndHandle(t, tt.handle), "--external-id", Contact, "--text", "Hello")
			assert.Equal(t, exitUnavailable, got.code, got.errOut)
			assertAdvice(t, tt.advice, got.errOut)
		})
	}
}

// The probe of a silent server times out.
func TestASilentServerGetsNoAdvice(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	flags := clientFlags{Addr: listenAndHandle(t, func(net.Conn) { <-t.Context().Done() })}
	silent := status.Error(codes.Unavailable, `connection error: desc = "error reading server preface: i/o timeout"`)
	assert.Equal(t, silent, flags.diagnose(ctx, silent))
	assert.NoError(t, ctx.Err())
}

// A proxy whose gateway is unavailable is not a wrong port.
func TestAProxyWithoutAGatewayIsNotAnHTTPPort(t *testing.T) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	for code, want := range map[int]string{http.StatusBadGateway: "", http.StatusServiceUnavailable: "", http.StatusNotFound: adviceHTTPPort} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })}
		go func() { _ = server.Serve(listener) }() // until Close
		got := command(t, nil, "send", "--addr", listener.Addr().String(), "--external-id", Contact, "--text", "Hello")
		assertAdvice(t, want, got.errOut)
		assert.NoError(t, server.Close())
	}
}
