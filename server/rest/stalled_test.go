package rest

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
)

func TestAStalledRESTClientBuffersOneResponse(t *testing.T) {
	for _, accept := range []string{typeNDJSON, typeSSE} {
		t.Run(accept, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const responseSize = 16 << 10
				var sent atomic.Int64
				streams := openRequests{func(_ *http.Request, send func(*event.Response) error) error {
					response := event.Heartbeat(strings.Repeat("x", responseSize), 0)
					for {
						if err := send(response); err != nil {
							return err
						}
						sent.Add(1)
					}
				}}
				handler, err := New(t.Context(), Config{Requests: streams, Bodies: listen.NewBodies()}) // no call is ever made
				require.NoError(t, err)
				conn, done := listentest.ServeHTTP(t, listen.NewHTTPServer(handler, nil, 0, slog.New(slog.DiscardHandler)))
				defer done()
				_, err = io.WriteString(conn, "GET /v1/events:subscribe HTTP/1.1\r\nHost: x\r\nAccept: "+accept+"\r\n\r\n")
				require.NoError(t, err)
				lines, read := bufio.NewReader(conn), int64(0)
				for read < 100 {
					line, err := lines.ReadString('\n')
					require.NoError(t, err)
					if len(line) > responseSize {
						read++
					}
				}
				synctest.Wait() // until the gateway waits for the client
				assert.LessOrEqual(t, sent.Load()-read, int64(1))
			})
		})
	}
}
