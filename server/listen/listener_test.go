package listen

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// accepting is a listener whose connections come out of a channel.
type accepting struct {
	*Listener
	accepted chan net.Conn
	ended    chan error
	log      *bytes.Buffer
	// observed are the connections that an observer knows.
	observed map[Conn]bool
}

func (a *accepting) Opened(c Conn) { a.observed[c] = true }
func (a *accepting) Ended(c Conn)  { delete(a.observed, c) }

func accept(t *testing.T, most int) *accepting {
	t.Helper()
	a := &accepting{log: &bytes.Buffer{}, observed: map[Conn]bool{}, accepted: make(chan net.Conn), ended: make(chan error, 1)}
	var err error
	a.Listener, err = TCP(t.Context(), Config{
		Addr: "127.0.0.1:0", Name: "webhook", MaxConnections: most, Observer: a, Logger: slog.New(slog.NewTextHandler(a.log, nil)),
	})
	require.NoError(t, err)
	go func() {
		for {
			conn, err := a.Accept()
			if err != nil {
				a.ended <- err
				return
			}
			a.accepted <- conn
		}
	}()
	t.Cleanup(func() { _ = a.Close() }) // some tests have closed it
	return a
}

// next returns the next connection that is accepted.
func (a *accepting) next(t *testing.T) net.Conn {
	t.Helper()
	select {
	case conn := <-a.accepted:
		return conn
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no connection is accepted")
		return nil
	}
}

func (a *accepting) dial(t *testing.T) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // whatever state it is in
}

func TestAPortTakesTheNextConnectionWhenOneEnds(t *testing.T) {
	a := accept(t, 2)
	for range 3 {
		a.dial(t)
	}
	first := a.next(t)
	a.next(t)
	select {
	case <-a.accepted:
		require.FailNow(t, "a third connection of two")
	case <-time.After(3 * fullInterval):
	}
	require.NoError(t, first.Close())
	third := a.next(t)
	assert.Contains(t, a.log.String(), "port=webhook max_connections=2")
	assert.IsType(t, &net.TCPConn{}, third, "or gRPC would not know it for one")
	require.NoError(t, a.Close())
	require.Error(t, <-a.ended)
}

func TestAPortThatIsFullCanBeClosed(t *testing.T) {
	a := accept(t, 1)
	a.dial(t)
	a.next(t)
	a.dial(t)
	require.Eventually(t, func() bool { // it has found the port full, and waits
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.log.Len() > 0
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, a.Close())
	require.ErrorIs(t, <-a.ended, net.ErrClosed)
}

func TestAFullPortClosesTheLongestIdleConnections(t *testing.T) {
	a := accept(t, 4)
	var conns []net.Conn
	for range 4 {
		a.dial(t)
		conns = append(conns, a.next(t))
	}
	for _, i := range []int{1, 2, 0} { // and 3 is not idle
		a.connState(conns[i], http.StateIdle)
	}
	a.connState(conns[1], http.StateActive)
	a.connState(conns[1], http.StateIdle)
	var order []int
	for range 3 {
		a.dial(t)
		a.next(t)
		for i, conn := range conns {
			if (Conn{conn.(*net.TCPConn)}).Ended() && !slices.Contains(order, i) {
				order = append(order, i)
			}
		}
	}
	assert.Equal(t, []int{2, 0, 1}, order)
	a.dial(t)
	select {
	case <-a.accepted:
		require.FailNow(t, "a connection was closed that is not idle")
	case <-time.After(3 * fullInterval):
	}
}

func TestAConnectionThatAnHTTPServerEndedIsForgottenAtOnce(t *testing.T) {
	a := accept(t, 1)
	a.dial(t)
	a.connState(a.next(t), http.StateClosed)
	a.mu.Lock()
	defer a.mu.Unlock()
	assert.Empty(t, a.open)
	assert.Empty(t, a.observed)
}

func TestConnectionsThatEndedAreForgotten(t *testing.T) {
	a := accept(t, 10_000)
	for range 5 * fewConnections {
		a.dial(t)
		require.NoError(t, a.next(t).Close())
		a.mu.Lock()
		assert.LessOrEqual(t, len(a.open), fewConnections)
		assert.Len(t, a.observed, len(a.open))
		a.mu.Unlock()
	}
}
