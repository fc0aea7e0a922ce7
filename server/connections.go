package server

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/auth"
)

// defaultMaxConnections is the most that a port takes by default.
const defaultMaxConnections = 16_384

// mostConnections is the most that a port may take: it leaves a quarter of the files that
// the process may have open to the log and to Ongair, and each of the ports that many may
// reach another quarter. One that is flooded must not keep the log from opening its files.
func mostConnections() int { return maxFiles() / 4 }

const (
	// fullInterval is how often a port that is full looks whether it still is.
	fullInterval = 50 * time.Millisecond
	// fullLogInterval is how often it is logged at most that a port is full.
	fullLogInterval = time.Minute
	// fewConnections are not worth looking which of them still are open.
	fewConnections = 64
)

// port is a listener that has at most so many connections open. Further ones take the places
// of those that have been idle for longest, or wait, all but one in the queue of the
// operating system, until one ends: a webhook that is refused may be lost for good, and who connects to call
// waits as its deadline lets it. Only of an HTTP server's connections is it known that they
// are idle.
//
// It hands out connections as they are, and asks them whether they are open when it has
// to know. Wrapped in a type that says when it is closed, gRPC would not know them for
// TCP connections: each would hold a buffer while it waits, and nobody would notice when
// the other side vanished.
type port struct {
	*net.TCPListener
	name string
	most int
	// limits are told of the connections, where they are not nil.
	limits *api.Limits
	log    *slog.Logger

	closeOnce sync.Once
	closed    chan struct{}

	mu sync.Mutex
	// open has the connections, and some that have ended, with the times since when they are
	// idle, those that are; sweepAt is how many there are when the ended ones are taken out.
	open    map[tcp]time.Time
	sweepAt int
	fullLog time.Time
}

// tcp is a connection that can say whether it has ended.
type tcp struct{ *net.TCPConn }

// Ended reports whether it was closed on this side.
func (c tcp) Ended() bool {
	raw, err := c.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}

// bound bounds a listener. Its name is one of auth's, where it is for callers.
func bound(listener *net.TCPListener, name string, most int, log *slog.Logger) *port {
	return &port{
		TCPListener: listener, name: name, most: most, log: log, closed: make(chan struct{}),
		open: map[tcp]time.Time{}, sweepAt: fewConnections,
	}
}

// tell has the limits of callers know of the connections. It MUST be called before Accept.
func (p *port) tell(limits *api.Limits) { p.limits = limits }

// Accept waits for a connection, and then for a place: none is closed for one that nobody
// asks for.
func (p *port) Accept() (net.Conn, error) {
	conn, err := p.AcceptTCP()
	if err != nil {
		return nil, err
	}
	for p.full() {
		select {
		case <-p.closed:
			_ = conn.Close() // nothing was read from it, nor written
			return nil, net.ErrClosed
		case <-time.After(fullInterval):
		}
	}
	p.add(tcp{conn})
	return conn, nil
}

// Close closes the listener, and ends an Accept that waits.
func (p *port) Close() error {
	p.closeOnce.Do(func() { close(p.closed) })
	return p.TCPListener.Close()
}

func (p *port) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) >= p.sweepAt || len(p.open) >= p.most {
		p.sweep()
		p.sweepAt = max(fewConnections, 2*len(p.open)) // so that it costs each connection little
	}
	if len(p.open) < p.most {
		return false
	}
	if now := time.Now(); now.Sub(p.fullLog) >= fullLogInterval {
		p.fullLog = now
		p.log.Warn("a port has as many connections as it may; idle ones are closed, and others wait until one ends",
			"port", p.name, "max_connections", p.most)
	}
	p.closeIdle()
	return len(p.open) >= p.most
}

// closeIdle closes some of the connections that have been idle for longest. p.mu is held.
func (p *port) closeIdle() {
	type idle struct {
		tcp
		since time.Time
	}
	var all []idle
	for c, since := range p.open {
		if !since.IsZero() {
			all = append(all, idle{c, since})
		}
	}
	slices.SortFunc(all, func(a, b idle) int { return a.since.Compare(b.since) })
	for _, c := range all[:min(len(all), 1+p.most/64)] { // several, so that it costs each connection little
		_ = c.Close() // fails where it has ended
		p.remove(c.tcp)
	}
}

// note is an http.Server's ConnState.
func (p *port) note(conn net.Conn, state http.ConnState) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	raw, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	c := tcp{raw}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, open := p.open[c]; !open {
		return
	}
	switch state {
	case http.StateIdle:
		p.open[c] = time.Now()
	case http.StateClosed:
		p.remove(c)
	default:
		p.open[c] = time.Time{}
	}
}

func (p *port) add(c tcp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = time.Time{}
	if p.limits != nil {
		p.limits.Opened(p.nameOf(c), c)
	}
}

// sweep takes out the connections that have ended. p.mu is held.
func (p *port) sweep() {
	for c := range p.open {
		if c.Ended() {
			p.remove(c)
		}
	}
}

// remove takes out a connection that has ended. p.mu is held.
func (p *port) remove(c tcp) {
	delete(p.open, c)
	if p.limits != nil {
		p.limits.Ended(p.nameOf(c), c)
	}
}

func (p *port) nameOf(c tcp) string {
	return auth.ConnectionOn(p.name, c.LocalAddr(), c.RemoteAddr())
}
