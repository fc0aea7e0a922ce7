package listen

import (
	"context"
	"sync"
	"time"
)

// lastWriteTimeout is the time for which connections stay open after the last request, so that
// clients can read their answers.
const lastWriteTimeout = 2 * time.Second

// Running counts running requests. The zero value is ready to use, and safe for concurrent use.
type Running struct {
	mu    sync.Mutex
	count int
	// idle is closed when count becomes 0. It is nil if nothing waits for that.
	idle chan struct{}
}

// Begin counts a request until End is called.
func (r *Running) Begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
}

// End ends a request.
func (r *Running) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count--; r.count == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

// untilIdle returns a channel that is closed when no request is running.
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

// Stop stops a server before ctx ends. It waits for the running requests, and then at most
// lastWriteTimeout for the connections. So neither a client that does not read its answer nor a
// connection without a request delays the stop.
//
// graceful MUST stop the server, let requests finish, and return when all connections have
// ended. cut MUST close all connections.
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
				continue // another request has begun
			}
		}
		cut()
		<-stopped
		return
	}
}
