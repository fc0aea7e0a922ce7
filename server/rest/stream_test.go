package rest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// add appends an event and returns it with its cursor, as subscribers get it.
func (g *gateway) add(t *testing.T, channel, text string) *ongairv1.Event {
	t.Helper()
	e := &ongairv1.Event{
		Id: event.RandomID(), Channel: channel, NotificationType: "MessageReceived", ReceiveTime: timestamppb.Now(),
		Payload: &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Id: "7", Text: text}},
		Fields:  []*ongairv1.WebhookField{{Name: "caf\ufffd", RawName: []byte("caf\xe9"), RawValue: []byte{0xff}}},
	}
	_, err := g.log.Append(t.Context(), e)
	require.NoError(t, err)
	latest, err := g.log.Log.Latest(t.Context())
	require.NoError(t, err)
	e.Cursor, err = g.log.CursorOf(t.Context(), latest)
	require.NoError(t, err)
	return e
}

func TestAStreamIsALineForEachResponse(t *testing.T) {
	g := start(t, withLog(t))
	stream := g.stream(t, "")
	assert.Equal(t, "application/x-ndjson", stream.response.Header.Get("Content-Type"))
	first := stream.result(t)
	assert.Empty(t, first.GetEvents(), "the first line is sent immediately")
	assert.Equal(t, g.log.Cursor(0), first.GetCursor())

	for _, text := range []string{"Habari 👋", "line\nbreaks\r\n\u2028", strings.Repeat("long ", 100_000), "<b>&\"'\x00"} {
		want := g.add(t, "support", text)
		got := stream.result(t)
		require.Len(t, got.GetEvents(), 1)
		assert.Empty(t, cmp.Diff(want, got.GetEvents()[0], protocmp.Transform()))
		assert.Equal(t, want.GetCursor(), got.GetCursor())
	}
	for name := range stream.response.Header {
		assert.False(t, strings.HasPrefix(name, "Grpc"), name)
	}
}

func TestAQueryIsARequest(t *testing.T) {
	g := start(t, withLog(t))
	first := g.add(t, "support", "first")
	second := g.add(t, "support", "second")
	past := url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339Nano))
	for query, want := range map[string]*ongairv1.Event{
		"?position=POSITION_EARLIEST":  first,
		"?position=1":                  first,
		"?cursor=" + first.GetCursor(): second,
		"?start_time=" + past:          first,
		"?startTime=" + past:           first,
		"?channels=support&channels=support&position=POSITION_EARLIEST&event_types=EVENT_TYPE_MESSAGE_RECEIVED&heartbeat_interval=5s": first,
		"?notification_types=MessageReceived&position=POSITION_EARLIEST":                                                              first,
	} {
		t.Run(query, func(t *testing.T) {
			got := g.stream(t, query).result(t)
			require.NotEmpty(t, got.GetEvents())
			assert.Empty(t, cmp.Diff(want, got.GetEvents()[0], protocmp.Transform()))
		})
	}
	beat := g.stream(t, "?event_types=EVENT_TYPE_MESSAGE_SENT&position=POSITION_EARLIEST&heartbeat_interval=0.1s")
	for range 3 {
		assert.Empty(t, beat.result(t).GetEvents())
	}
}

func TestAStreamThatCannotStartIsAnOrdinaryError(t *testing.T) {
	g := start(t, withLog(t))
	for query, reason := range map[string]ongairv1.ErrorReason{
		"?cursor=nonsense":                     ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED,
		"?cursor=" + g.log.Cursor(99):          ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD,
		"?channels=marketing":                  ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN,
		"?event_types=EVENT_TYPE_UNSPECIFIED":  ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		"?start_time=1960-01-01T00:00:00.000Z": ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
	} {
		requireError(t, g.do(t, http.MethodGet, subscribePath+query, ""), reason)
	}
	g.service.Drain()
	got := g.do(t, http.MethodGet, subscribePath, "")
	requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
	assert.Equal(t, "1", got.header.Get("Retry-After"))
}

