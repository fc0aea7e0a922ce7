package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/fault"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// received returns the webhook of a text from a contact.
func received(id int, text string, more ...string) []Field {
	return Form(append([]string{
		"notification_type", "MessageReceived",
		"id", strconv.Itoa(id),
		"text", text,
		"external_contact_id", Contact,
		"conversation_id", "22",
		"account_type", "WhatsApp",
		"name", "Asha Njeri",
	}, more...)...)
}

func ticket(status string) []Field {
	return Form("notification_type", "TicketStatusUpdated", "conversation_id", "22", "status", status, "external_contact_id", Contact)
}

func earliest() *ongairv1.SubscribeRequest {
	return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}}
}

func from(cursor string) *ongairv1.SubscribeRequest {
	return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Cursor{Cursor: cursor}}
}

// subscribeRejected makes a subscription that is rejected, and returns its error. It asserts that
// the error arrives within a second.
func subscribeRejected(t *testing.T, r *Recorder, name string, transport Transport, at Endpoints, req *ongairv1.SubscribeRequest) error {
	t.Helper()
	started := time.Now()
	err := r.Subscribe(name, transport, at, req).Err()
	assert.Less(t, time.Since(started), time.Second, "%s: %v", name, err)
	return err
}

func reasonOf(err error) string { return fault.ReasonName(fault.ReasonOf(status.Convert(err))) }

func TestASubscriberGetsPostedWebhooksInOrder(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t)), NewRecorder(t)
		live := r.Subscribe("live", transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
		for i := range 20 {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(i, "Habari 👋 + "+strconv.Itoa(i))...))
		}
		for i, e := range live.Events(20) {
			assert.Equal(t, "Habari 👋 + "+strconv.Itoa(i), e.GetMessageReceived().GetText())
			assert.Equal(t, Channel, e.GetChannel())
			assert.WithinDuration(t, time.Now(), e.GetReceiveTime().AsTime(), time.Minute)
		}
		r.Subscribe("late", transport, g.Endpoints(), earliest()).Events(20)
		r.Verify(g.Endpoints())
	})
}

func TestTheFirstResponseComesAtOnceAndEmpty(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t)), NewRecorder(t)
		s := r.Subscribe("first", transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
		assert.Empty(t, s.Events(0))
		assert.NotEmpty(t, s.Cursor())
		r.Verify(g.Endpoints())
	})
}

func TestEqualMessagesOfDifferentContactsAreDifferentEvents(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t)), NewRecorder(t)
		s := r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		r.Post(g.WebhookURL(Channel), Channel, received(1, "Yes")...)
		r.Post(g.WebhookURL(Channel), Channel, received(2, "Yes")...)
		for _, status := range []string{"Closed", "Open", "Closed", "Closed"} {
			r.Post(g.WebhookURL(Channel), Channel, ticket(status)...)
		}
		s.Events(6)
		r.Verify(g.Endpoints())
	})
}

func TestARedeliveredNotificationIsOneEvent(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t), func(c *config.Config) {
			other := c.Channels[Channel]
			c.Channels["sales"] = other
		}), NewRecorder(t)
		s := r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				assert.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Yes")...))
			})
		}
		wg.Wait()
		// The same id on another channel, or of another type, is another message.
		r.Post(g.WebhookURL("sales"), "sales", received(1, "Yes")...)
		r.Post(g.WebhookURL(Channel), Channel, Form("notification_type", "MessageSent", "id", "1", "text", "Yes")...)
		// An id does not identify a LocationReceived, so each is an event.
		r.Post(g.WebhookURL(Channel), Channel, Form("notification_type", "LocationReceived", "id", "1")...)
		r.Post(g.WebhookURL(Channel), Channel, Form("notification_type", "LocationReceived", "id", "1")...)
		s.Events(5)
		g = g.Restart(t)
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Yes")...))
		r.Subscribe("after a restart", OverGRPC{}, g.Endpoints(), earliest())
		assert.Equal(t, "SHUTTING_DOWN", reasonOf(s.Err()))
		r.Verify(g.Endpoints())
	})
}

