package ongair

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// callerShare is how many times what is left free a caller may have of a channel's
// calls in flight: two thirds of all where nobody else calls, two fifths beside one who
// takes as much. So whoever comes next finds room at once, however many calls of one
// caller wait for an Ongair that takes its time. The rule is that of dynamic thresholds
// for shared buffers (A. K. Choudhury and E. L. Hahne, IEEE/ACM Transactions on
// Networking 6 (2), 1998).
const callerShare = 2

// turns are what a channel may do: so many calls at once, and so many begun a second.
// Callers who wait get them in rotation, so that a thousand calls of one do not hold up
// a single call of another. It is safe for concurrent use.
type turns struct {
	mu   sync.Mutex
	rate *rate.Limiter
	free int
	held map[string]int // by caller, where it is not 0
	// waiting has the calls that wait, by caller, and rotation those callers, who is
	// next first.
	waiting  map[string][]*turn
	rotation []string
	// timer runs while only the rate is waited for.
	timer *time.Timer
}

// turn is that of a call that may have to wait for it.
type turn struct {
	come chan struct{} // closed when it has
}

// newTurns returns the turns of a channel; a maxRate of 0 means no rate.
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

// limitError says by which limit a call's turn did not come, and when it might.
type limitError struct {
	limit string
	wait  time.Duration
}

func (e *limitError) Error() string { return "its turn comes too late (" + e.limit + ")" }

// take waits for a caller's turn, which give ends: up to maxWait, and no longer than
// ctx. It fails with a limitError, at once where that is certain.
func (t *turns) take(ctx context.Context, caller string, maxWait time.Duration) *limitError {
	t.mu.Lock()
	if len(t.rotation) == 0 && t.mayHaveOneMore(caller) && t.begin(caller) == 0 {
		t.mu.Unlock()
		return nil
	}
	mine := &turn{come: make(chan struct{})}
	if len(t.waiting[caller]) == 0 {
		t.rotation = append(t.rotation, caller)
	}
	t.waiting[caller] = append(t.waiting[caller], mine)
	t.serve()
	if mine.isCome() {
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
	case <-mine.come:
		return nil
	case <-ctx.Done():
	case <-timeout.C:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.isCome() {
		return nil
	}
	t.leave(caller, mine)
	if t.mayHaveOneMore(caller) {
		return &limitError{"rate", maxWait}
	}
	return &limitError{"in_flight", maxWait}
}

// give ends a caller's turn.
func (t *turns) give(caller string) {
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

// serve gives turns while there are any for those who wait. t.mu is held.
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
		close(queue[0].come)
		if queue = queue[1:]; len(queue) > 0 {
			t.waiting[caller] = queue
			t.rotation = append(t.rotation, caller)
		} else {
			delete(t.waiting, caller)
		}
	}
}

// begin gives a caller a turn, if the rate has one; else it returns when that will.
// t.mu is held.
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

// soonest is how long the last of a caller who waits has to by the rate, if no other
// caller waits. t.mu is held.
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

// leave takes a call out that waits no longer. t.mu is held.
func (t *turns) leave(caller string, gone *turn) {
	queue := t.waiting[caller]
	if len(queue) == 1 {
		delete(t.waiting, caller)
		t.rotation = slices.DeleteFunc(t.rotation, func(name string) bool { return name == caller })
		return
	}
	t.waiting[caller] = slices.DeleteFunc(queue, func(waits *turn) bool { return waits == gone })
}

// isCome reports whether a turn has come.
func (m *turn) isCome() bool {
	select {
	case <-m.come:
		return true
	default:
		return false
	}
}
