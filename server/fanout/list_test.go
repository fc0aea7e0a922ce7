package fanout

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

// scan is long enough that no page is returned because of it.
const scan = time.Minute

// readPage reads one page.
func readPage(t *testing.T, r *Reader, size int, wait, scan time.Duration) batch {
	t.Helper()
	response, err := r.List(&event.Page{MaxEvents: size, MaxBytes: 1 << 20}, wait, scan)
	require.NoError(t, err)
	return read(t, response)
}

func TestPagesFollowEachOtherOverTheLogAndTheRing(t *testing.T) {
	log := newMemoryLog(records(1, 2500)...)
	log.warm = 100
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		synctest.Wait()
		start := time.Now()
		r := reader(t, f, 0, event.Filter{})
		var got []uint64
		for len(got) < 2500 {
			next := readPage(t, r, 700, 0, scan)
			require.NotEmpty(t, next.sequences)
			require.LessOrEqual(t, len(next.sequences), 700)
			got = append(got, next.sequences...)
			assert.Equal(t, got[len(got)-1], next.position)
			assert.Equal(t, 2500-next.position, next.pending)
		}
		assert.Equal(t, sequences(log.records), got)
		assert.Empty(t, readPage(t, r, 700, 0, scan).sequences)
		assert.Zero(t, time.Since(start), "no page waits")
	})
}

func TestAPageWithoutEventsWaitsForOne(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		synctest.Wait()
		r := reader(t, f, 3, only("support"))
		start := time.Now()
		assert.Equal(t, batch{sequences: []uint64{}, position: 3}, readPage(t, r, 10, heartbeat, scan))
		assert.Equal(t, heartbeat, time.Since(start))

		start = time.Now()
		time.AfterFunc(time.Second, func() { log.append("sales") })
		time.AfterFunc(2*time.Second, func() { log.append("support") })
		assert.Equal(t, []uint64{5}, readPage(t, r, 10, heartbeat, scan).sequences)
		assert.Equal(t, 2*time.Second, time.Since(start), "an event that does not match must not end the wait")
	})
}

func TestAPageWaitsNoLongerAfterHurry(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		r := reader(t, f, 3, event.Filter{})
		start := time.Now()
		time.AfterFunc(time.Second, r.Hurry)
		assert.Equal(t, batch{sequences: []uint64{}, position: 3}, readPage(t, r, 10, time.Hour, time.Hour))
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, batch{sequences: []uint64{}, position: 3}, readPage(t, r, 10, time.Hour, time.Hour))
		assert.Equal(t, time.Second, time.Since(start))
	})
}

// A webhook answered with 200 must be in any page that is requested afterwards.
func TestAPageHasEventsOfTheLogThatTheRingLacks(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		synctest.Wait()
		log.fail(errors.New("unavailable")) // so that the next event is only in the log
		synctest.Wait()
		log.append("support")
		time.AfterFunc(catchUp/4, func() { log.fail(nil) })
		assert.Equal(t, []uint64{4}, readPage(t, reader(t, f, 3, event.Filter{}), 10, 0, scan).sequences)
	})
}

func TestAPageWithoutMatchesEndsAfterItsScan(t *testing.T) {
	log := newMemoryLog()
	for i := range uint64(100 * pageEvents) {
		log.records = append(log.records, record(i+1, "sales", 0))
	}
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		const step = 300 * time.Millisecond
		log.read = func(context.Context) { time.Sleep(step) } // virtual
		// The log cannot search for this filter.
		r := reader(t, f, 0, event.NewFilter(&ongairv1.SubscribeRequest{ConversationIds: []string{"none"}}))
		start := time.Now()
		b := readPage(t, r, 10, 0, 5*time.Second)
		assert.InDelta(t, 5*time.Second, time.Since(start), float64(2*step))
		assert.Empty(t, b.sequences)
		assert.Positive(t, b.position, "the next page continues from the position")
		assert.Equal(t, 100*uint64(pageEvents), b.position+b.pending)
	})
}

func TestAPageEndsAfterTheEntriesTheLogSkipped(t *testing.T) {
	log := newMemoryLog(record(1, "support", 0))
	for i := range uint64(10 * pageEvents) {
		log.records = append(log.records, record(i+2, "sales", 0))
	}
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		synctest.Wait()
		got := readPage(t, reader(t, f, 0, only("support")), 10, 0, scan)
		assert.Equal(t, batch{sequences: []uint64{1}, position: 10*pageEvents + 1}, got)
		assert.Positive(t, log.matching, "the log must search for the matches")
	})
}

func TestAnEmptyPageIsAnErrorWhileTheLogIsUnavailable(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		synctest.Wait()
		unavailable := errors.New("unavailable")
		log.fail(unavailable)
		synctest.Wait()
		_, err := reader(t, f, 3, event.Filter{}).List(&event.Page{MaxEvents: 1, MaxBytes: 1}, 0, scan)
		require.ErrorIs(t, err, unavailable)
	})
}

func TestAPageKeepsItsEventsIfTheLogFails(t *testing.T) {
	log := newMemoryLog(records(1, 3*pageEvents)...)
	running(t, log, 1, func(t *testing.T, f *Fanout) {
		synctest.Wait()
		reads := 0
		log.read = func(context.Context) {
			log.mu.Lock()
			defer log.mu.Unlock()
			if reads++; reads == 2 {
				log.removed = uint64(len(log.records))
			}
		}
		f.pages = newPages(log, 1, f.behind)
		r := reader(t, f, 0, event.Filter{})
		got := readPage(t, r, 2*pageEvents, 0, scan)
		require.NotEmpty(t, got.sequences)
		assert.Equal(t, got.sequences[len(got.sequences)-1], got.position)
		_, err := r.List(&event.Page{MaxEvents: 1, MaxBytes: 1}, 0, scan)
		require.ErrorIs(t, err, errExpired, "the next page returns the error")
	})
}
