package fanout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
)

// heartbeat is the default interval of a stream.
const heartbeat = 15 * time.Second

func TestAReaderWithinTheRingDoesNotReadTheLog(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "support", "support")
		synctest.Wait()
		assert.Equal(t, []uint64{2, 3}, next(t, reader(t, f, 1, event.Filter{}), 0).sequences)
		assert.Zero(t, log.reads)
	})
}

func TestAReaderThatIsBehindReadsTheLogAndRejoinsTheRing(t *testing.T) {
	log := newMemoryLog(records(1, 1000)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		r := reader(t, f, 0, event.Filter{})
		var got []uint64
		for position := uint64(0); position < 1000; {
			b := next(t, r, heartbeat)
			got = append(got, b.sequences...)
			position = b.position
			assert.Equal(t, 1000-position, b.pending)
		}
		assert.Equal(t, sequences(log.records), got)
		assert.Equal(t, 2, log.reads)
		log.append("support")
		assert.Equal(t, []uint64{1001}, next(t, r, heartbeat).sequences)
		assert.Equal(t, 2, log.reads)
	})
}

func TestABatchIsBounded(t *testing.T) {
	sized := func(sizes ...int) []event.Entry {
		var all []event.Entry
		for i, size := range sizes {
			all = append(all, record(uint64(i+1), "support", size))
		}
		return all
	}
	const kib, mib = 1 << 10, 1 << 20
	for _, tt := range []struct {
		name             string
		records          []event.Entry
		inRing, onTheLog []int
	}{
		{"by events", records(1, 2100), []int{1024, 1024, 52}, []int{512, 512, 512, 512, 52}},
		{"by bytes", sized(100*kib, 100*kib, 100*kib, 1), []int{2, 2}, []int{3, 1}},
		{"by one event that is larger", sized(1, 2*mib, 1, 3*mib, 3*mib), []int{1, 1, 1, 1, 1}, []int{2, 2, 1}},
	} {
		for source, want := range map[string][]int{"from the ring": tt.inRing, "from the log": tt.onTheLog} {
			t.Run(tt.name+" "+source, func(t *testing.T) {
				log := newMemoryLog()
				ready := source == "from the ring"
				if !ready {
					log.records = tt.records
				}
				running(t, log, 0, func(t *testing.T, f *Fanout) {
					log.change(func() { log.records = tt.records })
					synctest.Wait()
					r := reader(t, f, 0, event.Filter{})
					var sizes []int
					for position := uint64(0); position < uint64(len(tt.records)); {
						b := next(t, r, heartbeat)
						sizes = append(sizes, len(b.sequences))
						position = b.position
						assert.Equal(t, position, b.sequences[len(b.sequences)-1])
					}
					assert.Equal(t, want, sizes)
					assert.Equal(t, ready, log.reads == 0)
				})
			})
		}
	}
}

func TestAResponseIsImmutable(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		log.append("support")
		r := reader(t, f, 0, event.Filter{})
		first, err := r.Next(heartbeat)
		require.NoError(t, err)
		for range 20 {
			log.append("support", "support")
			next(t, r, heartbeat)
		}
		assert.Equal(t, []uint64{1}, read(t, first).sequences)
	})
}

func TestReadersAtTheEndShareTheirResponse(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "sales")
		synctest.Wait()
		at := func(position uint64, filter event.Filter) *event.Response {
			response, err := reader(t, f, position, filter).Next(0)
			require.NoError(t, err)
			return response
		}
		assert.Same(t, at(1, event.Filter{}), at(1, event.Filter{}))
		assert.Equal(t, []uint64{2}, read(t, at(1, event.Filter{})).sequences)
		assert.Equal(t, []uint64{1, 2}, read(t, at(0, event.Filter{})).sequences, "readers at other positions must get their own response")
		assert.Equal(t, []uint64{1}, read(t, at(0, only("support"))).sequences)
		assert.Equal(t, []uint64{2}, read(t, at(1, event.Filter{})).sequences)
		log.append("support")
		synctest.Wait()
		assert.Equal(t, []uint64{2, 3}, read(t, at(1, event.Filter{})).sequences)
	})
}

