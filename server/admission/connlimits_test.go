package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/auth"
)

// line is a connection in memory.
type line struct{ ended bool }

func (l *line) Ended() bool { return l.ended }

func (l *line) Close() error {
	l.ended = true
	return nil
}

// register registers connections and returns them by name.
func register(l *limits, names ...string) map[string]*line {
	lines := map[string]*line{}
	for _, name := range names {
		lines[name] = &line{}
		l.opened(named(name), lines[name])
	}
	return lines
}

// calls makes a call that ends immediately.
func (l *limits) calls(p auth.Principal, connection string) error {
	done, err := l.call(p, named(connection))
	if err == nil {
		done()
	}
	return err
}

func TestConnectionsOfACallerAreLimited(t *testing.T) {
	l, billing, crm := &limits{}, limited(t, "billing", auth.Limits{MaxConnections: 2}), limited(t, "crm", auth.Limits{MaxConnections: 2})
	lines := register(l, "a", "b", "c")
	require.NoError(t, l.calls(billing, "a"))
	_, err := l.stream(billing, named("b"))
	require.NoError(t, err)
	require.NoError(t, l.calls(billing, "a"), "more calls on a connection do not count")
	require.NoError(t, l.calls(crm, "c"), "another caller has its own limit")
	assertLimit(t, l.calls(billing, "c"), "connections")
	_, err = l.stream(billing, named("c"))
	assertLimit(t, err, "connections")
	require.NoError(t, l.calls(crm, "b"), "callers may share a connection, as behind a proxy")
	assertLimit(t, l.calls(crm, "a"), "connections")

	lines["b"].ended = true
	require.NoError(t, l.calls(billing, "c"), "a connection that ended releases its place immediately")
	require.NoError(t, l.calls(crm, "a"))
	require.NoError(t, l.calls(billing, "b"), "a late call on a connection that ended does not count")
	for _, name := range []string{"a", "b", "c"} {
		l.ended(named(name), lines[name])
	}
	for _, u := range l.callers {
		assert.Empty(t, u.connections)
	}
	assert.Empty(t, l.open)
}

func TestAClosedConnectionDoesNotAffectTheNextWithItsName(t *testing.T) {
	l, billing := &limits{}, limited(t, "billing", auth.Limits{MaxConnections: 1})
	first := register(l, "a", "b")["a"]
	require.NoError(t, l.calls(billing, "a"))
	register(l, "a")
	require.NoError(t, l.calls(billing, "a"), "the first connection has ended")
	l.ended(named("a"), first)
	assertLimit(t, l.calls(billing, "b"), "connections")
}

// Otherwise a caller over its limit could use up the port's connections.
func TestAConnectionWithoutAdmittedCallsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, billing, crm := &limits{}, limited(t, "billing", auth.Limits{MaxConnections: 1}), limited(t, "crm", auth.Limits{MaxConnections: 1})
		lines := register(l, "a", "beyond", "shared", "later shared")
		require.NoError(t, l.calls(billing, "a"))
		require.NoError(t, l.calls(crm, "shared"))
		for range 2 {
			for _, name := range []string{"beyond", "shared", "later shared"} {
				assertLimit(t, l.calls(billing, name), "connections")
			}
		}
		time.Sleep(rejectedGrace - 1)
		assert.False(t, lines["beyond"].ended, "the answer must be sent first")
		lines["shared"].ended = true
		require.NoError(t, l.calls(crm, "later shared"))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.True(t, lines["beyond"].ended)
		assert.False(t, lines["later shared"].ended, "another caller uses the connection")
		assert.False(t, lines["a"].ended)
	})
}
