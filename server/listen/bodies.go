package listen

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// smallBodyBytes is the part of a body that is buffered without a reservation. Nearly every
	// webhook and call is smaller.
	smallBodyBytes = 16 << 10
	// maxBufferedBytes bounds the larger bodies that a port buffers at a time.
	maxBufferedBytes = 16 << 20
	// bufferTimeout bounds the wait of a larger body for memory.
	bufferTimeout = 5 * time.Second
)

// Errors of reading a body.
var (
	// ErrBodyTooLarge means that a body is larger than MaxBodyBytes.
	ErrBodyTooLarge = errors.New("the body is too large")
	// ErrBuffersFull means that other requests have reserved the memory for large ones.
	ErrBuffersFull = errors.New("too many large bodies at a time")
)

// Bodies reads the bodies of a port's requests and bounds their memory. Its methods are safe
// for concurrent use.
//
// A body of up to 16 KiB is read at once. A larger one first reserves memory for all of it and
// waits up to 5 s for that. All requests of a port share 16 MiB. So clients that send large
// bodies slowly delay other large bodies, but no small ones.
type Bodies struct{ buffered *semaphore.Weighted }

// NewBodies returns a Bodies with no reservations.
func NewBodies() *Bodies { return &Bodies{semaphore.NewWeighted(maxBufferedBytes)} }

// Read reads the whole body of a request. It fails with ErrBodyTooLarge, before it reads
// anything if Content-Length says so, with ErrBuffersFull, or with the error of the connection.
// The caller MUST call release when it no longer needs the body, also after an error. Further
// calls of release do nothing.
func (b *Bodies) Read(w http.ResponseWriter, req *http.Request) (body []byte, release func(), err error) {
	release = func() {}
	if req.ContentLength > MaxBodyBytes {
		return nil, release, ErrBodyTooLarge
	}
	from := http.MaxBytesReader(w, req.Body, MaxBodyBytes)
	body, err = io.ReadAll(io.LimitReader(from, smallBodyBytes))
	if err != nil || len(body) < smallBodyBytes {
		return body, release, err
	}
	size := int64(MaxBodyBytes)
	if req.ContentLength >= 0 {
		size = req.ContentLength
	}
	if release, err = b.Reserve(req.Context(), size); err != nil {
		return nil, release, err
	}
	whole := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // it never grows
	whole.Write(body)
	_, err = whole.ReadFrom(from)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		err = ErrBodyTooLarge
	}
	return whole.Bytes(), release, err
}

// Reserve reserves a number of bytes until release is called. It fails with ErrBuffersFull
// after bufferTimeout. The caller MUST call release, also after an error.
func (b *Bodies) Reserve(ctx context.Context, bytes int64) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, bufferTimeout)
	defer cancel()
	if b.buffered.Acquire(ctx, bytes) != nil {
		return func() {}, ErrBuffersFull
	}
	return sync.OnceFunc(func() { b.buffered.Release(bytes) }), nil
}

// Bounds of reading and discarding a body after a 413.
const (
	drainBytes = 8 << 20
	drainTime  = 5 * time.Second
)

// Drain reads the rest of a body that is too large, after the answer. Without it a client that
// writes everything before it reads gets a reset connection in place of the answer.
func Drain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") != "" && r.ContentLength > MaxBodyBytes {
		return // nothing was read, so no 100 Continue was sent, and the client sends nothing
	}
	control := http.NewResponseController(w)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return // not a net/http connection
	}
	_, _ = io.CopyN(io.Discard, r.Body, drainBytes) // ends when the client has sent everything, or with the deadline
}
