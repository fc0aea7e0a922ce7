package eventlog

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// remove removes the events up to a sequence, as retention does.
func (f *fixture) remove(t *testing.T, last uint64) {
	t.Helper()
	require.NoError(t, f.store(t).Purge(t.Context(), natsjs.WithPurgeSequence(last+1)))
}

func requireEnds(t *testing.T, f *fixture, earliest, latest uint64) {
	t.Helper()
	got, err := f.Earliest(t.Context())
	require.NoError(t, err)
	assert.Equal(t, earliest, got, "earliest")
	got, err = f.Latest(t.Context())
	require.NoError(t, err)
	assert.Equal(t, latest, got, "latest")
	for _, position := range []uint64{earliest, latest} {
		got, err = f.Seek(t.Context(), f.Cursor(position))
		require.NoError(t, err)
		assert.Equal(t, position, got)
	}
	assert.Empty(t, f.all(t, latest))
}

func TestTheEndsOfALog(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		requireEnds(t, f, 0, 0) // a new one
		f.append(t, numbered(1, 5)...)
		requireEnds(t, f, 0, 5)
		f.remove(t, 2)
		requireEnds(t, f, 2, 5)
		f.remove(t, 5)
		requireEnds(t, f, 5, 5) // all went
		f.reopen(t, Config{})
		requireEnds(t, f, 5, 5)
		f.append(t, "event-6")
		requireEnds(t, f, 5, 6)
	})
}

func TestACursorThatCannotBeServedSaysWhy(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 5)...)
		f.remove(t, 3)
		for _, tt := range []struct {
			name   string
			cursor string
			want   ongairv1.ErrorReason
		}{
			{"malformed", "x" + f.Cursor(4)[1:], ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED},
			{"of another version", otherVersion(f.Cursor(4)), ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED},
			{"of another log", encodeCursor(identity{1}, position{sequence: 4}), ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN},
			{"just ahead", f.Cursor(6), ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD},
			{"at the end of all numbers", f.Cursor(math.MaxUint64), ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD},
			{"just expired", f.Cursor(2), ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED},
			{"long expired", f.Cursor(0), ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED},
		} {
			t.Run(tt.name, func(t *testing.T) {
				_, err := f.Seek(t.Context(), tt.cursor)
				requireReason(t, err, tt.want)
			})
		}
	})
}

func TestALogThatWasReplacedByAnOlderCopyIsNoticed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 5)...)
		before, err := f.Read(t.Context(), 0, 10, large)
		require.NoError(t, err)
		// What an older copy looks like that grew on from there.
		store := f.store(t)
		for sequence := uint64(4); sequence <= 5; sequence++ {
			require.NoError(t, store.DeleteMsg(t.Context(), sequence))
		}
		require.NoError(t, f.js.API().DeleteStream(t.Context(), streamName))
		config := store.CachedInfo().Config
		_, err = f.js.API().CreateStream(t.Context(), config)
		require.NoError(t, err)
		f.append(t, numbered(1, 3)...)
		f.append(t, "other-4", "other-5", "other-6")

		for sequence, e := range decode(t, before) {
			position, err := f.Seek(t.Context(), e.GetCursor())
			if sequence < 3 {
				require.NoError(t, err, "what both histories have")
				assert.EqualValues(t, sequence+1, position)
			} else {
				requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN)
			}
		}
		_, err = f.Seek(t.Context(), f.Cursor(5))
		require.NoError(t, err, "of an end of the log, whose event nobody knows")
		f.remove(t, 5)
		_, err = f.Seek(t.Context(), before.CursorAt(5))
		require.NoError(t, err, "what retention removed cannot be compared")
	})
}

func TestAnExpiredPositionSaysWhatIsLostAndWhereToGoOn(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		check := func(position, first uint64, rest []string) {
			t.Helper()
			_, seekErr := f.Seek(t.Context(), f.Cursor(position))
			_, readErr := f.Read(t.Context(), position, 10, large)
			for _, err := range []error{seekErr, readErr} {
				fault := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
				assert.Equal(t, strconv.FormatUint(first-position-1, 10), fault.Metadata["lost_events"])
				oldest, err := f.Seek(t.Context(), fault.Metadata["oldest_cursor"])
				require.NoError(t, err)
				assert.Equal(t, rest, f.all(t, oldest))
			}
		}
		f.append(t, numbered(1, 5)...)
		f.remove(t, 3)
		check(0, 4, numbered(4, 5))
		check(2, 4, numbered(4, 5))
		assert.Equal(t, numbered(4, 5), f.all(t, 3))
		f.remove(t, 5)
		check(4, 6, nil)
	})
}

