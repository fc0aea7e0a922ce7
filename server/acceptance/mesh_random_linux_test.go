package acceptance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// Faults of three NATS servers and two gateways, one at a time and in random order, while webhooks come
// in. Subscribers resume from their cursors. Only long runs do this. ONGAIR_GATEWAY_SEED repeats the
// faults of a run, whose seed is in its log.
func TestRandomFaultsOfAClusterLoseAndDuplicateNothing(t *testing.T) {
	rounds := Rounds(0, 60)
	if rounds == 0 {
		t.Skip("a long run: set ONGAIR_GATEWAY_SOAK")
	}
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("ONGAIR_GATEWAY_SEED"); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	cluster := storagetest.ServeCluster(t)
	on := func(c *config.Config) { c.NATSURL, c.DataDir = cluster.URL(), "" }
	first := Start(t, on)
	gateways := []*Gateway{first, Start(t, on, func(c *config.Config) { c.Channels = first.Config.Channels })}
	streams := cluster.Replicate(t)
	require.Eventually(t, cluster.Healthy, 30*time.Second, 100*time.Millisecond)

	r := NewRecorder(t)
	var following []*Subscription
	for i, g := range gateways {
		for _, transport := range Transports() {
			following = append(following, r.Subscribe(fmt.Sprint("replica ", i), transport, g.Endpoints(), &ongairv1.SubscribeRequest{}))
		}
	}
	// resume continues each stream that has ended, on a random gateway.
	resumed := 0
	resume := func() {
		for i, s := range following {
			transport := Transports()[i%len(Transports())]
			for !s.Runs() {
				cursor := s.Cursor()
				resumed++
				s = r.Subscribe(fmt.Sprintf("%d, resumed %d times", i, resumed), transport, gateways[random.IntN(2)].Endpoints(), from(cursor))
				if s.Empty() {
					require.Contains(t, []string{"LOG_UNAVAILABLE", "STOPPING"}, reasonOf(s.Err()))
					time.Sleep(time.Second)
					s = following[i] // which has a cursor
					continue
				}
				following[i] = s
			}
		}
	}

	load, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex // of the two maps, and of gateways, whose restarts the load does not see in part
	results, shortest := map[int]int{}, map[int]time.Duration{}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				mu.Lock()
				url := gateways[worker%2].WebhookURL(Channel)
				mu.Unlock()
				start := time.Now()
				code := r.Post(url, Channel, received(worker*10_000_000+n, "Hi")...)
				took := time.Since(start)
				mu.Lock()
				results[code]++
				if before, ok := shortest[code]; !ok || took < before {
					shortest[code] = took
				}
				mu.Unlock()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	faults := map[string]int{}
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	for range rounds {
		server := cluster.Servers[random.IntN(len(cluster.Servers))]
		switch kind := []string{"kill", "freeze", "step-down", "restart of a gateway"}[random.IntN(4)]; kind {
		case "kill":
			server.Stop()
			time.Sleep(upTo(8 * time.Second))
			server.Start(t)
			faults[kind]++
		case "freeze":
			server.Freeze(t)
			time.Sleep(upTo(15 * time.Second))
			server.Thaw(t)
			faults[kind]++
		case "step-down":
			cluster.StepDown(t, streams[random.IntN(len(streams))])
			time.Sleep(upTo(3 * time.Second))
			faults[kind]++
		default:
			i := random.IntN(len(gateways))
			restarted := gateways[i].Restart(t)
			mu.Lock()
			gateways[i] = restarted
			mu.Unlock()
			faults[kind]++
		}
		require.Eventually(t, cluster.Healthy, time.Minute, 100*time.Millisecond)
		for i, g := range gateways {
			require.Eventually(t, func() bool { return getStatus(t, "http://"+g.Admin+"/readyz") == http.StatusOK },
				30*time.Second, 10*time.Millisecond, "gateway %d is not ready", i)
		}
		resume()
	}
	stop()
	wg.Wait()
	resume()
	t.Logf("faults %v, %d resumed streams, webhooks by status %v, the quickest answers %v", faults, resumed, results, shortest)
	r.Verify(gateways[1].Endpoints())
}
