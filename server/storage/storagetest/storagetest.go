// Package storagetest gives tests real storages: the embedded one, and one on a NATS
// server of its own. What is built on a storage runs its tests on both (Each).
//
// A NATS server is a process, as it is for a gateway with --nats-url: the
// nats-server that go.mod pins as a tool, behind a listener on loopback (server.go).
// Three of them make a cluster (cluster.go).
//
// A test looks at what is stored, and changes it behind the gateway's back, through a
// connection of its own (behind.go).
//
// Everything that is started here ends with its test.
package storagetest

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/storage"
)

// T is the part of *testing.T and *rapid.T that this package uses.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Failed() bool
	Logf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}

// Home has the data of a storage, which are kept while the storage is closed.
type Home struct {
	config storage.Config
}

// Each runs test on every kind of storage, each of them empty.
func Each(t *testing.T, test func(t *testing.T, home *Home)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("external", func(t *testing.T) { test(t, Serve(t, nil).Home()) })
}

// Embedded returns the home of an embedded storage.
func Embedded(t T) *Home {
	t.Helper()
	return &Home{config: storage.Config{Dir: tempDir(t)}}
}

// Open opens the storage, and closes it when the test ends unless the test
// did. An embedded one MUST NOT be open twice at a time.
func (h *Home) Open(t T) *storage.Storage {
	t.Helper()
	s, err := storage.Open(t.Context(), h.config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close(), "closing the storage") })
	return s
}

// tempDir makes a directory that lasts as long as the test.
func tempDir(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "storagetest-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}
