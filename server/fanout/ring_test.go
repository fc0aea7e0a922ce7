package fanout

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/event"
)

// full returns a ring with room for about three small events, after adding the given ones. Each event
// has its own segment.
func full(adds ...event.Entry) *ring {
	one := record(1, "support", 0)
	r := &ring{maxBytes: 3 * (one.Size() + event.RecordOverhead)}
	for _, add := range adds {
		if err := r.add(add); err != nil {
			panic(err)
		}
	}
	return r
}

// held returns the sequences in a ring.
func held(t *testing.T, r *ring) []uint64 {
	t.Helper()
	all := []uint64{}
	for position := r.floor; position < r.head(); {
		events, behind := r.after(position)
		require.False(t, behind)
		require.NotZero(t, events.Len())
		for position < events.Last() {
			position++
			assert.NotEmpty(t, events.CursorAt(position))
			all = append(all, position)
		}
	}
	return all
}

func TestARingHoldsTheNewestEvents(t *testing.T) {
	one := record(1, "support", 0)
	big := record(5, "support", 4*one.Size())
	for _, tt := range []struct {
		name  string
		ring  *ring
		floor uint64
		want  []uint64
	}{
		{"nothing when new", full(), 0, []uint64{}},
		{"all if they fit", full(records(1, 3)...), 0, []uint64{1, 2, 3}},
		{"the newest that fit", full(records(1, 5)...), 2, []uint64{3, 4, 5}},
		{"only an event that is too large", full(append(records(1, 4), big)...), 4, []uint64{5}},
		{"events after one that is too large", full(append(append(records(1, 4), big), records(6, 7)...)...), 5, []uint64{6, 7}},
		{"each event once", full(append(records(1, 3), records(2, 4)...)...), 1, []uint64{2, 3, 4}},
		{"no event before its start", full(append(records(7, 8), records(1, 6)...)...), 6, []uint64{7, 8}},
		{"no event before a gap", full(append(records(1, 3), records(6, 7)...)...), 5, []uint64{6, 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.floor, tt.ring.floor)
			assert.Equal(t, tt.want, held(t, tt.ring))
			assert.Equal(t, tt.floor+uint64(len(tt.want)), tt.ring.head())
		})
	}
}

func TestARingIsBoundedInBytesAndEvictsWholeSegments(t *testing.T) {
	const maxBytes = 64 << 10
	r := &ring{maxBytes: maxBytes}
	for _, e := range records(1, 10_000) {
		require.NoError(t, r.add(e))
		memory := 0
		for _, s := range r.segments {
			memory += s.Memory()
		}
		// The growth of the last segment is added to sealed when the segment ends.
		require.Equal(t, r.sealed+r.newest().Memory(), memory)
		require.Less(t, memory, maxBytes*5/4)
	}
	// The index of events as small as these is larger than the events.
	assert.GreaterOrEqual(t, len(r.segments), minSegments/4)
	all := held(t, r)
	assert.EqualValues(t, 10_000, all[len(all)-1])
	assert.Greater(t, len(all), 100)
}

func TestASegmentIsBounded(t *testing.T) {
	r := &ring{maxBytes: DefaultRingBytes}
	for _, e := range records(1, 3000) {
		require.NoError(t, r.add(e))
	}
	for i := range 10 {
		require.NoError(t, r.add(record(uint64(3001+i), "support", 100<<10)))
	}
	require.NoError(t, r.add(record(3011, "support", 3<<20)))
	require.NoError(t, r.add(record(3012, "support", 0)))
	for _, s := range r.segments {
		assert.LessOrEqual(t, s.Len(), segmentEvents)
		assert.True(t, s.Respond(&event.Filter{}, 0).Buffers().Len() <= segmentBytes+50 || s.Len() == 1)
	}
	assert.Len(t, held(t, r), 3012)
}

func TestARingReturnsEventsAfterAPosition(t *testing.T) {
	r := full(records(1, 5)...) // 3, 4, 5
	for _, tt := range []struct {
		name     string
		position uint64
		first    uint64
		behind   bool
	}{
		{"an evicted event", 1, 0, true},
		{"the oldest", 2, 3, false},
		{"one in between", 3, 4, false},
		{"the newest", 4, 5, false},
		{"nothing at the end", 5, 0, false},
		{"nothing after the end", 9, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, behind := r.after(tt.position)
			assert.Equal(t, tt.behind, behind)
			if tt.first == 0 {
				assert.Zero(t, got.Len())
			} else {
				assert.Equal(t, tt.first, got.First())
			}
		})
	}
}

func TestARingFindsItsCursors(t *testing.T) {
	r := full(records(1, 5)...)
	for sequence, want := range []string{"", "", "", "3", "4", "5", ""} {
		assert.Equal(t, want, r.cursorAt(uint64(sequence)))
	}
}

func TestAResetRingKnowsItsPosition(t *testing.T) {
	r := full(records(1, 3)...)
	r.reset(10)
	assert.Equal(t, uint64(10), r.head())
	_, behind := r.after(9)
	assert.True(t, behind)
	require.NoError(t, r.add(record(11, "support", 0)))
	assert.Equal(t, []uint64{11}, held(t, r))
}

func TestAMalformedEventIsNotAddedToARing(t *testing.T) {
	r := full(records(1, 3)...)
	for _, sequence := range []uint64{4, 7} {
		require.Error(t, r.add(event.Entry{Sequence: sequence, Event: []byte{0x1a, 0x05, 'x'}}))
		assert.Equal(t, []uint64{1, 2, 3}, held(t, r))
	}
}
