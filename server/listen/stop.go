package listen

import (
	"context"
	"sync"
	"time"
)

// lastWriteTimeout is how long connections stay open after the last request has ended, so
// that answers reach clients that read them.
const lastWriteTimeout = 2 * time.Second

// Running counts the requests that a stop waits for. The zero value is ready, and safe for
// concurrent use.
type Running struct {
	mu    sync.Mutex
	count int
	// idle is closed when count becomes 0; nil if nobody waits for that.
	idle chan struct{}
}

// Begin counts a request until End is called.
func (r *Running) Begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
}

// End ends what Begin began.
func (r *Running) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count--; r.count == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

// untilIdle returns a channel that is closed once no request runs.
func (r *Running) untilIdle() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == 0 {
		idle := make(chan struct{})
		close(idle)
		return idle
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	return r.idle
}

// Stop stops a server within ctx. It waits until the running requests have ended, and then
// lastWriteTimeout at most for its connections. So a client that does not read an answer, and
// a connection without a request, do not hold up the stop.
//
// graceful MUST stop the server, let requests finish and return once all connections have
// ended. cut MUST end all connections.
func Stop(ctx context.Context, running *Running, graceful, cut func()) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		graceful()
	}()
	wait := func(what <-chan struct{}) (ended bool) {
		select {
		case <-stopped:
			return true
		case <-what:
		case <-ctx.Done():
		}
		return false
	}
	for {
		if wait(running.untilIdle()) {
			return
		}
		last, cancel := context.WithTimeout(ctx, lastWriteTimeout)
		ended := wait(last.Done())
		cancel()
		if ended {
			return
		}
		select {
		case <-running.untilIdle():
		default:
			if ctx.Err() == nil {
				continue // another one has begun
			}
		}
		cut()
		<-stopped
		return
	}
}
