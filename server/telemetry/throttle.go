package telemetry

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Throttle limits how often an event is logged. When Ongair is down, or a client guesses keys,
// ten lines a second are enough. It is safe for concurrent use.
type Throttle struct {
	mu         sync.Mutex
	limiter    *rate.Limiter
	suppressed int
}

// NewThrottle returns a throttle that allows a line each interval, and burst lines at once.
func NewThrottle(interval time.Duration, burst int) *Throttle {
	return &Throttle{limiter: rate.NewLimiter(rate.Every(interval), burst)}
}

// Allow reports whether to log now, and how many lines were suppressed since the last one.
func (t *Throttle) Allow() (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.limiter.Allow() {
		t.suppressed++
		return 0, false
	}
	suppressed, t.suppressed = t.suppressed, 0
	return suppressed, true
}

// Reset returns how many lines were suppressed since the last one, and resets the count. It is
// for the last line at a stop.
func (t *Throttle) Reset() (suppressed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	suppressed, t.suppressed = t.suppressed, 0
	return suppressed
}

// Throttles has a Throttle for each key. It is safe for concurrent use. Keys MUST be few,
// because none is removed.
type Throttles[K comparable] struct {
	interval time.Duration
	burst    int

	mu    sync.Mutex
	byKey map[K]*Throttle
}

// NewThrottles returns throttles as NewThrottle does.
func NewThrottles[K comparable](interval time.Duration, burst int) *Throttles[K] {
	return &Throttles[K]{interval: interval, burst: burst, byKey: map[K]*Throttle{}}
}

// Allow is the Allow of a key's throttle.
func (t *Throttles[K]) Allow(key K) (suppressed int, ok bool) {
	t.mu.Lock()
	throttle, found := t.byKey[key]
	if !found {
		throttle = NewThrottle(t.interval, t.burst)
		t.byKey[key] = throttle
	}
	t.mu.Unlock()
	return throttle.Allow()
}
