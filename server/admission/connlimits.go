package admission

import (
	"slices"
	"time"

	"github.com/ongair/ongair-gateway/server/auth"
)

// rejectedGrace is how long a connection beyond a caller's limit stays open after its first
// call was rejected, so that the client gets the answer.
const rejectedGrace = time.Second

// conn is a network connection. Its values MUST be comparable.
type conn interface {
	// Ended reports whether the connection was closed.
	Ended() bool
	// Close MUST NOT block.
	Close() error
}

// connection is a connection that is open, or whose end is not noticed yet.
//
// It counts for a caller from the caller's first admitted call until it ends. The connection
// of a proxy may count for several callers. If all its calls were rejected, because their
// callers have too many connections, it is closed: one caller must not fill the port.
type connection struct {
	conn
	key    ConnKey
	opened time.Time
	// called means that it had a call, admitted or not.
	called bool
	// users are the callers that it counts for.
	users []*usage
	// rejected is the last caller that was rejected on it. If it is set, the connection is
	// going to be closed.
	rejected *usage
}

// opened registers a connection. A call on a connection that is not registered is admitted,
// and its connection is not counted.
func (l *limits) opened(key ConnKey, c conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[ConnKey]*connection{}
	}
	if ended, ok := l.open[key]; ok { // the operating system uses its addresses again
		l.remove(ended)
	}
	l.open[key] = &connection{conn: c, key: key, opened: time.Now()}
}

// ended removes a connection that has ended.
func (l *limits) ended(key ConnKey, c conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if open, ok := l.open[key]; ok && open.conn == c {
		l.remove(open)
	}
}

// called notes that a call came on a connection.
func (l *limits) called(key ConnKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, open := l.open[key]; open {
		c.called = true
	}
}

// closeSilent closes the connections to a port that were opened at most age ago and had no
// call.
func (l *limits) closeSilent(port Port, age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, c := range l.open {
		if key.port == port && !c.called && time.Since(c.opened) <= age {
			_ = c.Close() // fails if it has ended
		}
	}
}

// remove removes a connection that has ended. l.mu is held.
func (l *limits) remove(c *connection) {
	for _, u := range c.users {
		delete(u.connections, c)
	}
	delete(l.open, c.key)
}

// connected counts a connection for a caller, unless it is counted already. It returns false
// if the caller has as many connections as it may. l.mu is held.
func (l *limits) connected(u *usage, key ConnKey, most auth.Limits) bool {
	c, open := l.open[key]
	if !open || slices.Contains(c.users, u) {
		return true
	}
	if len(u.connections) >= most.MaxConnections && c.rejected != u { // one sweep is enough
		for other := range u.connections {
			if other.Ended() {
				l.remove(other)
			}
		}
	}
	if len(u.connections) >= most.MaxConnections {
		l.reject(c, u)
		return false
	}
	u.connections[c] = struct{}{}
	c.users, c.rejected = append(c.users, u), nil
	return true
}

// reject closes a connection after rejectedGrace, if it counts for no caller then. l.mu is
// held.
func (l *limits) reject(c *connection, u *usage) {
	if len(c.users) > 0 {
		return
	}
	if c.rejected == nil {
		time.AfterFunc(rejectedGrace, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if c.rejected != nil {
				_ = c.Close() // fails if it has ended
			}
		})
	}
	c.rejected = u
}
