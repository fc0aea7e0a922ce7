package rest

import (
	"net/http"
	"sync/atomic"
	"time"
)

// answerTimeout bounds the time in which a client must read an answer. A stream has no such
// bound, because it counts against its caller's limit.
const answerTimeout = 30 * time.Second

// lastLineTimeout bounds the time in which a client must read each of the last lines of a
// stream that the gateway ends. A slower client resumes from the cursor of the last line that
// it read.
const lastLineTimeout = 500 * time.Millisecond

// interruptedWriter is a ResponseWriter whose writes can get a time limit at any time.
type interruptedWriter struct {
	http.ResponseWriter
	interrupted atomic.Bool
}

// interrupt limits the current write, and each later one, to lastLineTimeout. It is safe for
// concurrent use.
func (w *interruptedWriter) interrupt() {
	w.interrupted.Store(true)
	w.extend()
}

// extend starts the time limit of a write.
func (w *interruptedWriter) extend() {
	if w.interrupted.Load() {
		setWriteDeadline(w.ResponseWriter, time.Now().Add(lastLineTimeout))
	}
}

// Write implements io.Writer.
func (w *interruptedWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p) //nolint:gosec // streams are JSON lines and Server-Sent Events, and not HTML
}

// FlushError implements the interface of http.ResponseController.
func (w *interruptedWriter) FlushError() error {
	w.extend()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap implements the interface of http.ResponseController.
func (w *interruptedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// withWriteTimeout bounds the time in which a client must read an answer of next. For an error,
// write has set the limit already. net/http removes it after the answer.
func withWriteTimeout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		next.ServeHTTP(w, req)
		setWriteDeadline(w, time.Now().Add(answerTimeout)) // net/http has yet to write the last 4 KiB
	})
}

// setWriteDeadline sets the write deadline of a net/http ResponseWriter. It does nothing for
// others.
func setWriteDeadline(w http.ResponseWriter, deadline time.Time) {
	_ = http.NewResponseController(w).SetWriteDeadline(deadline)
}
