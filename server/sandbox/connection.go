package sandbox

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"
)

// wait waits for d. It returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// hangUp closes the connection without an answer, with a reset or in order.
func hangUp(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// Not HTTP/1. Returning without an answer would send a 200.
		http.Error(w, "the sandbox cannot break this kind of connection", http.StatusInternalServerError)
		return
	}
	if reset {
		// With TLS, reset the inner connection, without a TLS alert.
		if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = outer.NetConn()
		}
		// With a linger time of zero, closing a TCP connection sends RST. Other connections
		// just close.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	_ = conn.Close()
}

// writeHalf sends a Content-Length for all of a and half of its body. The server notices the
// difference when the handler returns, and closes the connection.
func writeHalf(w http.ResponseWriter, a answer, answered func(status int)) {
	answered(a.status)
	setHeader(w, a)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(a.body[:len(a.body)/2]))
}
