package rest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

func TestAQueryAcceptsCommonSpellings(t *testing.T) {
	g := start(t, withLog(t))
	want := g.add(t, "support", "Habari")
	for _, query := range []string{
		"position=earliest", "position=EARLIEST", "position=Earliest", "position=1", "position=POSITION_EARLIEST", "position=+earliest+",
		"event_types=MessageReceived", "event_types=message_received", "event_types=message-received", "eventTypes=messageReceived",
		"event_types=MESSAGE_RECEIVED", "event_types=event_type_message_received", "event_types=2", "event_types=MessageSent&event_types=2",
		"start_time=2026-01-31T12:00:00Z", "start_time=2026-01-31t12:00:00.5z", "start_time=2026-01-31T12:00:00%2B03:00",
		"page_size=+10", "page_size=10%20", "wait=0s", "wait=1m", "wait=1500ms", "wait=0.5s%0A",
	} {
		if !strings.Contains(query, "position") && !strings.Contains(query, "start_time") {
			query += "&position=earliest"
		}
		got := g.do(t, http.MethodGet, "/v1/events?"+query, "")
		require.Equal(t, http.StatusOK, got.status, "%s: %s", query, got.body)
		page := &ongairv1.ListEventsResponse{}
		require.NoError(t, protojson.Unmarshal([]byte(got.body), page))
		require.Len(t, page.GetEvents(), 1, query)
		assert.Equal(t, want.GetId(), page.GetEvents()[0].GetId())
	}
	got := g.do(t, http.MethodGet, "/v1/events?position=earliest&event_types=MessageSent", "")
	assert.Contains(t, got.body, `"events":[]`, "the value must filter events")
}

// description returns the description of the only violation of an answer.
func description(t *testing.T, got answer, field string) string {
	t.Helper()
	s := requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	require.Len(t, s.Details(), 2, got.body)
	bad := s.Details()[1].(*errdetails.BadRequest)
	require.Len(t, bad.GetFieldViolations(), 1)
	assert.Equal(t, field, bad.GetFieldViolations()[0].GetField())
	assert.Equal(t, "MALFORMED", bad.GetFieldViolations()[0].GetReason())
	return bad.GetFieldViolations()[0].GetDescription()
}

func TestTheErrorForAnInvalidValueHasTheExpectedForm(t *testing.T) {
	g := start(t, withLog(t))
	const (
		moment    = "use RFC 3339, as in 2026-01-31T12:00:00Z; in a URL a plus is %2B"
		duration  = "use seconds, as in 10s"
		number    = "use a whole number of 32 bits, as in 100"
		types     = "use one of message_sent, message_received, image_received, ticket_status_updated, location_received, "
		positions = "use one of earliest, latest"
	)
	for query, want := range map[string]string{
		"start_time=2026-01-31T12:00:00+03:00": moment, "start_time=2026-01-31": moment, "start_time=1769860800": moment,
		"start_time=": moment, "start_time=yesterday": moment, "start_time=0000-01-01T00:00:00Z": moment,
		"wait=10": duration, "wait=": duration, "wait=10+s": duration, "wait=99999999999999h": duration,
		"page_size=abc": number, "page_size=": number, "page_size=1.5": number, "page_size=99999999999": number,
		"event_types=Message": types, "event_types=": types, "event_types=99": types, "event_types=MessageSent,MessageReceived": types,
		"position=first": positions, "position=": positions, "position=9": positions, "position=%F0%9F%91%8B": positions,
	} {
		field, _, _ := strings.Cut(query, "=")
		assert.Contains(t, description(t, g.do(t, http.MethodGet, "/v1/events?"+query, ""), field), want, query)
	}
}

// An error must not contain a parser's message or the value. The value may be a misplaced API key.
func TestNoErrorOfAQueryRepeatsTheValue(t *testing.T) {
	g := start(t, withLog(t))
	found, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	require.NoError(t, err)
	tried := 0
	for path, methods := range found {
		if _, ok := methods[http.MethodGet]; !ok {
			continue
		}
		fields := methods[http.MethodGet].input.Descriptor().Fields()
		for i := range fields.Len() {
			field := fields.Get(i)
			if field.Kind() == protoreflect.StringKind {
				continue
			}
			for _, value := range []string{"sk_live_canary", "sk live canary", "12canary", "\"canary\"", "canary\x00"} {
				got := g.do(t, http.MethodGet, path+"?"+url.Values{string(field.Name()): {value}}.Encode(), "")
				text := description(t, got, string(field.Name()))
				assert.True(t, strings.HasPrefix(text, "use "), text)
				assert.NotContains(t, got.body, "canary", field.Name())
				for _, foreign := range []string{"parsing", "strconv", "proto", "invalid", "time:"} {
					assert.NotContains(t, text, foreign, field.Name())
				}
				tried++
			}
		}
	}
	assert.NotZero(t, tried)
	got := g.do(t, http.MethodGet, "/v1/events?channels=%zzcanary", "")
	requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	assert.NotContains(t, got.body, "zz")
}

