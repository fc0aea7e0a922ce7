package webhook

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/listen"
)

func TestABodyWhoseLengthIsOverTheLimitIsRejectedUnread(t *testing.T) {
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: discard}))
	conn := dial(t, url)
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
		Path(testChannel, testSecret), listen.MaxBodyBytes+1)
	require.NoError(t, err)
	status, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 413 Request Entity Too Large\r\n", status, "the server must not send 100 Continue")
}

// Clients in many languages write the whole request before they read.
func TestAClientThatWritesItsWholeBodyFirstGetsTheRejection(t *testing.T) {
	const size = 7 << 20
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: discard}))
	for name, framing := range map[string]string{
		"with a length":         fmt.Sprintf("Content-Length: %d\r\n\r\n", size),
		"in chunks":             fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size),
		"in chunks after a 100": fmt.Sprintf("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", size),
	} {
		conn := dial(t, url)
		_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gateway\r\n%s", Path(testChannel, testSecret), framing)
		require.NoError(t, err)
		_, err = conn.Write(make([]byte, size))
		require.NoError(t, err, name)
		if strings.HasPrefix(name, "in chunks") {
			_, err = io.WriteString(conn, "\r\n0\r\n\r\n")
			require.NoError(t, err)
		}
		answers := bufio.NewReader(conn)
		response, err := http.ReadResponse(answers, nil)
		require.NoError(t, err, name)
		if response.StatusCode == http.StatusContinue {
			require.NoError(t, response.Body.Close())
			response, err = http.ReadResponse(answers, nil)
			require.NoError(t, err, name)
		}
		_, err = io.ReadAll(response.Body)
		assert.NoError(t, err, name)
		assert.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode, name)
	}
}

func TestAClientThatSendsWithoutEndIsCutOff(t *testing.T) {
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: discard}))
	conn := dial(t, url)
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n", Path(testChannel, testSecret), int64(1)<<40)
	require.NoError(t, err)
	sent := 0
	for err == nil {
		var n int
		n, err = conn.Write(make([]byte, 1<<20))
		sent += n
	}
	// The server reads 8 MiB, and the socket buffers hold more.
	assert.Less(t, sent, 40<<20)
}
