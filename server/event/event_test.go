package event

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

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
		Id:               DerivedID("support", ongairv1.EventType_EVENT_TYPE_MESSAGE_RECEIVED, "7"),
		Channel:          "support",
		ReceiveTime:      timestamppb.Now(),
		NotificationType: "MessageReceived",
		AccountType:      "WhatsApp",
		Contact:          &ongairv1.Contact{ExternalId: "+254722200200", Name: "Asha"},
		ConversationId:   "22",
		Payload:          &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Id: "7", Text: "Habari 👋"}},
		Fields:           []*ongairv1.WebhookField{{Name: "caption", RawValue: []byte{0xff}}},
	}
}

func TestFieldNumbersMatchTheProto(t *testing.T) {
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
		{&ongairv1.Event{}, "receive_time", eventReceiveTime},
		{&ongairv1.Event{}, "notification_type", eventNotificationType},
		{&ongairv1.Event{}, "contact", eventContact},
		{&ongairv1.Event{}, "conversation_id", eventConversationID},
		{&ongairv1.Contact{}, "external_id", contactExternalID},
	} {
		field := tt.message.ProtoReflect().Descriptor().Fields().ByName(tt.field)
		require.NotNil(t, field, tt.field)
		assert.Equal(t, field.Number(), tt.number, field.FullName())
	}
	reserved := (&ongairv1.Event{}).ProtoReflect().Descriptor().ReservedRanges()
	assert.True(t, reserved.Has(storedChecksum))
}

// entry returns e as an entry of the log and sets e's cursor.
func entry(t *testing.T, sequence uint64, e *ongairv1.Event) Entry {
	t.Helper()
	stored, err := Marshal(e)
	require.NoError(t, err)
	encoded, _, err := Verify(stored)
	require.NoError(t, err)
	e.Cursor = fmt.Sprintf("cursor-%d", sequence)
	return Entry{Sequence: sequence, Event: encoded, Cursor: e.GetCursor()}
}

// segment returns a segment of events with sequences from 1.
func segment(t *testing.T, events ...*ongairv1.Event) Segment {
	t.Helper()
	var entries []Entry
	for i, e := range events {
		entries = append(entries, entry(t, uint64(i+1), e))
	}
	s, err := SegmentOf(entries)
	require.NoError(t, err)
	assert.Zero(t, s.Room(), "the segment must have no spare capacity")
	return s
}

func decode(t *testing.T, r *Response) *ongairv1.SubscribeResponse {
	t.Helper()
	response := &ongairv1.SubscribeResponse{}
	require.NoError(t, proto.Unmarshal(r.Buffers().Materialize(), response))
	assert.Len(t, response.GetEvents(), r.Events)
	return response
}

// of returns a sample on a channel, with all fields unless bare.
func of(channel string, bare bool) *ongairv1.Event {
	e := sample()
	e.Channel = channel
	if bare {
		e.Contact, e.Payload, e.Fields = nil, nil, nil
	}
	return e
}

func TestAResponseMatchesTheProtobufEncoding(t *testing.T) {
	events := []*ongairv1.Event{
		of("support", false), of("support", true), of("sales", false), of("support", false), of("sales", true), of("sales", false),
	}
	s := segment(t, events...)
	pick := func(indices ...int) (picked []*ongairv1.Event) {
		for _, i := range indices {
			picked = append(picked, events[i])
		}
		return picked
	}
	only := func(channels ...string) *ongairv1.SubscribeRequest {
		return &ongairv1.SubscribeRequest{Channels: channels}
	}
	for _, tt := range []struct {
		name    string
		filter  *ongairv1.SubscribeRequest
		after   uint64
		pending uint64
		want    *ongairv1.SubscribeResponse
	}{
		{"all", only(), 0, 0, &ongairv1.SubscribeResponse{Events: events, Cursor: "cursor-6"}},
		{"events after a position", only(), 2, 0, &ongairv1.SubscribeResponse{Events: events[2:], Cursor: "cursor-6"}},
		{"with more pending", only(), 5, 1 << 30, &ongairv1.SubscribeResponse{Events: events[5:], Cursor: "cursor-6", Pending: 1 << 30}},
		{"matching events, and the cursor after the others", only("support"), 0, 3, &ongairv1.SubscribeResponse{
			Events: pick(0, 1, 3), Cursor: "cursor-6", Pending: 3,
		}},
		{"events of another channel", only("sales"), 0, 0, &ongairv1.SubscribeResponse{Events: pick(2, 4, 5), Cursor: "cursor-6"}},
		{"no event, but a cursor", only("nowhere"), 3, 0, &ongairv1.SubscribeResponse{Cursor: "cursor-6"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filter := NewFilter(tt.filter)
			response := s.After(tt.after).Respond(&filter, tt.pending)
			assert.Empty(t, cmp.Diff(tt.want, decode(t, response), protocmp.Transform()))
			wire, err := proto.Marshal(tt.want)
			require.NoError(t, err)
			assert.Equal(t, len(wire), response.Buffers().Len(), "no field is encoded twice")
		})
	}
	t.Run("a heartbeat", func(t *testing.T) {
		want := &ongairv1.SubscribeResponse{Cursor: "here", Pending: 300}
		assert.Empty(t, cmp.Diff(want, decode(t, Heartbeat("here", 300)), protocmp.Transform()))
		assert.Empty(t, cmp.Diff(&ongairv1.SubscribeResponse{Cursor: "here"}, decode(t, Heartbeat("here", 0)), protocmp.Transform()))
	})
}

