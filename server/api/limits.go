package api

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// limitDelay is what callers are told to wait who are over a limit of how much at
// once.
const limitDelay = time.Second

// Calls of grpc.health.v1 ask for no credential.
const (
	// maxHealthCalls is how many of them a connection has at once: some times what a client
	// or a load balancer needs, also where a proxy has several of them on one connection.
	maxHealthCalls = 16
	// maxWatches is how many of those that watch there are at once, over all connections.
	maxWatches = 1024
)

// Limits keep each caller to its share of the gateway, over all servers that they are
// given to. A call beyond it is refused at once, before it does anything: a queue
// would take memory for whoever asks for most. The zero value is ready, and safe for
// concurrent use.
//
// Which connections count for a caller is in connections.go.
type Limits struct {
	mu      sync.Mutex
	callers map[string]*usage
	// open has the connections by their names.
	open map[string]*connection
	// health are the health calls of each connection that has any, watches those of all
	// that watch.
	health  map[string]int
	watches int
}

// usage is what a caller takes at a moment. It is there from its first call on: there
// are as many as are configured.
type usage struct {
	rate           *rate.Limiter
	calls, streams int
	connections    map[*connection]struct{}
}

// call admits a call of a caller until done is called.
func (l *Limits) call(p auth.Principal, connection string) (done func(), err error) {
	return l.admit(p, connection, func(u *usage, limits auth.Limits) (*int, error) {
		if u.calls >= limits.MaxInFlight {
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
func (l *Limits) stream(p auth.Principal, connection string) (done func(), err error) {
	return l.admit(p, connection, func(u *usage, limits auth.Limits) (*int, error) {
		if u.streams >= limits.MaxStreams {
			return nil, overLimit("streams", limitDelay)
		}
		return &u.streams, nil
	})
}

// admit admits what a caller asks for on a connection, if count, which returns what it
// counts as, does.
func (l *Limits) admit(p auth.Principal, connection string, count func(*usage, auth.Limits) (*int, error)) (done func(), err error) {
	limits, ok := p.Limits()
	if !ok {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.usageOf(p.Name, limits)
	if !l.connected(u, connection, limits) {
		return nil, overLimit("connections", limitDelay)
	}
	counted, err := count(u, limits)
	if err != nil {
		return nil, err
	}
	*counted++
	return l.done(counted), nil
}

// check admits a health call until done is called.
func (l *Limits) check(connection string) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkLocked(connection)
}

// watch admits a health call that goes on, until done is called.
func (l *Limits) watch(connection string) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watches >= maxWatches {
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
func (l *Limits) checkLocked(connection string) (done func(), err error) {
	if l.health[connection] >= maxHealthCalls {
		return nil, overLimit("health_calls", limitDelay)
	}
	if l.health == nil {
		l.health = map[string]int{}
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

// done returns what gives back a place in a count.
func (l *Limits) done(count *int) func() {
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		*count--
	}
}

// usageOf returns what a caller takes, under the limits that it has now. l.mu is held.
func (l *Limits) usageOf(name string, limits auth.Limits) *usage {
	u, ok := l.callers[name]
	if !ok {
		if l.callers == nil {
			l.callers = map[string]*usage{}
		}
		u = &usage{rate: rate.NewLimiter(0, 0), connections: map[*connection]struct{}{}}
		l.callers[name] = u
	}
	if limit := rate.Limit(limits.MaxRate); u.rate.Limit() != limit {
		// Anew: a limiter whose burst grows would have to earn it first.
		u.rate = rate.NewLimiter(limit, max(1, int(limits.MaxRate)))
	}
	return u
}

func overLimit(limit string, wait time.Duration) error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED, "the caller is over its limit (%s); nothing was done", limit)
	f.Effect = fault.EffectNone
	f.Metadata = map[string]string{"limit": limit}
	f.RetryAfter = max(wait, time.Millisecond)
	return f
}
