package acceptance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// typedPart returns an event with only its typed fields, and a normalised notification_type.
func typedPart(e *ongairv1.Event) *ongairv1.Event {
	e = proto.CloneOf(e)
	e.Id, e.Cursor, e.ReceiveTime, e.Fields, e.RawBody = "", "", nil, nil, nil
	e.NotificationType = strings.ToLower(strings.TrimSpace(e.GetNotificationType()))
	return e
}

// The sandbox encodes the odd forms. It shares no code with the gateway.
func TestAWebhookInAnyOddFormIsTheSameTypedEvent(t *testing.T) {
	g, r := Start(t), NewRecorder(t)
	box, _ := StartSandbox(t, sandbox.Config{WebhookURL: g.WebhookURL(Channel)})
	events := r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	n := 0
	trigger := func(fields []Field, as ...sandbox.OddForm) *ongairv1.Event {
		var posted []sandbox.Field
		for _, f := range fields {
			posted = append(posted, sandbox.Field{Name: f.Name, Value: f.Value})
		}
		status, err := box.TriggerAs(t.Context(), posted, as...)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, as)
		n++
		return events.Events(n)[n-1]
	}
	for _, fields := range [][]Field{
		Form("notification_type", "MessageReceived", "id", "0", "text", "José & co: 1+1=2", "external_contact_id", "254722200200", "name", "José"),
		Form("notification_type", "TicketStatusUpdated", "id", "3", "status", "Closed", "external_contact_id", "254722200200"),
		Form("notification_type", "LocationReceived", "latitude", "-1.29", "longitude", "36.82", "phone_number", "254722200200"),
	} {
		plain := trigger(fields)
		require.NotNil(t, plain.GetPayload())
		for _, as := range sandbox.OddForms() {
			got := trigger(fields, as)
			if as == "no-type" {
				assert.Nil(t, got.GetPayload())
				continue
			}
			assert.Empty(t, cmp.Diff(typedPart(plain), typedPart(got), protocmp.Transform(), cmpopts.EquateEmpty()), as)
		}
		for _, several := range [][]sandbox.OddForm{
			{"multipart-unlabelled", "bom", "gzip", "trailing-slash"}, {"payload", "type-lower-case", "deflate"},
			{"json-array", "utf16", "gzip"}, {"form-as-json", "leading-newlines", "bom", "type-with-spaces"}, {"query", "extra-slashes"},
		} {
			assert.Empty(t, cmp.Diff(typedPart(plain), typedPart(trigger(fields, several...)), protocmp.Transform()), several)
		}
	}
	// No Verify: the recorder did not post these webhooks.
}

func TestAUsedIDWithOtherContentIsAnotherEvent(t *testing.T) {
	onEachLog(t, func(t *testing.T, log newLog) {
		g, r := Start(t, log(t)), NewRecorder(t)
		s := r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		post := func(fields ...Field) {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, fields...))
		}
		for range 2 {
			post(received(1, "Yes")...)
			post(received(1, "No")...)
			post(received(1, "No", "caption", "x")...)
		}
		for _, id := range []string{"0", "null", "undefined", "-1", " ", "false", "{}"} {
			for range 2 {
				post(Form("notification_type", "MessageReceived", "id", id, "text", "Yes")...)
			}
		}
		s.Events(3 + 2*7)
		r.Verify(g.Endpoints())
	})
}

// docs/configuration.md documents the duplicate window.
func TestTheDuplicateWindowOutlastsARestartButNotRetention(t *testing.T) {
	g, r := Start(t, func(c *config.Config) { c.RetentionBytes = 4 << 20 }), NewRecorder(t)
	text := strings.Repeat("x", 400<<10)
	post := func(id int) {
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(id, text)...))
	}
	const posted = 40
	s := r.Subscribe("all", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	for id := range posted {
		post(id + 1)
	}
	s.Events(posted)
	post(1)
	post(posted)
	post(posted + 1)
	last := s.Events(posted + 1)[posted]
	assert.Equal(t, "41", last.GetMessageReceived().GetId(), "repetitions are dropped, also of the event that retention removed")

	g = g.Restart(t)
	s = r.Subscribe("restarted", OverGRPC{}, g.Endpoints(), from(last.GetCursor()))
	post(posted)
	post(1)
	assert.Equal(t, "1", s.Events(1)[0].GetMessageReceived().GetId(), "after a restart only the ids of stored events are known")
	// No Verify, because retention removed events, which Durable forbids.
}
