package acceptance

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestAStopEndsAThousandStreamsWithAReason(t *testing.T) {
	const conns, perConn = 10, 100
	g, r := Start(t), NewRecorder(t)
	var opened sync.WaitGroup
	streams := make([][]*Subscription, conns)
	for i := range conns {
		conn, err := Dial(g.Endpoints())
		require.NoError(t, err)
		defer conn.Close()
		over := Transport(OverConnection{ClientConn: conn})
		if i%5 == 4 {
			over = OverNDJSON{} // each stream has its own connection
		}
		opened.Go(func() {
			for range perConn {
				streams[i] = append(streams[i], r.Subscribe("open", over, g.Endpoints(), &ongairv1.SubscribeRequest{
					HeartbeatInterval: durationpb.New(time.Minute), // a thousand fast ones would be a heavy load
				}))
			}
		})
	}
	opened.Wait()
	for n := range 3 {
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(n, "Hi")...))
	}
	started := time.Now()
	g.Stop()
	assert.Less(t, time.Since(started), g.Config.Grace)
	for _, s := range slices.Concat(streams...) {
		require.Equal(t, "SHUTTING_DOWN", reasonOf(s.Err()))
	}
	r.Verify(g.Restart(t).Endpoints())
}

// startCall starts a call, and returns when the sandbox has received it.
func startCall(t *testing.T, g *Gateway) (result <-chan error) {
	t.Helper()
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	ended := make(chan error, 1)
	go func() {
		_, err := ongairv1.NewOngairServiceClient(conn).Send(context.Background(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(g.Sandbox.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	return ended
}

func TestAStopLetsACallFinish(t *testing.T) {
	g := Start(t)
	g.Sandbox.SetFaults(sandbox.Fault{Path: "/send", Delay: time.Second})
	result := startCall(t, g)
	g.Stop()
	assert.NoError(t, <-result)
}

// A client repeats what is UNAVAILABLE, which is what a connection says that just
// breaks: a call that may have been sent has to be told so while it is there.
func TestACallThatOutlivesTheGraceGetsItsEffect(t *testing.T) {
	for name, tt := range map[string]struct {
		fault          sandbox.Fault
		reason, effect string
		again          string
	}{
		"it may have been sent":      {sandbox.Fault{Connection: sandbox.Hang}, "OUTCOME_UNKNOWN", "unknown", "OUTCOME_UNKNOWN"},
		"it waits to be tried again": {sandbox.Fault{Status: 429, Headers: map[string]string{"Retry-After": "10"}}, "SHUTTING_DOWN", "none", ""},
	} {
		for transport, send := range senders() {
			t.Run(name+" over "+transport, func(t *testing.T) {
				g := Start(t, func(c *config.Config) { c.Grace = time.Second })
				g.Sandbox.SetFaults(tt.fault)
				req := &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello", RequestId: "the one"}
				ended := make(chan *status.Status, 1)
				go func() {
					defer close(ended) // also without an answer
					_, s, _ := send(t, g.Endpoints(), 30*time.Second, req)
					ended <- s
				}()
				require.Eventually(t, func() bool { return len(g.Sandbox.Requests()) == 1 }, 10*time.Second, time.Millisecond)
				started := time.Now()
				g.Stop()
				assert.Less(t, time.Since(started), 5*time.Second)
				s := <-ended
				require.NotNil(t, fault.Info(s), "the call got no answer")
				assert.Equal(t, tt.reason, reasonOf(s.Err()))
				assert.Equal(t, tt.effect, fault.Info(s).GetMetadata()["effect"])
				assert.Equal(t, tt.effect == "none", retryInfo(s) != nil)

				g = g.Restart(t)
				g.Sandbox.SetFaults()
				_, s, _ = send(t, g.Endpoints(), 30*time.Second, req)
				if tt.again != "" {
					assert.Equal(t, tt.again, reasonOf(s.Err()), "it is not sent again")
				} else {
					assert.NoError(t, s.Err(), "its request_id is free")
				}
			})
		}
	}
}

func TestReadinessFailsBeforeStreamsEnd(t *testing.T) {
	g := Start(t)
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	defer conn.Close()
	health := healthv1.NewHealthClient(conn)
	for _, service := range []string{"", ongairv1.OngairService_ServiceDesc.ServiceName} {
		answer, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		assert.Equal(t, healthv1.HealthCheckResponse_SERVING, answer.GetStatus())
	}
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	first, err := watch.Recv()
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_SERVING, first.GetStatus())

	// A running call keeps the gateway draining during the checks.
	g.Sandbox.SetFaults(sandbox.Fault{Path: "/send", Delay: time.Second})
	result := startCall(t, g)
	stopped := make(chan struct{})
	go func() {
		g.Stop()
		close(stopped)
	}()
	second, err := watch.Recv()
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, second.GetStatus())
	response, err := http.Get("http://" + g.Admin + "/readyz")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.NoError(t, <-result)
	<-stopped
}

func TestAStopDuringTheStartLeavesNothingBehind(t *testing.T) {
	g := Start(t)
	g.Stop()
	// Cancel at different moments of the start, from before its first step.
	for delay := time.Duration(0); delay < 40*time.Millisecond; delay += 2 * time.Millisecond {
		gateway, err := server.New(g.Config)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(delay, cancel)
		require.NoError(t, gateway.Run(ctx))
		timer.Stop()
		cancel()
	}
	g.Restart(t) // the ports and the directory are free, and the data is whole
}
