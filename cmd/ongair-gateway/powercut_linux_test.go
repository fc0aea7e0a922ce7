package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/servertest/faultfs"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestAPowerCutLosesNoAcknowledgedEvent(t *testing.T) { cutPower(t, Rounds(4, 50)) }

// With a key, JetStream writes other files in another order.
func TestAPowerCutLosesNoAcknowledgedEventOfAnEncryptedLog(t *testing.T) {
	cutPower(t, Rounds(4, 50), "--encryption-key-file", writeFile(t, "key", strings.Repeat("key-", 8)))
}

// cutPower cuts the power repeatedly while webhooks arrive.
func cutPower(t *testing.T, rounds int, flags ...string) {
	t.Helper()
	disk := faultfs.New(t)
	_, url := silentSandbox(t)
	env, r := oneChannel(url), NewRecorder(t)
	flags = append(flags, "--data-dir", filepath.Join(disk.Dir(), "data"))
	random := Random(t)
	cursor := ""
	var posted atomic.Int64
	for round := range rounds {
		disk.DelaySyncs(time.Millisecond) // so that most cuts happen during a sync
		g := serve(t, env, flags...)
		req := fromCursor(cursor)
		if round == 0 {
			req = &ongairv1.SubscribeRequest{}
		}
		s := r.Subscribe(fmt.Sprint("round ", round), OverGRPC{}, g.endpoints(), req)

		// Few senders cause single publishes, and many cause batches. Each sender stops at the
		// first webhook that is not acknowledged.
		senders := []int{8, 64}[round%2]
		var acknowledged atomic.Int64
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for {
					id := int(posted.Add(1))
					// These sizes fill a block of the log within a test.
					text := strings.Repeat("x", 1<<(id%17))
					if r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(id, text)...) != http.StatusOK {
						return
					}
					acknowledged.Add(1)
				}
			})
		}
		enough := int64(100 + random.IntN(400))
		require.Eventually(t, func() bool { return acknowledged.Load() >= enough }, patience, time.Millisecond)
		disk.PowerOff()
		g.kill()
		wg.Wait()
		s.Killed()
		cursor = s.Cursor()
		disk.PowerOn([]func(int) int{faultfs.Nothing, faultfs.Anything}[round/2%2])
		storagetest.LoseMemory(t, filepath.Join(disk.Dir(), "data"))
		// Post the unanswered webhooks again, and some of the answered ones.
		posted.Add(int64(-2 * senders))
	}
	g := serve(t, env, flags...)
	r.Subscribe("after all rounds", OverGRPC{}, g.endpoints(), fromCursor(cursor))
	r.Verify(g.endpoints())
	assert.Zero(t, g.stop(t))
}

func TestAWebhookThatIsRedeliveredAfterACrashSurvivesAPowerCut(t *testing.T) {
	disk := faultfs.New(t)
	_, url := silentSandbox(t)
	env, dir, r := oneChannel(url), filepath.Join(disk.Dir(), "data"), NewRecorder(t)
	g := serve(t, env, "--data-dir", dir)
	require.Equal(t, http.StatusOK, r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(1, "Hi")...))
	// The crash is between the write of an event and its sync.
	disk.FailSyncs(syscall.EIO)
	require.Equal(t, http.StatusServiceUnavailable, r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(2, "Hi")...))
	g.kill()
	disk.FailSyncs(0)

	// The next gateway finds the event. It may acknowledge the redelivery as a duplicate.
	g = serve(t, env, "--data-dir", dir)
	s := r.Subscribe("after the crash", OverGRPC{}, g.endpoints(), &ongairv1.SubscribeRequest{
		Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
	})
	require.Equal(t, http.StatusOK, r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(2, "Hi")...))
	disk.PowerOff()
	g.kill()
	s.Killed()
	disk.PowerOn(faultfs.Nothing)
	r.Verify(serve(t, env, "--data-dir", dir).endpoints())
}
