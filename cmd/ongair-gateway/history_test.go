package main

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// history applies random operations to a gateway. Each draw depends only on earlier draws, so that
// a seed replays the same history, except for the timing of threads and disks.
type history struct {
	*gateway
	recorder *Recorder
	args     []string
	channels []string
	// notifications are the fields of posted notifications. cursors are the cursors of ended
	// subscriptions. moments are the times before operations.
	notifications [][]Field
	cursors       []string
	moments       []time.Time
	live          []*follower
	named         int
}

// follower is a subscriber that resumes after its gateway restarts.
type follower struct {
	*Subscription
	name string
	// filter is the request without a start.
	filter *ongairv1.SubscribeRequest
}

// hook is a webhook to post.
type hook struct {
	channel string
	fields  []Field
}

// hooks draws webhooks of these kinds:
//   - new notifications, small and large,
//   - notifications that were posted before, on the same channel or another,
//   - ticket updates, which are never duplicates.
func (h *history) hooks(t *rapid.T) []hook {
	hooks := make([]hook, rapid.IntRange(0, 32).Draw(t, "webhooks"))
	for i := range hooks {
		hooks[i].channel = rapid.SampledFrom(h.channels).Draw(t, "channel")
		text := "Yes"
		switch kind := rapid.SampledFrom([]string{"new", "large", "again", "ticket"}).Draw(t, "webhook"); {
		case kind == "ticket":
			state := rapid.SampledFrom([]string{"Open", "Closed"}).Draw(t, "state")
			hooks[i].fields = Form("notification_type", "TicketStatusUpdated", "status", state, "external_contact_id", Contact)
			continue
		case kind == "again" && len(h.notifications) > 0:
			hooks[i].fields = h.notifications[rapid.IntRange(0, len(h.notifications)-1).Draw(t, "which")]
			continue
		case kind == "large":
			text = strings.Repeat("x", 10_000)
		}
		hooks[i].fields = h.notification(text, rapid.SampledFrom([]string{"22", "23"}).Draw(t, "conversation"))
	}
	return hooks
}

// notification returns the fields of a new notification.
func (h *history) notification(text, conversation string) []Field {
	fields := append(received(len(h.notifications), text), Form("conversation_id", conversation)...)
	h.notifications = append(h.notifications, fields)
	return fields
}

// flood returns webhooks that exceed the buffers between the gateway and a stalled subscriber.
// Over NDJSON, with the buffers of Linux, these hold 5 MB.
func (h *history) flood() []hook {
	hooks := make([]hook, 12)
	for i := range hooks {
		hooks[i] = hook{h.channels[0], h.notification(strings.Repeat("x", 500_000), "22")}
	}
	return hooks
}

// send posts webhooks concurrently. It returns a channel of their statuses with capacity for all.
func (h *history) send(hooks []hook) (statuses <-chan int) {
	answered := make(chan int, len(hooks))
	var wg sync.WaitGroup
	for _, hook := range hooks {
		url := h.webhookURL(hook.channel)
		wg.Go(func() { answered <- h.recorder.Post(url, hook.channel, hook.fields...) })
	}
	go func() {
		wg.Wait()
		close(answered)
	}()
	return answered
}

func (h *history) post(t *rapid.T) { h.mustPost(t, h.hooks(t)) }

// mustPost posts webhooks and asserts that each is accepted.
func (h *history) mustPost(t *rapid.T, hooks []hook) {
	for status := range h.send(hooks) {
		assert.Equal(t, http.StatusOK, status)
	}
}

// subscribe starts a subscription with a random start, transport and filter.
func (h *history) subscribe(t *rapid.T) {
	req := &ongairv1.SubscribeRequest{}
	if rapid.Bool().Draw(t, "one channel") {
		req.Channels = []string{rapid.SampledFrom(h.channels).Draw(t, "channel")}
	}
	switch rapid.SampledFrom([]string{"everything", "type", "conversation", "nothing"}).Draw(t, "filter") {
	case "everything":
		// Without heartbeats, only an event wakes a reader. Frequent heartbeats would hide a
		// missing wake-up. With a channel filter, heartbeats are needed, because the last event
		// may be of another channel.
		if len(req.GetChannels()) == 0 && rapid.Bool().Draw(t, "without heartbeats") {
			req.HeartbeatInterval = durationpb.New(5 * time.Minute)
		}
	case "type":
		req.EventTypes = []ongairv1.EventType{ongairv1.EventType_EVENT_TYPE_TICKET_STATUS_UPDATED}
	case "conversation":
		req.ConversationIds = []string{"23"}
	case "nothing":
		req.ExternalContactIds = []string{"nobody"}
	}
	f := &follower{name: fmt.Sprint("subscriber ", h.named), filter: proto.CloneOf(req)}
	h.named++
	switch start := rapid.SampledFrom([]string{"earliest", "latest", "cursor", "time"}).Draw(t, "start"); {
	case start == "earliest":
		req.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}
	case start == "cursor" && len(h.cursors) > 0:
		i := rapid.IntRange(0, len(h.cursors)-1).Draw(t, "which cursor")
		req.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: h.cursors[i]}
	case start == "time":
		i := rapid.IntRange(0, len(h.moments)-1).Draw(t, "which moment")
		req.Start = &ongairv1.SubscribeRequest_StartTime{StartTime: timestamppb.New(h.moments[i])}
	}
	h.follow(t, f, req)
	h.live = append(h.live, f)
}