func TestARedeliveryAfterTheDuplicateWindowIsAnotherEvent(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t), func(c *config.Config) { c.DuplicateWindow = 100 * time.Millisecond }), NewRecorder(t)
		s := r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		require.Eventually(t, func() bool {
			r.Post(g.WebhookURL(Channel), Channel, received(1, "Yes")...)
			return len(s.Events(0)) == 2
		}, 10*time.Second, 10*time.Millisecond)
		events := s.Events(2)
		assert.Equal(t, events[0].GetId(), events[1].GetId(), "a client can still find the duplicate")
		// No Verify, because the log has the notification twice, which Unique forbids.
	})
}

func TestFiltersAreCombinedAndHideNothingElse(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t), func(c *config.Config) { c.Channels["sales"] = c.Channels[Channel] }), NewRecorder(t)
		at := g.Endpoints()
		subscribe := func(name string, req *ongairv1.SubscribeRequest) {
			req.Start = earliest().Start
			r.Subscribe(name, transport, at, req)
		}
		types := []ongairv1.EventType{ongairv1.EventType_EVENT_TYPE_TICKET_STATUS_UPDATED}
		subscribe("channel", &ongairv1.SubscribeRequest{Channels: []string{"sales"}})
		subscribe("two channels", &ongairv1.SubscribeRequest{Channels: []string{"sales", Channel}})
		subscribe("type", &ongairv1.SubscribeRequest{EventTypes: types})
		subscribe("type or name", &ongairv1.SubscribeRequest{EventTypes: types, NotificationTypes: []string{"LocationReceived"}})
		subscribe("contact", &ongairv1.SubscribeRequest{ExternalContactIds: []string{"wxid_1"}})
		subscribe("conversation", &ongairv1.SubscribeRequest{ConversationIds: []string{"22"}})
		subscribe("channel and type", &ongairv1.SubscribeRequest{Channels: []string{"sales"}, EventTypes: types})
		subscribe("nothing", &ongairv1.SubscribeRequest{ConversationIds: []string{"unknown"}})
		for i := range 5 {
			for _, channel := range []string{Channel, "sales"} {
				r.Post(g.WebhookURL(channel), channel, received(i, "Hi")...)
				r.Post(g.WebhookURL(channel), channel, ticket("Open")...)
				r.Post(g.WebhookURL(channel), channel, Form("notification_type", "LocationReceived", "latitude", "-1.29", "external_contact_id", "wxid_1")...)
			}
		}
		r.Verify(at)
	})
}

func TestACursorContinuesExactlyAfterItOnAnyTransport(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t)), NewRecorder(t)
		at := g.Endpoints()
		for i := range 10 {
			r.Post(g.WebhookURL(Channel), Channel, received(i, "Hi")...)
		}
		events := r.Subscribe("first", OverGRPC{}, at, earliest()).Events(10)
		for _, transport := range Transports() {
			for i := range events {
				r.Subscribe(fmt.Sprint("from event ", i), transport, at, from(events[i].GetCursor()))
			}
		}
		r.Post(g.WebhookURL(Channel), Channel, received(10, "Hi")...)
		r.Verify(at)
	})
}

func TestAStartTimeIsTheFirstEventAtOrAfterIt(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t)), NewRecorder(t)
		at := g.Endpoints()
		r.Post(g.WebhookURL(Channel), Channel, received(1, "before")...)
		middle := time.Now()
		r.Post(g.WebhookURL(Channel), Channel, received(2, "after")...)
		since := func(when time.Time) *ongairv1.SubscribeRequest {
			return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_StartTime{StartTime: timestamppb.New(when)}}
		}
		assert.Equal(t, "after", r.Subscribe("middle", transport, at, since(middle)).Events(1)[0].GetMessageReceived().GetText())
		r.Subscribe("long ago", transport, at, since(middle.Add(-time.Hour))).Events(2)
		assert.Empty(t, r.Subscribe("future", transport, at, since(middle.Add(time.Hour))).Events(0))
		r.Verify(at)
	})
}

