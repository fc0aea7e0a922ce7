package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
)

// pingUntilGoAway sends pings on a connection without streams and waits for the intervals in turn.
// It returns the time and the code of the server's GOAWAY.
func pingUntilGoAway(t *testing.T, conn net.Conn, intervals ...time.Duration) (after time.Duration, code http2.ErrCode) {
	t.Helper()
	start := time.Now()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		_, _ = io.WriteString(conn, http2.ClientPreface)
		framer := http2.NewFramer(conn, nil)
		_ = framer.WriteSettings()
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-time.After(intervals[i%len(intervals)]):
				_ = framer.WritePing(false, [8]byte{})
			}
		}
	}()
	framer := http2.NewFramer(nil, conn)
	for {
		frame, err := framer.ReadFrame()
		require.NoError(t, err)
		if end, ok := frame.(*http2.GoAwayFrame); ok {
			return time.Since(start), end.ErrCode
		}
	}
}

func TestPingsAreAllowedEveryFiveSecondsButNotMoreOften(t *testing.T) {
	for name, test := range map[string]struct {
		intervals []time.Duration
		want      http2.ErrCode
	}{
		"every 5 s":                {[]time.Duration{5 * time.Second}, http2.ErrCodeNo},
		"every 5 s, with jitter":   {[]time.Duration{4100 * time.Millisecond, 5900 * time.Millisecond}, http2.ErrCodeNo},
		"every 5 s, a little fast": {[]time.Duration{4990 * time.Millisecond}, http2.ErrCodeNo},
		"below 4 s":                {[]time.Duration{minPingInterval - time.Microsecond}, http2.ErrCodeEnhanceYourCalm},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, done := overGRPC(t)
				defer done()
				after, code := pingUntilGoAway(t, conn, test.intervals...)
				assert.Equal(t, test.want, code)
				if test.want == http2.ErrCodeNo {
					assert.Equal(t, idleTimeout, after, "the connection ends because it has no calls")
				}
			})
		})
	}
}

func TestAClientWithKeepaliveKeepsItsConnection(t *testing.T) {
	for name, watches := range map[string]bool{"with a quiet stream": true, "without a stream": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, err := NewServer(ServerConfig{
					Service: NewService(Config{}), Health: health.NewServer(), Gate: admission.New(auth.New(nil)), Logger: slog.New(slog.DiscardHandler),
				})
				require.NoError(t, err)
				conn, done := listentest.DialGRPC(t, server, grpc.WithKeepaliveParams(keepalive.ClientParameters{
					Time: 10 * time.Second, PermitWithoutStream: true,
				}))
				defer done()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stream, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{})
				require.NoError(t, err)
				_, err = stream.Recv()
				require.NoError(t, err)
				lasts := 10 * time.Minute
				if !watches {
					cancel()
					lasts = idleTimeout - time.Second
				}
				time.Sleep(lasts)
				assert.Equal(t, connectivity.Ready, conn.GetState())
				if watches {
					require.NoError(t, ctx.Err())
					cancel()
					_, err = stream.Recv()
					require.ErrorContains(t, err, "Canceled", "the stream was open until now")
				}
			})
		})
	}
}