func (h *history) follow(t *rapid.T, f *follower, req *ongairv1.SubscribeRequest) {
	transport := rapid.SampledFrom(Transports()).Draw(t, "transport")
	f.Subscription = h.recorder.Subscribe(f.name, transport, h.endpoints(), req)
}

// draw draws one of the subscribers that match. It returns nil if none matches.
func (h *history) draw(t *rapid.T, match func(*follower) bool) *follower {
	var candidates []*follower
	for _, f := range h.live {
		if match(f) {
			candidates = append(candidates, f)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	return candidates[rapid.IntRange(0, len(candidates)-1).Draw(t, "subscriber")]
}

// stall makes a subscriber stop reading, and may fill its buffers.
func (h *history) stall(t *rapid.T) {
	f := h.draw(t, func(f *follower) bool { return !f.Stalls() })
	if f == nil {
		return
	}
	f.Stall()
	if rapid.Bool().Draw(t, "flood") {
		h.mustPost(t, h.flood())
	}
}

// readOn ends a stall. It first waits for the other subscribers to catch up, because a stall must
// not delay them.
func (h *history) readOn(t *rapid.T) {
	f := h.draw(t, func(f *follower) bool { return f.Stalls() })
	if f == nil {
		return
	}
	h.recorder.CatchUp(h.endpoints())
	f.ReadOn()
}

// leave ends a subscription, stalled or not. Another subscription may start from its cursor.
func (h *history) leave(t *rapid.T) {
	f := h.draw(t, func(*follower) bool { return true })
	if f == nil {
		return
	}
	f.Stop()
	h.cursors = append(h.cursors, f.Cursor())
	h.live = slices.DeleteFunc(h.live, func(other *follower) bool { return other == f })
}

// restart stops the gateway with SIGTERM and starts it again. Stalled subscribers read on after the
// signal, because the gateway closes streams without a status if they do not read within the grace.
func (h *history) restart(t *rapid.T) {
	statuses := h.send(h.hooks(t))
	h.terminate(t)
	for _, f := range h.live {
		f.ReadOn()
		require.Equal(t, "SHUTTING_DOWN", fault.ReasonName(fault.ReasonOf(status.Convert(f.Err()))))
	}
	for s := range statuses {
		// 0 means that the port was closed.
		assert.Contains(t, []int{http.StatusOK, 0}, s)
	}
	h.recorder.HangUp()
	require.Zero(t, h.wait(t))
	h.resume(t)
}

// crash kills the gateway while webhooks are in flight, and starts it again.
func (h *history) crash(t *rapid.T) {
	hooks := h.hooks(t)
	answers := rapid.IntRange(0, len(hooks)).Draw(t, "answered before")
	statuses := h.send(hooks)
	for range answers {
		assert.Equal(t, http.StatusOK, <-statuses)
	}
	h.kill()
	for s := range statuses {
		assert.Contains(t, []int{http.StatusOK, 0}, s)
	}
	for _, f := range h.live {
		f.Killed()
	}
	h.resume(t)
}

// resume starts the gateway on the same log and resumes all subscriptions.
func (h *history) resume(t *rapid.T) {
	h.start(t)
	for _, f := range h.live {
		cursor := f.Cursor()
		h.cursors = append(h.cursors, cursor)
		req := proto.CloneOf(f.filter)
		req.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: cursor}
		h.follow(t, f, req)
	}
}

func (h *history) start(t *rapid.T) { h.gateway = serve(t, nil, h.args...) }

// If a history fails, rapid stores its draws in a file and prints its seed for a replay.
func TestEveryGuaranteeHoldsInRandomHistories(t *testing.T) {
	require.NoError(t, flag.Set("rapid.checks", fmt.Sprint(Rounds(5, 300))))
	_, url := silentSandbox(t)
	channels := []string{"support", "sales", "billing"}
	config := "channels:\n"
	for _, channel := range channels {
		config += fmt.Sprintf("  %s: {base_url: %q, token: %s, webhook_secret: %s}\n", channel, url, Token, secretOf(channel))
	}
	file := writeFile(t, "gateway.yaml", config)
	rapid.Check(t, func(t *rapid.T) {
		storage := rapid.SampledFrom([]string{embedded, embedded, embedded, external}).Draw(t, "storage")
		h := &history{
			recorder: NewRecorder(t),
			channels: channels,
			args:     append([]string{"--config", file}, emptyLog(t, storage)...),
		}
		h.start(t)
		operations := map[string]func(*rapid.T){
			"post": h.post, "subscribe": h.subscribe, "stall": h.stall, "read on": h.readOn,
			"crash": h.crash, "restart": h.restart, "leave": h.leave,
		}
		// Operations that are listed first or more often are drawn more often.
		operation := rapid.SampledFrom([]string{
			"post", "subscribe", "crash", "stall", "read on", "restart", "post", "subscribe", "crash", "stall", "post", "leave",
		})
		for _, name := range rapid.SliceOfN(operation, 20, 40).Draw(t, "operations") {
			h.moments = append(h.moments, time.Now())
			operations[name](t)
		}
		h.recorder.Verify(h.endpoints())
		assert.Zero(t, h.stop(t))
	})
}
