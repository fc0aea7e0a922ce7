package event

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

func TestTheJSONOfAResponseIsThatOfItsMessage(t *testing.T) {
	s := segment(t, of("a", false), of("b", false), of("a", true), of("b", false))
	for name, req := range map[string]*ongairv1.SubscribeRequest{
		"all events": {}, "some events": {Channels: []string{"a"}}, "no events": {Channels: []string{"c"}},
	} {
		t.Run(name, func(t *testing.T) {
			filter := NewFilter(req)
			for _, r := range []*Response{s.Respond(&filter, 7), Heartbeat("AQID", 0)} {
				text, err := NewTexts(1<<20).AppendJSON([]byte("x"), r)
				require.NoError(t, err)
				require.Equal(t, "x", string(text[:1]), "it appends")
				got := &ongairv1.SubscribeResponse{}
				require.NoError(t, protojson.Unmarshal(text[1:], got), string(text))
				assert.Empty(t, cmp.Diff(decode(t, r), got, protocmp.Transform()))
				assert.NotContains(t, string(text), "\n")
			}
		})
	}
}

func TestAnEventIsEncodedOnceForAllStreams(t *testing.T) {
	texts, s := NewTexts(1<<20), segment(t, of("a", false), of("a", false))
	encoded := make([]*message, 100)
	var readers sync.WaitGroup
	for i := range encoded {
		readers.Go(func() {
			m, err := texts.message(s.After(uint64(i%2)), (i+1)%2) // the second event, of two segments
			assert.NoError(t, err)
			encoded[i] = m
		})
	}
	readers.Wait()
	for _, m := range encoded {
		assert.Same(t, encoded[0], m)
	}
	assert.Equal(t, len(encoded[0].sse), texts.bytes, "it is counted once")
}

func TestTextsKeepTheNewestWithinTheirBound(t *testing.T) {
	events := make([]*ongairv1.Event, 10)
	for i := range events {
		events[i] = of("a", false)
	}
	s := segment(t, events...)
	one, err := NewTexts(1<<20).message(segment(t, of("a", false)), 0)
	require.NoError(t, err)
	texts := NewTexts(3*len(one.sse) + len(one.sse)/2)
	_, err = texts.AppendSSE(nil, s.Respond(&Filter{}, 0))
	require.NoError(t, err)
	for i := range s.records {
		assert.Equal(t, i >= 7, s.records[i].text.message.Load() != nil, i)
	}
	assert.LessOrEqual(t, texts.bytes, texts.maxBytes)
	again, err := texts.AppendSSE(nil, s.Respond(&Filter{}, 0))
	require.NoError(t, err)
	assert.Equal(t, 10, strings.Count(string(again), "\ndata: "), "an older event is encoded again")

	large := of("a", false)
	large.NotificationType = strings.Repeat("x", 1<<20)
	_, err = texts.message(segment(t, large), 0)
	require.NoError(t, err)
	assert.Zero(t, texts.bytes, "an encoding beyond the bound is not kept")
	assert.Empty(t, texts.kept)
}
