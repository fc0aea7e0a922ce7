package eventlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// noon is a time that differs from any NATS server's clock.
func noon() time.Time { return time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC) }

// received returns an event with a receive time.
func received(at time.Time) *ongairv1.Event {
	e := message(event.RandomID())
	e.ReceiveTime = timestamppb.New(at)
	return e
}

// receive stores an event for each receive time.
func (f *fixture) receive(t *testing.T, times ...time.Time) {
	t.Helper()
	var ids []string
	stored := map[string][]byte{}
	for _, at := range times {
		e := received(at)
		data, err := event.Marshal(e)
		require.NoError(t, err)
		ids = append(ids, e.GetId())
		stored[e.GetId()] = data
	}
	storagetest.Look(t, f.in).PublishAll(t, subjectOf(message("")), ids, func(id string) []byte { return stored[id] })
}

func (f *fixture) requireTime(t *testing.T, want uint64, at time.Time, name string) {
	t.Helper()
	got, err := f.SeekTime(t.Context(), at)
	require.NoError(t, err, name)
	require.Equal(t, want, got, "%s: %s", name, at)
}

// every returns n times, step apart.
func every(step time.Duration, n int) (times []time.Time) {
	for i := range n {
		times = append(times, noon().Add(time.Duration(i)*step))
	}
	return times
}

func TestAPositionIsFoundByReceiveTime(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.requireTime(t, 0, noon(), "an empty log")
		times := every(time.Second, 4)
		f.receive(t, times...)
		f.remove(t, 1)
		oldest, middle, newest := times[1], times[2], times[3]
		for _, tt := range []struct {
			name string
			at   time.Time
			want uint64
		}{
			{"before all", oldest.Add(-time.Hour), 1},
			{"exactly the oldest", oldest, 1},
			{"just after the oldest", oldest.Add(1), 2},
			{"exactly one between", middle, 2},
			{"just before one", middle.Add(-1), 2},
			{"in another time zone", middle.In(time.FixedZone("EAT", 3*60*60)), 2},
			{"exactly the newest", newest, 3},
			{"just after the newest", newest.Add(1), 4},
			{"the day after", newest.Add(24 * time.Hour), 4},
			{"the zero time", time.Time{}, 1},
			{"1500, before the range of int64 nanoseconds", time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), 1},
			{"2300, after the range of int64 nanoseconds", time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), 4},
			{"the last time of protobuf", time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), 4},
		} {
			f.requireTime(t, tt.want, tt.at, tt.name)
		}
		f.remove(t, 4)
		f.requireTime(t, 4, times[2], "all were removed")
	})
}

func TestATimeIsFoundAmongEventsAMinuteOutOfOrder(t *testing.T) {
	const second = time.Second
	for name, offsets := range map[string][]time.Duration{
		"in order":                        {0, 1 * second, 2 * second, 3 * second},
		"all at once":                     {0, 0, 0, 0},
		"backwards":                       {59 * second, 40 * second, 20 * second, 0},
		"a minute early":                  {0, 60 * second, 0, 1 * second, 60 * second},
		"two gateways that are 5 s apart": {0, 5 * second, 1 * second, 6 * second, 2 * second, 7 * second},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				var times []time.Time
				for _, offset := range offsets {
					times = append(times, noon().Add(offset))
				}
				f.receive(t, times...)
				for _, at := range times {
					for _, at := range []time.Time{at.Add(-1), at, at.Add(1)} {
						f.requireTime(t, positionOf(times, at), at, name)
					}
				}
			})
		})
	}
}

func TestATimeIsFoundBeforeBlocksReceivedAMinuteEarlier(t *testing.T) {
	f := open(t, storagetest.Embedded(t), Config{})
	times := every(0, 4*blockEvents)
	for _, ahead := range []int{0, blockEvents - 1, blockEvents + 7} {
		f.store(t).Replace(t)
		early := slices.Clone(times)
		early[ahead] = early[ahead].Add(time.Minute)
		f.receive(t, early...)
		for range 2 { // the second time from the cache
			f.requireTime(t, uint64(ahead), early[ahead], "exactly")
			f.requireTime(t, uint64(ahead), times[0].Add(1), "before it")
			f.requireTime(t, uint64(len(times)), early[ahead].Add(1), "after it")
		}
	}
}

