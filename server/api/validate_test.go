package api

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// bound lists values of a field that are accepted and rejected according to the proto.
type bound struct{ accepted, rejected []string }

const https = "https://example.com/"

// bounds has the fields with the same bounds in every request.
var bounds = map[string]bound{
	"channel":     {[]string{"", "support"}, []string{"sup port", "sup.port", "é", "a\nb", "support\n", strings.Repeat("a", 65)}},
	"external_id": {[]string{"x", strings.Repeat("x", 256), strings.Repeat("é", 128), "👋 +1\x00"}, []string{"", strings.Repeat("x", 257), strings.Repeat("é", 129)}},
	"external_contact_id": {
		[]string{"", strings.Repeat("x", 256)}, []string{strings.Repeat("x", 257)},
	},
	"request_id": {
		[]string{"", "r", " ", "~", strings.Repeat("r", 128), "6f2c1e0e-3c2b-4f0e-9d1f-1c2d3e4f5a6b", `"quoted"`},
		[]string{strings.Repeat("r", 129), "é", "a\tb", "a\n", "\x00", "\x7f"},
	},
	"caption":    {[]string{"", strings.Repeat("x", 65536)}, []string{strings.Repeat("x", 65537), strings.Repeat("é", 32769)}},
	"image":      {[]string{https, "http://example.com/a b"[:20], https + strings.Repeat("x", 2048-len(https))}, badURLs("")},
	"file_url":   {[]string{https, https + "a%20b?c=d#e"}, badURLs("")},
	"message_id": {[]string{"m", strings.Repeat("m", 256)}, []string{"", strings.Repeat("m", 257)}},
	"name":       {[]string{"", strings.Repeat("x", 1024)}, []string{strings.Repeat("x", 1025)}},
	"profile_picture_url": {
		[]string{"", https}, badURLs("x"),
	},
	"email":        {[]string{"", "asha@example.com"}, []string{"asha", "asha@", "@example.com", "a b@example.com"}},
	"phone_number": {[]string{"", "anything at all", strings.Repeat("1", 64)}, []string{strings.Repeat("1", 65)}},
}

// boundsOf has the fields whose bounds depend on the request.
var boundsOf = map[string]map[string]bound{
	"Send": {
		"text": {[]string{"x", strings.Repeat("x", 65536), strings.Repeat("👋", 16384)}, []string{"", strings.Repeat("x", 65537), strings.Repeat("👋", 16385)}},
	},
	"SendImage": {
		"text":         {[]string{"", strings.Repeat("x", 65536)}, []string{strings.Repeat("x", 65537)}},
		"content_type": {[]string{"image/jpeg", "image/png"}, []string{"", "image/gif", "image/jpg", "IMAGE/PNG", "image/png; q=1"}},
	},
	"SendDocument": {
		"content_type": {
			[]string{"", "application/pdf", "text/csv", "application/vnd.ms-excel", "a/" + strings.Repeat("b", 253)},
			[]string{"pdf", "application/", "/pdf", "a/b/c", "text/plain; charset=utf-8", "a b/c", "a/" + strings.Repeat("b", 254)},
		},
	},
	"CreateTicket": {
		"text": {[]string{"", strings.Repeat("x", 65536)}, []string{strings.Repeat("x", 65537)}},
	},
}

func badURLs(empty string) []string {
	return []string{empty, "example.com/a.png", "ftp://example.com/a", "file:///etc/passwd", "javascript:alert(1)", "https://exa mple.com",
		"/a.png", https + "%zz", https + strings.Repeat("x", 2049-len(https))}
}

func TestEveryStringOfARequestIsBounded(t *testing.T) {
	upstream := &fakeOngair{}
	g := start(t, sends(upstream))
	for name, req := range minimal() {
		fields := req.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			field := fields.Get(i)
			if field.Kind() != protoreflect.StringKind {
				continue
			}
			t.Run(name+" "+field.TextName(), func(t *testing.T) {
				b, ok := boundsOf[name][field.TextName()]
				if !ok {
					b, ok = bounds[field.TextName()]
				}
				require.True(t, ok, "the field has no bounds to test")
				for _, value := range b.accepted {
					_, err := g.invoke(withinTest(t), set(req, field.TextName(), value))
					assert.NoError(t, err, "%.80q of %d bytes", value, len(value))
					assert.Len(t, upstream.taken(), 1)
				}
				for _, value := range b.rejected {
					_, err := g.invoke(withinTest(t), set(req, field.TextName(), value))
					if assert.Error(t, err, "%.80q of %d bytes", value, len(value)) {
						assert.Equal(t, []string{field.TextName()}, violations(t, err), "%.80q of %d bytes", value, len(value))
					}
					assert.Empty(t, upstream.taken())
				}
			})
		}
	}
}

