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

// continuesAfterTheGap asserts that a stream ended because retention had removed what
// it was to deliver next, and that one from where it is told to go on delivers what is
// left. after are all events that were ever stored after what it had.
func continuesAfterTheGap(t *testing.T, g *Gateway, at Endpoints, transport Transport, ended error, after []*ongairv1.Event) {
	t.Helper()
	require.Equal(t, "CURSOR_EXPIRED", reasonOf(ended))
	metadata := fault.Info(status.Convert(ended)).GetMetadata()
	lost, err := strconv.Atoi(metadata["lost_events"])
	require.NoError(t, err)
	require.Less(t, lost, len(after))
	left := after[lost:]
	// Not the recorder of what is gone: that it is gone breaks Durable, as is meant. What
	// is left is a log that all guarantees hold for, and its webhooks may come again.
	r := NewRecorder(t)
	oldest := r.Subscribe("from the oldest", transport, at, from(metadata["oldest_cursor"])).Events(len(left))
	assert.Equal(t, left[0].GetCursor(), oldest[0].GetCursor(), "what is lost and what is left are all there was")
	for _, e := range left {
		id, err := strconv.Atoi(e.GetMessageReceived().GetId())
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(id, e.GetMessageReceived().GetText())...))
	}
	r.Verify(at)
}

func TestARetentionThatPassesACursorIsOneExplicitGap(t *testing.T) {
	onEachHomeAndTransport(t, func(t *testing.T, log home, transport Transport) {
		g, r := Start(t, log(t), func(c *config.Config) { c.RetentionBytes = 4 << 20 }), NewRecorder(t)
		at := g.Endpoints()
		live := r.Subscribe("live", OverGRPC{}, at, &ongairv1.SubscribeRequest{})
		text := strings.Repeat("x", 400<<10)
		const posted = 40
		for n := range posted {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(n, text)...))
		}
		all := live.Events(posted)
		late := refused(t, r, "too late", transport, at, from(all[0].GetCursor()))
		continuesAfterTheGap(t, g, at, transport, late, all[1:])
	})
}

// A subscriber stays connected while it reads nothing, until the log has lost what comes
// next for it, and the ring, which outlasts a short retention, too.
func TestARetentionThatOvertakesAConnectedReaderIsOneExplicitGap(t *testing.T) {
	const size, kept = 500_000, 4 << 20
	onEachTransport(t, func(t *testing.T, transport Transport) {
		g, r := Start(t, func(c *config.Config) {
			c.RetentionBytes = kept
			// One that goes on and one that reads the log in the end: a third, that has ended
			// and is still there, would be in their way.
			billing := auth.Unrestricted(billingKey)
			billing.MaxStreams = 2
			c.Callers = map[string]auth.Caller{"auditor": auth.Unrestricted(auditorKey), "billing": billing}
		}), NewRecorder(t)
		as := func(key string) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key} }
		live := r.Subscribe("live", OverGRPC{}, as(auditorKey), &ongairv1.SubscribeRequest{})
		slow := r.Subscribe("slow", transport, as(billingKey), &ongairv1.SubscribeRequest{})
		slow.Stall()
		text := strings.Repeat("x", size)
		// More than the ring, and what is between the gateway and who does not read: 5 MB.
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
			all = live.Events(n + atOnce) // so that this one is not overtaken, too
		}
		slow.ReadOn()
		ended := slow.Err()
		had := slow.Events(0)
		for i, e := range had {
			require.Equal(t, all[i].GetCursor(), e.GetCursor(), "until then, everything in its order")
		}
		continuesAfterTheGap(t, g, as(billingKey), transport, ended, all[len(had):])
	})
}
