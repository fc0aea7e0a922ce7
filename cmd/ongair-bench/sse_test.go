package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

// chunks is a reader that returns size bytes at a time.
type chunks struct {
	rest []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.size, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

// bareMessage returns a message of the bare server.
func bareMessage(sent time.Time) []byte {
	events := newChain(1<<20, false)
	_, at := events.ends()
	events.addMessage(newBodies().appendBody(nil, sent))
	return at.next.Load().record.ReadOnlyData()
}

func TestMessagesAreCountedAcrossReads(t *testing.T) {
	var stream []byte
	stream = append(stream, "retry: 1500\nid: first\n\n"...)
	stream = append(stream, bareMessage(time.Unix(1_700_000_000, 1))...)
	stream = append(stream, "id: data: \n\n"...)
	stream = append(stream, "id: text\nevent: data: \ndata: {\"text\":\"\\n\\ndata: data: \"}\n\n"...)
	stream = append(stream, bareMessage(time.Unix(1_700_000_000, 2))...)
	stream = append(stream, bareMessage(time.Unix(1_700_000_000, 3))...)
	complete := len(stream)
	stream = append(stream, bytes.TrimSuffix(bareMessage(time.Unix(1_700_000_000, 4)), []byte("\n"))...)
	for size := 1; size <= len(stream); size++ {
		facts := tally{sampled: true, since: &atomic.Int64{}}
		facts.since.Store(time.Unix(1_700_000_000, 2).UnixNano())
		receive := receiveSSE(&chunks{stream, size})
		var events int64
		var err error
		for err = receive(&facts); err == nil; err = receive(&facts) {
			events += facts.events
		}
		require.ErrorIs(t, err, io.EOF)
		require.EqualValues(t, 4, events, "%d of %d bytes are complete messages, %d bytes a read", complete, len(stream), size)
		require.Len(t, facts.latencies, 2, "the first event was sent too early")
	}
}

func TestTheErrorOfABrokenStreamIsReturned(t *testing.T) {
	broken := io.MultiReader(bytes.NewReader(bareMessage(time.Now())), iotest.ErrReader(io.ErrClosedPipe))
	receive, facts := receiveSSE(broken), tally{}
	require.NoError(t, receive(&facts))
	require.ErrorIs(t, receive(&facts), io.ErrClosedPipe)
}

func TestTheBareHandlersMessagesAreAsLargeAsTheGateways(t *testing.T) {
	sent := time.Unix(1_700_000_000, 1)
	bare := bareMessage(sent)
	e := newEvent()
	e.Cursor = bareCursor
	stored, err := event.Marshal(e)
	require.NoError(t, err)
	encoded, _, err := event.Verify(stored)
	require.NoError(t, err)
	segment, err := event.SegmentOf([]event.Entry{{Sequence: 1, Event: encoded, Cursor: bareCursor}})
	require.NoError(t, err)
	all := event.NewFilter(&ongairv1.SubscribeRequest{})
	ours, err := event.NewTexts(1<<20).AppendSSE(nil, segment.Respond(&all, 0))
	require.NoError(t, err)
	assert.InEpsilon(t, len(ours), len(bare), 0.02)

	fields := strings.Split(string(bare), "\n")
	require.Len(t, fields, 5)
	assert.Equal(t, []string{"", ""}, fields[3:])
	assert.True(t, json.Valid([]byte(strings.TrimPrefix(fields[2], "data: "))), fields[2])
	var stamps []int64
	eachStamp(bare, func(at int64) { stamps = append(stamps, at) })
	assert.Equal(t, []int64{sent.UnixNano()}, stamps)
}