func TestAnIdleReaderGetsAnEmptyBatchInTime(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		r := reader(t, f, 3, event.Filter{})
		for range 3 {
			start := time.Now()
			assert.Equal(t, batch{sequences: []uint64{}, position: 3}, next(t, r, heartbeat))
			assert.Equal(t, heartbeat, time.Since(start))
		}
		// The same after an event in between, and with other intervals.
		for i, idle := range []time.Duration{heartbeat, heartbeat / 3, 2 * heartbeat, heartbeat} {
			time.Sleep(heartbeat / 4) // virtual
			log.append("support")
			assert.Len(t, next(t, r, idle).sequences, 1)
			start := time.Now()
			assert.Equal(t, batch{sequences: []uint64{}, position: uint64(4 + i)}, next(t, r, idle))
			assert.Equal(t, idle, time.Since(start))
		}
	})
}

// A heartbeat means that there are no more events. That is unknown while the log is unavailable.
func TestNoHeartbeatIsSentWhileTheLogIsNotFollowed(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		r := reader(t, f, 3, event.Filter{})
		synctest.Wait()
		log.fail(errors.New("unavailable"))
		synctest.Wait()
		start := time.Now()
		const outage = awayAfter - time.Second
		time.AfterFunc(outage, func() { log.fail(nil) })
		assert.Equal(t, batch{sequences: []uint64{}, position: 3}, next(t, r, time.Second))
		assert.GreaterOrEqual(t, time.Since(start), outage)
		assert.LessOrEqual(t, time.Since(start), outage+2*retryDelay)

		log.fail(errors.New("unavailable"))
		synctest.Wait()
		log.fail(nil)
		log.append("support")
		assert.Len(t, next(t, r, heartbeat).sequences, 1)
		start = time.Now()
		assert.Empty(t, next(t, r, heartbeat).sequences)
		assert.Equal(t, heartbeat, time.Since(start), "an event shows that the log is followed")
	})
}

func TestWaitingReadersEndAfterTenSecondsWithoutTheLog(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 3, func(t *testing.T, f *Fanout) {
		waiting, late := reader(t, f, 3, event.Filter{}), reader(t, f, 0, event.Filter{})
		synctest.Wait()
		log.fail(errors.New("unavailable"))
		start := time.Now()
		_, err := waiting.Next(5 * time.Minute)
		assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, fault.From(err).Reason)
		assert.NotZero(t, fault.From(err).RetryAfter)
		assert.Equal(t, awayAfter, time.Since(start))

		assert.Equal(t, []uint64{1, 2, 3}, next(t, late, heartbeat).sequences, "events in memory are delivered")
		for _, idle := range []time.Duration{0, heartbeat} {
			_, err = late.Next(idle)
			assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, fault.From(err).Reason)
		}
		assert.Equal(t, awayAfter, time.Since(start), "without waiting")

		log.fail(nil)
		time.Sleep(2 * retryDelay)
		assert.Empty(t, next(t, waiting, heartbeat).sequences, "the next call succeeds")
	})
}

func TestAReaderWithoutMatchesGetsHeartbeats(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 1000, func(t *testing.T, f *Fanout) {
		go func() {
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			for t.Context().Err() == nil {
				log.append("sales", "sales")
				select {
				case <-ticker.C:
				case <-t.Context().Done():
				}
			}
		}()
		r := reader(t, f, 0, only("support"))
		for beat := range uint64(4) {
			start := time.Now()
			b := next(t, r, heartbeat)
			assert.Equal(t, heartbeat, time.Since(start))
			assert.Empty(t, b.sequences)
			assert.InDelta(t, 300*(beat+1), b.position, 2, "the position must advance")
		}
	})
}

func TestAReplayWithoutMatchesGetsHeartbeats(t *testing.T) {
	log := newMemoryLog()
	for i := range uint64(100 * pageEvents) {
		log.records = append(log.records, record(i+1, "sales", 0))
	}
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		log.read = func(context.Context) { time.Sleep(heartbeat / 3) } // virtual
		// The log cannot search for this filter.
		r := reader(t, f, 0, event.NewFilter(&ongairv1.SubscribeRequest{ConversationIds: []string{"none"}}))
		start := time.Now()
		b := next(t, r, heartbeat)
		assert.InDelta(t, heartbeat, time.Since(start), float64(heartbeat/3))
		assert.Positive(t, b.position)
		assert.Equal(t, 100*uint64(pageEvents), b.position+b.pending)
	})
}

