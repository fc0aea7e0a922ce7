package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

func TestAResponseIsSentAsSharedBuffers(t *testing.T) {
	want := &ongairv1.SubscribeResponse{Cursor: "after", Pending: 7}
	var events event.Segment
	for i, cursor := range []string{"one", "after"} {
		e := &ongairv1.Event{Id: cursor, Channel: "support", NotificationType: "MessageReceived"}
		stored, err := event.Marshal(e)
		require.NoError(t, err)
		encoded, _, err := event.Verify(stored)
		require.NoError(t, err)
		events, err = events.Append(event.Entry{Sequence: uint64(i + 1), Event: encoded, Cursor: cursor})
		require.NoError(t, err)
		e.Cursor = cursor
		want.Events = append(want.GetEvents(), e)
	}
	response := events.Respond(&event.Filter{}, 7)
	first, err := newCodec().Marshal(response)
	require.NoError(t, err)
	before := first.Materialize()
	second, err := newCodec().Marshal(response)
	require.NoError(t, err)
	require.Len(t, second, len(first))
	for i := range first {
		assert.Same(t, &first[i].ReadOnlyData()[0], &second[i].ReadOnlyData()[0], "nothing is copied")
	}
	first.Free()
	assert.Equal(t, before, second.Materialize(), "a buffer that one stream frees stays valid for the others")

	got := &ongairv1.SubscribeResponse{}
	require.NoError(t, proto.Unmarshal(before, got))
	assert.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
	wire, err := proto.Marshal(want)
	require.NoError(t, err)
	assert.Len(t, before, len(wire), "no field is encoded twice")
}

func TestAPageIsSentWithoutACopy(t *testing.T) {
	want := &ongairv1.ListEventsResponse{Events: []*ongairv1.Event{{Id: "one"}}, Cursor: "after"}
	encoded, err := proto.Marshal(want)
	require.NoError(t, err)
	page := &ongairv1.ListEventsResponse{}
	page.ProtoReflect().SetUnknown(encoded)
	buffers, err := newCodec().Marshal(page)
	require.NoError(t, err)
	assert.Same(t, &encoded[0], &buffers[0].ReadOnlyData()[0])
	assert.Equal(t, encoded, buffers.Materialize())
	page.Pending = 3 // a field that is not encoded yet
	buffers, err = newCodec().Marshal(page)
	require.NoError(t, err)
	want.Pending = 3
	got := &ongairv1.ListEventsResponse{}
	require.NoError(t, proto.Unmarshal(buffers.Materialize(), got))
	assert.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
}

func TestOtherMessagesUseTheProtobufCodec(t *testing.T) {
	request := minimal()["CreateTicket"]
	buffers, err := newCodec().Marshal(request)
	require.NoError(t, err)
	want, err := proto.Marshal(request)
	require.NoError(t, err)
	assert.Equal(t, want, buffers.Materialize())
	got := &ongairv1.CreateTicketRequest{}
	require.NoError(t, newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(want)}, got))
	assert.Empty(t, cmp.Diff(request, got, protocmp.Transform()))
	_, err = newCodec().Marshal("not a message")
	require.Error(t, err)
	assert.Equal(t, "proto", newCodec().Name())
}
