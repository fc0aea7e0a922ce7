package telemetry

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAThrottleAllowsABurstAndThenOneLinePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := NewThrottle(time.Second, 3)
		lines := func(tries int) (allowed, suppressed int) {
			for range tries {
				if n, ok := throttle.Allow(); ok {
					allowed++
					suppressed += n
				}
			}
			return allowed, suppressed
		}
		allowed, suppressed := lines(10)
		assert.Equal(t, 3, allowed)
		assert.Zero(t, suppressed)
		time.Sleep(time.Second)
		allowed, suppressed = lines(10)
		assert.Equal(t, 1, allowed)
		assert.Equal(t, 7, suppressed, "suppressed among the first ten")
		time.Sleep(time.Hour)
		allowed, suppressed = lines(1)
		assert.Equal(t, 1, allowed)
		assert.Equal(t, 9, suppressed)
		_, suppressed = lines(1)
		assert.Zero(t, suppressed, "suppressed lines must be counted once")
	})
}

func TestResetReturnsTheSuppressedCount(t *testing.T) {
	throttle := NewThrottle(time.Hour, 1)
	assert.Zero(t, throttle.Reset())
	for range 3 {
		throttle.Allow()
	}
	assert.Equal(t, 2, throttle.Reset())
	assert.Zero(t, throttle.Reset(), "suppressed lines must be counted once")
}

func TestEachKeyIsThrottledSeparately(t *testing.T) {
	throttles := NewThrottles[string](time.Hour, 1)
	for _, key := range []string{"a", "b"} {
		_, ok := throttles.Allow(key)
		assert.True(t, ok)
		_, ok = throttles.Allow(key)
		assert.False(t, ok)
	}
}