func TestEachInvalidFieldIsReportedOnce(t *testing.T) {
	upstream := &fakeOngair{}
	g := start(t, sends(upstream))
	long := strings.Repeat("x", 70000)
	for _, tt := range []struct {
		name string
		req  proto.Message
		want []string
	}{
		{"an empty text", &ongairv1.SendRequest{}, []string{"external_id", "text"}},
		{"an empty image", &ongairv1.SendImageRequest{}, []string{"external_id", "image", "content_type"}},
		{"an empty document", &ongairv1.SendDocumentRequest{}, []string{"external_id", "file_url"}},
		{"an empty ticket", &ongairv1.CreateTicketRequest{}, []string{"external_id", "message_id"}},
		{"a field that breaks several rules", &ongairv1.SendImageRequest{
			ExternalId: "42", ContentType: "image/png", Image: "ftp://" + long,
		}, []string{"image"}},
		{"every field invalid", &ongairv1.CreateTicketRequest{
			Channel: "?", ExternalContactId: long, Name: long, Direction: 3, Text: long, ProfilePictureUrl: "?", Email: "?",
			PhoneNumber: long, RequestId: "\n",
		}, []string{
			"channel", "external_id", "message_id", "external_contact_id", "name", "direction", "text", "profile_picture_url", "email",
			"phone_number", "request_id",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := g.invoke(withinTest(t), tt.req)
			assert.ElementsMatch(t, tt.want, violations(t, err))
			assert.Empty(t, upstream.taken())
		})
	}
}

func TestASubscriptionIsBounded(t *testing.T) {
	strs := func(n int, s string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = s
		}
		return out
	}
	beat := func(d *durationpb.Duration) *ongairv1.SubscribeRequest {
		return &ongairv1.SubscribeRequest{HeartbeatInterval: d}
	}
	at := func(seconds int64, nanos int32) *ongairv1.SubscribeRequest {
		return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_StartTime{
			StartTime: &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos},
		}}
	}
	cursor := func(c string) *ongairv1.SubscribeRequest {
		return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Cursor{Cursor: c}}
	}
	types := func(types ...ongairv1.EventType) *ongairv1.SubscribeRequest {
		return &ongairv1.SubscribeRequest{EventTypes: types}
	}
	l := newLog(t)
	g := start(t, l.config())
	for _, tt := range []struct {
		name string
		req  *ongairv1.SubscribeRequest
		want []string
	}{
		{"an empty request", &ongairv1.SubscribeRequest{}, nil},
		{"the shortest heartbeat", beat(durationpb.New(100 * time.Millisecond)), nil},
		{"a heartbeat that is too short", beat(durationpb.New(100*time.Millisecond - 1)), []string{"heartbeat_interval"}},
		{"no heartbeat", beat(&durationpb.Duration{}), []string{"heartbeat_interval"}},
		{"a negative heartbeat", beat(durationpb.New(-time.Second)), []string{"heartbeat_interval"}},
		{"the longest heartbeat", beat(durationpb.New(300 * time.Second)), nil},
		{"a heartbeat that is too long", beat(durationpb.New(300*time.Second + 1)), []string{"heartbeat_interval"}},
		{"an invalid duration", beat(&durationpb.Duration{Seconds: math.MaxInt64, Nanos: math.MaxInt32}), []string{"heartbeat_interval"}},
		{"the first moment", at(0, 0), nil},
		{"a time before 1970", at(-1, 0), []string{"start_time"}},
		{"the last moment of the year 9999", at(253402300799, 999999999), nil},
		{"a time after the year 9999", at(253402300800, 0), []string{"start_time"}},
		{"an invalid time", at(math.MaxInt64, 0), []string{"start_time"}},
		{"a time with too many nanoseconds", at(1, 1_000_000_000), []string{"start_time"}},
		{"a time with negative nanoseconds", at(1, -1), []string{"start_time"}},
		{"an empty cursor", cursor(""), []string{"cursor"}},
		{"a long cursor", cursor(strings.Repeat("A", 129)), []string{"cursor"}},
		{"every documented type", types(1, 2, 3, 4), nil},
		{"an unspecified type", types(2, 0), []string{"event_types[1]"}},
		{"an unknown type", types(99), []string{"event_types[0]"}},
		{"an unknown position", &ongairv1.SubscribeRequest{
			Start: &ongairv1.SubscribeRequest_Position{Position: 9},
		}, []string{"position"}},
		{"an empty and a long notification type", &ongairv1.SubscribeRequest{
			NotificationTypes: []string{"LocationReceived", "", strings.Repeat("x", 257)},
		}, []string{"notification_types[1]", "notification_types[2]"}},
		{"the most contacts, conversations and channels", &ongairv1.SubscribeRequest{
			ExternalContactIds: strs(1000, "x"), ConversationIds: strs(1000, "x"), Channels: strs(100, "support"),
		}, nil},
		{"too many values of each", &ongairv1.SubscribeRequest{
			ExternalContactIds: strs(1001, "x"), ConversationIds: strs(1001, "x"), Channels: strs(101, "support"),
			NotificationTypes: strs(101, "x"), EventTypes: make([]ongairv1.EventType, 0),
		}, []string{"external_contact_ids", "conversation_ids", "channels", "notification_types"}},
		{"empty and long ids", &ongairv1.SubscribeRequest{
			ExternalContactIds: []string{""}, ConversationIds: []string{strings.Repeat("é", 129)}, Channels: []string{"?"},
		}, []string{"external_contact_ids[0]", "conversation_ids[0]", "channels[0]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream, err := g.Subscribe(withinTest(t), tt.req)
			require.NoError(t, err)
			_, err = stream.Recv()
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			assert.ElementsMatch(t, tt.want, violations(t, err))
		})
	}
}

