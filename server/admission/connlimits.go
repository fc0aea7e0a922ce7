package admission

import (
	"slices"
	"time"

	"github.com/ongair/ongair-gateway/server/auth"
)

// refusedGrace is how long a connection more than a caller may have stays open after the
// first call on it was refused: for the answer to get out.
const refusedGrace = time.Second

// conn is a connection on which calls come. Its values MUST be comparable.
type conn interface {
	// Ended reports whether it has ended.
	Ended() bool
	// Close ends it. It MUST NOT block.
	Close() error
}

// connection is one that is open, or ended and nobody has told of it yet.
//
// It is nobody's until a call comes on it, and counts for its caller from then on until it
// ends: for several, where a proxy is between. One whose only callers were refused, because
// they have too many, is closed. Otherwise it would keep its place on the port, and one
// caller would keep the others from that.
type connection struct {
	conn
	key    ConnKey
	opened time.Time
	// called says that a call came on it, whatever became of that.
	called bool
	// users are those for whom it counts.
	users []*usage
	// refused is the last caller who was refused on it, and says that it is going to be
	// closed.
	refused *usage
}

// opened registers a connection. A call on a connection that is not registered is
// admitted, and counts for none.
func (l *limits) opened(key ConnKey, c conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[ConnKey]*connection{}
	}
	if ended, ok := l.open[key]; ok { // or the operating system would not have used its addresses again
		l.forget(ended)
	}
	l.open[key] = &connection{conn: c, key: key, opened: time.Now()}
}

// ended removes a connection that has ended.
func (l *limits) ended(key ConnKey, c conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if open, ok := l.open[key]; ok && open.conn == c {
		l.forget(open)
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

// forget takes out a connection that has ended. l.mu is held.
func (l *limits) forget(c *connection) {
	for _, u := range c.users {
		delete(u.connections, c)
	}
	delete(l.open, c.key)
}

// connected counts a connection for a caller, if it does not yet; false where that
// has as many as it may. l.mu is held.
func (l *limits) connected(u *usage, key ConnKey, most auth.Limits) bool {
	c, open := l.open[key]
	if !open || slices.Contains(c.users, u) {
		return true
	}
	if len(u.connections) >= most.MaxConnections && c.refused != u { // once is enough, since it is going to be closed
		for other := range u.connections {
			if other.Ended() {
				l.forget(other)
			}
		}
	}
	if len(u.connections) >= most.MaxConnections {
		l.refuse(c, u)
		return false
	}
	u.connections[c] = struct{}{}
	c.users, c.refused = append(c.users, u), nil
	return true
}

// refuse closes a connection in a while, if it counts for nobody then. l.mu is held.
func (l *limits) refuse(c *connection, u *usage) {
	if len(c.users) > 0 {
		return
	}
	if c.refused == nil {
		time.AfterFunc(refusedGrace, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if c.refused != nil {
				_ = c.Close() // fails where it has ended
			}
		})
	}
	c.refused = u
}
