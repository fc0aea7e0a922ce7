package rest

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/proxytest"
)

func TestProxiesMustNotStoreAnswersOrBufferStreams(t *testing.T) {
	g := start(t, withLog(t))
	for _, tt := range []struct {
		method, target, body string
		status               int
	}{
		{http.MethodPost, sendPath, sendBody, http.StatusOK},
		{http.MethodGet, "/v1/events", "", http.StatusOK},
		{http.MethodGet, "/v1/events?cursor=x", "", http.StatusBadRequest},
		{http.MethodGet, "/v1/nothing", "", http.StatusNotFound},
		{http.MethodGet, sendPath, "", http.StatusMethodNotAllowed},
	} {
		got := g.do(t, tt.method, tt.target, tt.body)
		assert.Equal(t, tt.status, got.status, tt.target)
		assert.Equal(t, []string{"no-store"}, got.header.Values("Cache-Control"), tt.target)
		assert.Empty(t, got.header.Values("X-Accel-Buffering"), tt.target)
	}
	for method, body := range map[string]string{http.MethodGet: "", http.MethodPost: "{}"} {
		header := g.openStream(t, method, subscribePath, body).response.Header
		assert.Equal(t, []string{"no-store, no-transform"}, header.Values("Cache-Control"), method)
		assert.Equal(t, []string{"no"}, header.Values("X-Accel-Buffering"), method)
	}
}

// readChunk returns the next chunk of a chunked body.
func readChunk(t *testing.T, from *bufio.Reader) string {
	t.Helper()
	size, err := from.ReadString('\n')
	require.NoError(t, err)
	n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 64)
	require.NoError(t, err)
	chunk := make([]byte, n+2)
	_, err = io.ReadFull(from, chunk)
	require.NoError(t, err)
	return string(chunk[:n])
}

// dialStream requests a stream and returns a reader of the answer's body.
func (g *gateway) dialStream(t *testing.T, version string) *bufio.Reader {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/%s\r\nHost: x\r\n\r\n", subscribePath, version)
	require.NoError(t, err)
	from := bufio.NewReader(conn)
	for line := "-"; line != "\r\n"; {
		line, err = from.ReadString('\n')
		require.NoError(t, err)
	}
	return from
}

// Scripts in browsers may treat each chunk as a line.
func TestALineAndItsNewlineAreOneChunk(t *testing.T) {
	g := start(t, withLog(t))
	chunks := g.dialStream(t, "1.1")
	readChunk(t, chunks)
	for _, size := range []int{1, 1800, 2048, 5000, 70_000, 900_000} { // net/http buffers 2 KiB
		g.add(t, "support", strings.Repeat("x", size))
		chunk := readChunk(t, chunks)
		assert.Greater(t, len(chunk), size)
		assert.True(t, strings.HasPrefix(chunk, `{"result":`), size)
		assert.Equal(t, len(chunk)-1, strings.IndexByte(chunk, '\n'), size)
	}
	g.service.Drain()
	assert.Regexp(t, `^\{"error":.*\n$`, readChunk(t, chunks))
}

func TestAStreamOverHTTP10HasNoChunks(t *testing.T) {
	g := start(t, withLog(t))
	body := g.dialStream(t, "1.0")
	for range 3 {
		line, err := body.ReadString('\n')
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(line, `{"result":`), line)
		g.add(t, "support", "Habari")
	}
	g.service.Drain()
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Contains(t, string(rest), `{"error":`)
}

func TestNginxForwardsAnEventImmediately(t *testing.T) {
	const gzipped = "gzip on; gzip_min_length 0; gzip_http_version 1.0; gzip_proxied any; "
	for name, tt := range map[string]struct{ directives, encoding string }{
		"by default":                 {"", ""},
		"over HTTP/1.1":              {"proxy_http_version 1.1;", ""},
		"compressed":                 {gzipped + "gzip_types application/x-ndjson;", "gzip"},
		"compressed, for every type": {gzipped + "gzip_types *;", "gzip"},
		"compressed over HTTP/1.1":   {gzipped + "gzip_types *; proxy_http_version 1.1;", "gzip"},
		"with large buffers":         {"proxy_buffers 64 64k; proxy_buffer_size 64k;", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, withLog(t))
			address := proxytest.HTTP(t, proxytest.Nginx, strings.TrimPrefix(g.url, "http://"), tt.directives)
			client := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
			for method, body := range map[string]string{http.MethodGet: "", http.MethodPost: `{"heartbeat_interval":"300s"}`} {
				target := url.URL{Scheme: "http", Host: address, Path: subscribePath}
				if method == http.MethodGet {
					target.RawQuery = "heartbeat_interval=300s" // no heartbeat flushes a buffered line
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				request, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(body))
				require.NoError(t, err)
				request.Header.Set("Accept-Encoding", "gzip")
				response, err := client.RoundTrip(request)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, response.StatusCode)
				require.Equal(t, tt.encoding, response.Header.Get("Content-Encoding"))
				plain := io.Reader(response.Body)
				if tt.encoding == "gzip" {
					plain, err = gzip.NewReader(response.Body)
					require.NoError(t, err)
				}
				read := &lines{response, bufio.NewScanner(plain)}
				read.scanner.Buffer(nil, 8<<20)
				read.result(t)
				for _, size := range []int{1, 3000, 100_000} {
					want := g.add(t, "support", strings.Repeat("x", size))
					got := read.result(t)
					require.Len(t, got.GetEvents(), 1)
					assert.Equal(t, want.GetId(), got.GetEvents()[0].GetId())
				}
				cancel()
				_ = response.Body.Close()
			}
		})
	}
}