// positionOf returns the position before the first of times that is not before at, or the end if there
// is none.
func positionOf(times []time.Time, at time.Time) uint64 {
	for i, received := range times {
		if !received.Before(at) {
			return uint64(i)
		}
	}
	return uint64(len(times))
}

// disordered returns n receive times. Each is at most a minute before any earlier one. Their density
// varies.
func disordered(random *rand.Rand, n int) (times []time.Time) {
	now := noon()
	disorder := []time.Duration{0, 10 * time.Millisecond, 5 * time.Second, maxDisorder}[random.IntN(4)]
	for len(times) < n {
		step := []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Minute}[random.IntN(3)]
		for range 1 + random.IntN(3*blockEvents) {
			now = now.Add(time.Duration(random.Int64N(int64(step))))
			times = append(times, now.Add(-time.Duration(random.Int64N(int64(disorder)+1))))
		}
	}
	return times[:n]
}

func TestATimeIsFoundInAnyLog(t *testing.T) {
	const events, logs, seeks = 6*blockEvents + 7, 8, 100
	f := open(t, storagetest.Embedded(t), Config{})
	for log := range uint64(logs) {
		random := rand.New(rand.NewPCG(log, 0))
		times := disordered(random, events)
		f.store(t).Replace(t)
		f.receive(t, times...)
		removed := uint64(random.IntN(2 * blockEvents))
		for i := range seeks {
			if i == seeks/2 && removed > 0 {
				f.remove(t, removed)
			}
			at := times[random.IntN(events)].Add(time.Duration(random.IntN(3) - 1))
			want := positionOf(times, at)
			if i >= seeks/2 {
				want = removed + positionOf(times[removed:], at)
			}
			f.requireTime(t, want, at, fmt.Sprint("log ", log))
		}
	}
}

func TestATimeIsFoundAmongForeignEntries(t *testing.T) {
	f := open(t, storagetest.Embedded(t), Config{})
	behind := storagetest.Look(t, f.in)
	junk := func(n int) {
		ids := make([]string, n)
		behind.PublishAll(t, subjectPrefix+"x", ids, func(string) []byte { return []byte("hello") })
	}
	times := every(time.Minute, 6)
	var sequences []uint64
	junk(1)
	for i, at := range times {
		f.receive(t, at)
		bounds, err := f.Bounds(t.Context())
		require.NoError(t, err)
		sequences = append(sequences, bounds.Last)
		junk(i * blockEvents) // up to several blocks without an event
	}
	// An operator may delete entries in the middle of the log.
	for sequence := sequences[1] + 1; sequence < sequences[1]+5; sequence++ {
		f.store(t).DeleteMessage(t, sequence)
	}
	for range 2 {
		for i, at := range times {
			f.requireTime(t, sequences[i]-1, at, "exactly")
			f.requireTime(t, sequences[i]-1, at.Add(-1), "just before")
		}
	}
	f.requireTime(t, sequences[5]+5*blockEvents, times[5].Add(1), "after all")
}

func TestABusyMinuteIsReadOnceForManySubscribers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const blocks, subscribers = 20, 50
		times := every(time.Millisecond, blocks*blockEvents)
		f.receive(t, times...)
		reads := storagetest.Look(t, f.in).CountReads(t, streamName)
		var group sync.WaitGroup
		for i := range subscribers {
			group.Go(func() {
				position := len(times)/2 + 10*i
				got, err := f.SeekTime(t.Context(), times[position])
				assert.NoError(t, err)
				assert.EqualValues(t, position, got)
			})
		}
		group.Wait()
		assert.LessOrEqual(t, reads(), 2*blocks+2*subscribers, "two reads for each block and each subscriber")
	})
}