func TestAnInvalidCursorIsRejectedAtOnce(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, other, r := Start(t, log(t)), Start(t, log(t)), NewRecorder(t)
		at := g.Endpoints()
		cursorOf := func(g *Gateway) string {
			s := r.Subscribe("head", transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
			defer s.Stop()
			return s.Cursor()
		}
		r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...)
		good := cursorOf(g)
		for _, tt := range []struct {
			name   string
			req    *ongairv1.SubscribeRequest
			code   codes.Code
			reason string
		}{
			{"not a cursor", from("latest"), codes.InvalidArgument, "CURSOR_MALFORMED"},
			{"a changed character", from(strings.Replace(good, good[20:21], "_", 1)), codes.InvalidArgument, "CURSOR_MALFORMED"},
			{"truncated", from(good[:len(good)-1]), codes.InvalidArgument, "CURSOR_MALFORMED"},
			{"of another gateway", from(cursorOf(other)), codes.FailedPrecondition, "CURSOR_FOREIGN"},
			{"empty", from(""), codes.InvalidArgument, "INVALID_REQUEST"},
			{"an unknown channel", &ongairv1.SubscribeRequest{Channels: []string{"nowhere"}}, codes.NotFound, "CHANNEL_UNKNOWN"},
		} {
			err := subscribeRejected(t, r, tt.name, transport, at, tt.req)
			assert.Equal(t, tt.code, status.Code(err), "%s: %v", tt.name, err)
			assert.Equal(t, tt.reason, reasonOf(err), tt.name)
		}
		r.Verify(at)
	})
}

func TestACursorOfAWipedLogIsRejected(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t)), NewRecorder(t)
		r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...)
		s := r.Subscribe("before", OverGRPC{}, g.Endpoints(), earliest())
		cursor := s.Events(1)[0].GetCursor()
		s.Stop()
		fresh := Start(t, log(t))
		err := subscribeRejected(t, NewRecorder(t), "on a fresh directory", OverGRPC{}, fresh.Endpoints(), from(cursor))
		assert.Equal(t, "CURSOR_FOREIGN", reasonOf(err))
		r.Verify(g.Endpoints())
	})
}

// The data directory is replaced by an older copy. Cursors of lost events are rejected, also after
// other events have taken their positions.
func TestACursorThatAnOlderCopyLacksIsRejected(t *testing.T) {
	g := Start(t)
	post := func(r *Recorder, first, last int, text string) {
		for i := first; i <= last; i++ {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(i, text)...))
		}
	}
	r := NewRecorder(t)
	post(r, 1, 3, "before the copy")
	g.Stop()
	older := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(older, os.DirFS(g.Config.DataDir)))
	g = g.Restart(t)
	post(r, 4, 6, "after the copy")
	lost := r.Subscribe("before", OverGRPC{}, g.Endpoints(), earliest()).Events(6)
	r.Verify(g.Endpoints())
	g.Stop()
	require.NoError(t, os.RemoveAll(g.Config.DataDir))
	require.NoError(t, os.CopyFS(g.Config.DataDir, os.DirFS(older)))

	g, r = g.Restart(t), NewRecorder(t)
	post(r, 1, 3, "before the copy") // duplicates of stored events
	rejectedEverywhere := func(reason, name, cursor string) {
		for _, transport := range Transports() {
			err := subscribeRejected(t, r, name, transport, g.Endpoints(), from(cursor))
			assert.Equal(t, reason, reasonOf(err), "%s, over %s", name, transport)
		}
	}
	rejectedEverywhere("CURSOR_AHEAD", "of a lost event", lost[5].GetCursor())
	post(r, 7, 10, "other events")
	rejectedEverywhere("CURSOR_FOREIGN", "of a lost event whose position another has", lost[5].GetCursor())
	common := r.Subscribe("of an event in both logs", OverGRPC{}, g.Endpoints(), from(lost[1].GetCursor()))
	assert.Equal(t, lost[2].GetCursor(), common.Events(5)[0].GetCursor())
	r.Verify(g.Endpoints())
}

func TestASubscriberResumesAfterARestart(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		onEachStream(t, func(t *testing.T, transport Transport) {
			g, r := Start(t, log(t)), NewRecorder(t)
			for i := range 5 {
				r.Post(g.WebhookURL(Channel), Channel, received(i, "before")...)
			}
			s := r.Subscribe("before", transport, g.Endpoints(), earliest())
			s.Events(5)
			stopped := time.Now()
			g = g.Restart(t)
			assert.Less(t, time.Since(stopped), 5*time.Second, "open streams do not delay a stop")
			err := s.Err()
			assert.Equal(t, codes.Unavailable, status.Code(err))
			assert.Equal(t, "SHUTTING_DOWN", reasonOf(err))
			for i := range 5 {
				r.Post(g.WebhookURL(Channel), Channel, received(5+i, "after")...)
			}
			r.Subscribe("after", transport, g.Endpoints(), from(s.Cursor())).Events(5)
			r.Verify(g.Endpoints())
		})
	})
}

