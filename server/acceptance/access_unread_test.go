package acceptance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/connectivity"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// unread returns functions by the name of their transport. Each opens a stream of a channel, reads
// its first response, and then stops reading. The stream is open until the test ends.
func unread() map[string]func(*testing.T, Endpoints) {
	return map[string]func(*testing.T, Endpoints){
		"gRPC": func(t *testing.T, at Endpoints) {
			conn, err := Dial(at)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(func() { cancel(); assert.NoError(t, conn.Close()) })
			stream, err := ongairv1.NewOngairServiceClient(conn).Subscribe(ctx, &ongairv1.SubscribeRequest{Channels: []string{Channel}})
			require.NoError(t, err)
			_, err = stream.Recv()
			require.NoError(t, err)
		},
		"NDJSON": func(t *testing.T, at Endpoints) {
			conn := dial(t, at.HTTP)
			require.NoError(t, conn.SetReadBuffer(4096))
			_, err := fmt.Fprintf(conn, "GET /v1/events:subscribe?channels=%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", Channel, at.APIKey)
			require.NoError(t, err)
			status, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, status, "200")
		},
	}
}

// dial opens a connection until the test ends.
func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // fails if the gateway has reset it
	return conn.(*net.TCPConn)
}

// fillStreams posts more than the buffers of a stream hold if its client does not read.
func fillStreams(t *testing.T, g *Gateway) {
	t.Helper()
	r := NewRecorder(t)
	for i := range 100 {
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(i, strings.Repeat("x", 100_000))...))
	}
}

func TestARevokedCallerLosesAnUnreadStream(t *testing.T) {
	for name, open := range unread() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			billing := func(channel string) func(*config.Config) {
				return func(c *config.Config) {
					twoChannels(c)
					caller := c.Callers["billing"]
					caller.Channels, caller.MaxStreams = []string{channel}, 1
					c.Callers["billing"] = caller
				}
			}
			g := Start(t, billing(Channel))
			at := Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: billingKey}
			open(t, at)
			fillStreams(t, g)
			require.NoError(t, g.Reload(billing("sales")))
			conn, err := Dial(at)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, conn.Close()) })
			assert.EventuallyWithT(t, func(c *assert.CollectT) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stream, err := ongairv1.NewOngairServiceClient(conn).Subscribe(ctx, &ongairv1.SubscribeRequest{})
				require.NoError(c, err)
				_, err = stream.Recv()
				require.NoError(c, err, "the lost stream still counts towards the limit")
			}, 10*time.Second, 100*time.Millisecond)
		})
	}
}

func TestAStopDoesNotWaitForStalledClients(t *testing.T) {
	g := Start(t, func(c *config.Config) { c.Grace = 10 * time.Minute }) // longer than the test may take
	for _, open := range unread() {
		open(t, g.Endpoints())
	}
	fillStreams(t, g)
	webhook := strings.TrimPrefix(g.WebhookURL(Channel), "http://"+g.Webhook)
	for addr, starts := range map[string][]string{
		g.GRPC:    {"", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		g.HTTP:    {"", "POST /v1/messages", "POST /v1/messages:send HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"},
		g.Webhook: {"", "POST /web", "POST " + webhook + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid=1"},
		g.Admin:   {"", "GET /livez"},
	} {
		for _, start := range starts {
			_, err := io.WriteString(dial(t, addr), start)
			require.NoError(t, err)
		}
	}
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	watch, err := healthv1.NewHealthClient(conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	_, err = reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)

	// A client that reads gets the reason, although others are stalled.
	s := NewRecorder(t).Subscribe("reading", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	g.Stop()
	assert.Equal(t, "SHUTTING_DOWN", reasonOf(s.Err()))
}

// grpc-go sends GOAWAY only when no connection is in its handshake.
func TestAStopReachesClientsWhileAConnectionIsSilent(t *testing.T) {
	g := Start(t, func(c *config.Config) { c.Grace = time.Minute })
	g.Sandbox.SetFaults(sandbox.Fault{Connection: sandbox.Hang})
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := ongairv1.NewOngairServiceClient(conn).Send(ctx, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(g.Sandbox.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	dial(t, g.GRPC)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.Stop()
	}()
	within, done := context.WithTimeout(t.Context(), api.HandshakeTimeout/2)
	defer done()
	assert.True(t, conn.WaitForStateChange(within, connectivity.Ready), "the client received no GOAWAY")
	select {
	case err := <-ended:
		assert.Fail(t, "the call ended before it was cancelled", "%v", err)
	default:
	}
	cancel()
	require.Error(t, <-ended)
	<-stopped
}
