package fanout

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/event"
)

// emptyRing is the behind function of a ring without records.
func emptyRing(uint64) bool { return true }

// readAll reads from each position to the end of the log concurrently. It returns the number of
// events of each reader.
func readAll(t *testing.T, f *Fanout, end uint64, positions ...uint64) []int {
	t.Helper()
	got := make([]int, len(positions))
	var wg sync.WaitGroup
	for i, position := range positions {
		wg.Go(func() {
			r := f.NewReader(t.Context(), position, event.Filter{})
			defer r.Close()
			for position < end {
				response, err := r.Next(time.Minute)
				if !assert.NoError(t, err) {
					return
				}
				for _, sequence := range read(t, response).sequences {
					position++
					if !assert.Equal(t, position, sequence) {
						return
					}
					got[i]++
				}
			}
		})
	}
	wg.Wait()
	return got
}

func TestReadersOfTheSamePagesShareThem(t *testing.T) {
	const length = 10 * pageEvents
	log := newMemoryLog(records(1, length)...)
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		var positions []uint64
		var want []int
		for i := range 100 {
			positions = append(positions, uint64(i*37))
			want = append(want, length-i*37)
		}
		assert.Equal(t, want, readAll(t, f, length, positions...))
		assert.LessOrEqual(t, log.reads, 12, "the log must be read about once")
	})
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	const length = 10 * pageEvents
	all := records(1, length)
	log := newMemoryLog(all...)
	size := all[0].Size() + event.RecordOverhead
	p := newPages(log, 3*pageEvents*(size+8), emptyRing)
	for from := uint64(0); from < length; from += pageEvents {
		_, err := p.page(t.Context(), from)
		require.NoError(t, err)
		assert.LessOrEqual(t, p.bytes, p.maxBytes)
	}
	assert.Equal(t, p.recent.Len(), len(p.byFrom))
	assert.Less(t, len(p.byFrom), 5)
	reads := log.reads
	_, err := p.page(t.Context(), length-pageEvents)
	require.NoError(t, err)
	assert.Equal(t, reads, log.reads, "the most recently used page is cached")
	_, err = p.page(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, reads+1, log.reads, "the least recently used page is evicted")
}

func TestAPageOfLargeEventsContinuesInAnother(t *testing.T) {
	const length = 40
	log := newMemoryLog()
	for i := range length {
		log.records = append(log.records, record(uint64(i+1), "support", 300<<10))
	}
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		assert.Equal(t, []int{length, length - 7, length - 33}, readAll(t, f, length, 0, 7, 33))
	})
}

func TestAPageThatEndsWithTheLogContinuesInAnother(t *testing.T) {
	log := newMemoryLog(records(1, 10)...)
	p := newPages(log, DefaultPageBytes, emptyRing)
	first, err := p.after(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, 10, first.Len())
	none, err := p.after(t.Context(), 10)
	require.NoError(t, err)
	assert.Zero(t, none.Len())
	log.append("support")
	for position, want := range map[uint64]int{0: 10, 10: 1, 11: 0} {
		events, err := p.after(t.Context(), position)
		require.NoError(t, err)
		assert.Equal(t, want, events.Len(), "after %d", position)
	}
}

func TestAPositionIsServedIfItsPageBeginsBeforeTheLog(t *testing.T) {
	log := newMemoryLog(records(1, 100)...)
	log.removed = 50
	p := newPages(log, DefaultPageBytes, emptyRing)
	kept, err := p.after(t.Context(), 60)
	require.NoError(t, err)
	assert.Equal(t, 40, kept.Len())
	_, err = p.after(t.Context(), 49)
	assert.ErrorIs(t, err, errExpired)
	_, err = p.after(t.Context(), 0)
	assert.ErrorIs(t, err, errExpired)
}

func TestTheNextPagesAreReadAhead(t *testing.T) {
	log := newMemoryLog(records(1, 10*pageEvents)...)
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		next(t, reader(t, f, 0, event.Filter{}), time.Minute)
		synctest.Wait()
		assert.Equal(t, 1+pagesAhead, log.reads)
		assert.NotNil(t, f.pages.cached(pagesAhead*pageEvents))
		assert.Nil(t, f.pages.cached((pagesAhead+1)*pageEvents))
	})
}

func TestNoPageOfTheRingIsReadAhead(t *testing.T) {
	log := newMemoryLog(records(1, 2*pageEvents)...)
	log.warm = pageEvents
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		assert.Len(t, next(t, reader(t, f, 0, event.Filter{}), time.Minute).sequences, pageEvents)
		synctest.Wait()
		assert.Equal(t, 1, log.reads)
	})
}