func TestASubscriberThatNeverReadsDelaysNoOther(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t), func(c *config.Config) { c.Grace = time.Second }), NewRecorder(t)
		conn, err := Dial(g.Endpoints())
		require.NoError(t, err)
		defer conn.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err = ongairv1.NewOngairServiceClient(conn).Subscribe(ctx, earliest())
		require.NoError(t, err)
		live := r.Subscribe("live", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		// Far more than the flow control window of the stalled stream.
		text := strings.Repeat("x", 32<<10)
		for i := range 64 {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(i, text)...))
		}
		live.Events(64)
		r.Verify(g.Endpoints())
		g.Stop() // without an error, although one stream is stalled
	})
}

func TestAStalledSubscriberDelaysNoOtherAndGetsEverything(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t)), NewRecorder(t)
		stalled := r.Subscribe("stalled", transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
		stalled.Stall()
		live := r.Subscribe("live", transport, g.Endpoints(), &ongairv1.SubscribeRequest{})
		// More than the buffers of a stalled stream hold.
		text := strings.Repeat("x", 500_000)
		for i := range 16 {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(i, text)...))
		}
		live.Events(16)
		assert.Less(t, len(stalled.Events(0)), 16)
		r.Verify(g.Endpoints())
	})
}

func TestEventsThatArriveWhileASubscriberCatchesUpAreDeliveredOnce(t *testing.T) {
	onEachLogAndTransport(t, func(t *testing.T, log newLog, transport Transport) {
		g, r := Start(t, log(t)), NewRecorder(t)
		for i := range 50 {
			r.Post(g.WebhookURL(Channel), Channel, received(i, "Hi")...)
		}
		// After a restart the ring is empty, so the first events come from the log.
		g = g.Restart(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 50 {
				r.Post(g.WebhookURL(Channel), Channel, received(50+i, "Hi")...)
			}
		})
		for i := range 5 {
			r.Subscribe(fmt.Sprint("catching up ", i), transport, g.Endpoints(), earliest())
		}
		wg.Wait()
		r.Verify(g.Endpoints())
	})
}

func TestAWebhookOfAnyKindArrivesWhole(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t)), NewRecorder(t)
		url := g.WebhookURL(Channel)
		for _, fields := range [][]Field{
			received(1, "an undocumented field", "profile_pic", "https://example.com/p.jpg"),
			received(2, "\x00 and \xff\xfe are kept"),
			append(Form("text", "first", "text", "second"), received(3, "the last one counts")...),
			Form("notification_type", "LocationReceived", "latitude", "-1.29", "longitude", "36.82", "id", "4"),
			Form("notification_type", "ImageReceived", "id", "5", "image", "https://example.com/i.jpg", "text", "+254 & co"),
			Form("notification_type", "MessageSent", "id", "6", "image", "https://example.com/i.jpg", "latin1 \xe9", "\xe9"),
			Form("foo", "", "", "bar"),
		} {
			require.Equal(t, http.StatusOK, r.Post(url, Channel, fields...))
		}
		r.Subscribe("all", OverNDJSON{}, g.Endpoints(), earliest()).Events(7)
		r.Verify(g.Endpoints())
	})
}

func TestAWebhookThatCannotBeParsedIsKeptWhole(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t)), NewRecorder(t)
		body := "<xml>\xff not what Ongair sends</xml>"
		response, err := http.Post(g.WebhookURL(Channel), "application/xml", strings.NewReader(body))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode)
		r.RecordPost(Post{Channel: Channel, Fields: RawBody("application/xml", body), Status: response.StatusCode})
		e := r.Subscribe("all", OverGRPC{}, g.Endpoints(), earliest()).Events(1)[0]
		assert.Equal(t, body, string(e.GetRawBody().GetContent()))
		assert.Equal(t, "application/xml", e.GetRawBody().GetContentType())
		assert.Empty(t, e.GetNotificationType())
		r.Verify(g.Endpoints())
	})
}
