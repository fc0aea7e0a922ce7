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
)

// heartbeat is as long as a stream's default.
const heartbeat = 15 * time.Second

func TestAReaderWithinTheRingDoesNotReadTheLog(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "support", "support")
		synctest.Wait()
		batch, err := f.NewReader(1, event.Filter{}).Next(t.Context(), 0)
		require.NoError(t, err)
		assert.Equal(t, []uint64{2, 3}, sequences(batch.Records))
		assert.Zero(t, log.reads)
	})
}

func TestAReaderThatIsBehindReadsTheLogAndRejoinsTheRing(t *testing.T) {
	log := newMemoryLog(records(1, 1000)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		reader := f.NewReader(0, event.Filter{})
		var got []uint64
		for position := uint64(0); position < 1000; {
			batch, err := reader.Next(t.Context(), heartbeat)
			require.NoError(t, err)
			got = append(got, sequences(batch.Records)...)
			position = batch.Position
			assert.Equal(t, 1000-position, batch.Pending)
		}
		assert.Equal(t, sequences(log.records), got)
		assert.Equal(t, 2, log.reads)
		log.append("support")
		batch, err := reader.Next(t.Context(), heartbeat)
		require.NoError(t, err)
		assert.Equal(t, []uint64{1001}, sequences(batch.Records))
		assert.Equal(t, 2, log.reads)
	})
}

func TestABatchIsBounded(t *testing.T) {
	sized := func(sizes ...int) []*event.Record {
		var all []*event.Record
		for i, size := range sizes {
			all = append(all, record(uint64(i+1), "support", size))
		}
		return all
	}
	const kib, mib = 1 << 10, 1 << 20
	for _, tt := range []struct {
		name    string
		records []*event.Record
		want    []int
		// fromTheLog is set where a page ends between two batches.
		fromTheLog []int
	}{
		{"by events", records(1, 1100), []int{512, 512, 76}, nil},
		{"by bytes", sized(400*kib, 400*kib, 400*kib, 1), []int{2, 2}, []int{2, 1, 1}},
		{"by one event that is larger than that", sized(1, 2*mib, 1, 3*mib, 3*mib), []int{1, 1, 1, 1, 1}, nil},
	} {
		for source, ready := range map[string]bool{"from the ring": true, "from the log": false} {
			t.Run(tt.name+" "+source, func(t *testing.T) {
				log := newMemoryLog()
				if !ready {
					log.records = tt.records
				}
				running(t, log, 0, func(t *testing.T, f *Fanout) {
					log.change(func() { log.records = tt.records })
					synctest.Wait()
					reader := f.NewReader(0, event.Filter{})
					var sizes []int
					for position := uint64(0); position < uint64(len(tt.records)); {
						batch, err := reader.Next(t.Context(), heartbeat)
						require.NoError(t, err)
						sizes = append(sizes, len(batch.Records))
						position = batch.Position
						assert.Equal(t, position, batch.Records[len(batch.Records)-1].Sequence)
					}
					want := tt.want
					if !ready && tt.fromTheLog != nil {
						want = tt.fromTheLog
					}
					assert.Equal(t, want, sizes)
					assert.Equal(t, ready, log.reads == 0)
				})
			})
		}
	}
}

func TestABatchStaysAsItIs(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		log.append("support")
		reader := f.NewReader(0, event.Filter{})
		first, err := reader.Next(t.Context(), heartbeat)
		require.NoError(t, err)
		for range 20 {
			log.append("support", "support")
			_, err := reader.Next(t.Context(), heartbeat)
			require.NoError(t, err)
		}
		assert.Equal(t, []uint64{1}, sequences(first.Records))
	})
}

func TestAnIdleReaderGetsAnEmptyBatchInTime(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		reader := f.NewReader(3, event.Filter{})
		for range 3 {
			start := time.Now()
			batch, err := reader.Next(t.Context(), heartbeat)
			require.NoError(t, err)
			assert.Equal(t, Batch{Position: 3}, batch)
			assert.Equal(t, heartbeat, time.Since(start))
		}
	})
}

