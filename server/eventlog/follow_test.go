package eventlog

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ongair/ongair-gateway/server/event"
)

func TestFollowDeliversALongLogWhileOthersReadIt(t *testing.T) {
	const events, rounds, readers = 20_000, 3, 4
	each(t, func(t *testing.T, f *fixture) {
		var appending errgroup.Group
		for poster := range 100 {
			appending.Go(func() error {
				for i := range events / 100 {
					if _, err := f.Append(t.Context(), message(fmt.Sprintf("%d-%d", poster, i))); err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, appending.Wait())

		// The readers keep the processor and the connection busy.
		busy, stop := context.WithCancel(t.Context())
		var reading sync.WaitGroup
		defer reading.Wait()
		defer stop()
		for range readers {
			reading.Go(func() {
				for position := uint64(0); busy.Err() == nil; position = (position + 500) % events {
					_, err := f.Read(busy, position, 500, large)
					assert.True(t, err == nil || busy.Err() != nil, err)
				}
			})
		}
		for range rounds {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			got := uint64(0)
			err := f.Follow(ctx, 0, func() {}, func(e event.Entry) {
				got++
				if assert.Equal(t, got, e.Sequence) && got == events {
					cancel()
				}
			})
			cancel()
			require.ErrorIs(t, err, context.Canceled)
			require.EqualValues(t, events, got)
		}
	})
}

func TestFollowReportsThatNothingIsPending(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, err := f.Append(t.Context(), message("1"))
		require.NoError(t, err)
		for position, want := range map[uint64]string{0: "event 1", 1: "caught up"} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			first := ""
			err = f.Follow(ctx, position, func() { first = "caught up"; cancel() },
				func(e event.Entry) { first = fmt.Sprintf("event %d", e.Sequence); cancel() })
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, want, first)
		}
	})
}
