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
	// smallBodyBytes is what a request buffers of its body without asking: nearly every
	// webhook and call is smaller.
	smallBodyBytes = 16 << 10
	// maxBufferedBytes bounds the larger bodies that a port buffers at a time.
	maxBufferedBytes = 16 << 20
	// bufferTimeout bounds how long a larger body waits for its turn.
	bufferTimeout = 5 * time.Second
)

// Errors of reading a body.
var (
	// ErrBodyTooLarge means that a body is larger than MaxBodyBytes.
	ErrBodyTooLarge = errors.New("the body is too large")
	// ErrBuffersFull means that other requests buffer as much as they may.
	ErrBuffersFull = errors.New("too many large bodies at a time")
)

// Bodies reads the bodies of a port's requests, and bounds the memory that they take
// together. Its methods are safe for concurrent use.
//
// A body of up to 16 KiB is read at once. A larger one first reserves all the memory that it
// may take, of 16 MiB for all requests of the port, and waits up to 5 s for it. So clients
// that send large bodies slowly delay other large bodies, and no small one.
type Bodies struct{ buffered *semaphore.Weighted }

// NewBodies returns a Bodies that has nothing buffered.
func NewBodies() *Bodies { return &Bodies{semaphore.NewWeighted(maxBufferedBytes)} }

// Read reads the body of a request whole. It fails with ErrBodyTooLarge, before it reads
// if the request says how long its body is, with ErrBuffersFull, or as the connection did.
// The caller MUST call release, also after an error, when it does not need the body any more;
// more than once does no harm.
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

// Reserve reserves memory, in bytes, until release is called. It fails with ErrBuffersFull if
// there is none for bufferTimeout. The caller MUST call release, also after an error.
func (b *Bodies) Reserve(ctx context.Context, bytes int64) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, bufferTimeout)
	defer cancel()
	if b.buffered.Acquire(ctx, bytes) != nil {
		return func() {}, ErrBuffersFull
	}
	return sync.OnceFunc(func() { b.buffered.Release(bytes) }), nil
}

// Bounds of what is read after a 413 and thrown away.
const (
	drainBytes = 8 << 20
	drainTime  = 5 * time.Second
)

// Drain reads on after the answer to a body that is too large. A client that writes everything
// before it reads would otherwise get a reset connection in place of the answer.
func Drain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") != "" && r.ContentLength > MaxBodyBytes {
		return // nothing was read, so the client was not told to go on, and sends nothing
	}
	control := http.NewResponseController(w)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return // not a connection of net/http's
	}
	_, _ = io.CopyN(io.Discard, r.Body, drainBytes) // ends when the client has sent everything, or with the deadline
}
