// Package listen opens the ports. It provides TCP listeners with a bound on open connections,
// their TLS, and HTTP servers with bounds on time and memory.
//
// A Listener bounds the open connections. A further connection takes the place of the one that
// has been idle longest. If none is idle, it waits in the operating system's queue until one
// ends. It is not refused, because a refused webhook may be lost, and a caller waits until its
// own deadline. Only HTTP servers know which connections are idle.
//
// An HTTPServer bounds the memory of all its clients: 16 MiB for bodies of more than 16 KiB
// (bodies.go), and 16 requests at a time with headers of more than 16 KiB (headers.go). Small
// requests are bounded by the number of connections.
//
// A Stream is an answer that lasts. Over HTTP/1 it writes to the connection itself (stream.go).
//
// Stop stops a server when its running requests have ended. Other connections do not delay it
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

// DefaultMaxConnections is the default bound on the open connections of a port.
const DefaultMaxConnections = 16_384

// MaxConnections returns the bound on the open connections of a port: a quarter of the process'
// limit of open files. Three of the four ports may have many clients, so a quarter remains for
// the log and for Ongair.
func MaxConnections() int { return maxFiles() / 4 }

const (
	// fullInterval is the interval at which a full port looks for room.
	fullInterval = 50 * time.Millisecond
	// fullLogInterval is the shortest time between two log lines about a full port.
	fullLogInterval = time.Minute
	// fewConnections is the smallest number of connections at which ended ones are removed.
	fewConnections = 64
)

// Conn is a connection that is open, or has ended without being noticed. Values are comparable.
type Conn struct{ *net.TCPConn }

// Ended reports whether the connection was closed on this side.
func (c Conn) Ended() bool {
	raw, err := c.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}

// Observer is notified of the connections of a listener. Its methods are called by one
// goroutine at a time and MUST NOT block.
type Observer interface {
	Opened(Conn)
	// Ended is called some time after the connection has ended.
	Ended(Conn)
}

// Config configures a Listener.
type Config struct {
	// Addr is the address to listen on, HOST:PORT. Port 0 takes a free port.
	Addr string
	// Name is the name of the port in logs and errors.
	Name string
	// MaxConnections bounds the open connections.
	MaxConnections int
	// Observer may be nil.
	Observer Observer
	// Logger logs that the port is full, at most once a minute.
	Logger *slog.Logger
}

// Listener is a TCP listener with a bound on open connections. Its methods are safe for
// concurrent use.
//
// Accept returns plain TCP connections. If they were wrapped to learn when they are closed,
// gRPC would not recognise them as TCP connections. Each would then hold a buffer while it
// waits, and vanished peers would not be noticed.
type Listener struct {
	*net.TCPListener
	cfg Config

	closeOnce sync.Once
	closed    chan struct{}

	mu sync.Mutex
	// open has the open connections, and some that have ended, with the time since which they
	// are idle. That time is zero if they are not idle. Ended ones are removed when there are
	// sweepAt.
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

// Accept waits for a connection and for room for it.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	for l.full() {
		select {
		case <-l.closed:
			_ = conn.Close() // nothing was read or written
			return nil, net.ErrClosed
		case <-time.After(fullInterval):
		}
	}
	l.add(Conn{conn})
	return conn, nil
}

// Close closes the listener. A waiting Accept returns.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

func (l *Listener) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.sweepAt || len(l.open) >= l.cfg.MaxConnections {
		l.sweep()
		l.sweepAt = max(fewConnections, 2*len(l.open)) // keeps the cost per connection low
	}
	if len(l.open) < l.cfg.MaxConnections {
		return false
	}
	if _, ok := l.fullLog.Allow(); ok {
		l.cfg.Logger.Warn("port is full: idle connections are closed, and new ones wait",
			"port", l.cfg.Name, "max_connections", l.cfg.MaxConnections)
	}
	l.closeIdle()
	return len(l.open) >= l.cfg.MaxConnections
}

// closeIdle closes some of the connections that have been idle longest. l.mu MUST be held.
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
	for _, c := range all[:min(len(all), 1+l.cfg.MaxConnections/64)] { // several, which keeps the cost per connection low
		_ = c.Close() // fails if it has ended
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

// sweep removes the connections that have ended. l.mu MUST be held.
func (l *Listener) sweep() {
	for c := range l.open {
		if c.Ended() {
			l.remove(c)
		}
	}
}

// remove removes a connection that has ended. l.mu MUST be held.
func (l *Listener) remove(c Conn) {
	delete(l.open, c)
	if l.cfg.Observer != nil {
		l.cfg.Observer.Ended(c)
	}
}
