package eventlog

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/jetstream"
	"github.com/ongair/ongair-gateway/server/jetstream/jetstreamtest"
)

// Direct gets are answered by any replica, and one that is behind does not say so.
// What it does not have yet is not passed over.
func TestAReplicaThatIsBehindHidesNothing(t *testing.T) {
	cluster := jetstreamtest.ServeCluster(t)
	js, err := jetstream.Open(t.Context(), jetstream.Config{URL: cluster.URL()})
	require.NoError(t, err)
	defer func() { assert.NoError(t, js.Close()) }()
	log, err := Open(t.Context(), js.Conn(), js.API(), Config{})
	require.NoError(t, err)
	cluster.Replicate(t)

	appending, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	var appenders sync.WaitGroup
	for range 32 {
		appenders.Go(func() {
			for appending.Err() == nil {
				_, _ = log.Append(appending, message(event.RandomID())) // the last one is cut off
			}
		})
	}
	reads := 0
	for position := uint64(0); appending.Err() == nil; reads++ {
		events, upTo, err := log.ReadMatching(t.Context(), position, "support", "MessageReceived", 1000, large)
		require.NoError(t, err)
		require.EqualValues(t, upTo-position, events.Len(), "every event matches, so none is passed over (after %d)", position)
		position = upTo
	}
	appenders.Wait()
	t.Logf("%d reads", reads)
}
