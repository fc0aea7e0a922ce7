package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// clustered starts a gateway on three NATS servers, with three copies of each stream. Its
// connection is to the first server.
func clustered(t *testing.T) (cluster *storagetest.Cluster, g *Gateway) {
	t.Helper()
	cluster = storagetest.ServeCluster(t)
	g = Start(t, func(c *config.Config) { c.NATSURL, c.DataDir = cluster.Servers[0].URL(), "" })
	cluster.Replicate(t)
	return cluster, g
}

// underLoad posts webhooks, so many at a time, while fault runs. It returns after fault, and the
// durations of the webhooks that were refused.
func underLoad(t *testing.T, r *Recorder, g *Gateway, concurrent int, fault func()) (refused []time.Duration) {
	t.Helper()
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for worker := range concurrent {
		wg.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				start := time.Now()
				if r.Post(g.WebhookURL(Channel), Channel, received(worker*1_000_000+n, "Hi")...) == http.StatusOK {
					accepted.Add(1)
					continue
				}
				mu.Lock()
				refused = append(refused, time.Since(start))
				mu.Unlock()
			}
		})
	}
	require.Eventually(t, func() bool { return accepted.Load() > int64(concurrent) }, 30*time.Second, time.Millisecond)
	fault()
	before := accepted.Load()
	require.Eventually(t, func() bool { return accepted.Load() > before+int64(concurrent) }, 30*time.Second, time.Millisecond)
	stop()
	wg.Wait()
	t.Logf("%d webhooks accepted, %d refused", accepted.Load(), len(refused))
	return refused
}

// verify is Recorder.Verify, once the gateway follows the log again. After an outage of more than 10 s
// its streams fail until then, although webhooks are stored already.
func verify(t *testing.T, r *Recorder, g *Gateway) {
	t.Helper()
	require.Eventually(t, func() bool {
		s := r.Subscribe("until the log is followed", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		s.Stop()
		return !s.Empty()
	}, 30*time.Second, 100*time.Millisecond)
	r.Verify(g.Endpoints())
}

func TestAStepDownRefusesNoWebhook(t *testing.T) {
	cluster, g := clustered(t)
	r := NewRecorder(t)
	r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	refused := underLoad(t, r, g, 800, func() {
		for range 3 {
			cluster.StepDown(t, "ONGAIR_EVENTS")
			time.Sleep(500 * time.Millisecond)
		}
	})
	assert.Empty(t, refused)
	verify(t, r, g)
}

// An election may take as long as a webhook can wait. Until then, none is refused.
func TestAWebhookIsRefusedOnlyAfterTheTimeThatItCanWait(t *testing.T) {
	for name, fault := range map[string]func(*storagetest.Server){
		"the leader is killed": func(s *storagetest.Server) { s.Stop(); time.Sleep(10 * time.Second); s.Start(t) },
		"the leader is frozen": func(s *storagetest.Server) { s.Freeze(t); time.Sleep(12 * time.Second); s.Thaw(t) },
	} {
		t.Run(name, func(t *testing.T) {
			cluster, g := clustered(t)
			r := NewRecorder(t)
			r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
			for i, took := range underLoad(t, r, g, 100, func() { fault(cluster.LeaderOf("ONGAIR_EVENTS")) }) {
				assert.GreaterOrEqual(t, took, 8*time.Second, fmt.Sprint("refused webhook ", i))
			}
			verify(t, r, g)
		})
	}
}

func TestAGatewayLeavesAFrozenServer(t *testing.T) {
	cluster, g := clustered(t)
	r := NewRecorder(t)
	r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	r.Post(g.WebhookURL(Channel), Channel, received(0, "Hi")...)
	if leader := cluster.LeaderOf("ONGAIR_EVENTS"); leader == cluster.Servers[0] {
		cluster.StepDown(t, "ONGAIR_EVENTS") // the test is about the connection, and not about an election
	}
	cluster.Servers[0].Freeze(t)
	defer cluster.Servers[0].Thaw(t)
	frozen := time.Now()
	require.Eventually(t, func() bool {
		return r.Post(g.WebhookURL(Channel), Channel, received(int(time.Since(frozen)), "Hi")...) == http.StatusOK
	}, 30*time.Second, time.Millisecond)
	assert.Less(t, time.Since(frozen), 10*time.Second)
	verify(t, r, g)
}
