package servertest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// event returns the n-th event of a log: a text from one of two contacts.
func event(n int) *ongairv1.Event {
	return &ongairv1.Event{
		Id:               fmt.Sprintf("id-%d", n),
		Cursor:           fmt.Sprintf("cursor-%d", n),
		Channel:          Channel,
		ReceiveTime:      at(n),
		NotificationType: "MessageReceived",
		Contact:          &ongairv1.Contact{ExternalId: fmt.Sprintf("contact-%d", n%2)},
		Payload: &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{
			Id: fmt.Sprint(n), Text: "Yes",
		}},
	}
}

// at is the time at which the n-th event was received.
func at(n int) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: int64(n)} }

func post(n int) Post {
	return Post{Channel: Channel, Status: 200, Fields: []Field{
		{"notification_type", "MessageReceived"},
		{"id", fmt.Sprint(n)},
		{"text", "Yes"},
		{"name", ""},
		{"external_contact_id", fmt.Sprintf("contact-%d", n%2)},
	}}
}

func response(cursor int, events ...int) *ongairv1.SubscribeResponse {
	r := &ongairv1.SubscribeResponse{Cursor: fmt.Sprintf("cursor-%d", cursor)}
	for _, n := range events {
		r.Events = append(r.Events, event(n))
	}
	return r
}

// good returns a history of five events in which all guarantees hold. It has a subscriber from
// the start, a filtered one, one that resumed, one from a time, one that left, one whose
// gateway was killed, and a stalled one.
func good() *History {
	h := &History{
		Calls: []Call{
			{RequestID: "r", Text: "Hello", MessageID: "7"},
			{RequestID: "r", Text: "Hello", MessageID: "7", Replayed: true},
			{Text: "Bye", Err: fault.New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED, "it failed")},
		},
		Upstream: []string{"Hello", "Bye"},
	}
	for n := 1; n <= 5; n++ {
		h.Log = append(h.Log, event(n))
		h.Posts = append(h.Posts, post(n))
	}
	h.Posts = append(h.Posts, post(3)) // delivered twice by Ongair
	earliest := &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}}
	filtered := proto.CloneOf(earliest)
	filtered.ExternalContactIds = []string{"contact-0"}
	h.Streams = []Stream{
		{Name: "all", Request: earliest, Settled: true, Responses: []*ongairv1.SubscribeResponse{
			response(2, 1, 2), response(5, 3, 4, 5), response(5),
		}},
		{Name: "filtered", Request: filtered, Settled: true, Responses: []*ongairv1.SubscribeResponse{
			response(3, 2), response(4, 4), response(5),
		}},
		{Name: "back", Settled: true, Request: &ongairv1.SubscribeRequest{
			Start: &ongairv1.SubscribeRequest_Cursor{Cursor: "cursor-2"},
		}, Responses: []*ongairv1.SubscribeResponse{response(2), response(5, 3, 4, 5)}},
		{Name: "live", Settled: true, Request: &ongairv1.SubscribeRequest{}, Responses: []*ongairv1.SubscribeResponse{
			response(4), response(5, 5),
		}},
		{Name: "since", Settled: true, Request: &ongairv1.SubscribeRequest{
			Start: &ongairv1.SubscribeRequest_StartTime{StartTime: at(3)},
		}, Responses: []*ongairv1.SubscribeResponse{response(4, 3, 4), response(5, 5)}},
		{Name: "left", Left: true, Request: earliest, Responses: []*ongairv1.SubscribeResponse{response(2, 1, 2)}},
		{Name: "killed", Killed: true, Request: earliest, Responses: []*ongairv1.SubscribeResponse{response(3, 1, 2, 3)}},
		{Name: "stalled", Stalled: true, Request: earliest},
	}
	return h
}

func TestEveryGuaranteeHoldsInAGoodHistory(t *testing.T) {
	for _, g := range Guarantees() {
		assert.NoError(t, g.Check(good()), g.Name)
	}
}

