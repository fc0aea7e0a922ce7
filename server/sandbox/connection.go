package sandbox

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"
)

// wait waits for d, and says whether nobody gave up meanwhile.
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

// hangUp ends the connection with no answer: with a reset, or in order.
func hangUp(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// Not HTTP/1. Returning without a word would be a 200.
		http.Error(w, "the sandbox cannot break this kind of connection", http.StatusInternalServerError)
		return
	}
	if reset {
		// Under TLS the reset is the inner connection's, without TLS's own goodbye.
		if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = outer.NetConn()
		}
		// Closing a TCP connection that lingers for no time sends RST. A connection that is not TCP just closes.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	_ = conn.Close()
}

// writeHalf announces all of a and writes half of its body. The server sees the difference when the handler returns,
// and closes the connection.
func writeHalf(w http.ResponseWriter, a answer, answered func(status int)) {
	answered(a.status)
	setHeader(w, a)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(a.body[:len(a.body)/2]))
}
