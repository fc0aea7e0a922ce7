package ongair

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// callerShare bounds a caller's calls in flight to this many times the free ones. A caller gets two
// thirds of all if it is alone, and two fifths beside another one that takes as much. The next
// caller thus finds room at once, even if Ongair is slow and one caller has many calls waiting. The
// rule is that of dynamic thresholds for shared buffers (A. K. Choudhury and E. L. Hahne, IEEE/ACM
// Transactions on Networking 6 (2), 1998).
const callerShare = 2

// turns limits a channel's calls in flight, and the calls that begin per second. Callers that wait
// get turns in rotation, so a thousand calls of one caller do not delay a single call of another.
// It is safe for concurrent use.
type turns struct {
	mu   sync.Mutex
	rate *rate.Limiter
	free int
	held map[string]int // calls in flight by caller, without zeros
	// waiting has the waiting calls by caller. rotation has these callers in the order of their
	// next turns.
	waiting  map[string][]*turn
	rotation []string
	// timer runs while only the rate delays the next turn.
	timer *time.Timer
}

// turn is the turn of a waiting call.
type turn struct {
	granted chan struct{} // closed when the turn is granted
}

// newTurns returns the turns of a channel. A maxRate of 0 means no rate.
func newTurns(maxInFlight int, maxRate float64) *turns {
	limit, burst := rate.Inf, 0
	if maxRate > 0 {
		limit, burst = rate.Limit(maxRate), max(1, int(maxRate))
	}
	t := &turns{
		rate: rate.NewLimiter(limit, burst), free: maxInFlight,
		held: map[string]int{}, waiting: map[string][]*turn{},
	}
	t.timer = time.AfterFunc(time.Hour, t.tick)
	t.timer.Stop()
	return t
}

// limitError is the limit that kept a call from its turn, and how long to wait before a retry.
type limitError struct {
	limit string
	wait  time.Duration
}

func (e *limitError) Error() string { return "timed out waiting for the limit " + e.limit }

// take waits for a caller's turn, at most for maxWait and until ctx ends. The caller MUST call
// release after its call. take fails with a limitError, at once if the rate makes the wait too
// long.
func (t *turns) take(ctx context.Context, caller string, maxWait time.Duration) *limitError {
	t.mu.Lock()
	if len(t.rotation) == 0 && t.mayHaveOneMore(caller) && t.begin(caller) == 0 {
		t.mu.Unlock()
		return nil
	}
	mine := &turn{granted: make(chan struct{})}
	if len(t.waiting[caller]) == 0 {
		t.rotation = append(t.rotation, caller)
	}
	t.waiting[caller] = append(t.waiting[caller], mine)
	t.serve()
	if mine.isGranted() {
		t.mu.Unlock()
		return nil
	}
	patience := maxWait
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline))
	}
	if wait := t.soonest(caller); wait >= patience {
		t.leave(caller, mine)
		t.mu.Unlock()
		return &limitError{"rate", wait}
	}
	t.mu.Unlock()

	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	select {
	case <-mine.granted:
		return nil
	case <-ctx.Done():
	case <-timeout.C:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.isGranted() {
		return nil
	}
	t.leave(caller, mine)
	if t.mayHaveOneMore(caller) {
		return &limitError{"rate", maxWait}
	}
	return &limitError{"in_flight", maxWait}
}

// release ends a caller's turn.
func (t *turns) release(caller string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free++
	if t.held[caller]--; t.held[caller] == 0 {
		delete(t.held, caller)
	}
	t.serve()
}

func (t *turns) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.serve()
}

// serve grants turns to waiting callers while the limits allow. t.mu is held.
func (t *turns) serve() {
	for {
		next := slices.IndexFunc(t.rotation, t.mayHaveOneMore)
		if next < 0 {
			return
		}
		caller := t.rotation[next]
		if wait := t.begin(caller); wait > 0 {
			t.timer.Reset(wait)
			return
		}
		t.rotation = slices.Delete(t.rotation, next, next+1)
		queue := t.waiting[caller]
		close(queue[0].granted)
		if queue = queue[1:]; len(queue) > 0 {
			t.waiting[caller] = queue
			t.rotation = append(t.rotation, caller)
		} else {
			delete(t.waiting, caller)
		}
	}
}

// begin takes a turn for a caller if the rate allows, or returns when it will. t.mu is held.
func (t *turns) begin(caller string) (wait time.Duration) {
	begun := t.rate.Reserve()
	if wait := begun.Delay(); wait > 0 {
		begun.Cancel()
		return wait
	}
	t.free--
	t.held[caller]++
	return 0
}

// mayHaveOneMore reports whether a caller may have one more call in flight. t.mu is held.
func (t *turns) mayHaveOneMore(caller string) bool { return t.held[caller] < callerShare*t.free }

// soonest returns how long the rate makes a caller's last waiting call wait, if no other caller
// waits. t.mu is held.
func (t *turns) soonest(caller string) time.Duration {
	if t.rate.Limit() == rate.Inf {
		return 0
	}
	next := t.rate.Reserve()
	wait := next.Delay()
	next.Cancel()
	before := len(t.waiting[caller]) - 1
	return wait + time.Duration(float64(before)/float64(t.rate.Limit())*float64(time.Second))
}

// leave removes a call that no longer waits. t.mu is held.
func (t *turns) leave(caller string, gone *turn) {
	queue := t.waiting[caller]
	if len(queue) == 1 {
		delete(t.waiting, caller)
		t.rotation = slices.DeleteFunc(t.rotation, func(name string) bool { return name == caller })
		return
	}
	t.waiting[caller] = slices.DeleteFunc(queue, func(waits *turn) bool { return waits == gone })
}

// isGranted reports whether the turn is granted.
func (m *turn) isGranted() bool {
	select {
	case <-m.granted:
		return true
	default:
		return false
	}
}
