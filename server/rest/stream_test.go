package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

// add appends an event and returns it as subscribers get it.
func (g *gateway) add(t *testing.T, channel, text string) *ongairv1.Event {
	t.Helper()
	e := &ongairv1.Event{
		Id: event.RandomID(), Channel: channel, NotificationType: "MessageReceived",
		Payload: &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Id: "7", Text: text}},
		Fields:  []*ongairv1.Field{{Name: "caf\ufffd", NameBytes: []byte("caf\xe9"), ValueBytes: []byte{0xff}}},
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
	assert.Empty(t, first.GetEvents(), "the first line comes at once")
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

func TestAStreamThatDoesNotBeginIsAnOrdinaryError(t *testing.T) {
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

func TestAStreamThatEndsSaysWhyInItsLastLine(t *testing.T) {
	for name, end := range map[string]func(*gateway){
		"by a drain":                  func(g *gateway) { g.service.Drain() },
		"by a server that is cut off": func(g *gateway) { g.grpc.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, withLog(t))
			stream := g.stream(t, "")
			stream.result(t)
			end(g)
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
			require.NoError(t, stream.scanner.Err(), "and the body ends as it should")
		})
	}
}

func TestAClientThatGoesEndsItsCall(t *testing.T) {
	g := start(t, withLog(t))
	ctx, cancel := context.WithCancel(t.Context())
	response := g.open(t, ctx, http.MethodGet, subscribePath, "")
	_, call := g.spy.last()
	require.NoError(t, call.Err())
	cancel()
	_ = response.Body.Close()
	<-call.Done()
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
