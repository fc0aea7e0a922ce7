package listen

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// headers returns lines of headers of so many bytes.
func headers(bytes int) string { return strings.Repeat("a: b\r\n", bytes/6) }

func TestFewRequestsMayHaveLargeHeadersAtATime(t *testing.T) {
	server := NewHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		if r.Header.Get("Lasts") != "" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}), nil, 0, slog.New(slog.DiscardHandler))
	l, err := TCP(t.Context(), Config{Addr: "127.0.0.1:0", Name: "test", MaxConnections: 100, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
	begin := func(headerBytes int) net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
		_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n%s", headers(headerBytes))
		require.NoError(t, err)
		return conn
	}
	answer := func(conn net.Conn) string {
		_, err := io.WriteString(conn, "\r\n")
		require.NoError(t, err)
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return line
	}
	free := func() bool {
		if !server.largeHeaders.TryAcquire(1) {
			return false
		}
		server.largeHeaders.Release(1)
		return true
	}
	const ok = "HTTP/1.1 204 No Content\r\n"
	slow := make([]net.Conn, maxLargeHeaders)
	for i := range slow {
		slow[i] = begin(40 << 10)
	}
	require.Eventually(t, func() bool { return !free() }, 10*time.Second, time.Millisecond)
	assert.Equal(t, ok, answer(begin(10<<10)), "one with small headers finds room")
	assert.NotEqual(t, ok, answer(begin(40<<10)), "one more waits, and breaks")

	// What is over gives its place back, on a connection that goes on, too.
	for range 3 {
		assert.Equal(t, ok, answer(slow[0]))
		assert.True(t, free())
		_, err := fmt.Fprintf(slow[0], "GET / HTTP/1.1\r\nHost: x\r\n%s", headers(40<<10))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return !free() }, 10*time.Second, time.Millisecond)
	}
	// So does a stream, which may last for long.
	_, err = io.WriteString(slow[2], "Lasts: yes\r\n")
	require.NoError(t, err)
	assert.Equal(t, ok, answer(slow[2]))
	assert.True(t, free())
	assert.Equal(t, ok, answer(begin(40<<10)))
	slow[2] = begin(40 << 10)
	require.Eventually(t, func() bool { return !free() }, 10*time.Second, time.Millisecond)

	require.NoError(t, slow[1].Close())
	require.Eventually(t, free, 10*time.Second, time.Millisecond)
	assert.Equal(t, ok, answer(begin(40<<10)))
}