func TestARequestIDInTheMetadata(t *testing.T) {
	once, upstream := &fakeOnce{}, &fakeOngair{}
	cfg := sends(upstream)
	cfg.Once = once
	g := start(t, cfg)
	for _, tt := range []struct {
		name   string
		field  string
		header []string
		want   string // empty if the request is rejected
	}{
		{"bare", "", []string{"r-1"}, "r-1"},
		{"quoted, as the draft has it", "", []string{`"r-1"`}, "r-1"},
		{"quoted, with escapes", "", []string{`"a\"b\\c"`}, `a"b\c`},
		{"a quotation mark alone", "", []string{`"`}, `"`},
		{"a quotation mark at one end", "", []string{`"r-1`}, `"r-1`},
		{"the same in both", "r-1", []string{"r-1"}, "r-1"},
		{"the same in both, quoted", "r-1", []string{`"r-1"`}, "r-1"},
		{"in the field alone", "r-1", nil, "r-1"},
		{"of 128 characters", "", []string{strings.Repeat("r", 128)}, strings.Repeat("r", 128)},
		{"different in each", "r-1", []string{"r-2"}, ""},
		{"twice", "", []string{"r-1", "r-2"}, ""},
		{"twice the same", "", []string{"r-1", "r-1"}, ""},
		{"empty", "", []string{""}, ""},
		{"empty, with one in the field", "r-1", []string{""}, ""},
		{"empty and quoted", "", []string{`""`}, ""},
		{"too long", "", []string{strings.Repeat("r", 129)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, req := range minimal() {
				ctx := withinTest(t)
				for _, value := range tt.header {
					ctx = metadata.AppendToOutgoingContext(ctx, MetadataIdempotencyKey, value)
				}
				once.keys = nil
				_, err := g.invoke(ctx, set(req, "request_id", tt.field))
				if tt.want == "" {
					assert.Equal(t, []string{"request_id"}, violations(t, err), name)
					assert.Empty(t, upstream.taken())
					continue
				}
				require.NoError(t, err, name)
				require.Len(t, once.keys, 1)
				assert.Equal(t, tt.want, once.keys[0].RequestID)
				assert.Len(t, upstream.taken(), 1)
			}
		})
	}
}

// Clients in Python and Java reset a stream whose trailers are more than 8 KiB.
func TestAnErrorForManyInvalidValuesFitsInFourKiB(t *testing.T) {
	g := start(t, sends(&fakeOngair{}), func(o *options) {
		o.dial = []grpc.DialOption{grpc.WithMaxHeaderListSize(fault.MaxTrailerBytes)}
	})
	req := &ongairv1.ListEventsRequest{ExternalContactIds: make([]string, 1000)}
	for i := range req.ExternalContactIds {
		req.ExternalContactIds[i] = strings.Repeat("x", 1000)
	}
	_, err := g.ListEvents(withinTest(t), req)
	s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	assert.Contains(t, s.Message(), "(and 999 more, 980 of them not listed)")
	assert.Len(t, violations(t, err), 20)
}
