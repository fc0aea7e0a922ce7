package eventlog

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/storage"
)

// mixed appends n events of each combination of two channels and two types, in turn.
func (f *fixture) mixed(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		for _, channel := range []string{"support", "sales"} {
			for _, kind := range []string{"MessageReceived", "LocationReceived"} {
				_, err := f.Append(t.Context(), &ongairv1.Event{
					Id: fmt.Sprintf("%s %s %d", channel, kind, i), Channel: channel, NotificationType: kind,
				})
				require.NoError(t, err)
			}
		}
	}
}

func TestMatchingEventsAreFoundBySubject(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.mixed(t, 3)
		for _, tt := range []struct {
			name, channel, kind string
			position            uint64
			limit               int
			want                []string
			upTo                uint64
		}{
			{"a channel", "sales", "", 8, 10, []string{"sales MessageReceived 2", "sales LocationReceived 2"}, 12},
			{"a type", "", "MessageReceived", 6, 10, []string{"sales MessageReceived 1", "support MessageReceived 2", "sales MessageReceived 2"}, 12},
			{"both", "support", "MessageReceived", 0, 10, []string{"support MessageReceived 0", "support MessageReceived 1", "support MessageReceived 2"}, 12},
			{"up to the limit", "support", "MessageReceived", 0, 2, []string{"support MessageReceived 0", "support MessageReceived 1"}, 5},
			{"all but one", "support", "MessageReceived", 1, 1, []string{"support MessageReceived 1"}, 5},
			{"no match", "nowhere", "", 0, 10, nil, 12},
			{"after the newest", "sales", "", 12, 10, nil, 12},
		} {
			t.Run(tt.name, func(t *testing.T) {
				events, upTo, err := f.ReadMatching(t.Context(), tt.position, tt.channel, tt.kind, tt.limit, large)
				require.NoError(t, err)
				assert.Equal(t, tt.want, idsOf(t, events))
				assert.Equal(t, tt.upTo, upTo)
			})
		}
	})
}

func TestMatchingEventsAreBoundedInBytes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.mixed(t, 5)
		events, upTo, err := f.ReadMatching(t.Context(), 0, "sales", "", 100, 1)
		require.NoError(t, err)
		assert.Equal(t, []string{"sales MessageReceived 0"}, idsOf(t, events))
		assert.Equal(t, events.Last(), upTo, "the position must not pass other matches")
	})
}

func TestRemovedMatchingEventsAreNotSkipped(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.mixed(t, 2)
		f.remove(t, 3)
		_, _, err := f.ReadMatching(t.Context(), 2, "sales", "", 10, large)
		gone := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
		assert.Equal(t, "1", gone.Metadata["lost_events"])
		events, _, err := f.ReadMatching(t.Context(), 3, "sales", "", 10, large)
		require.NoError(t, err)
		assert.Equal(t, 3, events.Len())
	})
}

// An operator may change the number of replicas at any time.
func TestMatchingEventsAreNotSearchedInAReplicatedLog(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.mixed(t, 3)
		replicas := 1
		f.stream = changedInfo{f.stream, func(info *storage.Info) { info.Replicated = replicas > 1 }}
		for _, replicas = range []int{1, 3, 3, 1} {
			if replicas == 1 {
				_, err := f.Bounds(t.Context()) // as each new subscription does
				require.NoError(t, err)
			}
			events, upTo, err := f.ReadMatching(t.Context(), 8, "sales", "", 10, large)
			require.NoError(t, err)
			if replicas == 1 {
				assert.Equal(t, 2, events.Len())
				assert.EqualValues(t, 12, upTo)
			} else {
				assert.Zero(t, events.Len())
				assert.EqualValues(t, 8, upTo)
			}
		}
	})
}

func TestTheNewestEventsAreFoundByTheirAverageSize(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		newest := func(bytes int) uint64 {
			t.Helper()
			position, err := f.Newest(t.Context(), bytes)
			require.NoError(t, err)
			return position
		}
		assert.Zero(t, newest(large))
		f.mixed(t, 25)
		for bytes, want := range map[int]uint64{0: 100, large: 0, int(f.store(t).Info.State.Bytes) / 4: 75} {
			assert.InDelta(t, want, newest(bytes), 1)
		}
		f.remove(t, 100)
		assert.EqualValues(t, 100, newest(large))
	})
}

func TestTheHeadIsKnownAfterAnAppendOrAQuery(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Zero(t, f.Head())
		f.append(t, "event-1")
		assert.EqualValues(t, 1, f.Head())
		f.appendTogether(t, numbered(2, 50)...)
		assert.EqualValues(t, 50, f.Head())
		f.reopen(t, Config{})
		assert.Zero(t, f.Head())
		_, err := f.Latest(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 50, f.Head())
	})
}
