package eventlog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// A leader is frozen until there is another one, and returns. Until it hears of that, it answers from
// what it has, for a log that knows nothing better.
func TestAServerThatReturnsFromAFreezeRefusesNoCursor(t *testing.T) {
	cluster := storagetest.ServeCluster(t)
	openOn := func(server *storagetest.Server) *Log {
		in, err := storage.Open(t.Context(), storage.Config{URL: server.URL()})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, in.Close()) })
		log, err := Open(t.Context(), in, Config{})
		require.NoError(t, err)
		return log
	}
	first := openOn(cluster.Servers[0])
	cluster.Replicate(t)
	_, err := first.Append(t.Context(), received(time.Now()))
	require.NoError(t, err)
	for range 2 {
		cluster.CatchUp(t, streamName)
		var leader *storagetest.Server
		require.Eventually(t, func() bool { leader = cluster.LeaderOf(streamName); return leader != nil }, 20*time.Second, 10*time.Millisecond)
		at := 0
		for cluster.Servers[at] == leader {
			at++
		}
		log := openOn(cluster.Servers[at])
		uninformed := openOn(leader)
		leader.Freeze(t)
		var cursor string
		require.Eventually(t, func() bool { // until the others have elected a leader
			_, err := log.Append(t.Context(), received(time.Now()))
			return err == nil
		}, 30*time.Second, 10*time.Millisecond)
		for range 50 {
			_, err := log.Append(t.Context(), received(time.Now()))
			require.NoError(t, err)
		}
		cursor, err := log.CursorOf(t.Context(), log.Head())
		require.NoError(t, err)
		leader.Thaw(t)
		served := 0
		for thawed := time.Now(); time.Since(thawed) < 3*time.Second; {
			_, err := uninformed.Seek(t.Context(), cursor)
			if err == nil {
				served++
				continue
			}
			require.Equal(t, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, fault.From(err).Reason, "%s", err)
		}
		assert.Positive(t, served)
		t.Logf("%d seeks were served", served)
	}
}
