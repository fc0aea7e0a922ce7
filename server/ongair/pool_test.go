package ongair

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/fault"
)

// The server reads the second request of a connection and closes it without an answer. In this case,
// net/http repeats requests that it considers idempotent.
func TestAPooledConnectionThatBreaksAfterTheRequestIsNotRepeated(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"closed": func(conn *net.TCPConn) { _ = conn.Close() },
		"reset":  reset,
	} {
		t.Run(name, func(t *testing.T) {
			var posts, connections atomic.Int32
			client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
				connections.Add(1)
				reader := bufio.NewReader(conn)
				for readRequest(reader) {
					if posts.Add(1) >= 2 {
						end(conn)
						return
					}
					_, _ = io.WriteString(conn, keptAlive)
				}
			}))
			_, err := send(t, client)
			require.NoError(t, err)
			require.EqualValues(t, 1, posts.Load())
			_, err = send(t, client)
			requireFault(t, err, lost, fault.EffectUnknown)
			assert.EqualValues(t, 2, posts.Load())
			assert.EqualValues(t, 1, connections.Load(), "the test requires a pooled connection")
		})
	}
}

// brokenConn accepts one write and then fails, as a connection that breaks in the pool.
type brokenConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *brokenConn) Write(p []byte) (int, error) {
	if c.writes.Add(1) > 1 {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

func TestAPooledConnectionThatAcceptsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		dialAgain bool
		wantPosts int32
	}{
		"is replaced by another": {dialAgain: true, wantPosts: 2},
		"cannot be replaced":     {dialAgain: false, wantPosts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var posts, dials atomic.Int32
			url := listen(t, func(conn *net.TCPConn, _ int) {
				for reader := bufio.NewReader(conn); readRequest(reader); {
					posts.Add(1)
					_, _ = io.WriteString(conn, keptAlive)
				}
			})
			transport := NewTransport()
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials.Add(1) > 1 && !test.dialAgain {
					return nil, syscall.ECONNREFUSED
				}
				var dialer net.Dialer
				conn, err := dialer.DialContext(ctx, network, address)
				return &brokenConn{Conn: conn}, err
			}
			client := newClient(t, url, func(c *Config) { c.Transport = transport })
			_, err := send(t, client)
			require.NoError(t, err)
			_, err = send(t, client)
			if test.dialAgain {
				require.NoError(t, err)
			} else {
				requireFault(t, err, unreachable, fault.EffectNone)
			}
			assert.Equal(t, test.wantPosts, posts.Load())
			assert.EqualValues(t, 2, dials.Load())
		})
	}
}

func TestConnectionsAreReusedAfterEveryAnswer(t *testing.T) {
	var connections, posts atomic.Int32
	statuses := []string{"401 A", "401 B", "422 C", "500 D", "302 E", "429 F", "200 G"}
	client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
		connections.Add(1)
		for reader := bufio.NewReader(conn); readRequest(reader); {
			status := statuses[posts.Add(1)-1]
			_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 54\r\n\r\n"+answerSent)
		}
	}))
	for range len(statuses) - 1 { // one call gets both 401
		_, _ = send(t, client)
	}
	assert.EqualValues(t, len(statuses), posts.Load())
	assert.EqualValues(t, 1, connections.Load())
}
