package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestReadReturnsEventsInOrderWithCursors(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 20)...)
		events, err := f.Read(t.Context(), 4, 100, large)
		require.NoError(t, err)
		assert.Equal(t, numbered(5, 20), idsOf(t, events))
		assert.EqualValues(t, 5, events.First())
		assert.EqualValues(t, 20, events.Last())
		for i, e := range decode(t, events) {
			position, err := f.Seek(t.Context(), e.GetCursor())
			require.NoError(t, err)
			assert.Equal(t, uint64(5+i), position)
			assert.Equal(t, e.GetCursor(), events.CursorAt(position))
		}
	})
}

func TestReadIsBounded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 10)...)
		for _, tt := range []struct {
			name                string
			position            uint64
			maxEvents, maxBytes int
			want                []string
		}{
			{"by count", 2, 3, large, numbered(3, 5)},
			{"by a count of one", 2, 1, large, numbered(3, 3)},
			{"by bytes, but to at least one event", 0, 10, 1, numbered(1, 1)},
			{"by bytes in between", 0, 10, 300, numbered(1, 2)},
			{"by its end", 8, 10, large, numbered(9, 10)},
			{"to nothing at its end", 10, 10, large, nil},
			{"to nothing at its end, one at a time", 10, 1, large, nil},
			{"to nothing far after its end", 1 << 60, 10, large, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				events, err := f.Read(t.Context(), tt.position, tt.maxEvents, tt.maxBytes)
				require.NoError(t, err)
				assert.Equal(t, tt.want, idsOf(t, events))
			})
		}
	})
}

func TestAGapWithinAPageIsReported(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 5)...)
		// This is how retention during a read appears.
		f.store(t).DeleteMessage(t, 3)
		assert.Equal(t, numbered(1, 2), f.all(t, 0))
		_, err := f.Read(t.Context(), 2, 10, large)
		expired := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
		assert.Equal(t, "1", expired.Metadata["lost_events"])
		assert.Equal(t, f.Cursor(3), expired.Metadata["oldest_cursor"])
		assert.Equal(t, numbered(4, 5), f.all(t, 3))
	})
}

// follower is a running Follow.
type follower struct {
	events chan event.Entry
	cancel context.CancelFunc
	ended  chan error
}

func followed(t *testing.T, f *fixture, position uint64) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &follower{events: make(chan event.Entry, 10_000), cancel: cancel, ended: make(chan error, 1)}
	go func() { w.ended <- f.Follow(ctx, position, func() {}, func(e event.Entry) { w.events <- e }) }()
	t.Cleanup(cancel)
	return w
}

// patience bounds each wait of a test.
const patience = 10 * time.Second

func (w *follower) next(t *testing.T) event.Entry {
	t.Helper()
	select {
	case e := <-w.events:
		return e
	case err := <-w.ended:
		require.FailNow(t, "Follow ended", "%v", err)
	case <-time.After(patience):
		require.FailNow(t, "no event arrived")
	}
	return event.Entry{}
}

func (w *follower) take(t *testing.T, n int) []string {
	t.Helper()
	var entries []event.Entry
	for range n {
		entries = append(entries, w.next(t))
	}
	events, err := event.SegmentOf(entries)
	require.NoError(t, err)
	return idsOf(t, events)
}

func (w *follower) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(patience):
		require.FailNow(t, "Follow did not end")
		return nil
	}
}

func TestFollowDeliversStoredAndNewEvents(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		fresh := followed(t, f, 0)
		f.append(t, numbered(1, 10)...)
		later := followed(t, f, 4)
		atTheEnd := followed(t, f, 10)
		appended := make(chan struct{})
		go func() {
			defer close(appended)
			for _, id := range numbered(11, 40) {
				_, err := f.Append(t.Context(), message(id))
				assert.NoError(t, err)
			}
		}()
		assert.Equal(t, numbered(1, 40), fresh.take(t, 40))
		assert.Equal(t, numbered(5, 40), later.take(t, 36))
		assert.Equal(t, numbered(11, 40), atTheEnd.take(t, 30))
		<-appended
	})
}

