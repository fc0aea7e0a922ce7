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

// Direct gets are answered by any replica, and one that is behind does not say so.
// What it does not have yet is not passed over.
func TestAReplicaThatIsBehindHidesNothing(t *testing.T) {
	_, log, appending, stop := replicated(t)
	defer stop()
	reads := 0
	for position := uint64(0); appending.Err() == nil; reads++ {
		matching, upTo, err := log.ReadMatching(t.Context(), position, "support", "MessageReceived", 1000, large)
		require.NoError(t, err)
		require.EqualValues(t, upTo-position, matching.Len(), "every event matches, so none is passed over (after %d)", position)
		events, err := log.Read(t.Context(), position, 1000, large)
		require.NoError(t, err)
		if events.Len() > 0 {
			require.EqualValues(t, events.Last()-position, events.Len(), "nor by who reads all")
			position = events.Last()
		}
	}
	t.Logf("%d reads", reads)
}

func TestATimeIsFoundWhicheverReplicaIsAsked(t *testing.T) {
	cluster, log, appending, stop := replicated(t)
	defer stop()
	found := map[time.Time]uint64{}
	for appending.Err() == nil {
		start := time.Now()
		if _, err := log.Append(appending, received(start)); err != nil {
			continue // the last one is cut off
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
		require.Equal(t, now, position, "an event was stored since then, so that no later one can be the first")
	}
	t.Logf("%d seeks", len(found))
}

// replicated is a log on three servers, to which much is appended until appending ends.
func replicated(t *testing.T) (cluster *storagetest.Cluster, log *Log, appending context.Context, stop func()) {
	t.Helper()
	cluster = storagetest.ServeCluster(t)
	in, err := storage.Open(t.Context(), storage.Config{URL: cluster.URL()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, in.Close()) })
	log, err = Open(t.Context(), in, Config{})
	require.NoError(t, err)
	cluster.Replicate(t)
	_, err = log.Append(t.Context(), received(time.Now())) // the first one may have to be tried again
	require.NoError(t, err)

	appending, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	var appenders sync.WaitGroup
	for range 32 {
		appenders.Go(func() {
			for appending.Err() == nil {
				_, _ = log.Append(appending, received(time.Now())) // the last one is cut off
			}
		})
	}
	return cluster, log, appending, func() {
		cancel()
		appenders.Wait()
	}
}
