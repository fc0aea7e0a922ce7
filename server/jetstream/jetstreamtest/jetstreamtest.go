// Package jetstreamtest gives tests real JetStreams: the embedded one, and one
// on a NATS server of its own, in this process, behind a listener on loopback.
// What is built on a JetStream runs its tests on both (Each).
//
// Everything that is started here ends with its test.
package jetstreamtest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/jetstream"
)

// startTimeout bounds the start of a server, with room for a busy machine.
const startTimeout = 20 * time.Second

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
func Embedded(t *testing.T) *Home {
	t.Helper()
	return &Home{config: jetstream.Config{Dir: t.TempDir()}}
}

// Open opens the JetStream, and closes it when the test ends unless the test
// did. An embedded one MUST NOT be open twice at a time.
func (h *Home) Open(t *testing.T) *jetstream.JetStream {
	t.Helper()
	js, err := jetstream.Open(t.Context(), h.config)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := js.Close(); err != nil {
			t.Errorf("closing JetStream: %v", err)
		}
	})
	return js
}

// Server is a NATS server. Its methods are for the goroutine of the test.
type Server struct {
	options server.Options
	running *server.Server
}

// Serve starts a NATS server that a gateway can use; change, if it is not nil,
// makes it another one.
func Serve(t *testing.T, change func(*server.Options)) *Server {
	t.Helper()
	s := newServer(t, change)
	s.Start(t)
	t.Cleanup(s.Stop)
	return s
}

func newServer(t *testing.T, change func(*server.Options)) *Server {
	t.Helper()
	s := &Server{options: server.Options{
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   t.TempDir(),
		MaxPayload: jetstream.MaxPayload,
		NoLog:      true,
		NoSigs:     true,
	}}
	if change != nil {
		change(&s.options)
	}
	return s
}

// Start starts the server again after Stop, on the same address and data.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	options := s.options // the server writes into what it is given
	running, err := server.NewServer(&options)
	require.NoError(t, err)
	running.Start()
	require.True(t, running.ReadyForConnections(startTimeout), "the NATS server does not start")
	s.running, s.options.Port = running, options.Port
}

// Stop stops the server, as an outage does. Its data stay.
func (s *Server) Stop() {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

// lastOf returns the last sequence that a stream has on this server; 0 where it has none.
func (s *Server) lastOf(stream string) uint64 {
	info, err := s.running.JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true})
	if err != nil {
		return 0
	}
	for _, detail := range info.Streams {
		if detail.Name == stream {
			return detail.State.LastSeq
		}
	}
	return 0
}

// URL is what clients connect to.
func (s *Server) URL() string { return s.running.ClientURL() }

// Home returns the server as a home.
func (s *Server) Home() *Home { return &Home{config: jetstream.Config{URL: s.URL()}} }
