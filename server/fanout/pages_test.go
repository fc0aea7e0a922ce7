package fanout

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/event"
)

// everything is what a ring without records is behind of.
func everything(uint64) bool { return true }

// everyone reads from each position to the end of the log, all at once, and
// returns how many events each got.
func everyone(t *testing.T, f *Fanout, end uint64, positions ...uint64) []int {
	t.Helper()
	got := make([]int, len(positions))
	var wg sync.WaitGroup
	for i, position := range positions {
		wg.Go(func() {
			r := f.NewReader(position, event.Filter{})
			for position < end {
				batch, err := r.Next(t.Context(), time.Minute)
				if !assert.NoError(t, err) {
					return
				}
				for _, record := range batch.Records {
					position++
					if !assert.Equal(t, position, record.Sequence) {
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

func TestReadersInTheSameStretchShareItsPages(t *testing.T) {
	const length = 10 * pageEvents
	log := newMemoryLog(records(1, length)...)
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		var positions []uint64
		var want []int
		for i := range 100 {
			positions = append(positions, uint64(i*37))
			want = append(want, length-i*37)
		}
		assert.Equal(t, want, everyone(t, f, length, positions...))
		assert.LessOrEqual(t, log.reads, 12, "the log is read about once")
	})
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	const length = 10 * pageEvents
	all := records(1, length)
	log := newMemoryLog(all...)
	size := all[0].Size()
	p := newPages(log, 3*pageEvents*(size+8), everything)
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
	assert.Equal(t, reads, log.reads, "the most recently used is there")
	_, err = p.page(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, reads+1, log.reads, "the least recently used is not")
}

func TestAPageOfLargeEventsGoesOnInAnother(t *testing.T) {
	const length = 40
	log := newMemoryLog()
	for i := range length {
		log.records = append(log.records, record(uint64(i+1), "support", 300<<10))
	}
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		assert.Equal(t, []int{length, length - 7, length - 33}, everyone(t, f, length, 0, 7, 33))
	})
}

func TestAPageThatEndsWithTheLogIsReadAgain(t *testing.T) {
	log := newMemoryLog(records(1, 10)...)
	p := newPages(log, DefaultPageBytes, everything)
	first, err := p.after(t.Context(), 0)
	require.NoError(t, err)
	assert.Len(t, first, 10)
	log.append("support")
	second, err := p.after(t.Context(), 0)
	require.NoError(t, err)
	assert.Len(t, second, 11)
	none, err := p.after(t.Context(), 11)
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestAPositionIsServedThoughItsPageBeginsBeforeTheLog(t *testing.T) {
	log := newMemoryLog(records(1, 100)...)
	log.removed = 50
	p := newPages(log, DefaultPageBytes, everything)
	kept, err := p.after(t.Context(), 60)
	require.NoError(t, err)
	assert.Len(t, kept, 40)
	_, err = p.after(t.Context(), 49)
	assert.ErrorIs(t, err, errExpired)
	_, err = p.after(t.Context(), 0)
	assert.ErrorIs(t, err, errExpired)
}

func TestTheNextPageIsReadAhead(t *testing.T) {
	log := newMemoryLog(records(1, 3*pageEvents)...)
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		_, err := f.NewReader(0, event.Filter{}).Next(t.Context(), time.Minute)
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, 2, log.reads)
		assert.NotNil(t, f.pages.cached(pageEvents))
		assert.Nil(t, f.pages.cached(2*pageEvents))
	})
}

func TestAReaderThatGoesAwayLeavesThePageToTheOthers(t *testing.T) {
	log := newMemoryLog(records(1, 100)...)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	log.read = func(context.Context) {
		once.Do(func() { close(entered) })
		<-release
	}
	p := newPages(log, DefaultPageBytes, everything)
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := p.after(gone, 0)
		first <- err
	}()
	<-entered
	second := make(chan int)
	go func() {
		kept, err := p.after(t.Context(), 0)
		assert.NoError(t, err)
		second <- len(kept)
	}()
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	close(release)
	assert.Equal(t, 100, <-second)
}

func TestAFilterThatTakesLittleLetsTheLogLook(t *testing.T) {
	const length = 100 * pageEvents
	log := newMemoryLog(records(1, length)...)
	log.append("rare")
	log.append("support", "support")
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		r := f.NewReader(0, only("rare"))
		batch, err := r.Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Equal(t, []uint64{length + 1}, sequences(batch.Records))
		assert.EqualValues(t, length+3, batch.Position)
		synctest.Wait()
		assert.LessOrEqual(t, log.reads, 2, "a page to find out that it takes little, and the one read ahead")
		assert.Equal(t, 1, log.matching)
	})
}

func TestAFilterThatTakesNothingStillMovesOn(t *testing.T) {
	const length = 100 * pageEvents
	log := newMemoryLog(records(1, length)...)
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		r := f.NewReader(0, only("nowhere"))
		batch, err := r.Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Empty(t, batch.Records)
		assert.EqualValues(t, length, batch.Position)
		synctest.Wait()
		read := log.reads + log.matching
		assert.LessOrEqual(t, read, 3)
		_, err = f.NewReader(batch.Position, only("nowhere")).Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Equal(t, read, log.reads+log.matching, "resuming does not read it again")
	})
}

func TestAReaderIsToldHowFarItIsBehindWhileTheRingFills(t *testing.T) {
	log := newMemoryLog(records(1, 1000)...)
	log.warm = 600
	log.follow = errExpired // nothing comes yet
	synctest.Test(t, func(t *testing.T) {
		log.changed = make(chan struct{})
		f := New(log, Config{})
		go func() { assert.NoError(t, f.Run(t.Context())) }()
		<-f.Ready()
		batch, err := f.NewReader(500, event.Filter{}).Next(t.Context(), 0)
		require.NoError(t, err)
		assert.Equal(t, Batch{Position: 500, Pending: 500}, batch)
	})
}

func TestTheRingBeginsWithTheNewestEventsOfTheLog(t *testing.T) {
	log := newMemoryLog(records(1, 1000)...)
	log.warm = 600
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		batch, err := f.NewReader(400, event.Filter{}).Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Len(t, batch.Records, maxBatchEvents)
		assert.Zero(t, log.reads)
		_, err = f.NewReader(399, event.Filter{}).Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Equal(t, 1, log.reads)
	})
}
