package listen_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
	"github.com/ongair/ongair-gateway/server/rest"
)

// answers is a connection on which every call is answered.
type answers struct{ grpc.ClientConnInterface }

func (answers) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }

// serveInMemory serves until the test ends.
func serveInMemory(t *testing.T, server *listen.HTTPServer) net.Conn {
	t.Helper()
	conn, done := listentest.ServeHTTP(t, server)
	t.Cleanup(done)
	return conn
}

func restServer(t *testing.T) *listen.HTTPServer {
	t.Helper()
	handler, err := rest.New(t.Context(), rest.Config{Conn: answers{}, Requests: openRequests{}, Bodies: listen.NewBodies()})
	require.NoError(t, err)
	return listen.NewHTTPServer(handler, nil, 0, slog.New(slog.DiscardHandler))
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	operators := func(*testing.T) *listen.HTTPServer { return adminServer() }
	var wrong strings.Builder // of which the answer is larger than what net/http keeps of one
	for i := range 1000 {
		fmt.Fprintf(&wrong, "&x%d", i)
	}
	for name, tt := range map[string]struct {
		server  func(*testing.T) *listen.HTTPServer
		request string
	}{
		"an answer":            {restServer, "POST /v1/messages:send HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"},
		"a refusal":            {restServer, "GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"},
		"a long refusal":       {restServer, "GET /v1/events:subscribe?" + wrong.String() + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		"a page for operators": {operators, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serveInMemory(t, tt.server(t))
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Hour)))
				_, err := io.WriteString(conn, tt.request)
				require.NoError(t, err)
				time.Sleep(time.Minute)
				_, err = conn.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF, "something of it is still to be had")
			})
		})
	}
}

// The bound on how long an answer takes ends with it.
func TestAStreamIsNotCutOffAfterAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveInMemory(t, restServer(t))
		reader := bufio.NewReader(conn)
		_, err := io.WriteString(conn, "GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		start := time.Now()
		_, err = io.WriteString(conn, "GET /v1/events:subscribe HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		for time.Since(start) < time.Hour {
			_, err := reader.ReadString('\n')
			require.NoError(t, err, "after %s", time.Since(start))
		}
		assert.Greater(t, time.Since(start), 30*time.Minute)
	})
}
