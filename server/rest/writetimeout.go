package rest

import (
	"net/http"
	"time"
)

// answerTimeout bounds how long a client takes to read an answer, from when it is there. A
// stream has no such bound: it counts for its caller.
const answerTimeout = 30 * time.Second

// lastLineTimeout bounds how long a client takes to read the rest of a stream that the gateway
// has ended, with its error line. A client that is too slow resumes from the cursor of the
// last line that it read.
const lastLineTimeout = 500 * time.Millisecond

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
