package ongair

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/fault"
)

type callerKey struct{}

func forCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// scriptedFor returns a client of s for calls of several callers.
func scriptedFor(t *testing.T, s step, limit func(*Config)) *Client {
	t.Helper()
	client, _ := scripted(t, []step{s}, func(c *Config) {
		c.Caller = func(ctx context.Context) string { return ctx.Value(callerKey{}).(string) }
		limit(c)
	})
	return client
}

// sendDuringFlood makes a thousand concurrent calls of one caller and returns the result of a call of
// another.
func sendDuringFlood(t *testing.T, limit func(*Config)) (others ended) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := scriptedFor(t, after(4*time.Second, status(200)), limit)
		var flood sync.WaitGroup
		for range 1000 {
			flood.Go(func() { _, _ = client.Send(forCaller(t.Context(), "flood"), Text{ExternalID: "1", Text: "Hello"}) })
		}
		synctest.Wait()
		begin := time.Now()
		_, err := client.Send(forCaller(t.Context(), "other"), Text{ExternalID: "2", Text: "Hello"})
		others = ended{err, time.Since(begin)}
		flood.Wait()
	})
	return others
}

func TestACallerThatFloodsAChannelDoesNotDelayTheOthers(t *testing.T) {
	t.Run("by its calls in flight", func(t *testing.T) {
		other := sendDuringFlood(t, func(*Config) {})
		require.NoError(t, other.err)
		assert.Equal(t, 4*time.Second, other.at, "the call must not wait")
	})
	t.Run("by its rate", func(t *testing.T) {
		other := sendDuringFlood(t, func(c *Config) { c.MaxRate = 10 })
		require.NoError(t, other.err)
		assert.LessOrEqual(t, other.at, 4*time.Second+200*time.Millisecond, "callers must take turns")
	})
}

func TestOneCallerGetsTwoThirdsOfAChannelAndTwoGetFourFifths(t *testing.T) {
	turns := newTurns(150, 0)
	takeAll := func(caller string) (n int) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for turns.take(ended, caller, time.Second) == nil {
			n++
		}
		return n
	}
	assert.Equal(t, 100, takeAll("first"))
	assert.Positive(t, takeAll("second"))
	for turns.held["first"] > 60 {
		turns.release("first")
		takeAll("second")
	}
	assert.Equal(t, 60, turns.held["second"])
	assert.Positive(t, takeAll("third"))
}

// The test takes and cancels turns at random.
func TestTurnsAreBoundedAndNeverLost(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			most := 1 + random.IntN(8)
			turns := newTurns(most, []float64{0, 5, 50}[random.IntN(3)])
			var mu sync.Mutex
			var now, given, refused int
			var calls sync.WaitGroup
			for range 100 {
				caller := fmt.Sprint(random.IntN(4))
				start := time.Duration(random.IntN(3000)) * time.Millisecond
				takes := time.Duration(random.IntN(500)) * time.Millisecond
				patience := time.Duration(1+random.IntN(2000)) * time.Millisecond
				calls.Go(func() {
					time.Sleep(start)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					if turns.take(ctx, caller, maxWait) != nil {
						mu.Lock()
						refused++
						mu.Unlock()
						return
					}
					mu.Lock()
					now, given = now+1, given+1
					assert.LessOrEqual(t, now, most, "seed %d", seed)
					mu.Unlock()
					time.Sleep(takes)
					mu.Lock()
					now--
					mu.Unlock()
					turns.release(caller)
				})
			}
			calls.Wait()
			assert.Equal(t, 100, given+refused, "seed %d", seed)
			assert.Positive(t, given, "seed %d", seed)
			assert.Equal(t, most, turns.free, "seed %d", seed)
			assert.Empty(t, turns.held, "seed %d", seed)
			assert.Empty(t, turns.waiting, "seed %d", seed)
			assert.Empty(t, turns.rotation, "seed %d", seed)
		})
	}
}

// A caller that waits because of its share must not delay other callers.
func TestACallerWithItsShareIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := scriptedFor(t, after(300*time.Millisecond, status(200)), func(c *Config) { c.MaxInFlight = 3 })
		calls := func(caller string, n int) (ends []time.Duration) {
			var mu sync.Mutex
			var all sync.WaitGroup
			begin := time.Now()
			for range n {
				all.Go(func() {
					_, err := client.Send(forCaller(t.Context(), caller), Text{ExternalID: "1", Text: "Hello"})
					mu.Lock()
					defer mu.Unlock()
					assert.NoError(t, err)
					ends = append(ends, time.Since(begin))
				})
			}
			all.Wait()
			return ends
		}
		var first []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			first = calls("first", 6)
		}()
		synctest.Wait()
		assert.Equal(t, []time.Duration{300 * time.Millisecond}, calls("second", 1), "four calls of the first caller still wait")
		<-done
		assert.Len(t, first, 6)
	})
}

func TestACallBeyondTheRateReportsWhenToRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := scripted(t, []step{func(*http.Request) (*http.Response, error) { return status(200)(nil) }},
			func(c *Config) { c.MaxRate = 0.2 })
		_, _, err := sendWithin(t, client, 15*time.Second)
		require.NoError(t, err)
		took, _, err := sendWithin(t, client, 15*time.Second)
		f := requireFault(t, err, busyReason, fault.EffectNone)
		assert.Zero(t, took)
		assert.Equal(t, 5*time.Second, f.RetryAfter)
	})
}
