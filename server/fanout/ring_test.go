package fanout

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ongair/ongair-gateway/server/event"
)

// full returns a ring with room for three small records, after add of those.
func full(adds ...*event.Record) *ring {
	r := &ring{maxBytes: 3 * record(1, "support", 0).Size()}
	for _, add := range adds {
		r.add(add)
	}
	return r
}

func TestARingHoldsTheNewestRecords(t *testing.T) {
	big := record(5, "support", 4*record(1, "support", 0).Size())
	for _, tt := range []struct {
		name  string
		ring  *ring
		floor uint64
		want  []uint64
	}{
		{"none at first", full(), 0, []uint64{}},
		{"all that fit", full(records(1, 3)...), 0, []uint64{1, 2, 3}},
		{"the newest that fit", full(records(1, 5)...), 2, []uint64{3, 4, 5}},
		{"one that is too big alone", full(append(records(1, 4), big)...), 4, []uint64{5}},
		{"and gets rid of it", full(append(append(records(1, 4), big), records(6, 7)...)...), 5, []uint64{6, 7}},
		{"each once", full(append(records(1, 3), records(2, 4)...)...), 1, []uint64{2, 3, 4}},
		{"none from before its start", full(append(records(7, 8), records(1, 6)...)...), 6, []uint64{7, 8}},
		{"none from before a gap", full(append(records(1, 3), records(6, 7)...)...), 5, []uint64{6, 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.floor, tt.ring.floor)
			assert.Equal(t, tt.want, sequences(tt.ring.records))
			assert.Equal(t, tt.floor+uint64(len(tt.want)), tt.ring.head())
			bytes := 0
			for _, r := range tt.ring.records {
				bytes += r.Size()
			}
			assert.Equal(t, bytes, tt.ring.bytes)
		})
	}
}

func TestARingGivesWhatIsAfterAPosition(t *testing.T) {
	r := full(records(1, 5)...) // 3, 4, 5
	for _, tt := range []struct {
		name     string
		position uint64
		limit    int
		want     []uint64
		behind   bool
	}{
		{"forgotten", 1, 9, []uint64{}, true},
		{"its oldest", 2, 9, []uint64{3, 4, 5}, false},
		{"no more than asked for", 2, 2, []uint64{3, 4}, false},
		{"its newest", 4, 9, []uint64{5}, false},
		{"nothing at its end", 5, 9, []uint64{}, false},
		{"nothing beyond its end", 9, 9, []uint64{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, behind := r.after(tt.position, tt.limit)
			assert.Equal(t, tt.want, sequences(got))
			assert.Equal(t, tt.behind, behind)
		})
	}
}

func TestARingThatStartsAnewKnowsItsPosition(t *testing.T) {
	r := full(records(1, 3)...)
	r.reset(10)
	assert.Equal(t, uint64(10), r.head())
	_, behind := r.after(9, 1)
	assert.True(t, behind)
	r.add(record(11, "support", 0))
	got, behind := r.after(10, 1)
	assert.Equal(t, []uint64{11}, sequences(got))
	assert.False(t, behind)
}
