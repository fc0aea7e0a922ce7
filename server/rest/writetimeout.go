package rest

import (
	"net/http"
	"sync/atomic"
	"time"
)

// answerTimeout bounds the time in which a client must read an answer. A stream has no such
// bound, because it counts against its caller's limit.
const answerTimeout = 30 * time.Second

// lastLineTimeout bounds how long a client takes to read each of the last lines of a stream
// that the gateway has ended. A client that is too slow resumes from the cursor of the last
// line that it read.
const lastLineTimeout = 500 * time.Millisecond

// interruptedWriter is a ResponseWriter whose writes can be bounded at any time.
type interruptedWriter struct {
	http.ResponseWriter
	interrupted atomic.Bool
}

// interrupt bounds the write that is under way, and each later one, to lastLineTimeout. It is
// safe for concurrent use.
func (w *interruptedWriter) interrupt() {
	w.interrupted.Store(true)
	w.extend()
}

// extend begins the bound of a write.
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

// FlushError is what http.ResponseController calls.
func (w *interruptedWriter) FlushError() error {
	w.extend()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is what http.ResponseController calls for what this writer does not have.
func (w *interruptedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// withWriteTimeout bounds how long a client takes to read what next answers. Where that is an
// error, write has begun to. net/http takes the bound away after the answer.
func withWriteTimeout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		next.ServeHTTP(w, req)
		setWriteDeadline(w, time.Now().Add(answerTimeout)) // net/http has yet to write the last 4 KiB
	})
}

// setWriteDeadline does nothing for a ResponseWriter that has no deadlines, which those
// of net/http have.
func setWriteDeadline(w http.ResponseWriter, deadline time.Time) {
	_ = http.NewResponseController(w).SetWriteDeadline(deadline)
}
