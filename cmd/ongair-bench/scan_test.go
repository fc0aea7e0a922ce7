package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

func TestResponsesAreReadAcrossBuffers(t *testing.T) {
	response := &ongairv1.SubscribeResponse{Cursor: "somewhere", Pending: 1 << 30}
	for range 3 {
		response.Events = append(response.Events, newEvent())
	}
	encoded, err := proto.Marshal(response)
	require.NoError(t, err)
	for size := 1; size <= len(encoded); size++ {
		var buffers mem.BufferSlice
		for at := 0; at < len(encoded); at += size {
			buffers = append(buffers, mem.SliceBuffer(encoded[at:min(at+size, len(encoded))]))
		}
		facts := tally{events: 9, cursor: []byte("elsewhere"), pending: 9}
		require.NoError(t, facts.scan(buffers))
		require.EqualValues(t, 3, facts.events)
		require.Equal(t, "somewhere", string(facts.cursor))
		require.EqualValues(t, 1<<30, facts.pending)
	}
	for _, invalid := range [][]byte{
		encoded[:len(encoded)/2],
		encoded[:len(encoded)-1],
		{tagCursor, 5, 'a'},
		{tagCursor, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, // 4 TB
	} {
		require.Error(t, (&tally{}).scan(mem.BufferSlice{mem.SliceBuffer(invalid)}), "%x", invalid)
	}
	facts := tally{cursor: []byte("elsewhere"), pending: 9}
	require.NoError(t, facts.scan(nil))
	require.Equal(t, tally{cursor: []byte{}}, facts, "an empty response has none of the last one")
}

func TestTheBareServerSendsValidResponses(t *testing.T) {
	sent := time.Unix(1_700_000_000, 1)
	events := newChain(1<<20, false)
	_, at := events.ends()
	events.add(newBodies().appendBody(nil, sent))
	l := at.next.Load()
	response := &ongairv1.SubscribeResponse{}
	require.NoError(t, proto.Unmarshal(l.frame.Materialize(), response))
	require.Len(t, response.GetEvents(), 1)
	assert.Len(t, response.GetEvents()[0].GetRawBody().GetContent(), 250)
	assert.Equal(t, l.frame.Materialize(), mem.BufferSlice{l.record, l.cursor}.Materialize())
	stored, err := event.Marshal(newEvent())
	require.NoError(t, err)
	encoded, _, err := event.Verify(stored)
	require.NoError(t, err)
	record := event.Entry{Sequence: 1, Event: encoded, Cursor: bareCursor}
	assert.InEpsilon(t, record.Size(), l.record.Len(), 0.05, "both servers send events of the same size")
	var stamps []int64
	eachStamp(l.frame.Materialize(), func(at int64) { stamps = append(stamps, at) })
	assert.Equal(t, []int64{sent.UnixNano()}, stamps)
}

func TestTheBareServersChainIsBounded(t *testing.T) {
	for _, contiguous := range []bool{false, true} {
		testBounded(t, contiguous)
	}
}

func testBounded(t *testing.T, contiguous bool) {
	t.Helper()
	events := newChain(10_000, contiguous)
	body := newBodies().appendBody(nil, time.Now())
	for range 1000 {
		events.add(body)
	}
	oldest, newest := events.ends()
	bytes := 0
	for l := oldest.next.Load(); l != nil; l = l.next.Load() {
		bytes += l.record.Len()
		newest = l
	}
	assert.LessOrEqual(t, bytes, 10_000)
	assert.Greater(t, bytes, 9_000)
	assert.Nil(t, newest.next.Load())
}
