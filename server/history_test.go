package server_test

import (
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// history is a gateway to which random things happen.
type history struct {
	*Gateway
	recorder *Recorder
	channels []string
	// posted is how many message notifications were posted, cursors all that were
	// seen, live who is subscribed.
	posted  int
	cursors []string
	live    []*Subscription
}

// post posts webhooks, some of them at the same time, and some of them again.
func (h *history) post(t *rapid.T) {
	var wg sync.WaitGroup
	for range rapid.IntRange(1, 8).Draw(t, "senders") {
		channel := rapid.SampledFrom(h.channels).Draw(t, "channel")
		fields := ticket(rapid.SampledFrom([]string{"Open", "Closed"}).Draw(t, "status"))
		switch rapid.SampledFrom([]string{"new", "new", "again", "ticket"}).Draw(t, "webhook") {
		case "new":
			h.posted++
			fields = received(h.posted, "Yes")
		case "again":
			fields = received(rapid.IntRange(0, h.posted).Draw(t, "id"), "Yes")
		}
		wg.Go(func() {
			assert.Equal(t, http.StatusOK, h.recorder.Post(h.WebhookURL(channel), channel, fields...))
		})
	}
	wg.Wait()
}

// subscribe starts anywhere, over any transport, with any filter.
func (h *history) subscribe(t *rapid.T) {
	req := &ongairv1.SubscribeRequest{}
	switch start := rapid.SampledFrom([]string{"earliest", "latest", "cursor"}).Draw(t, "start"); {
	case start == "earliest":
		req = earliest()
	case start == "cursor" && len(h.cursors) > 0:
		req = from(rapid.SampledFrom(h.cursors).Draw(t, "cursor"))
	}
	if rapid.Bool().Draw(t, "of one channel") {
		req.Channels = []string{rapid.SampledFrom(h.channels).Draw(t, "channel")}
	}
	if rapid.Bool().Draw(t, "of one type") {
		req.EventTypes = []ongairv1.EventType{ongairv1.EventType_EVENT_TYPE_TICKET_STATUS_UPDATED}
	}
	transport := rapid.SampledFrom(Transports()).Draw(t, "transport")
	s := h.recorder.Subscribe("subscriber "+strconv.Itoa(len(h.live)), transport, h.Endpoints(), req)
	h.live = append(h.live, s)
}

// leave ends a subscription, from whose cursor another one may go on.
func (h *history) leave(t *rapid.T) {
	if len(h.live) == 0 {
		t.Skip("nobody is there")
	}
	i := rapid.IntRange(0, len(h.live)-1).Draw(t, "who")
	h.live[i].Stop()
	h.cursors = append(h.cursors, h.live[i].Cursor())
	h.live = append(h.live[:i], h.live[i+1:]...)
}

// restart stops the gateway and starts it on the same log.
func (h *history) restart(t *rapid.T) {
	h.Gateway = h.Restart(t)
	for _, s := range h.live {
		require.Equal(t, "SHUTTING_DOWN", reasonOf(s.Err()))
		h.cursors = append(h.cursors, s.Cursor())
	}
	h.live = nil
}

// TestEveryGuaranteeHoldsInRandomHistories prints how to replay a history that
// fails: rapid keeps a file for it, and names its seed.
func TestEveryGuaranteeHoldsInRandomHistories(t *testing.T) {
	require.NoError(t, flag.Set("rapid.checks", fmt.Sprint(Rounds(5, 300))))
	rapid.Check(t, func(t *rapid.T) {
		h := &history{recorder: NewRecorder(t), channels: []string{Channel, "sales"}}
		h.Gateway = Start(t, func(c *server.Config) { c.Channels["sales"] = c.Channels[Channel] })
		t.Repeat(map[string]func(*rapid.T){
			"post": h.post, "post more": h.post, "subscribe": h.subscribe, "leave": h.leave, "restart": h.restart,
		})
		h.recorder.Verify(h.Endpoints())
	})
}