func TestAnIdleOfZeroDoesNotWait(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		for position, want := range map[uint64][]uint64{3: {}, 1: {2, 3}} {
			start := time.Now()
			assert.Equal(t, batch{sequences: want, position: 3}, next(t, reader(t, f, position, event.Filter{}), 0))
			assert.Zero(t, time.Since(start))
		}
		assert.Equal(t, batch{sequences: []uint64{}, position: 3}, next(t, reader(t, f, 1, only("sales")), 0))
	})
}

func TestAReaderEndsWithTheCauseOfItsContext(t *testing.T) {
	errEnded := errors.New("ended")
	for _, tt := range []struct {
		name     string
		position uint64
		filter   event.Filter
		read     func(context.Context)
	}{
		{"while it waits", 1000, event.Filter{}, nil},
		{"while it reads the log", 0, event.Filter{}, func(ctx context.Context) { <-ctx.Done() }},
		{"while it always has events", 990, event.Filter{}, nil},
		{"while no event matches", 990, only("sales"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := newMemoryLog(records(1, 980)...)
			log.read = tt.read
			running(t, log, 0, func(t *testing.T, f *Fanout) {
				log.append(slices.Repeat([]string{"support"}, 20)...)
				synctest.Wait()
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(errEnded) })
				r := f.NewReader(ctx, tt.position, tt.filter)
				defer r.Close()
				var err error
				for err == nil {
					_, err = r.Next(heartbeat)
					if tt.position == 990 {
						time.Sleep(time.Second) // virtual: a slow reader always has more events
						log.append("support")
						synctest.Wait()
					}
				}
				require.ErrorIs(t, err, errEnded)
			})
		})
	}
}

func TestAnExpiredPositionIsReportedByTheLog(t *testing.T) {
	log := newMemoryLog(records(1, 10)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.change(func() { log.removed = 4 })
		_, err := reader(t, f, 3, event.Filter{}).Next(heartbeat)
		require.ErrorIs(t, err, errExpired)
		assert.Equal(t, uint64(5), next(t, reader(t, f, 4, event.Filter{}), heartbeat).sequences[0])
	})
}

func TestAGapInTheTailIsReported(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "support")
		synctest.Wait()
		r := reader(t, f, 2, event.Filter{})
		log.fail(errors.New("unavailable"))
		log.append("support", "support", "support")
		log.change(func() { log.removed = 4 })
		log.fail(nil)
		_, err := r.Next(heartbeat)
		require.ErrorIs(t, err, errExpired)
	})
}

func TestEveryReaderGetsItsEventsInOrderAndOnce(t *testing.T) {
	channels := []string{"support", "sales", "billing"}
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			var all []string
			for range 50 + random.IntN(800) {
				all = append(all, channels[random.IntN(len(channels))])
			}
			atStart := random.IntN(len(all))
			log := newMemoryLog()
			log.append(all[:atStart]...)
			running(t, log, 1+random.IntN(6000), func(t *testing.T, f *Fanout) {
				var group sync.WaitGroup
				for range 8 {
					position := uint64(random.IntN(len(all)))
					matches := map[string]bool{}
					for _, channel := range channels {
						matches[channel] = random.IntN(2) == 0
					}
					slow := time.Duration(random.IntN(4)) * time.Millisecond
					group.Go(func() { requireMatches(t, f, all, position, matches, slow) })
				}
				for next := atStart; next < len(all); {
					n := min(1+random.IntN(40), len(all)-next)
					log.append(all[next : next+n]...)
					next += n
					if random.IntN(10) == 0 {
						log.fail(errors.New("unavailable"))
						time.Sleep(time.Duration(random.IntN(900)) * time.Millisecond) // virtual
						log.fail(nil)
					}
					time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond) // virtual
				}
				group.Wait()
			})
		})
	}
}

