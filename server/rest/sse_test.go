package rest

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
)

// sse opens a stream of Server-Sent Events that ends with the test.
func (g *gateway) sse(t *testing.T, query string, header ...string) *lines {
	t.Helper()
	l := g.openStream(t, http.MethodGet, subscribePath+query, "", append([]string{"Accept", typeSSE}, header...)...)
	require.Equal(t, typeSSE, l.response.Header.Get("Content-Type"))
	return l
}

// message returns the fields of the next message, as "id: …" and so on.
func (l *lines) message(t *testing.T) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for l.scanner.Scan() {
		if l.scanner.Text() == "" {
			return fields
		}
		name, value, ok := strings.Cut(l.scanner.Text(), ": ")
		require.True(t, ok, l.scanner.Text())
		require.NotContains(t, fields, name)
		fields[name] = value
	}
	require.Fail(t, "the stream ended", "%v", l.scanner.Err())
	return nil
}

func TestAServerSentEventIsAnEventWithItsCursor(t *testing.T) {
	g := start(t, withLog(t))
	stream := g.sse(t, "")
	first := stream.message(t)
	assert.Equal(t, g.log.Cursor(0), first["id"], "the first message comes at once")
	retry, err := strconv.Atoi(first["retry"])
	require.NoError(t, err)
	assert.GreaterOrEqual(t, retry, 1000)
	assert.Less(t, retry, 2000)
	assert.Len(t, first, 2)

	for _, text := range []string{"Habari 👋", "line\nbreaks\r\n\u2028", strings.Repeat("long ", 100_000), "<b>&\"'\x00"} {
		want := g.add(t, "support", text)
		got := stream.message(t)
		assert.Equal(t, want.GetCursor(), got["id"])
		assert.Equal(t, "MessageReceived", got["event"])
		assert.Len(t, got, 3)
		e := &ongairv1.Event{}
		require.NoError(t, protojson.Unmarshal([]byte(got["data"]), e))
		assert.Empty(t, cmp.Diff(want, e, protocmp.Transform()))
	}
}

func TestAMessageHasTheNotificationTypeUnlessItIsReserved(t *testing.T) {
	g := start(t, withLog(t))
	stream := g.sse(t, "")
	stream.message(t)
	for notificationType, want := range map[string]string{
		"MessageSent":              "MessageSent",
		" message_sent ":           " message_sent ",
		" messagesent":             "MessageSent",
		"ContactBlocked":           "ContactBlocked",
		"a\nid: forged\r\ndata: x": "a id: forged  data: x",
		"open":                     "",
		"error":                    "",
		"end":                      "",
		"":                         "",
	} {
		g.addType(t, notificationType)
		got := stream.message(t)
		name, named := got["event"]
		assert.Equal(t, want, name, "%q", notificationType)
		assert.Equal(t, want != "", named)
		read := &ongairv1.Event{}
		require.NoError(t, protojson.Unmarshal([]byte(got["data"]), read))
		assert.Equal(t, notificationType, read.GetNotificationType())
	}
}

// addType appends an event with a type, and returns its cursor.
func (g *gateway) addType(t *testing.T, notificationType string) string {
	t.Helper()
	_, err := g.log.Append(t.Context(), &ongairv1.Event{
		Id: event.RandomID(), Channel: "support", NotificationType: notificationType, ReceiveTime: timestamppb.Now(),
	})
	require.NoError(t, err)
	latest, err := g.log.Log.Latest(t.Context())
	require.NoError(t, err)
	cursor, err := g.log.CursorOf(t.Context(), latest)
	require.NoError(t, err)
	return cursor
}

// EventSource advances its last event id with a message without data.
func TestTheLastEventIDAdvancesWithoutMatchingEvents(t *testing.T) {
	g := start(t, withLog(t))
	stream := g.sse(t, "?notification_types=Shown&heartbeat_interval=0.1s")
	require.NotEmpty(t, stream.message(t)["retry"])
	hidden := g.addType(t, "Hidden")
	for {
		got := stream.message(t)
		assert.Len(t, got, 1, "%v", got)
		if got["id"] == hidden {
			break
		}
	}
	shown := g.addType(t, "Shown")
	for got := (map[string]string)(nil); got["data"] == ""; {
		if got = stream.message(t); got["data"] != "" {
			assert.Equal(t, shown, got["id"])
		}
	}
}

func TestALastEventIDReplacesTheStartOfTheRequest(t *testing.T) {
	g := start(t, withLog(t))
	first, second := g.add(t, "support", "1"), g.add(t, "support", "2")
	for name, tt := range map[string]struct{ query, id, want string }{
		"alone":                   {"", first.GetCursor(), second.GetCursor()},
		"with a position":         {"?position=earliest", first.GetCursor(), second.GetCursor()},
		"with an older cursor":    {"?cursor=" + g.log.Cursor(0), first.GetCursor(), second.GetCursor()},
		"empty, with a position":  {"?position=earliest", "", first.GetCursor()},
		"a cursor without the id": {"?cursor=" + first.GetCursor(), "", second.GetCursor()},
	} {
		t.Run(name, func(t *testing.T) {
			stream := g.sse(t, tt.query, lastEventID, tt.id)
			assert.Equal(t, tt.want, stream.message(t)["id"])
		})
	}
	for _, accept := range []string{typeSSE, typeNDJSON} {
		got := g.do(t, http.MethodGet, subscribePath, "", "Accept", accept, lastEventID, "none of ours")
		requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED)
	}
}

func TestTheLastMessageOfAStreamHasTheReason(t *testing.T) {
	g := start(t, withLog(t))
	stream := g.sse(t, "")
	last := stream.message(t)["id"]
	g.service.Drain()
	got := stream.message(t)
	assert.Equal(t, "end", got["event"])
	assert.Regexp(t, regexp.MustCompile(`^1\d{3}$`), got["retry"])
	s := requireStatus(t, got["data"], ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
	assert.Equal(t, map[string]string{"cursor": last}, fault.Info(s).GetMetadata())
	assert.NotContains(t, got, "id", "the client keeps its last event id")
	assert.False(t, stream.scanner.Scan(), "it is the last message")
	require.NoError(t, stream.scanner.Err(), "and the body is complete")
}

func TestAStreamThatIsRejectedHasAStatusInBothFormats(t *testing.T) {
	g := start(t, withLog(t), withCaller)
	for _, accept := range []string{typeSSE, typeNDJSON} {
		got := g.do(t, http.MethodGet, subscribePath, "", "Accept", accept)
		requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING)
		got = g.do(t, http.MethodGet, subscribePath+"?channels=nowhere", "", "Accept", accept, "Authorization", "Bearer "+apiKey)
		requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN)
	}
}

func TestTheFormatOfAStreamIsTheOneThatTheClientPrefers(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                 false,
		"*/*":                              false,
		"application/x-ndjson":             false,
		"application/json":                 false,
		"text/event-stream":                true,
		"Text/Event-Stream; charset=utf-8": true,
		"text/event-stream, */*":           true,
		"text/event-stream;q=0":            false,
		"text/event-stream;q=0.5, application/x-ndjson;q=0.9": false,
		"text/event-stream;q=0.9, application/x-ndjson;q=0.5": true,
		"text/event-stream;;;":                                false,
	} {
		assert.Equal(t, want, acceptsSSE(http.Header{"Accept": {accept}}), accept)
	}
	assert.True(t, acceptsSSE(http.Header{"Accept": {"text/html", typeSSE}}))
}
