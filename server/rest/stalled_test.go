package rest

import (
	"bufio"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
)

// endlessStreams is a service whose streams have as many responses as are taken.
type endlessStreams struct {
	ongairv1.UnimplementedOngairServiceServer
	// taken is how many responses were sent.
	taken atomic.Int64
}

// responseSize is the size of each, about.
const responseSize = 16 << 10

func (e *endlessStreams) Subscribe(_ *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
	response := &ongairv1.SubscribeResponse{Cursor: strings.Repeat("x", responseSize)}
	for {
		if err := stream.Send(response); err != nil {
			return err
		}
		e.taken.Add(1)
	}
}

// What is on its way to a subscriber over REST who does not read any more does not grow
// with how fast it read before.
func TestAStalledRESTClientBuffersOnlyItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, pipe := &endlessStreams{}, NewPipe()
		server, served := grpc.NewServer(), make(chan error, 1)
		ongairv1.RegisterOngairServiceServer(server, service)
		go func() { served <- server.Serve(pipe) }()
		calls, err := pipe.Dial(1 << 20)
		require.NoError(t, err)
		handler, err := New(t.Context(), calls, openGate{}, listen.NewBodies())
		require.NoError(t, err)
		conn, done := listentest.ServeHTTP(t, listen.NewHTTPServer(handler, nil, 0, slog.New(slog.DiscardHandler)))

		_, err = io.WriteString(conn, "GET /v1/events:subscribe HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		lines, read := bufio.NewReader(conn), int64(0)
		for read < 2048 {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			if strings.HasPrefix(line, `{"result":`) {
				read++
			}
		}
		synctest.Wait() // until everything waits for this one to read
		// What was sent and not acknowledged, and the buffers of HTTP, come on top.
		assert.Less(t, (service.taken.Load()-read)*responseSize, int64(streamWindow+128<<10))

		done()
		require.NoError(t, calls.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
}
