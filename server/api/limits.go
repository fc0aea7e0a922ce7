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

// Limits keep each caller to its share of the gateway, over all servers that they are
// given to. A call beyond it is refused at once, before it does anything: a queue
// would take memory for whoever asks for most. The zero value is ready, and safe for
// concurrent use.
type Limits struct {
	mu      sync.Mutex
	callers map[string]*usage
}

// usage is what a caller takes at a moment. It is there from its first call on: there
// are as many as are configured.
type usage struct {
	rate           *rate.Limiter
	calls, streams int
}

// call admits a call of a caller until done is called.
func (l *Limits) call(p auth.Principal) (done func(), err error) {
	limits, ok := p.Limits()
	if !ok {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.usageOf(p.Name, limits)
	if u.calls >= limits.MaxInFlight {
		return nil, overLimit("in_flight", limitDelay)
	}
	turn := u.rate.Reserve()
	if wait := turn.Delay(); wait > 0 {
		turn.Cancel()
		return nil, overLimit("rate", wait)
	}
	u.calls++
	return l.done(&u.calls), nil
}

// stream admits a stream of a caller until done is called.
func (l *Limits) stream(p auth.Principal) (done func(), err error) {
	limits, ok := p.Limits()
	if !ok {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.usageOf(p.Name, limits)
	if u.streams >= limits.MaxStreams {
		return nil, overLimit("streams", limitDelay)
	}
	u.streams++
	return l.done(&u.streams), nil
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
		u = &usage{rate: rate.NewLimiter(0, 0)}
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
