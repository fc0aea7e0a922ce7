package rest

import (
	"net/http"
	"time"
)

// answerTimeout bounds the time in which a client must read an answer. A stream has no such
// bound, because it counts against its caller's limit.
const answerTimeout = 30 * time.Second

// timedWriter is a ResponseWriter that bounds the time in which a client must read an answer, from
// each write on. net/http writes the last 4 KiB after the handler, and then removes the bound.
type timedWriter struct{ http.ResponseWriter }

// Write implements io.Writer.
func (w timedWriter) Write(p []byte) (int, error) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(answerTimeout)) // not supported by a test's writer
	return w.ResponseWriter.Write(p)                                                                 //nolint:gosec // answers are JSON, or pages of our own
}

// Unwrap implements the interface of http.ResponseController.
func (w timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
