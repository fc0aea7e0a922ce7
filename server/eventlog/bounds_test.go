package eventlog

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

func TestConcurrentQueriesShareAResultThatIsNotStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queries := 0
		q := &question[time.Time]{put: func(context.Context) (time.Time, error) {
			queries++
			at := time.Now()
			time.Sleep(time.Second) // virtual
			return at, nil
		}}
		var group sync.WaitGroup
		for i := range 1000 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond) // virtual
				start := time.Now()
				answer, err := q.ask(t.Context())
				assert.NoError(t, err)
				assert.False(t, answer.Before(start))
			})
		}
		group.Wait()
		assert.Equal(t, 11, queries, "one query a second, for ten seconds")
	})
}

func TestAFailedQueryIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := errors.New("unavailable")
		q := &question[int]{put: func(context.Context) (int, error) { return 7, failure }}
		_, err := q.ask(t.Context())
		require.ErrorIs(t, err, failure)
		synctest.Wait()
		failure = nil
		answer, err := q.ask(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 7, answer)
	})
}

func TestACancelledQueryDoesNotAffectTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &question[int]{put: func(context.Context) (int, error) {
			time.Sleep(time.Second) // virtual
			return 7, nil
		}}
		hasty, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() {
			_, err := q.ask(hasty)
			requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		})
		group.Go(func() {
			answer, err := q.ask(t.Context())
			assert.NoError(t, err)
			assert.Equal(t, 7, answer)
		})
		group.Wait()
		time.Sleep(time.Second) // virtual, for the last query
	})
}
