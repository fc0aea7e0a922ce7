package admission

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// limitDelay is the RetryInfo of a call that is over a limit of what a caller may do at a
// time.
const limitDelay = time.Second

// Limits of the calls of grpc.health.v1, which need no credential.
const (
	// MaxHealthCalls is how many health calls a connection may have at a time. It is several
	// times what a load balancer needs, since a proxy may share its connection.
	MaxHealthCalls = 16
	// MaxWatches is how many Watch calls all connections may have at a time.
	MaxWatches = 1024
)

// limits counts what each caller uses of the gateway, on all ports together. A call beyond a
// limit is rejected at once, because a queue would hold memory for the caller that calls
// most. The zero value is ready, and safe for concurrent use.
type limits struct {
	mu      sync.Mutex
	callers map[string]*usage
	// open has the connections.
	open map[ConnKey]*connection
	// health is the number of health calls of each connection. watches is the number of
	// Watch calls of all connections.
	health  map[ConnKey]int
	watches int
}

// usage is the current usage of a caller. It is kept from the caller's first call on.
type usage struct {
	rate           *rate.Limiter
	calls, streams int
	connections    map[*connection]struct{}
}

// call admits a call of a caller until done is called.
func (l *limits) call(p auth.Principal, connection ConnKey) (done func(), err error) {
	return l.admit(p, connection, func(u *usage, most auth.Limits) (*int, error) {
		if u.calls >= most.MaxInFlight {
			return nil, overLimit("in_flight", limitDelay)
		}
		turn := u.rate.Reserve()
		if wait := turn.Delay(); wait > 0 {
			turn.Cancel()
			return nil, overLimit("rate", wait)
		}
		return &u.calls, nil
	})
}

// stream admits a stream of a caller until done is called.
func (l *limits) stream(p auth.Principal, connection ConnKey) (done func(), err error) {
	return l.admit(p, connection, func(u *usage, most auth.Limits) (*int, error) {
		if u.streams >= most.MaxStreams {
			return nil, overLimit("streams", limitDelay)
		}
		return &u.streams, nil
	})
}

// admit admits a call of a caller on a connection. count checks the limit, and returns the
// counter of the call.
func (l *limits) admit(p auth.Principal, connection ConnKey, count func(*usage, auth.Limits) (*int, error)) (done func(), err error) {
	most, limited := p.Limits()
	if !limited {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.usageOf(p.Name, most)
	if !l.connected(u, connection, most) {
		return nil, overLimit("connections", limitDelay)
	}
	counted, err := count(u, most)
	if err != nil {
		return nil, err
	}
	*counted++
	return l.done(counted), nil
}

// check admits a health call until done is called.
func (l *limits) check(connection ConnKey) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkLocked(connection)
}

// watch admits a Watch call until done is called.
func (l *limits) watch(connection ConnKey) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watches >= MaxWatches {
		return nil, overLimit("watches", limitDelay)
	}
	checked, err := l.checkLocked(connection)
	if err != nil {
		return nil, err
	}
	l.watches++
	watched := l.done(&l.watches)
	return func() { checked(); watched() }, nil
}

// checkLocked is check, with l.mu held.
func (l *limits) checkLocked(connection ConnKey) (done func(), err error) {
	if l.health[connection] >= MaxHealthCalls {
		return nil, overLimit("health_calls", limitDelay)
	}
	if l.health == nil {
		l.health = map[ConnKey]int{}
	}
	l.health[connection]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.health[connection]--; l.health[connection] == 0 {
			delete(l.health, connection)
		}
	}, nil
}

// done returns a function that decrements a counter.
func (l *limits) done(count *int) func() {
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		*count--
	}
}

// usageOf returns the usage of a caller, with the caller's present rate. l.mu is held.
func (l *limits) usageOf(name string, most auth.Limits) *usage {
	u, ok := l.callers[name]
	if !ok {
		if l.callers == nil {
			l.callers = map[string]*usage{}
		}
		u = &usage{rate: rate.NewLimiter(0, 0), connections: map[*connection]struct{}{}}
		l.callers[name] = u
	}
	if limit := rate.Limit(most.MaxRate); u.rate.Limit() != limit {
		// A new limiter, because one whose burst grows would have to earn the tokens first.
		u.rate = rate.NewLimiter(limit, max(1, int(most.MaxRate)))
	}
	return u
}

func overLimit(limit string, wait time.Duration) error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED, "the caller exceeds its limit (%s); nothing was done", limit)
	f.Effect = fault.EffectNone
	f.Metadata = map[string]string{"limit": limit}
	f.RetryAfter = max(wait, time.Millisecond)
	return f
}
