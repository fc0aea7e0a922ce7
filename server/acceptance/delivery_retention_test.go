package acceptance

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/fault"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// continuesAfterTheGap asserts that a stream ended because retention had removed its next event. It
// also asserts that a stream from oldest_cursor delivers the remaining events. after has all events
// that were stored after those that the ended stream delivered.
func continuesAfterTheGap(t *testing.T, g *Gateway, at Endpoints, transport Transport, ended error, after []*ongairv1.Event) {
	t.Helper()
	require.Equal(t, "CURSOR_EXPIRED", reasonOf(ended))
	metadata := fault.Info(status.Convert(ended)).GetMetadata()
	lost, err := strconv.Atoi(metadata["lost_events"])
	require.NoError(t, err)
	require.Less(t, lost, len(after))
	left := after[lost:]
	// A new recorder, because the removed events violate Durable. All guarantees hold for the
	// remaining ones, whose webhooks are posted to it again.
	r := NewRecorder(t)
	oldest := r.Subscribe("from the oldest", transport, at, from(metadata["oldest_cursor"])).Events(len(left))
	assert.Equal(t, left[0].GetCursor(), oldest[0].GetCursor(), "lost_events is the number of removed events")
	for _, e := range left {
		id, err := strconv.Atoi(e.GetMessageReceived().GetId())
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(id, e.GetMessageReceived().GetText())...))
	}
	r.Verify(at)
}

func TestAnExpiredCursorIsOneExplicitGap(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t), func(c *config.Config) { c.RetentionBytes = 4 << 20 }), NewRecorder(t)
		at := g.Endpoints()
		live := r.Subscribe("live", OverGRPC{}, at, &ongairv1.SubscribeRequest{})
		text := strings.Repeat("x", 400<<10)
		const posted = 40
		for n := range posted {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(n, text)...))
		}
		all := live.Events(posted)
		late := subscribeRejected(t, r, "too late", transport, at, from(all[0].GetCursor()))
		continuesAfterTheGap(t, g, at, transport, late, all[1:])
	})
}

// A subscriber stays connected but does not read, until the log and the ring have lost its next
// event. The ring keeps more events than a short retention.
func TestRetentionThatOvertakesAConnectedReaderIsOneExplicitGap(t *testing.T) {
	const size, kept = 500_000, 4 << 20
	onEachTransport(t, func(t *testing.T, transport Transport) {
		g, r := Start(t, func(c *config.Config) {
			c.RetentionBytes = kept
			// One for the stream after the gap, and one for Verify. So the ended stream must not count
			// any more.
			billing := auth.Unrestricted(billingKey)
			billing.MaxStreams = 2
			c.Callers = map[string]auth.Caller{"auditor": auth.Unrestricted(auditorKey), "billing": billing}
		}), NewRecorder(t)
		as := func(key string) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key} }
		live := r.Subscribe("live", OverGRPC{}, as(auditorKey), &ongairv1.SubscribeRequest{})
		slow := r.Subscribe("slow", transport, as(billingKey), &ongairv1.SubscribeRequest{})
		slow.Stall()
		text := strings.Repeat("x", size)
		// More than the ring, and the buffers of a stalled stream (5 MB).
		const posted, atOnce = (fanout.DefaultRingBytes + 16<<20) / size, 10
		var all []*ongairv1.Event
		for n := 0; n < posted; n += atOnce {
			var wg sync.WaitGroup
			for id := n; id < n+atOnce; id++ {
				wg.Go(func() {
					assert.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(id, text)...))
				})
			}
			wg.Wait()
			all = live.Events(n + atOnce) // so that live is not overtaken
		}
		slow.ReadOn()
		ended := slow.Err()
		had := slow.Events(0)
		for i, e := range had {
			require.Equal(t, all[i].GetCursor(), e.GetCursor(), "before the gap every event is delivered in order")
		}
		continuesAfterTheGap(t, g, as(billingKey), transport, ended, all[len(had):])
	})
}
