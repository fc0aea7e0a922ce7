package ongair

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// after returns a step that runs do after a delay.
func after(d time.Duration, do step) step {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(d):
			return do(r)
		case <-r.Context().Done():
			return hangingConnection(r)
		}
	}
}

// ended is the result of a call and its duration.
type ended struct {
	err error
	at  time.Duration
}

// together makes calls concurrently and returns their results, in the order in which they ended.
func together(t *testing.T, client *Client, calls int, timeout time.Duration) []ended {
	t.Helper()
	var mu sync.Mutex
	var all []ended
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			took, _, err := sendWithin(t, client, timeout)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, ended{err, took})
		})
	}
	wg.Wait()
	slices.SortStableFunc(all, func(a, b ended) int { return int(a.at - b.at) })
	return all
}

func TestConcurrentCallsToOngairAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{after(700*time.Millisecond, status(200))}, func(c *Config) { c.MaxInFlight = 2 })
		all := together(t, client, 5, 15*time.Second)
		for i, want := range []time.Duration{700, 700, 1000, 1400, 1400} {
			assert.Equal(t, want*time.Millisecond, all[i].at)
			if want != 1000 {
				assert.NoError(t, all[i].err)
				continue
			}
			f := requireFault(t, all[i].err, busyReason, fault.EffectNone)
			assert.Equal(t, map[string]string{"limit": "in_flight"}, f.Metadata)
			assert.Equal(t, time.Second, f.RetryAfter)
		}
		n, _ := script.posts()
		assert.Equal(t, 4, n, "a rejected call must send nothing")
		_, _, err := sendWithin(t, client, 15*time.Second)
		require.NoError(t, err, "every turn must be released")
	})
}

func TestTheCallRateIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{status(200)}, func(c *Config) { c.MaxRate = 10 })
		all := together(t, client, 25, 15*time.Second)
		// Ten calls get their turn immediately and nine more within a second. The others are rejected
		// immediately.
		inTime, rejected := 0, 0
		for _, e := range all {
			if e.err == nil {
				inTime++
				continue
			}
			rejected++
			assert.Zero(t, e.at)
			f := requireFault(t, e.err, busyReason, fault.EffectNone)
			assert.Equal(t, map[string]string{"limit": "rate"}, f.Metadata)
			assert.GreaterOrEqual(t, f.RetryAfter, time.Second)
		}
		assert.Equal(t, 19, inTime)
		assert.Equal(t, 6, rejected)
		assert.Equal(t, 900*time.Millisecond, all[24].at)
		n, _ := script.posts()
		assert.Equal(t, 19, n)
	})
}

func TestACallThatWaitsBeyondItsDeadlineSendsNothing(t *testing.T) {
	for _, limit := range []func(*Config){
		func(c *Config) { c.MaxInFlight = 1 },
		func(c *Config) { c.MaxRate = 0.5 },
	} {
		synctest.Test(t, func(t *testing.T) {
			client, script := scripted(t, []step{after(10*time.Second, status(200))}, limit)
			var wg sync.WaitGroup
			wg.Go(func() { _, _, _ = sendWithin(t, client, 15*time.Second) })
			synctest.Wait()
			took, _, err := sendWithin(t, client, 300*time.Millisecond)
			f := fault.From(err)
			assert.Contains(t, []ongairv1.ErrorReason{busyReason, ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED}, f.Reason)
			assert.Equal(t, fault.EffectNone, f.Effect)
			assert.LessOrEqual(t, took, 300*time.Millisecond)
			wg.Wait()
			n, _ := script.posts()
			assert.Equal(t, 1, n)
		})
	}
}

func TestTheCircuitOpensOnFailuresAndClosesOnRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{status(500)})
		together(t, client, circuitFailures, 15*time.Second)
		script.posts()

		took, _, err := sendWithin(t, client, 15*time.Second)
		f := requireFault(t, err, circuitReason, fault.EffectNone)
		assert.Equal(t, circuitOpenFor, f.RetryAfter)
		assert.Zero(t, took)
		n, _ := script.posts()
		assert.Zero(t, n, "an open circuit must send nothing")

		time.Sleep(circuitOpenFor + time.Millisecond)
		together(t, client, 10, 15*time.Second)
		n, _ = script.posts()
		assert.LessOrEqual(t, n, circuitProbes, "only a few calls probe")
		assert.NotZero(t, n)
		_, _, err = sendWithin(t, client, 15*time.Second)
		requireFault(t, err, circuitReason, fault.EffectNone)

		script.then(status(200))
		time.Sleep(circuitOpenFor + time.Millisecond)
		for range 30 {
			_, _, err := sendWithin(t, client, 15*time.Second)
			require.NoError(t, err)
		}
	})
}

func TestFailuresThatOpenTheCircuit(t *testing.T) {
	for name, tt := range map[string]struct {
		step    step
		timeout time.Duration
		opens   bool
	}{
		"no connection":                {refusedConnection, 15 * time.Second, true},
		"connections that break":       {brokenConnection, 15 * time.Second, true},
		"failures":                     {status(502), 15 * time.Second, true},
		"throttles":                    {status(429), 15 * time.Second, true},
		"503 with a delay":             {status(503, "1"), 15 * time.Second, true},
		"503 without a delay":          {status(503), 15 * time.Second, true},
		"invalid answers":              {nonsenseAnswer, 15 * time.Second, true},
		"an Ongair that never answers": {hangingConnection, 15 * time.Second, true},
		"success":                      {status(200), 15 * time.Second, false},
		"refusals":                     {status(422), 15 * time.Second, false},
		"a wrong token":                {status(401), 15 * time.Second, false},
		"a wrong base URL":             {status(301), 15 * time.Second, false},
		"a short deadline":             {hangingConnection, time.Second, false},
		"a deadline of 100 ms":         {after(time.Second, status(200)), 100 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, script := scripted(t, []step{tt.step})
				client.tries = 1
				together(t, client, circuitFailures, tt.timeout)
				script.posts()
				_, _, err := sendWithin(t, client, tt.timeout)
				n, _ := script.posts()
				if tt.opens {
					requireFault(t, err, circuitReason, fault.EffectNone)
					assert.Zero(t, n)
					return
				}
				assert.NotZero(t, n)
			})
		})
	}
}

func TestTheCircuitStaysClosedIfSomeCallsSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, nil)
		for i := range 10 * circuitFailures {
			script.then(status(500))
			if i%circuitFailures == 0 {
				script.then(status(200))
			}
			_, _, _ = sendWithin(t, client, 15*time.Second)
		}
		n, _ := script.posts()
		assert.Equal(t, 10*circuitFailures, n)
	})
}

func TestACallThatPanicsReleasesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{func(*http.Request) (*http.Response, error) { panic("a defect") }},
			func(c *Config) { c.MaxInFlight = 1 })
		assert.Panics(t, func() { _, _ = client.Send(context.Background(), Text{}) })
		script.then(status(200))
		_, _, err := sendWithin(t, client, 15*time.Second)
		require.NoError(t, err)
	})
}

func TestNegativeLimitsAreRejected(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.MaxInFlight = -1 },
		func(c *Config) { c.MaxRate = -0.1 },
	} {
		config := Config{BaseURL: "http://ongair.test", Token: testToken}
		change(&config)
		_, err := New(config)
		assert.ErrorContains(t, err, "negative")
	}
}
