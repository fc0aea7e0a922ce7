package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// A leader steps down, or its server is killed, while two gateways receive webhooks.
func TestAChangeOfLeaderUnderLoadLosesAndDuplicatesNothing(t *testing.T) {
	cluster := storagetest.ServeCluster(t)
	on := func(c *config.Config) { c.NATSURL, c.DataDir = cluster.URL(), "" }
	first := Start(t, on)
	second := Start(t, on, func(c *config.Config) { c.Channels = first.Config.Channels })
	streams := cluster.Replicate(t)
	require.Len(t, streams, 3, "events, request_ids and the key of stream tickets")

	r := NewRecorder(t)
	for i, g := range []*Gateway{first, second} {
		for _, transport := range Transports() {
			r.Subscribe(fmt.Sprint("replica ", i), transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
		}
	}
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for worker, g := range []*Gateway{first, second, first, second} {
		wg.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				r.Post(g.WebhookURL(Channel), Channel, received(worker*1_000_000+n, "Hi")...)
			}
		})
	}
	// waitUntilAccepted waits until webhooks are accepted again.
	waitUntilAccepted := func(id int) {
		t.Helper()
		require.Eventually(t, func() bool {
			id++
			return r.Post(first.WebhookURL(Channel), Channel, received(id, "Hi")...) == http.StatusOK
		}, 30*time.Second, time.Millisecond)
	}
	for round := range Rounds(1, 20) {
		for i, stream := range streams {
			cluster.StepDown(t, stream)
			waitUntilAccepted(10_000_000 + 1000*(2*round+i))
		}
		leader := cluster.LeaderOf(streams[0])
		require.Eventually(t, func() bool { leader = cluster.LeaderOf(streams[0]); return leader != nil }, 10*time.Second, time.Millisecond)
		leader.Stop()
		waitUntilAccepted(20_000_000 + 1000*round)
		leader.Start(t)
		waitUntilAccepted(30_000_000 + 1000*round)
	}
	stop()
	wg.Wait()
	r.Verify(second.Endpoints())
}
