package server_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestAStopEndsAThousandStreamsWithAReason(t *testing.T) {
	const conns, perConn = 10, 100
	g := Start(t)
	var opened, ended sync.WaitGroup
	reasons := make(chan string, conns*perConn)
	for range conns {
		conn, err := Dial(g.Endpoints())
		require.NoError(t, err)
		defer conn.Close()
		for range perConn {
			opened.Add(1)
			ended.Go(func() {
				stream, err := ongairv1.NewOngairServiceClient(conn).Subscribe(context.Background(), &ongairv1.SubscribeRequest{})
				if err == nil {
					_, err = stream.Recv()
				}
				opened.Done()
				for err == nil {
					_, err = stream.Recv()
				}
				reasons <- reasonOf(err)
			})
		}
	}
	opened.Wait()
	started := time.Now()
	g.Stop()
	assert.Less(t, time.Since(started), g.Config.Grace)
	ended.Wait()
	for range conns * perConn {
		require.Equal(t, "SHUTTING_DOWN", <-reasons)
	}
}

// sending makes a call, and returns once the sandbox has it.
func sending(t *testing.T, g *Gateway) (result <-chan error) {
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
	result := sending(t, g)
	g.Stop()
	assert.NoError(t, <-result)
}

func TestACallThatOutlivesTheGraceIsCutOff(t *testing.T) {
	g := Start(t, func(c *server.Config) { c.Grace = 200 * time.Millisecond })
	g.Sandbox.SetFaults(sandbox.Fault{Path: "/send", Connection: sandbox.Hang})
	result := sending(t, g)
	started := time.Now()
	g.Stop()
	assert.Less(t, time.Since(started), 5*time.Second)
	assert.Error(t, <-result)
}

func TestReadinessGoesDownBeforeTheStreamsEnd(t *testing.T) {
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

	// A call that is running keeps the gateway draining, while it is looked at.
	g.Sandbox.SetFaults(sandbox.Fault{Path: "/send", Delay: time.Second})
	result := sending(t, g)
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
	// At every moment of the start, from before its first step on.
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