func TestAPositionIsFoundByTime(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		seek := func(at time.Time) uint64 {
			t.Helper()
			position, err := f.SeekTime(t.Context(), at)
			require.NoError(t, err)
			return position
		}
		assert.Zero(t, seek(time.Now()), "an empty log")

		f.append(t, numbered(1, 4)...)
		f.remove(t, 1)
		var times [5]time.Time
		for sequence := uint64(2); sequence <= 4; sequence++ {
			msg, err := f.store(t).GetMsg(t.Context(), sequence)
			require.NoError(t, err)
			times[sequence] = msg.Time
		}
		for _, tt := range []struct {
			name string
			at   time.Time
			want uint64
		}{
			{"before all", times[2].Add(-time.Hour), 1},
			{"exactly the oldest", times[2], 1},
			{"just after the oldest", times[2].Add(1), 2},
			{"exactly one between", times[3], 2},
			{"just before one", times[3].Add(-1), 2},
			{"in another time zone", times[3].In(time.FixedZone("EAT", 3*60*60)), 2},
			{"exactly the newest", times[4], 3},
			{"just after the newest", times[4].Add(1), 4},
			{"tomorrow", times[4].Add(24 * time.Hour), 4},
			{"the zero time", time.Time{}, 1},
			{"1500, which no int64 of nanoseconds holds", time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), 1},
			{"2300, which none holds either", time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), 4},
			{"the last time of protobuf", time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), 4},
		} {
			t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, seek(tt.at)) })
		}

		f.remove(t, 4)
		assert.Equal(t, uint64(4), seek(times[3]), "all went")
	})
}

// told is a stream that a test says something else of.
type told struct {
	natsjs.Stream
	change func(*natsjs.StreamInfo)
}

func (s told) Info(ctx context.Context, opts ...natsjs.StreamInfoOpt) (*natsjs.StreamInfo, error) {
	info, err := s.Stream.Info(ctx, opts...)
	if err != nil {
		return nil, err
	}
	other := *info
	s.change(&other)
	return &other, nil
}

func TestATimeIsFoundWhateverTheNewestEventsTimeIs(t *testing.T) {
	const within = 4 * time.Second // less than the log takes to fail
	for _, tt := range []struct {
		name string
		// deleted says that an operator deleted that event, behind how far the clock had gone
		// back when it came.
		deleted bool
		behind  time.Duration
		want    uint64
		// questions is how often a log of that many replicas is asked.
		questions map[int]int
	}{
		{"it was deleted", true, 0, 4, map[int]int{1: 1, 3: 8}},
		{"the clock had gone back", false, time.Hour, 3, map[int]int{1: 1, 3: 1}},
	} {
		for replicas, questions := range tt.questions {
			t.Run(fmt.Sprint(tt.name, ", ", replicas, " replicas"), func(t *testing.T) {
				each(t, func(t *testing.T, f *fixture) {
					f.append(t, numbered(1, 3)...)
					third, err := f.store(t).GetMsg(t.Context(), 3)
					require.NoError(t, err)
					f.append(t, "event-4")
					if tt.deleted {
						require.NoError(t, f.store(t).DeleteMsg(t.Context(), 4))
					}
					f.stream = told{f.stream, func(info *natsjs.StreamInfo) {
						info.Config.Replicas = replicas
						info.State.LastTime = info.State.LastTime.Add(-tt.behind)
					}}
					asked := make(chan *nats.Msg, 100)
					_, err = f.js.Conn().ChanSubscribe("$JS.API.DIRECT.GET."+streamName, asked)
					require.NoError(t, err)

					start := time.Now()
					position, err := f.SeekTime(t.Context(), third.Time.Add(1))
					require.NoError(t, err)
					assert.Equal(t, tt.want, position)
					assert.Less(t, time.Since(start), within)
					require.NoError(t, f.js.Conn().Flush())
					assert.Len(t, asked, questions)
				})
			})
		}
	}
}