func TestEachBreachIsFound(t *testing.T) {
	all := func(h *History) *Stream { return &h.Streams[0] }
	for _, tt := range []struct {
		guarantee, breach string
		apply             func(*History)
	}{
		{"Durable", "an event that was answered 200 is not in the log", func(h *History) { h.Posts = append(h.Posts, post(6)) }},
		{"Durable", "one of two equal ticket updates is missing", func(h *History) {
			ticket := Post{Channel: Channel, Status: 200, Fields: []Field{{"notification_type", "TicketStatusUpdated"}, {"status", "Closed"}}}
			h.Posts = append(h.Posts, ticket, ticket)
			h.Log = append(h.Log, &ongairv1.Event{
				Id: "t", Cursor: "cursor-6", Channel: Channel, NotificationType: "TicketStatusUpdated",
				Payload: &ongairv1.Event_TicketStatusUpdated{TicketStatusUpdated: &ongairv1.TicketStatusUpdated{Status: "Closed"}},
			})
		}},
		{"Durable", "the log has an event that was not posted", func(h *History) { h.Posts = h.Posts[1:] }},
		{"Complete", "an event in the middle is missing", func(h *History) { all(h).Responses[1] = response(5, 3, 5) }},
		{"Complete", "the first event is missing", func(h *History) { all(h).Responses[0] = response(2, 2) }},
		{"Complete", "the first event since a start time is missing", func(h *History) { h.Streams[4].Responses[0] = response(4, 4) }},
		{"Complete", "an event that the filter excludes is delivered", func(h *History) { h.Streams[1].Responses[0] = response(3, 2, 3) }},
		{"Ordered", "two events are swapped", func(h *History) { all(h).Responses[1] = response(5, 4, 3, 5) }},
		{"Ordered", "an event has another cursor than in the log", func(h *History) { all(h).Responses[0].Events[0].Cursor = "another cursor" }},
		{"Unique", "an event is repeated in the next response", func(h *History) { all(h).Responses[1] = response(5, 2, 3, 4, 5) }},
		{"Unique", "two events have one id", func(h *History) { h.Log[4].Id = h.Log[3].GetId() }},
		{"Unique", "a redelivered notification is a second event", func(h *History) {
			again := event(3)
			again.Id, again.Cursor = "id-6", "cursor-6"
			h.Log = append(h.Log, again)
		}},
		{"Resumable", "the event after the cursor is skipped", func(h *History) { h.Streams[2].Responses[1] = response(5, 4, 5) }},
		{"Resumable", "the event before the cursor is repeated", func(h *History) { h.Streams[2].Responses[1] = response(5, 2, 3, 4, 5) }},
		{"Bookmarked", "a cursor is ahead of what was delivered", func(h *History) { all(h).Responses[0] = response(3, 1, 2) }},
		{"Bookmarked", "a cursor is before its own event", func(h *History) { all(h).Responses[0] = response(1, 1, 2) }},
		{"Bookmarked", "a cursor moves back", func(h *History) { all(h).Responses[2] = response(4) }},
		{"Bookmarked", "a cursor stays behind on a filtered stream", func(h *History) { h.Streams[1].Responses = h.Streams[1].Responses[:2] }},
		{"Isolated", "another subscriber does not reach the end of the log", func(h *History) { h.Streams[3].Settled = false }},
		{"Explicit", "a stream ends with an error without a reason", func(h *History) { all(h).Err = errors.New("broken pipe") }},
		{"Explicit", "a cursor expired, and the number of lost events is missing", func(h *History) {
			all(h).Err = fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED, "gone")
		}},
		{"Explicit", "a stream has neither a response nor an error", func(h *History) { all(h).Responses = nil }},
		{"Explicit", "a call fails with an error without a reason", func(h *History) { h.Calls[2].Err = errors.New("EOF") }},
		{"Once", "a message is sent twice", func(h *History) { h.Upstream = append(h.Upstream, "Hello") }},
		{"Once", "a failed call is sent twice", func(h *History) { h.Upstream = append(h.Upstream, "Bye") }},
		{"Once", "a call succeeds, but nothing was sent", func(h *History) { h.Upstream = nil }},
		{"Once", "one request_id has two outcomes", func(h *History) { h.Calls[1].MessageID = "8" }},
		{"Whole", "a field is lost", func(h *History) { h.Posts[0].Fields = append(h.Posts[0].Fields, Field{"latitude", "-1.29"}) }},
		{"Whole", "an unparsed body is truncated", func(h *History) {
			h.Posts = append(h.Posts, Post{Channel: Channel, Status: 200, Fields: RawBody("text/plain", "Yes, please")})
			h.Log = append(h.Log, &ongairv1.Event{Id: "r", Cursor: "cursor-6", Channel: Channel,
				RawBody: &ongairv1.RawBody{ContentType: "text/plain", Content: []byte("Yes")}})
		}},
		{"Whole", "an earlier value of a repeated field is lost", func(h *History) {
			h.Posts[0].Fields = append([]Field{{"text", "No"}}, h.Posts[0].Fields...)
		}},
	} {
		t.Run(tt.guarantee+": "+tt.breach, func(t *testing.T) {
			h := good()
			tt.apply(h)
			for _, g := range Guarantees() {
				if g.Name == tt.guarantee {
					assert.Error(t, g.Check(h))
					return
				}
			}
			require.Fail(t, "unknown guarantee")
		})
	}
}
