package acceptance

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestEachPortLimitsItsConnections(t *testing.T) {
	g := Start(t, func(c *config.Config) { c.MaxConnections = 2 })
	for name, addr := range map[string]string{"gRPC": g.GRPC, "HTTP": g.HTTP, "webhook": g.Webhook, "admin": g.Admin} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hello := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
			if name == "gRPC" {
				hello = http2.ClientPreface
			}
			dial := func() net.Conn {
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() }) // some are closed already
				return conn
			}
			answered := func(conn net.Conn, within time.Duration) error {
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
				_, err := conn.Read(make([]byte, 1))
				return err
			}
			first, _, third := dial(), dial(), dial() // the first two have sent no request, so they are not idle
			_, err := io.WriteString(third, hello)
			require.NoError(t, err)
			require.Error(t, answered(third, 200*time.Millisecond), "a third connection, of two")
			require.NoError(t, first.Close())
			require.NoError(t, answered(third, 10*time.Second))
		})
	}
}

// A client delays calls beyond MAX_CONCURRENT_STREAMS without an error. So it is not less than a
// caller's limits, which reject calls.
func TestAGRPCConnectionAllowsAllCallsAndStreamsOfACaller(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*config.Config)
		most uint32
	}{
		"by default": {func(*config.Config) {}, auth.DefaultMaxStreams + auth.DefaultMaxInFlight},
		"with a caller whose limits are higher": {func(c *config.Config) {
			caller := auth.Unrestricted(billingKey)
			caller.MaxStreams, caller.MaxInFlight = 50_000, 2
			c.Callers = map[string]auth.Caller{"billing": caller}
		}, 50_002},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", Start(t, tt.edit).GRPC)
			require.NoError(t, err)
			defer func() { assert.NoError(t, conn.Close()) }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = io.WriteString(conn, http2.ClientPreface)
			require.NoError(t, err)
			frame, err := http2.NewFramer(conn, conn).ReadFrame()
			require.NoError(t, err)
			require.IsType(t, &http2.SettingsFrame{}, frame)
			most, ok := frame.(*http2.SettingsFrame).Value(http2.SettingMaxConcurrentStreams)
			require.True(t, ok, "MAX_CONCURRENT_STREAMS is missing")
			assert.Equal(t, tt.most, most)
		})
	}
}
