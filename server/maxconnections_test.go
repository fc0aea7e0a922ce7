package server

import (
	"bytes"
	"log/slog"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/listen"
)

// What is left of the files is the log's.
func TestAPortHasAQuarterOfTheFilesAtMost(t *testing.T) {
	for asked, most := range map[int]int{
		0:           min(listen.DefaultMaxConnections, listen.MaxConnections()),
		1:           1,
		math.MaxInt: listen.MaxConnections(),
	} {
		var log bytes.Buffer
		s, err := New(config.Config{
			MaxConnections: asked, DataDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Channels: map[string]config.Channel{"default": {Token: "token", WebhookSecret: "the-secret-of-the-tests"}},
		})
		require.NoError(t, err)
		assert.Equal(t, most, s.cfg.MaxConnections)
		assert.Equal(t, asked > most, bytes.Contains(log.Bytes(), []byte("max_connections=")), log.String())
	}
}
