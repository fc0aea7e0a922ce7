package server

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/rest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// pipes is a listener in memory, so that time can be virtual.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// noLog takes nothing.
type noLog struct{ t *testing.T }

func (l noLog) Append(context.Context, *ongairv1.Event) (bool, error) {
	l.t.Error("a webhook that never came whole was stored")
	return false, nil
}

// heartbeats is a connection of which each stream has a response every ten seconds.
type heartbeats struct{ grpc.ClientConnInterface }

func (heartbeats) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return heartbeat{ctx: ctx}, nil
}

type heartbeat struct {
	grpc.ClientStream
	ctx context.Context //nolint:containedctx // as each stream has one
}

func (h heartbeat) Context() context.Context   { return h.ctx }
func (heartbeat) Header() (metadata.MD, error) { return nil, nil }
func (heartbeat) SendMsg(any) error            { return nil }
func (heartbeat) CloseSend() error             { return nil }
func (h heartbeat) RecvMsg(any) error {
	select {
	case <-time.After(10 * time.Second):
		return nil
	case <-h.ctx.Done():
		return h.ctx.Err()
	}
}

// The bound on how long a request's body takes is no bound on the stream that it asks for.
func TestAStreamIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, err := rest.New(t.Context(), heartbeats{})
		require.NoError(t, err)
		server, listener := newHTTPServer(handler, nil, slog.New(slog.DiscardHandler)), newPipes()
		served := make(chan error, 1)
		go func() { served <- serveHTTP(server, listener) }()
		ours, theirs := net.Pipe()
		listener.conns <- theirs
		start := time.Now()
		_, err = ours.Write([]byte("GET /v1/events:subscribe HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		lines := bufio.NewScanner(ours)
		for responses := 0; responses < 100; {
			require.True(t, lines.Scan(), "the stream ended after %s", time.Since(start))
			if strings.HasPrefix(lines.Text(), `{"result":`) {
				responses++
			}
		}
		assert.Greater(t, time.Since(start), 15*time.Minute)
		require.NoError(t, ours.Close())
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
}

// Who sends a byte a second, and shows no credential, holds a connection for as long as
// the bounds say and no longer.
func TestWhoSendsSlowlyIsCutOff(t *testing.T) {
	const secret = "the-secret-of-the-tests"
	discard := slog.New(slog.DiscardHandler)
	post := func(path string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
	}
	intake := func(t *testing.T) *http.Server {
		return newWebhookServer(webhook.New(webhook.Config{
			Access: webhook.Access{Channels: map[string]webhook.Credentials{"default": {Secret: secret}}}, Log: noLog{t}, Logger: discard,
		}), nil, discard)
	}
	calls := func(t *testing.T) *http.Server {
		handler, err := rest.New(t.Context(), nil) // no call is ever made
		require.NoError(t, err)
		return newHTTPServer(handler, nil, discard)
	}
	for name, tt := range map[string]struct {
		server func(*testing.T) *http.Server
		atOnce string
		within time.Duration
	}{
		"a webhook's headers":       {intake, "POST /webhooks/default/", headerTimeout},
		"a webhook's body":          {intake, post(webhook.Path("default", secret)), webhookTimeout},
		"a body without the secret": {intake, post(webhook.Path("default", "wrong")), webhookTimeout},
		"a call's headers":          {calls, "POST /v1/", headerTimeout},
		"a call's body":             {calls, post("/v1/messages:send"), 30 * time.Second},
		"a body of no call":         {calls, post("/v1/nothing"), 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, listener := tt.server(t), newPipes()
				served := make(chan error, 1)
				go func() { served <- serveHTTP(server, listener) }()
				ours, theirs := net.Pipe()
				listener.conns <- theirs
				go func() {
					buffer := make([]byte, 1024)
					for {
						if _, err := ours.Read(buffer); err != nil { // what is answered
							return
						}
					}
				}()
				start := time.Now()
				_, err := ours.Write([]byte(tt.atOnce))
				require.NoError(t, err)
				for err == nil && time.Since(start) < time.Hour {
					time.Sleep(time.Second)
					_, err = ours.Write([]byte("x"))
				}
				assert.LessOrEqual(t, time.Since(start), tt.within+2*time.Second)
				require.NoError(t, ours.Close())
				require.NoError(t, server.Close())
				require.NoError(t, <-served)
			})
		})
	}
}
