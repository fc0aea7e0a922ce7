// Package listen opens the ports: TCP listeners with a bound on open connections, their
// TLS, and HTTP servers with bounds on time and size.
//
// A Listener has at most a number of connections open. Further ones take the places of
// those that have been idle for longest. If none is idle they wait, all but one of them in
// the operating system's queue, until one ends. They are not refused, because a webhook
// that is refused may be lost for good, and a caller waits as its deadline allows. Only an
// HTTP server knows which of its connections are idle.
//
// An HTTPServer bounds the memory that its clients take together: 16 MiB for bodies that are
// larger than 16 KiB (bodies.go), and 16 requests at a time for headers that are (headers.go).
// Small requests are bounded by the number of connections.
//
// Stop ends a server when its running requests have ended, whatever its other connections do
// (stop.go).
package listen

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ongair/ongair-gateway/server/telemetry"
)

// DefaultMaxConnections is the most connections that a port has open by default.
const DefaultMaxConnections = 16_384

// MaxConnections returns the most connections that a port may have open: a quarter of the
// files that the process may have open. Of four ports three may be reached by many, so a
// quarter is left for the log and for Ongair.
func MaxConnections() int { return maxFiles() / 4 }

const (
	// fullInterval is how often a full port checks whether it still is full.
	fullInterval = 50 * time.Millisecond
	// fullLogInterval is the shortest time between two log lines about a full port.
	fullLogInterval = time.Minute
	// fewConnections is the least number at which connections that have ended are removed.
	fewConnections = 64
)

// Conn is an open connection, or one that has ended and has not been noticed. Values are
// comparable.
type Conn struct{ *net.TCPConn }

// Ended reports whether the connection was closed on this side.
func (c Conn) Ended() bool {
	raw, err := c.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}

// Observer is notified of the connections of a listener. Its methods are called by one
// goroutine at a time, and MUST NOT block.
type Observer interface {
	Opened(Conn)
	// Ended is called some time after the connection has ended.
	Ended(Conn)
}

// Config of a Listener.
type Config struct {
	// Addr is the address to listen on: HOST:PORT, port 0 takes a free one.
	Addr string
	// Name is the port's, for logs and errors.
	Name string
	// MaxConnections is how many connections are open at a time.
	MaxConnections int
	// Observer may be nil.
	Observer Observer
	// Logger is told that the port is full, at most once a minute.
	Logger *slog.Logger
}

// Listener is a TCP listener with a bound on open connections. Its methods are safe for
// concurrent use.
//
// Accept returns connections as they are. If they were wrapped, to learn when they are
// closed, gRPC would not recognise them as TCP connections: each would hold a buffer while
// it waits, and a peer that vanished would not be noticed.
type Listener struct {
	*net.TCPListener
	cfg Config

	closeOnce sync.Once
	closed    chan struct{}

	mu sync.Mutex
	// open has the connections that are open, and some that have ended, with the time since
	// which they are idle; zero if they are not. sweepAt is the number at which those that
	// have ended are removed.
	open    map[Conn]time.Time
	sweepAt int

	fullLog *telemetry.Throttle
}

// TCP opens a port.
func TCP(ctx context.Context, cfg Config) (*Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("%s port: %w", cfg.Name, err)
	}
	return &Listener{
		TCPListener: listener.(*net.TCPListener), cfg: cfg, closed: make(chan struct{}),
		open: map[Conn]time.Time{}, sweepAt: fewConnections, fullLog: telemetry.NewThrottle(fullLogInterval, 1),
	}, nil
}

// Accept waits for a connection, and then until there is room for it.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	for l.full() {
		select {
		case <-l.closed:
			_ = conn.Close() // nothing was read from it, nor written
			return nil, net.ErrClosed
		case <-time.After(fullInterval):
		}
	}
	l.add(Conn{conn})
	return conn, nil
}

// Close closes the listener, and ends an Accept that waits.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

func (l *Listener) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.sweepAt || len(l.open) >= l.cfg.MaxConnections {
		l.sweep()
		l.sweepAt = max(fewConnections, 2*len(l.open)) // so that it costs each connection little
	}
	if len(l.open) < l.cfg.MaxConnections {
		return false
	}
	if _, ok := l.fullLog.Allow(); ok {
		l.cfg.Logger.Warn("a port has as many connections as it may; idle ones are closed, and others wait until one ends",
			"port", l.cfg.Name, "max_connections", l.cfg.MaxConnections)
	}
	l.closeIdle()
	return len(l.open) >= l.cfg.MaxConnections
}

// closeIdle closes some of the connections that have been idle for longest. l.mu is held.
func (l *Listener) closeIdle() {
	type idle struct {
		Conn
		since time.Time
	}
	var all []idle
	for c, since := range l.open {
		if !since.IsZero() {
			all = append(all, idle{c, since})
		}
	}
	slices.SortFunc(all, func(a, b idle) int { return a.since.Compare(b.since) })
	for _, c := range all[:min(len(all), 1+l.cfg.MaxConnections/64)] { // several, so that it costs each connection little
		_ = c.Close() // fails where it has ended
		l.remove(c.Conn)
	}
}

// connState is an http.Server's ConnState.
func (l *Listener) connState(conn net.Conn, state http.ConnState) {
	if counted := headerConnOf(conn); counted != nil {
		conn = counted.Conn
	}
	raw, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	c := Conn{raw}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.open[c]; !open {
		return
	}
	switch state {
	case http.StateIdle:
		l.open[c] = time.Now()
	case http.StateClosed:
		l.remove(c)
	default:
		l.open[c] = time.Time{}
	}
}

func (l *Listener) add(c Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = time.Time{}
	if l.cfg.Observer != nil {
		l.cfg.Observer.Opened(c)
	}
}

// sweep takes out the connections that have ended. l.mu is held.
func (l *Listener) sweep() {
	for c := range l.open {
		if c.Ended() {
			l.remove(c)
		}
	}
}

// remove takes out a connection that has ended. l.mu is held.
func (l *Listener) remove(c Conn) {
	delete(l.open, c)
	if l.cfg.Observer != nil {
		l.cfg.Observer.Ended(c)
	}
}
