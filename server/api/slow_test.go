package api

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/health"

	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
)

// overGRPC serves gRPC in memory and returns a connection.
func overGRPC(t *testing.T) (conn net.Conn, done func()) {
	server, err := NewServer(ServerConfig{
		Service: NewService(Config{}), Health: health.NewServer(), Gate: admission.New(auth.New(nil)), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return listentest.Serve(t, server.Serve, server.Stop)
}

func TestAGRPCConnectionWithoutAHandshakeIsClosed(t *testing.T) {
	for name, atOnce := range map[string]string{"nothing": "", "half a preface": http2.ClientPreface[:10], "no settings": http2.ClientPreface} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, done := overGRPC(t)
				defer done()
				start := time.Now()
				require.NoError(t, conn.SetDeadline(start.Add(time.Hour)))
				go func() { _, _ = io.WriteString(conn, atOnce) }()
				_, err := io.Copy(io.Discard, conn)
				require.NoError(t, err)
				assert.Equal(t, 10*time.Second, time.Since(start))
			})
		})
	}
}

func TestAGRPCConnectionWithoutCallsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, done := overGRPC(t)
		defer done()
		start := time.Now()
		require.NoError(t, conn.SetDeadline(start.Add(time.Hour)))
		go func() {
			_, _ = io.WriteString(conn, http2.ClientPreface)
			_ = http2.NewFramer(conn, nil).WriteSettings()
		}()
		framer := http2.NewFramer(nil, conn)
		for {
			frame, err := framer.ReadFrame()
			require.NoError(t, err)
			if _, ok := frame.(*http2.GoAwayFrame); ok {
				break
			}
		}
		assert.Equal(t, 5*time.Minute, time.Since(start))
		_, err := io.Copy(io.Discard, conn)
		require.NoError(t, err, "the connection must be closed after the GOAWAY")
	})
}