func TestATimeIsFoundAfterTheLogWasReplaced(t *testing.T) {
	const events = 4 * blockEvents
	times := every(time.Second, events)
	for name, keep := range map[string]int{
		"wholly":                        0,
		"from within a block":           blockEvents + 10,
		"from the middle":               2 * blockEvents,
		"from the event before a block": 3*blockEvents - 1,
		"only in the last event":        events - 1,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.receive(t, times...)
				for i := 0; i < events; i += blockEvents / 4 {
					f.requireTime(t, uint64(i), times[i], "before")
				}
				// Simulate an older copy with new events.
				replaced := append([]time.Time{}, times[:keep]...)
				for i := keep; i < events; i++ {
					replaced = append(replaced, times[i].Add(10*time.Minute))
				}
				f.store(t).Replace(t)
				f.receive(t, replaced...)
				for i := 0; i < events; i += blockEvents / 4 {
					f.requireTime(t, positionOf(replaced, times[i]), times[i], name)
				}
				f.requireTime(t, positionOf(replaced, times[events-1]), times[events-1], name)
			})
		})
	}
}

// changedInfo is a stream whose Info a test changes.
type changedInfo struct {
	stream
	change func(*storage.Info)
}

func (s changedInfo) Info(ctx context.Context) (storage.Info, error) {
	info, err := s.stream.Info(ctx)
	if err == nil {
		s.change(&info)
	}
	return info, err
}

func TestATimeIsFoundIfTheNewestEventWasDeleted(t *testing.T) {
	const within = 4 * time.Second // less than the time until the log fails
	for _, tt := range []struct {
		name string
		// deleted reports whether the newest event was deleted.
		deleted bool
		// reads maps the number of replicas to the expected number of reads.
		reads map[int]int
	}{
		{"it was deleted", true, map[int]int{1: 3, 3: 10}},
		{"it exists", false, map[int]int{1: 2, 3: 2}},
	} {
		for replicas, want := range tt.reads {
			t.Run(fmt.Sprint(tt.name, ", ", replicas, " replicas"), func(t *testing.T) {
				each(t, func(t *testing.T, f *fixture) {
					times := every(time.Second, 4)
					f.receive(t, times...)
					if tt.deleted {
						f.store(t).DeleteMessage(t, 4)
					}
					f.stream = changedInfo{f.stream, func(info *storage.Info) { info.Replicated = replicas > 1 }}
					reads := storagetest.Look(t, f.in).CountReads(t, streamName)

					start := time.Now()
					f.requireTime(t, 4, times[3].Add(1), "after all")
					assert.Less(t, time.Since(start), within)
					assert.Equal(t, want, reads())
				})
			})
		}
	}
}

// lagging is a stream with replicas that may lack the newest messages.
type lagging struct {
	stream
	random func(n int) int
	last   int
}

func (s lagging) Read(ctx context.Context, req storage.ReadRequest, each func(uint64, []byte) bool) (storage.ReadEnd, error) {
	has := s.last - s.random(s.last)
	if s.random(2) == 0 {
		has = s.last
	}
	room := has - int(req.From) + 1
	if room <= 0 {
		return storage.ReadEnd{}, nil
	}
	req.MaxMessages = min(req.MaxMessages, room)
	return s.stream.Read(ctx, req, each)
}

func TestATimeIsFoundWithStaleReplicas(t *testing.T) {
	const events = 3 * blockEvents
	f := open(t, storagetest.Embedded(t), Config{})
	times := disordered(rand.New(rand.NewPCG(1, 2)), events)
	f.receive(t, times...)
	random := rand.New(rand.NewPCG(3, 4))
	f.stream = changedInfo{lagging{f.stream, random.IntN, events}, func(info *storage.Info) { info.Replicated = true }}
	for i, at := range times {
		if i%8 == 0 {
			f.starts.clear()
			f.latest.clear()
			f.requireTime(t, positionOf(times, at), at, "as it is")
		}
	}
	f.requireTime(t, events, times[events-1].Add(time.Hour), "after all")
}