func TestFollowOverManyPages(t *testing.T) {
	f := open(t, storagetest.Serve(t, nil).Home(), Config{})
	const count = 2500
	storagetest.Look(t, f.in).PublishAll(t, subjectPrefix+"support.MessageReceived", numbered(1, count), func(id string) []byte {
		data, err := event.Marshal(message(id))
		require.NoError(t, err)
		return data
	})
	assert.Equal(t, numbered(1, count), followed(t, f, 0).take(t, count))
}

func TestFollowSkipsRemovedEvents(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 5)...)
		f.remove(t, 3)
		w := followed(t, f, 1)
		assert.Equal(t, uint64(4), w.next(t).Sequence)
		assert.Equal(t, uint64(5), w.next(t).Sequence)
	})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, "a")
		w := followed(t, f, 0)
		w.next(t)
		w.cancel()
		require.ErrorIs(t, w.wait(t), context.Canceled)
		f.append(t, "b")
		assert.Empty(t, w.events)
	})
}

func TestFollowEndsWhenTheLogIsLost(t *testing.T) {
	outages(t, func(t *testing.T, f *fixture, lose func()) {
		f.append(t, "a")
		w := followed(t, f, 0)
		w.next(t)
		lose()
		requireReason(t, w.wait(t), ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		again := followed(t, f, 1)
		again.cancel()
		require.Error(t, again.wait(t), "Follow must not wait for an unavailable log")
	})
}

func TestFollowContinuesAfterAnOutage(t *testing.T) {
	server := storagetest.Serve(t, nil)
	f := open(t, server.Home(), Config{})
	f.append(t, "event-1")
	w := followed(t, f, 0)
	last := w.next(t).Sequence
	server.Stop()
	requireReason(t, w.wait(t), ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
	server.Start(t)
	require.Eventually(t, func() bool { return f.in.URL() != "" }, patience, 10*time.Millisecond)
	f.append(t, "event-2")
	assert.Equal(t, numbered(2, 2), followed(t, f, last).take(t, 1))
}

func TestAForeignEntryIsSkipped(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) {
		var logged bytes.Buffer
		f := open(t, home, Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		behind := storagetest.Look(t, f.in)
		foreign := func(data, id string) {
			t.Helper()
			behind.Publish(t, subjectPrefix+"support.MessageReceived", id, []byte(data))
		}
		// The bytes parse as an event but have no checksum.
		const looksLikeAnEvent = "\x0a\x01x\x1a\x07support"
		foreign("hello", "")
		f.append(t, "event-2")
		foreign(looksLikeAnEvent, "")
		foreign("", "")
		foreign("hello", "theirs")
		f.append(t, "event-6")
		foreign("hello", "")

		want := []string{"event-2", "event-6"}
		w := followed(t, f, 0)
		assert.Equal(t, want, w.take(t, 2))
		w.cancel()
		require.ErrorIs(t, w.wait(t), context.Canceled)
		assert.Equal(t, want, f.all(t, 0))
		for position, want := range [][]string{{"event-2"}, {"event-2"}, {"event-6"}, {"event-6"}, {"event-6"}, {"event-6"}, nil, nil} {
			events, err := f.Read(t.Context(), uint64(position), 1, large)
			require.NoError(t, err)
			assert.Equal(t, want, idsOf(t, events), "after %d", position)
		}
		requireEnds(t, f, 0, 7)
		position, err := f.SeekTime(t.Context(), time.Unix(0, 0))
		require.NoError(t, err)
		assert.EqualValues(t, 1, position)

		f.remove(t, 2)
		_, err = f.Read(t.Context(), 1, 1, large)
		expired := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
		assert.Equal(t, "1", expired.Metadata["lost_events"])

		for _, sequence := range []int{1, 3, 4, 5, 7} {
			line := fmt.Sprintf("sequence=%d ", sequence)
			assert.Equal(t, 1, bytes.Count(logged.Bytes(), []byte(line)), "reports of %s", line)
		}
		assert.Equal(t, 5, bytes.Count(logged.Bytes(), []byte("level=ERROR")))
	})
}

func TestReportsOfForeignEntriesDoNotGrowMemory(t *testing.T) {
	l := &Log{logger: slog.New(slog.DiscardHandler), skipped: map[uint64]struct{}{}}
	l.id.Store(&identity{})
	for sequence := range uint64(3 * maxSkipped) {
		_, ok := l.entry(sequence, nil)
		require.False(t, ok)
	}
	assert.LessOrEqual(t, len(l.skipped), maxSkipped)
}