func TestAdjacentEventsOfASegmentShareABuffer(t *testing.T) {
	var events []*ongairv1.Event
	for range 100 {
		events = append(events, of("support", false))
	}
	s := segment(t, events...)
	assert.Len(t, s.Respond(&Filter{}, 0).Buffers(), 2, "the events and the cursor")
	filter := NewFilter(&ongairv1.SubscribeRequest{Channels: []string{"support"}})
	assert.Len(t, s.Respond(&filter, 0).Buffers(), 2, "the same with a filter")
}

func TestASegmentIsReadWhileItIsAppendedTo(t *testing.T) {
	one := entry(t, 1, of("support", false))
	s := NewSegment(4 * one.Size())
	views := make(chan Segment, 3)
	go func() {
		defer close(views)
		for i := range 3 {
			e := one
			e.Sequence = uint64(i + 1)
			var err error
			s, err = s.Append(e)
			assert.NoError(t, err)
			views <- s
		}
	}()
	n := 0
	for view := range views { // for the race detector
		n++
		assert.Equal(t, n, view.Len())
		assert.EqualValues(t, n, view.Last())
		assert.Len(t, decode(t, view.Respond(&Filter{}, 0)).GetEvents(), n)
	}
	assert.Equal(t, one.Size(), s.Room())
}

func TestASegmentFindsPositionsOfSkippedEntries(t *testing.T) {
	var entries []Entry
	for _, sequence := range []uint64{3, 4, 7, 9} {
		entries = append(entries, entry(t, sequence, sample()))
	}
	s, err := SegmentOf(entries)
	require.NoError(t, err)
	assert.EqualValues(t, 3, s.First())
	assert.EqualValues(t, 9, s.Last())
	for position, want := range []int{4, 4, 4, 3, 2, 2, 2, 1, 1, 0, 0} {
		assert.Equal(t, want, s.After(uint64(position)).Len(), "after %d", position)
	}
	assert.Equal(t, "cursor-7", s.CursorAt(7))
	assert.Equal(t, "cursor-9", s.After(8).CursorAt(9))
	for _, missing := range []uint64{0, 2, 5, 8, 10} {
		assert.Empty(t, s.CursorAt(missing))
	}
	assert.Empty(t, Segment{}.CursorAt(1))
}

func TestAnEventThatCannotBeReadIsNotAppended(t *testing.T) {
	s, err := segment(t, sample()).Append(Entry{Sequence: 2, Event: []byte{0x1a, 0x05, 'x'}, Cursor: "c"})
	require.ErrorIs(t, err, ErrNotAnEvent)
	assert.Equal(t, 1, s.Len(), "earlier events must stay")
}

func TestTheLogsEncodingIsAnEventWithoutACursor(t *testing.T) {
	e := sample()
	e.Cursor = "somewhere"
	stored, err := Marshal(e)
	require.NoError(t, err)
	got := &ongairv1.Event{}
	require.NoError(t, proto.Unmarshal(stored, got), "the encoding must be a plain protobuf message")
	assert.Empty(t, got.GetCursor())
	assert.Equal(t, "somewhere", e.GetCursor(), "the caller's event must not be modified")
	encoded, _, err := Verify(stored)
	require.NoError(t, err)
	got.ProtoReflect().SetUnknown(nil) // remove the checksum
	e.Cursor = ""
	assert.Empty(t, cmp.Diff(e, got, protocmp.Transform()))
	want, err := proto.Marshal(e)
	require.NoError(t, err)
	assert.Equal(t, want, encoded)
}

func TestTheReceiveTimeIsReadWithoutDecoding(t *testing.T) {
	for name, want := range map[string]time.Time{
		"a time":                    time.Date(2026, 5, 1, 12, 0, 0, 123456789, time.UTC),
		"1970":                      time.Unix(0, 0).UTC(),
		"before 1970":               time.Unix(-1, 5).UTC(),
		"the last time of protobuf": time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		"missing, read as 1970":     {},
	} {
		t.Run(name, func(t *testing.T) {
			e := sample()
			e.ReceiveTime = nil
			if !want.IsZero() {
				e.ReceiveTime = timestamppb.New(want)
			}
			got, err := ReceiveTime(entry(t, 1, e).Event)
			require.NoError(t, err)
			assert.Equal(t, e.GetReceiveTime().AsTime(), got)
		})
	}
	_, err := ReceiveTime([]byte("hello"))
	require.Error(t, err)
}