func TestAReaderThatEndsLeavesItsPageToTheOthers(t *testing.T) {
	log := newMemoryLog(records(1, 100)...)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	log.read = func(context.Context) {
		once.Do(func() { close(entered) })
		<-release
	}
	p := newPages(log, DefaultPageBytes, emptyRing)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := p.after(ctx, 0)
		first <- err
	}()
	<-entered
	second := make(chan int)
	go func() {
		kept, err := p.after(t.Context(), 0)
		assert.NoError(t, err)
		second <- kept.Len()
	}()
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	close(release)
	assert.Equal(t, 100, <-second)
}

func TestTheLogSearchesForASelectiveFilter(t *testing.T) {
	const length = 100 * pageEvents
	log := newMemoryLog(records(1, length)...)
	log.append("rare")
	log.append("support", "support")
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		r := reader(t, f, 0, only("rare"))
		assert.Equal(t, []uint64{length + 1}, next(t, r, time.Minute).sequences)
		assert.EqualValues(t, length+3, next(t, r, 0).position)
		synctest.Wait()
		assert.LessOrEqual(t, log.reads, 1+pagesAhead, "one page to find that the filter is selective, and the pages read ahead")
		assert.Equal(t, 1, log.matching)
	})
}

func TestFilteredReadersSharePagesOfALogWithoutASearch(t *testing.T) {
	const length, readers = 20 * pageEvents, 200
	log := newMemoryLog(records(1, length)...)
	log.append("rare")
	log.replicated = true
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				response, err := reader(t, f, 0, only("rare")).Next(time.Minute)
				if assert.NoError(t, err) {
					assert.Equal(t, []uint64{length + 1}, read(t, response).sequences)
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, log.reads, length/pageEvents+1, "the log must be read about once")
	})
}

func TestAFilterThatMatchesNothingStillAdvances(t *testing.T) {
	const length = 100 * pageEvents
	log := newMemoryLog(records(1, length)...)
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		b := next(t, reader(t, f, 0, only("nowhere")), time.Minute)
		assert.Equal(t, batch{sequences: []uint64{}, position: length}, b)
		synctest.Wait()
		read := log.reads + log.matching
		assert.LessOrEqual(t, read, 2+pagesAhead)
		next(t, reader(t, f, b.position, only("nowhere")), time.Minute)
		assert.Equal(t, read, log.reads+log.matching, "resuming must not read the log again")
	})
}

func TestPendingIsKnownWhileTheRingFills(t *testing.T) {
	log := newMemoryLog(records(1, 1000)...)
	log.warm = 600
	log.follow = errExpired // no event arrives yet
	synctest.Test(t, func(t *testing.T) {
		log.changed = make(chan struct{})
		f := New(log, Config{})
		go func() { assert.NoError(t, f.Run(t.Context())) }()
		<-f.Ready()
		assert.Equal(t, batch{sequences: []uint64{}, position: 500, pending: 500}, next(t, reader(t, f, 500, event.Filter{}), 0))
	})
}

func TestTheRingBeginsWithTheNewestEventsOfTheLog(t *testing.T) {
	log := newMemoryLog(records(1, 1000)...)
	log.warm = 600
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		assert.Len(t, next(t, reader(t, f, 400, event.Filter{}), time.Minute).sequences, 600)
		assert.Zero(t, log.reads)
		next(t, reader(t, f, 399, event.Filter{}), time.Minute)
		assert.NotZero(t, log.reads)
	})
}

// The subscribers of a restarted gateway resume at the same time.
func TestManyResumptionsReadTheLogOnce(t *testing.T) {
	const subscribers, length = 10_000, 100_000
	all := records(1, length)
	for name, tt := range map[string]struct{ warm, seeks, reads int }{
		"from the ring": {length, 1, 0},
		"from the log":  {0, subscribers, length/pageEvents + 1 + pagesAhead},
	} {
		t.Run(name, func(t *testing.T) {
			log := newMemoryLog(all...)
			log.warm = tt.warm
			running(t, log, 0, func(t *testing.T, f *Fanout) {
				var wg sync.WaitGroup
				for i := range subscribers {
					wg.Go(func() {
						position, err := f.seek(t.Context(), fmt.Sprint(length-i*9%(length-1)-1))
						if !assert.NoError(t, err) {
							return
						}
						r := f.NewReader(t.Context(), position, event.Filter{})
						defer r.Close()
						for range 3 { // a thousand events each
							_, err := r.Next(time.Minute)
							if !assert.NoError(t, err) {
								return
							}
						}
					})
				}
				wg.Wait()
				assert.LessOrEqual(t, log.seeks, tt.seeks)
				assert.LessOrEqual(t, log.reads, tt.reads)
			})
		})
	}
}
