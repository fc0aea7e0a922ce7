package event

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/google/go-cmp/cmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

func sample() *ongairv1.Event {
	return &ongairv1.Event{
		Id:               DerivedID("support", "MessageReceived", "7"),
		Channel:          "support",
		ReceiveTime:      timestamppb.Now(),
		NotificationType: "MessageReceived",
		AccountType:      "WhatsApp",
		Contact:          &ongairv1.Contact{ExternalId: "+254722200200", Name: "Asha"},
		ConversationId:   "22",
		Payload:          &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Id: "7", Text: "Habari 👋"}},
		Fields:           []*ongairv1.Field{{Name: "caption", ValueBytes: []byte{0xff}}},
	}
}

func TestFieldNumbersAreThoseOfTheProto(t *testing.T) {
	for _, tt := range []struct {
		message proto.Message
		field   protoreflect.Name
		number  protowire.Number
	}{
		{&ongairv1.SubscribeResponse{}, "events", responseEvents},
		{&ongairv1.SubscribeResponse{}, "cursor", responseCursor},
		{&ongairv1.SubscribeResponse{}, "pending", responsePending},
		{&ongairv1.Event{}, "cursor", eventCursor},
		{&ongairv1.Event{}, "channel", eventChannel},
		{&ongairv1.Event{}, "notification_type", eventNotificationType},
		{&ongairv1.Event{}, "contact", eventContact},
		{&ongairv1.Event{}, "conversation_id", eventConversationID},
		{&ongairv1.Contact{}, "external_id", contactExternalID},
	} {
		field := tt.message.ProtoReflect().Descriptor().Fields().ByName(tt.field)
		require.NotNil(t, field, tt.field)
		assert.Equal(t, field.Number(), tt.number, field.FullName())
	}
}

func TestAResponseOfSharedRecordsIsTheMessageThatProtobufWouldMake(t *testing.T) {
	first, second := sample(), sample()
	second.Contact, second.Payload = nil, nil
	var records []*Record
	for i, e := range []*ongairv1.Event{first, second} {
		stored, err := Marshal(e)
		require.NoError(t, err)
		record, err := NewRecord(uint64(i+1), stored, "cursor-"+e.GetId())
		require.NoError(t, err)
		e.Cursor = "cursor-" + e.GetId()
		records = append(records, record)
	}
	for name, want := range map[string]*ongairv1.SubscribeResponse{
		"with events": {Events: []*ongairv1.Event{first, second}, Cursor: "after", Pending: 1 << 40},
		"heartbeat":   {Cursor: "after"},
	} {
		t.Run(name, func(t *testing.T) {
			wire := NewResponse(records[:len(want.GetEvents())], want.GetCursor(), uint64(want.GetPending())).Buffers().Materialize()
			got := &ongairv1.SubscribeResponse{}
			require.NoError(t, proto.Unmarshal(wire, got))
			assert.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
		})
	}
}

func TestTheLogsEncodingHasNoCursor(t *testing.T) {
	e := sample()
	e.Cursor = "somewhere"
	stored, err := Marshal(e)
	require.NoError(t, err)
	got := &ongairv1.Event{}
	require.NoError(t, proto.Unmarshal(stored, got))
	assert.Empty(t, got.GetCursor())
	assert.Equal(t, "somewhere", e.GetCursor(), "the caller's event is not touched")
}

func TestAnEntryThatIsNoEventIsRefused(t *testing.T) {
	for name, stored := range map[string][]byte{
		"cut short":                {0x0a, 0xff},
		"an id that is not UTF-8":  {0x0a, 0x01, 0xff},
		"a text that is not UTF-8": {0x0a, 0x01, 'a', 0x32, 0x01, 0xff},
		"no id":                    {0x1a, 0x01, 'a'},
		"nothing":                  nil,
	} {
		_, err := NewRecord(3, stored, "c")
		require.ErrorContains(t, err, "entry 3", name)
	}
}

func TestADerivedIDIsTheSameOnlyForTheSameNotification(t *testing.T) {
	id := DerivedID("support", "MessageReceived", "7")
	assert.Len(t, id, 32)
	assert.Equal(t, id, DerivedID("support", "MessageReceived", "7"))
	for _, other := range []string{
		DerivedID("sales", "MessageReceived", "7"),
		DerivedID("support", "MessageSent", "7"),
		DerivedID("support", "MessageReceived", "8"),
		DerivedID("supportM", "essageReceived", "7"),
		RandomID(),
	} {
		assert.NotEqual(t, id, other)
	}
	assert.NotEqual(t, RandomID(), RandomID())
}

func TestFilter(t *testing.T) {
	stored, err := Marshal(sample())
	require.NoError(t, err)
	record, err := NewRecord(1, stored, "c")
	require.NoError(t, err)
	received := ongairv1.EventType_EVENT_TYPE_MESSAGE_RECEIVED
	sent := ongairv1.EventType_EVENT_TYPE_MESSAGE_SENT
	for _, tt := range []struct {
		name string
		req  *ongairv1.SubscribeRequest
		want bool
	}{
		{"no filter takes all", &ongairv1.SubscribeRequest{}, true},
		{"its channel", &ongairv1.SubscribeRequest{Channels: []string{"sales", "support"}}, true},
		{"another channel", &ongairv1.SubscribeRequest{Channels: []string{"sales"}}, false},
		{"its type", &ongairv1.SubscribeRequest{EventTypes: []ongairv1.EventType{received}}, true},
		{"another type", &ongairv1.SubscribeRequest{EventTypes: []ongairv1.EventType{sent}}, false},
		{"its type by Ongair's name", &ongairv1.SubscribeRequest{NotificationTypes: []string{"MessageReceived"}}, true},
		{"types and names are one filter", &ongairv1.SubscribeRequest{
			EventTypes: []ongairv1.EventType{received}, NotificationTypes: []string{"LocationReceived"},
		}, true},
		{"its contact", &ongairv1.SubscribeRequest{ExternalContactIds: []string{"+254722200200"}}, true},
		{"another contact", &ongairv1.SubscribeRequest{ExternalContactIds: []string{"254722200200"}}, false},
		{"its conversation", &ongairv1.SubscribeRequest{ConversationIds: []string{"22"}}, true},
		{"another conversation", &ongairv1.SubscribeRequest{ConversationIds: []string{"2"}}, false},
		{"filters are combined", &ongairv1.SubscribeRequest{
			Channels: []string{"support"}, ConversationIds: []string{"2"},
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filter := NewFilter(tt.req)
			assert.Equal(t, tt.want, filter.Takes(record))
		})
	}
}

func TestEveryDocumentedTypeHasAName(t *testing.T) {
	for number := range ongairv1.EventType_name {
		documented := ongairv1.EventType(number)
		if documented == ongairv1.EventType_EVENT_TYPE_UNSPECIFIED {
			continue
		}
		assert.Equal(t, documented, TypeOf(TypeName(documented)))
	}
	assert.Equal(t, ongairv1.EventType_EVENT_TYPE_UNSPECIFIED, TypeOf(""))
	assert.Equal(t, ongairv1.EventType_EVENT_TYPE_UNSPECIFIED, TypeOf("LocationReceived"))
}