func TestAReaderThatTheFilterHidesAllFromGetsItsHeartbeatToo(t *testing.T) {
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
		reader := f.NewReader(0, only("support"))
		for beat := range uint64(4) {
			start := time.Now()
			batch, err := reader.Next(t.Context(), heartbeat)
			require.NoError(t, err)
			assert.Equal(t, heartbeat, time.Since(start))
			assert.Empty(t, batch.Records)
			assert.InDelta(t, 300*(beat+1), batch.Position, 2, "the position advances")
		}
	})
}

func TestAReplayThatTheFilterHidesGetsItsHeartbeatToo(t *testing.T) {
	log := newMemoryLog()
	for i := range uint64(10 * pageEvents) {
		log.records = append(log.records, record(i+1, "sales", 0))
	}
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		log.read = func(context.Context) { time.Sleep(heartbeat / 3) } // virtual
		// One that the log cannot look for.
		reader := f.NewReader(0, event.NewFilter(&ongairv1.SubscribeRequest{ConversationIds: []string{"none"}}))
		start := time.Now()
		batch, err := reader.Next(t.Context(), heartbeat)
		require.NoError(t, err)
		assert.Equal(t, heartbeat, time.Since(start))
		assert.Equal(t, uint64(3*pageEvents), batch.Position)
		assert.Equal(t, uint64(7*pageEvents), batch.Pending)
	})
}

func TestAnIdleOfZeroDoesNotWait(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		for position, want := range map[uint64][]uint64{3: {}, 1: {2, 3}} {
			start := time.Now()
			batch, err := f.NewReader(position, event.Filter{}).Next(t.Context(), 0)
			require.NoError(t, err)
			assert.Equal(t, want, sequences(batch.Records))
			assert.Equal(t, uint64(3), batch.Position)
			assert.Zero(t, time.Since(start))
		}
		batch, err := f.NewReader(1, only("sales")).Next(t.Context(), 0)
		require.NoError(t, err)
		assert.Equal(t, Batch{Records: []*event.Record{}, Position: 3}, batch)
	})
}

func TestAReaderEndsWithTheCauseOfItsContext(t *testing.T) {
	errGone := errors.New("gone")
	for _, tt := range []struct {
		name     string
		position uint64
		filter   event.Filter
		read     func(context.Context)
	}{
		{"while it waits", 1000, event.Filter{}, nil},
		{"while it reads the log", 0, event.Filter{}, func(ctx context.Context) { <-ctx.Done() }},
		{"while it never has to wait", 990, event.Filter{}, nil},
		{"while the filter hides all", 990, only("sales"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := newMemoryLog(records(1, 980)...)
			log.read = tt.read
			running(t, log, 0, func(t *testing.T, f *Fanout) {
				log.append(slices.Repeat([]string{"support"}, 20)...)
				synctest.Wait()
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(errGone) })
				reader := f.NewReader(tt.position, tt.filter)
				var err error
				for err == nil {
					_, err = reader.Next(ctx, heartbeat)
					if tt.position == 990 {
						time.Sleep(time.Second) // virtual: it is slow, and always has more
						log.append("support")
						synctest.Wait()
					}
				}
				require.ErrorIs(t, err, errGone)
			})
		})
	}
}

func TestAReaderWhosePositionIsGoneLearnsItFromTheLog(t *testing.T) {
	log := newMemoryLog(records(1, 10)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.change(func() { log.removed = 4 })
		_, err := f.NewReader(3, event.Filter{}).Next(t.Context(), heartbeat)
		require.ErrorIs(t, err, errExpired)
		batch, err := f.NewReader(4, event.Filter{}).Next(t.Context(), heartbeat)
		require.NoError(t, err)
		assert.Equal(t, uint64(5), batch.Records[0].Sequence)
	})
}