func TestInvalidUTF8IsNotStored(t *testing.T) {
	e := sample()
	e.ConversationId = "\xff"
	_, err := Marshal(e)
	require.Error(t, err, "subscribers could not decode it")
}

func TestAForeignEntryIsDetected(t *testing.T) {
	stored, err := Marshal(sample())
	require.NoError(t, err)
	unsealed, err := proto.Marshal(sample())
	require.NoError(t, err)
	for name, entry := range map[string][]byte{
		"nothing":                nil,
		"a word":                 []byte("hello"),
		"a foreign event":        unsealed,
		"truncated":              stored[:len(stored)-1],
		"without its first byte": stored[1:],
		"only a checksum":        stored[len(stored)-checksumBytes:],
	} {
		_, _, err := Verify(entry)
		require.ErrorIs(t, err, ErrNotAnEvent, name)
	}
	for i := range stored {
		damaged := bytes.Clone(stored)
		damaged[i] ^= 0x20
		_, _, err := Verify(damaged)
		require.ErrorIs(t, err, ErrNotAnEvent, "byte %d", i)
	}
}

func TestADerivedIDIsTheSameOnlyForTheSameNotification(t *testing.T) {
	const received, sent = ongairv1.EventType_EVENT_TYPE_MESSAGE_RECEIVED, ongairv1.EventType_EVENT_TYPE_MESSAGE_SENT
	id := DerivedID("support", received, "7", "text=a", "image=b")
	assert.Len(t, id, 32)
	assert.Equal(t, id, DerivedID("support", received, "7", "text=a", "image=b"))
	for _, other := range []string{
		DerivedID("sales", received, "7", "text=a", "image=b"),
		DerivedID("support", sent, "7", "text=a", "image=b"),
		DerivedID("support", received, "8", "text=a", "image=b"),
		DerivedID("support", received, "7", "text=a"),
		DerivedID("support", received, "7", "text=ai", "mage=b"),
		RandomID(),
	} {
		assert.NotEqual(t, id, other)
	}
	assert.NotEqual(t, RandomID(), RandomID())
}

func TestFilter(t *testing.T) {
	s := segment(t, sample())
	received := ongairv1.EventType_EVENT_TYPE_MESSAGE_RECEIVED
	sent := ongairv1.EventType_EVENT_TYPE_MESSAGE_SENT
	for _, tt := range []struct {
		name string
		req  *ongairv1.SubscribeRequest
		want bool
	}{
		{"an empty filter matches all", &ongairv1.SubscribeRequest{}, true},
		{"its channel", &ongairv1.SubscribeRequest{Channels: []string{"sales", "support"}}, true},
		{"another channel", &ongairv1.SubscribeRequest{Channels: []string{"sales"}}, false},
		{"its type", &ongairv1.SubscribeRequest{EventTypes: []ongairv1.EventType{received}}, true},
		{"another type", &ongairv1.SubscribeRequest{EventTypes: []ongairv1.EventType{sent}}, false},
		{"its type by Ongair's name", &ongairv1.SubscribeRequest{NotificationTypes: []string{"MessageReceived"}}, true},
		{"its type in another case", &ongairv1.SubscribeRequest{NotificationTypes: []string{" messagereceived"}}, true},
		{"types and names are one filter", &ongairv1.SubscribeRequest{
			EventTypes: []ongairv1.EventType{received}, NotificationTypes: []string{"LocationReceived"},
		}, true},
		{"its contact", &ongairv1.SubscribeRequest{ExternalContactIds: []string{"+254722200200"}}, true},
		{"its contact without a plus", &ongairv1.SubscribeRequest{ExternalContactIds: []string{"254722200200"}}, true},
		{"its contact with a plus that became a space", &ongairv1.SubscribeRequest{ExternalContactIds: []string{" 254722200200"}}, true},
		{"another contact", &ongairv1.SubscribeRequest{ExternalContactIds: []string{"254722200201"}}, false},
		{"white space matches no contact", &ongairv1.SubscribeRequest{ExternalContactIds: []string{" "}}, false},
		{"its conversation", &ongairv1.SubscribeRequest{ConversationIds: []string{"22"}}, true},
		{"another conversation", &ongairv1.SubscribeRequest{ConversationIds: []string{"2"}}, false},
		{"filters are combined", &ongairv1.SubscribeRequest{
			Channels: []string{"support"}, ConversationIds: []string{"2"},
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filter := NewFilter(tt.req)
			assert.Equal(t, tt.want, filter.Count(s) == 1)
			assert.Equal(t, tt.want, s.Respond(&filter, 0).Events == 1)
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
		assert.Equal(t, documented, TypeOf("\t "+strings.ToUpper(TypeName(documented))+"\r\n"))
	}
	for _, name := range []string{"", " ", "VideoReceived", "Message Received", "MessageReceivedX", "Unspecified", "MESSAGE_RECEIVED"} {
		assert.Equal(t, ongairv1.EventType_EVENT_TYPE_UNSPECIFIED, TypeOf(name), name)
	}
}
