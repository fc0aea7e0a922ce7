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

// closeWithoutAnswer closes the connection, with a reset (RST) or in order (FIN).
func closeWithoutAnswer(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// Not HTTP/1. Returning without an answer would send a 200.
		http.Error(w, "the sandbox cannot break this connection: use HTTP/1", http.StatusInternalServerError)
		return
	}
	if reset {
		// Under TLS, reset the inner connection, so that TLS does not send close_notify.
		if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = outer.NetConn()
		}
		// With a linger of 0, Close sends RST. A connection that is not TCP closes without RST.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	_ = conn.Close()
}

// writeHalf announces the length of all of a and writes half of its body. The server closes the
// connection when the handler returns, because the body is shorter than announced.
func writeHalf(w http.ResponseWriter, a answer, answered func(status int)) {
	answered(a.status)
	setHeader(w, a)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(a.body[:len(a.body)/2]))
}