func TestTheLastLineOfAStreamHasTheReason(t *testing.T) {
	g := start(t, withLog(t))
	stream := g.stream(t, "")
	stream.result(t)
	g.service.Drain()
	member, value := stream.next(t)
	assert.Equal(t, "error", member)
	s := requireStatus(t, string(value), ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
	advice := false
	for _, detail := range s.Details() {
		if _, ok := detail.(*errdetails.RetryInfo); ok {
			advice = true
		}
	}
	assert.True(t, advice)
	assert.False(t, stream.scanner.Scan(), "it is the last line")
	require.NoError(t, stream.scanner.Err(), "and the body is complete")
}

// A client may have kept only the last line.
func TestTheErrorThatEndsAStreamHasTheCursorToContinueFrom(t *testing.T) {
	for name, events := range map[string]int{"before the first event": 0, "after some events": 3} {
		t.Run(name, func(t *testing.T) {
			g := start(t, withLog(t))
			stream := g.stream(t, "")
			last := stream.result(t).GetCursor()
			for range events {
				g.add(t, "support", "Habari")
				last = stream.result(t).GetCursor()
			}
			g.service.Drain()
			member, value := stream.next(t)
			require.Equal(t, "error", member)
			s := requireStatus(t, string(value), ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
			require.Len(t, s.Details(), 2, "the other details are kept")
			assert.Equal(t, map[string]string{"cursor": last}, fault.Info(s).GetMetadata())
		})
	}
}

func TestAClientThatDisconnectsEndsItsStream(t *testing.T) {
	ended := make(chan struct{})
	streams := openRequests{func(r *http.Request, send func(*event.Response) error) error {
		defer close(ended)
		err := send(event.Heartbeat("x", 0))
		<-r.Context().Done()
		return err
	}}
	handler, err := New(t.Context(), Config{Requests: streams, Bodies: listen.NewBodies()}) // no call is ever made
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	g := &gateway{url: server.URL}
	response := g.open(t, t.Context(), http.MethodGet, subscribePath, "")
	_ = response.Body.Close()
	<-ended
}

func TestStreamsDoNotWaitForEachOther(t *testing.T) {
	g := start(t, withLog(t))
	stalled := g.stream(t, "")
	reading := g.stream(t, "")
	reading.result(t)
	var want []string
	for i := range 10 {
		e := g.add(t, "support", fmt.Sprint(i)+strings.Repeat("x", 200_000))
		require.Len(t, reading.result(t).GetEvents(), 1)
		want = append(want, e.GetId())
	}
	stalled.result(t)
	for len(want) > 0 {
		for _, e := range stalled.result(t).GetEvents() {
			assert.Equal(t, want[0], e.GetId())
			want = want[1:]
		}
	}
}

// A filter with a thousand contacts does not fit in a URL.
func TestASubscriptionMayBeABody(t *testing.T) {
	g := start(t, withLog(t))
	hidden := g.add(t, "sales", "hidden")
	contacts := make([]string, 1000)
	for i := range contacts {
		contacts[i] = fmt.Sprintf("\"+2547%08d\"", i)
	}
	for body, want := range map[string]string{
		`{"channels": ["support"], "position": "POSITION_EARLIEST"}`:                                       hidden.GetCursor(),
		`{"position": "POSITION_EARLIEST", "external_contact_ids": [` + strings.Join(contacts, ",") + `]}`: hidden.GetCursor(),
		`{"position": "POSITION_LATEST", "heartbeatInterval": "100s"}`:                                     hidden.GetCursor(),
	} {
		stream := g.openStream(t, http.MethodPost, subscribePath, body)
		assert.Equal(t, "application/x-ndjson", stream.response.Header.Get("Content-Type"))
		first := stream.result(t)
		assert.Empty(t, first.GetEvents())
		assert.Equal(t, want, first.GetCursor())
	}
	for body, reason := range map[string]ongairv1.ErrorReason{
		`{"chanels": []}`:         ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		`{"cursor": "x"}`:         ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED,
		`{"channels": ["other"]}`: ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN,
	} {
		s := requireError(t, g.do(t, http.MethodPost, subscribePath, body), reason)
		assert.Empty(t, fault.Info(s).GetMetadata()["effect"], "a subscription has no effect")
	}
	got := g.do(t, http.MethodPost, subscribePath+"?position=POSITION_EARLIEST", "{}")
	requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
}

func TestAPageIsAJSONObject(t *testing.T) {
	g := start(t, withLog(t))
	want := []*ongairv1.Event{g.add(t, "support", "Habari 👋"), g.add(t, "sales", "hidden"), g.add(t, "support", "Hi")}
	got := g.do(t, http.MethodGet, "/v1/events?channels=support&page_size=1", "")
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Contains(t, strings.ReplaceAll(got.body, " ", ""), `"pending":2`, "an int32 must be encoded as a number")
	page := &ongairv1.ListEventsResponse{}
	require.NoError(t, protojson.Unmarshal([]byte(got.body), page))
	assert.Empty(t, cmp.Diff(want[:1], page.GetEvents(), protocmp.Transform()))

	got = g.do(t, http.MethodGet, "/v1/events?wait=10s&channels=support&cursor="+page.GetCursor(), "")
	require.NoError(t, protojson.Unmarshal([]byte(got.body), page))
	assert.Empty(t, cmp.Diff(want[2:], page.GetEvents(), protocmp.Transform()))

	got = g.do(t, http.MethodGet, "/v1/events?cursor="+page.GetCursor(), "")
	assert.JSONEq(t, `{"events":[],"cursor":"`+page.GetCursor()+`","pending":0}`, got.body)

	for query, reason := range map[string]ongairv1.ErrorReason{
		"?page_size=1001":        ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		"?wait=61s":              ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		"?heartbeat_interval=1s": ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		"?cursor=x":              ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED,
	} {
		requireError(t, g.do(t, http.MethodGet, "/v1/events"+query, ""), reason)
	}
}

func TestAViolationHasAReason(t *testing.T) {
	g := start(t, withLog(t))
	for target, want := range map[string]string{
		"/v1/events?page_size=1001":                           "INT32_GTE_LTE",
		"/v1/events?page_size=many":                           "MALFORMED",
		"/v1/events?page=1":                                   "UNKNOWN",
		"/v1/events?cursor=a&cursor=b":                        "REPEATED",
		"/v1/events?event_types=EVENT_TYPE_UNSPECIFIED":       "ENUM_NOT_IN",
		"/v1/events?start_time=0001-01-01T00:00:00Z":          "TIMESTAMP_GTE",
		"/v1/events?channels=" + strings.Repeat("x", 65):      "STRING_PATTERN",
		"/v1/events?conversation_ids=" + url.QueryEscape("%"): "",
	} {
		got := g.do(t, http.MethodGet, target, "")
		if want == "" {
			assert.Equal(t, http.StatusOK, got.status, target)
			continue
		}
		s := requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
		bad := s.Details()[1].(*errdetails.BadRequest)
		require.Len(t, bad.GetFieldViolations(), 1)
		assert.Equal(t, want, bad.GetFieldViolations()[0].GetReason(), target)
	}
}