func TestAGapInTheTailIsNotReadOver(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "support")
		synctest.Wait()
		reader := f.NewReader(2, event.Filter{})
		log.fail(errors.New("away"))
		log.append("support", "support", "support")
		log.change(func() { log.removed = 4 })
		log.fail(nil)
		_, err := reader.Next(t.Context(), heartbeat)
		require.ErrorIs(t, err, errExpired)
	})
}

func TestEveryReaderGetsWhatIsItsOwnInOrderAndOnce(t *testing.T) {
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
					takes := map[string]bool{}
					for _, channel := range channels {
						takes[channel] = random.IntN(2) == 0
					}
					slow := time.Duration(random.IntN(4)) * time.Millisecond
					group.Go(func() { requireOwn(t, f, all, position, takes, slow) })
				}
				for next := atStart; next < len(all); {
					n := min(1+random.IntN(40), len(all)-next)
					log.append(all[next : next+n]...)
					next += n
					if random.IntN(10) == 0 {
						log.fail(errors.New("away"))
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

// requireOwn reads from position to the end and checks every batch: what the
// reader takes, all of it, nothing twice, and no position ahead of anything.
func requireOwn(t *testing.T, f *Fanout, all []string, position uint64, takes map[string]bool, slow time.Duration) {
	var filter event.Filter
	names := []string{"nobody"} // an empty filter would take all
	for channel, takes := range takes {
		if takes {
			names = append(names, channel)
		}
	}
	filter = only(names...)
	reader := f.NewReader(position, filter)
	for position < uint64(len(all)) {
		batch, err := reader.Next(t.Context(), time.Second)
		if !assert.NoError(t, err) {
			return
		}
		want := []uint64{}
		for sequence := position + 1; sequence <= batch.Position; sequence++ {
			if takes[all[sequence-1]] {
				want = append(want, sequence)
			}
		}
		if !assert.Equal(t, want, sequences(batch.Records), "from %d to %d", position, batch.Position) ||
			!assert.GreaterOrEqual(t, batch.Position, position) {
			return
		}
		position = batch.Position
		time.Sleep(slow) // virtual
	}
}

func TestTenThousandIdleReadersAreCheap(t *testing.T) {
	f := New(newMemoryLog(), Config{})
	for _, r := range records(1, 2) {
		f.add(r)
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
		readers[i] = f.NewReader(0, event.Filter{})
		for range 2 { // two events, then none
			_, err := readers[i].Next(t.Context(), 0)
			require.NoError(t, err)
		}
	}
	assert.Less(t, int64(heap()-before)/int64(len(readers)), int64(256), "bytes a reader")
	runtime.KeepAlive(readers)
}

func TestNobodyHoldsOnToRecordsThatTheRingForgot(t *testing.T) {
	filled := func() (f *Fanout, first, last weak.Pointer[event.Record]) {
		small := record(1, "support", 0)
		f = New(newMemoryLog(), Config{RingBytes: 3 * small.Size()})
		hidden := record(3, "sales", 0)
		for _, r := range []*event.Record{small, record(2, "support", 0), hidden} {
			f.add(r)
		}
		return f, weak.Make(small), weak.Make(hidden)
	}
	requireGone := func(t *testing.T, f *Fanout, r weak.Pointer[event.Record], adds uint64) {
		t.Helper()
		for i := range adds {
			f.add(record(4+i, "support", 0))
		}
		runtime.GC()
		assert.Nil(t, r.Value())
	}
	t.Run("not the ring", func(t *testing.T) {
		f, first, _ := filled()
		requireGone(t, f, first, 1)
		runtime.KeepAlive(f)
	})
	t.Run("not a reader between two calls", func(t *testing.T) {
		f, _, last := filled()
		reader := f.NewReader(0, event.Filter{})
		batch, err := reader.Next(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, batch.Records, 3)
		requireGone(t, f, last, 100)
		runtime.KeepAlive(reader)
	})
	t.Run("not a batch that did not take them", func(t *testing.T) {
		f, _, last := filled()
		batch, err := f.NewReader(0, only("support")).Next(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, batch.Records, 2)
		requireGone(t, f, last, 100)
		runtime.KeepAlive(batch)
	})
}