// The test includes kinds that no query field has today.
func TestEveryKindOfFieldHasAnExample(t *testing.T) {
	for kind := protoreflect.BoolKind; kind <= protoreflect.Sint64Kind; kind++ {
		if kind == protoreflect.EnumKind || kind == protoreflect.MessageKind || kind == protoreflect.GroupKind {
			continue // these need a type
		}
		assert.Regexp(t, "^use .*(, as in |true or false)", wanted(kindOfField{kind: kind}), kind)
	}
}

// kindOfField is a field descriptor with only a kind.
type kindOfField struct {
	protoreflect.FieldDescriptor
	kind protoreflect.Kind
}

func (k kindOfField) Kind() protoreflect.Kind { return k.kind }

func TestABodyAcceptsTheEnumNamesOfAQuery(t *testing.T) {
	g := start(t, withLog(t))
	want := g.add(t, "support", "Habari")
	for _, body := range []string{
		`{"position":"earliest"}`, `{"position":"POSITION_EARLIEST","event_types":["message_received"]}`, `{"cursor":null,"position":"Earliest"}`,
		`{"position":"earliest","cursor":null}`, `{"eventTypes":["MessageSent","MessageReceived",3],"position":"earliest","channels":null}`, `{"position":"1"}`,
	} {
		stream := g.openStream(t, http.MethodPost, subscribePath, body)
		response := stream.result(t)
		if len(response.GetEvents()) == 0 {
			response = stream.result(t) // the event had not arrived
		}
		require.Len(t, response.GetEvents(), 1, body)
		assert.Equal(t, want.GetId(), response.GetEvents()[0].GetId())
	}
	g.do(t, http.MethodPost, "/v1/tickets", `{"external_id":"42","message_id":"m-1","direction":"out"}`)
	require.Len(t, g.taken(), 1)
}

func TestTheErrorForAnInvalidMemberHasTheExpectedForm(t *testing.T) {
	g := start(t, withLog(t))
	for body, want := range map[string]string{
		`{"position":"canary"}`:                        "position: use one of earliest, latest",
		`{"position":["canary"]}`:                      "position: use one of earliest, latest",
		`{"event_types":["MessageSent","canary"]}`:     "event_types: use one of message_sent, ",
		`{"event_types":"MessageSent"}`:                "event_types: use a list; for each value: use one of message_sent, ",
		`{"heartbeat_interval":"5m"}`:                  "heartbeat_interval: use seconds, as in 10s",
		`{"heartbeat_interval":5}`:                     "heartbeat_interval: use seconds, as in 10s",
		`{"startTime":"canary"}`:                       "startTime: use RFC 3339, as in 2026-01-31T12:00:00Z",
		`{"channels":[1]}`:                             `channels: use a text, in JSON in quotes, as in "42"`,
		"{\"channels\":\"\xff\"}":                      "channels: use a list; ",
		"{\"cursor\":\"\xff\"}":                        "cursor: is not Unicode",
		`{"position":"earliest","position":"latest"}`:  "position: duplicate field",
		`{"startTime":null,"start_time":null}`:         "start_time: duplicate field",
		`{"position":"earliest","cursor":"canary"}`:    "cursor: use only one of cursor, start_time, position",
		`{"canaries":1,"position":"earliest"}`:         "canaries: unknown field: use one of channels, ",
		`[]`:                                           "the body is not a JSON object",
		`"canary"`:                                     "the body is not a JSON object",
		`{"heartbeat_interval":{"seconds":"canary!"}}`: "heartbeat_interval: use seconds, as in 10s",
	} {
		got := g.do(t, http.MethodPost, subscribePath, body)
		s := requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
		assert.True(t, strings.HasPrefix(s.Message(), want), "%s: %s", body, s.Message())
		assert.NotContains(t, s.Message(), "canary", body)
	}
	s := requireError(t, g.do(t, http.MethodPost, sendPath, `{"external_id":"42","text":"hi","thread":"canary"}`), ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	assert.Equal(t, "thread: use true or false", s.Message())
}

// decodeMembers must accept and decode every body that protojson accepts. Neither may panic.
func FuzzDecodingByMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"position":"earliest"}`, `{"channels":["a","b"],"start_time":"2026-01-31T12:00:00Z"}`, `{"cursor":null,"position":1}`,
		`{"eventTypes":["MessageSent",3],"heartbeatInterval":"5s"}`, "{\"channels\":[\"\xff\"]}", `{"channels":null,"channels":[]}`, `{"position":`,
		`{"external_contact_ids":["\u00e9","\ud800"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, got := &ongairv1.SubscribeRequest{}, &ongairv1.SubscribeRequest{}
		expected := protojson.Unmarshal(body, want)
		err := decodeMembers(body, got)
		if expected != nil {
			return
		}
		require.NoError(t, err)
		assert.True(t, proto.Equal(want, got), cmp.Diff(want, got, protocmp.Transform()))
	})
}
