package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// While a gateway follows the log, NATS loses its newest events, or the stream is deleted and created
// again. The streams end with a reason, and what is stored afterwards is delivered.
func TestAReplacedLogEndsItsStreamsAndIsFollowed(t *testing.T) {
	type nats = *storagetest.Server
	for name, replace := range map[string]struct {
		before func(t *testing.T, nats nats) (restore func())
		after  func(t *testing.T, nats nats, restore func())
		// kept is the number of events that are still there.
		kept int
	}{
		"its newest events are lost": {
			func(t *testing.T, nats nats) func() { return nats.Copy(t) },
			func(_ *testing.T, nats nats, restore func()) { nats.Stop(); restore() },
			3,
		},
		"another gateway has created it again": {
			func(*testing.T, nats) func() { return nil },
			func(t *testing.T, nats nats, _ func()) {
				in, err := storage.Open(t.Context(), storage.Config{URL: nats.URL()})
				require.NoError(t, err)
				storagetest.Look(t, in).Stream(t, "ONGAIR_EVENTS").Delete(t)
				require.NoError(t, in.Close())
				Start(t, func(c *config.Config) { c.NATSURL, c.DataDir = nats.URL(), "" }).Stop()
			},
			0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			nats := storagetest.Serve(t, nil)
			g := Start(t, func(c *config.Config) { c.NATSURL, c.DataDir = nats.URL(), "" })
			post := func(r *Recorder, first, last int) {
				for i := first; i <= last; i++ {
					require.Eventually(t, func() bool { return r.Post(g.WebhookURL(Channel), Channel, received(i, "Hi")...) == http.StatusOK },
						20*time.Second, 10*time.Millisecond)
				}
			}
			lost := NewRecorder(t)
			post(lost, 1, 3)
			nats.Stop()
			restore := replace.before(t, nats)
			nats.Start(t)
			post(lost, 4, 6)
			var streams []*Subscription
			for _, transport := range Transports() {
				s := lost.Subscribe("before, over "+transport.String(), transport, g.Endpoints(), earliest())
				s.Events(6)
				streams = append(streams, s)
			}
			cursor := streams[0].Cursor()
			replace.after(t, nats, restore)
			nats.Start(t) // does nothing if it runs

			r := NewRecorder(t)
			post(r, 101, 110) // more than were lost: their sequences are used again
			for _, s := range streams {
				assert.Equal(t, "LOG_REPLACED", reasonOf(s.Err()))
			}
			assert.Equal(t, http.StatusOK, getStatus(t, "http://"+g.Admin+"/readyz"))
			after := r.Subscribe("after", OverGRPC{}, g.Endpoints(), earliest())
			after.Events(replace.kept + 10)
			live := r.Subscribe("live", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
			post(r, 111, 120)
			live.Events(10)
			assert.Len(t, after.Events(replace.kept+20), replace.kept+20)
			assert.Equal(t, "CURSOR_FOREIGN", reasonOf(subscribeRejected(t, r, "of a lost event", OverGRPC{}, g.Endpoints(), from(cursor))))
		})
	}
}