// requireMatches reads from position to the end. Each batch must have exactly the matching events up to
// its position.
func requireMatches(t *testing.T, f *Fanout, all []string, position uint64, matches map[string]bool, slow time.Duration) {
	var filter event.Filter
	names := []string{"unused"} // an empty filter would match all
	for channel, ok := range matches {
		if ok {
			names = append(names, channel)
		}
	}
	filter = only(names...)
	r := f.NewReader(t.Context(), position, filter)
	defer r.Close()
	for position < uint64(len(all)) {
		response, err := r.Next(time.Second)
		if !assert.NoError(t, err) {
			return
		}
		b := read(t, response)
		want := []uint64{}
		for sequence := position + 1; sequence <= b.position; sequence++ {
			if matches[all[sequence-1]] {
				want = append(want, sequence)
			}
		}
		if !assert.Equal(t, want, b.sequences, "from %d to %d", position, b.position) ||
			!assert.GreaterOrEqual(t, b.position, position) {
			return
		}
		position = b.position
		time.Sleep(slow) // virtual
	}
}

func TestTenThousandIdleReadersAreCheap(t *testing.T) {
	f := New(newMemoryLog(), Config{})
	for _, e := range records(1, 2) {
		f.add(e)
	}
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	readers := make([]*Reader, 10_000)
	before := heap()
	for i := range readers {
		readers[i] = f.NewReader(t.Context(), 0, event.Filter{})
		for range 2 { // two events, then none
			_, err := readers[i].Next(0)
			require.NoError(t, err)
		}
	}
	assert.Less(t, int64(heap()-before)/int64(len(readers)), int64(384), "bytes per reader")
	runtime.KeepAlive(readers)
}

func TestAClosedReaderIsForgotten(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		readers := make([]*Reader, 10)
		for i := range readers {
			readers[i] = f.NewReader(ctx, 0, event.Filter{})
			group.Go(func() {
				_, err := readers[i].Next(heartbeat)
				assert.ErrorIs(t, err, context.Canceled)
			})
		}
		synctest.Wait()
		assert.Len(t, f.waiting, 10)
		cancel()
		group.Wait()
		for _, i := range []int{0, 9, 4, 3, 1, 2, 8, 5, 7, 6} {
			readers[i].Close()
			readers[i].Close() // may be called again
		}
		assert.Empty(t, f.waiting)
	})
}

func TestEvictedSegmentsAreReleased(t *testing.T) {
	// collected reports whether the first segment of a ring is garbage collected after its eviction.
	// The result of hold stays alive until then.
	collected := func(hold func(*Fanout) any) bool {
		f := New(newMemoryLog(), Config{RingBytes: 4 << 10})
		f.add(record(1, "support", 0))
		wire := func() weak.Pointer[byte] {
			first, _ := f.after(0)
			return weak.Make(&first.Respond(&event.Filter{}, 0).Buffers()[0].ReadOnlyData()[0])
		}()
		kept := hold(f)
		for i := range uint64(100) {
			f.add(record(2+i, "support", 0))
		}
		for range 3 { // a response may be in a pool of gRPC
			runtime.GC()
		}
		defer runtime.KeepAlive(kept)
		defer runtime.KeepAlive(f)
		return wire.Value() == nil
	}
	assert.True(t, collected(func(*Fanout) any { return nil }), "the ring must not hold the segment")
	assert.True(t, collected(func(f *Fanout) any {
		r := reader(t, f, 0, event.Filter{})
		assert.Len(t, next(t, r, 0).sequences, 1)
		return r
	}), "a reader must not hold the segment between two calls")
	assert.False(t, collected(func(f *Fanout) any {
		response, err := reader(t, f, 0, event.Filter{}).Next(0)
		require.NoError(t, err)
		return response
	}), "a response that is being sent holds the segment")
}

func TestAReaderDoesNotWaitForEventsThatArriveDuringItsRead(t *testing.T) {
	f := New(newMemoryLog(), Config{})
	f.add(record(1, "support", 0))
	late := f.NewReader(t.Context(), 0, event.Filter{})
	assert.False(t, f.join(late), "the reader saw the ring without the event")
	assert.Empty(t, f.waiting)
	inTime := f.NewReader(t.Context(), 1, event.Filter{})
	assert.True(t, f.join(inTime))
	f.add(record(2, "support", 0))
	assert.Len(t, inTime.wake, 1, "the next event must wake the reader")
	assert.Empty(t, f.waiting)
}
