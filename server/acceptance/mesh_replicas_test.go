package acceptance

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/fault"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// replicas starts two gateways on one NATS server. Both use the sandbox of the first.
func replicas(t *testing.T) (nats *storagetest.Server, first, second *Gateway) {
	t.Helper()
	nats = storagetest.Serve(t, nil)
	on := func(c *config.Config) { c.NATSURL, c.DataDir = nats.URL(), "" }
	first = Start(t, on)
	return nats, first, Start(t, on, func(c *config.Config) { c.Channels = first.Config.Channels })
}

func TestReplicasDeliverTheSameEvents(t *testing.T) {
	_, first, second := replicas(t)
	r := NewRecorder(t)
	for i, g := range []*Gateway{first, second} {
		for _, transport := range Transports() {
			r.Subscribe(fmt.Sprint("replica ", i), transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
		}
	}
	var wg sync.WaitGroup
	for i, g := range []*Gateway{first, second} {
		wg.Go(func() {
			for n := range 50 {
				assert.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(100*i+n, "Hi")...))
			}
		})
	}
	wg.Wait()
	r.Verify(second.Endpoints())
}

func TestACursorOfOneReplicaWorksOnTheOther(t *testing.T) {
	_, first, second := replicas(t)
	r := NewRecorder(t)
	for i := range 20 {
		r.Post(first.WebhookURL(Channel), Channel, received(i, "Hi")...)
	}
	for i, e := range r.Subscribe("on the first", OverGRPC{}, first.Endpoints(), earliest()).Events(20) {
		r.Subscribe(fmt.Sprint("on the second, from event ", i), Transports()[i%2], second.Endpoints(), from(e.GetCursor()))
	}
	r.Verify(first.Endpoints())
}

func TestOneNotificationOnTwoReplicasAtOnceIsOneEvent(t *testing.T) {
	_, first, second := replicas(t)
	r := NewRecorder(t)
	s := r.Subscribe("all", OverGRPC{}, first.Endpoints(), &ongairv1.SubscribeRequest{})
	for n := range 50 {
		var wg sync.WaitGroup
		for _, g := range []*Gateway{first, second} {
			wg.Go(func() {
				assert.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(n, "Yes")...))
			})
		}
		wg.Wait()
	}
	s.Events(50)
	r.Verify(second.Endpoints())
}

func TestARestartOfNATSUnderLoadLosesAndDuplicatesNothing(t *testing.T) {
	nats, first, second := replicas(t)
	r := NewRecorder(t)
	for i, g := range []*Gateway{first, second} {
		for _, transport := range Transports() {
			r.Subscribe(fmt.Sprint("replica ", i), transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker, g := range []*Gateway{first, second, first, second} {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					r.Post(g.WebhookURL(Channel), Channel, received(worker*1_000_000+n, "Hi")...)
				}
			}
		})
	}
	for range 2 {
		nats.Stop()
		require.Eventually(t, func() bool { return getStatus(t, "http://"+first.Admin+"/readyz") != http.StatusOK },
			20*time.Second, 10*time.Millisecond)
		assert.Equal(t, http.StatusOK, getStatus(t, "http://"+first.Admin+"/livez"), "an outage of NATS must not restart the gateway")
		require.Eventually(t, func() bool { return !serving(t, first) }, 20*time.Second, 10*time.Millisecond, "grpc.health.v1 agrees with /readyz")
		nats.Start(t)
		require.Eventually(t, func() bool { return getStatus(t, "http://"+first.Admin+"/readyz") == http.StatusOK },
			20*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool { return serving(t, first) }, 20*time.Second, 10*time.Millisecond)
	}
	close(stop)
	wg.Wait()
	r.Verify(second.Endpoints())
}

func TestAnOutageOfTenSecondsEndsStreamsWithTheirCursor(t *testing.T) {
	nats, first, _ := replicas(t)
	r := NewRecorder(t)
	var streams []*Subscription
	for _, transport := range Transports() {
		for _, heartbeat := range []time.Duration{time.Second, 5 * time.Minute} {
			streams = append(streams, r.Subscribe(transport.String(), transport, first.Endpoints(),
				&ongairv1.SubscribeRequest{HeartbeatInterval: durationpb.New(heartbeat)}))
		}
	}
	require.Equal(t, http.StatusOK, r.Post(first.WebhookURL(Channel), Channel, received(1, "Hi")...))
	for _, s := range streams {
		s.Events(1)
	}
	nats.Stop()
	for _, s := range streams {
		ended := status.Convert(s.Err())
		assert.Equal(t, "LOG_UNAVAILABLE", reasonOf(ended.Err()))
		assert.Equal(t, s.Cursor(), fault.Info(ended).GetMetadata()["cursor"])
		assert.NotNil(t, retryInfo(ended))
	}
	nats.Start(t)
	require.Eventually(t, func() bool { return getStatus(t, "http://"+first.Admin+"/readyz") == http.StatusOK },
		20*time.Second, 10*time.Millisecond)
	r.Verify(first.Endpoints())
}

func TestReconnectingDoesNotRepeatEvents(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t)), NewRecorder(t)
		at := g.Endpoints()
		req := &ongairv1.SubscribeRequest{}
		var seen []string
		for n := range 5 {
			s := r.Subscribe("connection "+strconv.Itoa(n), transport, at, req)
			r.Post(g.WebhookURL(Channel), Channel, received(n, "Hi")...)
			for _, e := range s.Events(1) {
				seen = append(seen, e.GetMessageReceived().GetId())
			}
			s.Stop()
			req = from(s.Cursor())
		}
		assert.Equal(t, []string{"0", "1", "2", "3", "4"}, seen)
		r.Verify(at)
	})
}

// serving reports whether a gateway is SERVING in grpc.health.v1.
func serving(t *testing.T, g *Gateway) bool {
	t.Helper()
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	return answer.GetStatus() == healthv1.HealthCheckResponse_SERVING
}
