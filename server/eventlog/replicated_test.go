package eventlog

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// Any replica may answer a direct get, and a stale one does not report it. Entries that it lacks must
// not be skipped.
func TestAStaleReplicaHidesNoEvents(t *testing.T) {
	_, log, appending, stop := replicated(t)
	defer stop()
	reads := 0
	for position := uint64(0); appending.Err() == nil; reads++ {
		matching, upTo, err := log.ReadMatching(t.Context(), position, "support", "MessageReceived", 1000, large)
		require.NoError(t, err)
		require.EqualValues(t, upTo-position, matching.Len(), "every event matches, so none may be skipped (after %d)", position)
		events, err := log.Read(t.Context(), position, 1000, large)
		require.NoError(t, err)
		if events.Len() > 0 {
			require.EqualValues(t, events.Last()-position, events.Len(), "a read without a filter must not skip events")
			position = events.Last()
		}
	}
	t.Logf("%d reads", reads)
}

func TestATimeIsFoundOnEachReplica(t *testing.T) {
	cluster, log, appending, stop := replicated(t)
	defer stop()
	found := map[time.Time]uint64{}
	for appending.Err() == nil {
		start := time.Now()
		if _, err := log.Append(appending, received(start)); err != nil {
			continue // the last append is cancelled
		}
		position, err := log.SeekTime(t.Context(), start)
		require.NoError(t, err)
		found[start] = position
	}
	stop()
	cluster.CatchUp(t, streamName)
	for start, position := range found {
		now, err := log.SeekTime(t.Context(), start)
		require.NoError(t, err)
		require.Equal(t, now, position, "a later event cannot be the first, because one was stored by then")
	}
	t.Logf("%d seeks", len(found))
}

// replicated returns a log on three servers. Events are appended concurrently until appending ends.
func replicated(t *testing.T) (cluster *storagetest.Cluster, log *Log, appending context.Context, stop func()) {
	t.Helper()
	cluster = storagetest.ServeCluster(t)
	in, err := storage.Open(t.Context(), storage.Config{URL: cluster.URL()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, in.Close()) })
	log, err = Open(t.Context(), in, Config{})
	require.NoError(t, err)
	cluster.Replicate(t)
	_, err = log.Append(t.Context(), received(time.Now())) // the first append may need retries
	require.NoError(t, err)

	appending, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	var appenders sync.WaitGroup
	for range 32 {
		appenders.Go(func() {
			for appending.Err() == nil {
				_, _ = log.Append(appending, received(time.Now())) // the last append is cancelled
			}
		})
	}
	return cluster, log, appending, func() {
		cancel()
		appenders.Wait()
	}
}
