// Package jetstreamtest gives tests real JetStreams: the embedded one, and one
// on a NATS server of its own. What is built on a JetStream runs its tests on both
// (Each).
//
// A NATS server is a process, as it is for a gateway with --nats-url: the
// nats-server that go.mod pins as a tool, behind a listener on loopback (server.go).
// Three of them make a cluster (cluster.go).
//
// Everything that is started here ends with its test.
package jetstreamtest

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/jetstream"
)

// T is what this package needs of a test: a *testing.T, or a *rapid.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Failed() bool
	Logf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}

// Home is where a JetStream lives: its data outlast its being open.
type Home struct {
	config jetstream.Config
}

// Each runs test on every kind of JetStream, each of them empty.
func Each(t *testing.T, test func(t *testing.T, home *Home)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("external", func(t *testing.T) { test(t, Serve(t, nil).Home()) })
}

// Embedded returns the home of an embedded JetStream.
func Embedded(t T) *Home {
	t.Helper()
	return &Home{config: jetstream.Config{Dir: tempDir(t)}}
}

// Open opens the JetStream, and closes it when the test ends unless the test
// did. An embedded one MUST NOT be open twice at a time.
func (h *Home) Open(t T) *jetstream.JetStream {
	t.Helper()
	js, err := jetstream.Open(t.Context(), h.config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, js.Close(), "closing JetStream") })
	return js
}

// tempDir makes a directory that lasts as long as the test.
func tempDir(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jetstreamtest-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}
