package ongair

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	throttledReason = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED
	circuitReason   = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CIRCUIT_OPEN
	busyReason      = ongairv1.ErrorReason_ERROR_REASON_CHANNEL_BUSY
)

// step answers a POST.
type step func(*http.Request) (*http.Response, error)

// refusedConnection fails before anything is written.
func refusedConnection(r *http.Request) (*http.Response, error) {
	httptrace.ContextClientTrace(r.Context()).GetConn(r.Host)
	return nil, errors.New("connection refused")
}

// brokenConnection fails after the request is written.
func brokenConnection(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	trace.GetConn(r.Host)
	trace.WroteHeaders()
	return nil, io.ErrUnexpectedEOF
}

func hangingConnection(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	trace.GetConn(r.Host)
	trace.WroteHeaders()
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// status returns a step that answers with a status and optional Retry-After headers.
func status(code int, retryAfter ...string) step {
	return func(*http.Request) (*http.Response, error) {
		body := answerSent
		if code/100 != 2 {
			body = `{"error":"no"}`
		}
		return &http.Response{
			StatusCode:    code,
			Header:        http.Header{"Retry-After": retryAfter},
			ContentLength: -1,
			Body:          io.NopCloser(strings.NewReader(body)),
		}, nil
	}
}

// script is a transport that runs its steps in turn, repeats the last one, and records the times. It
// has no sockets, so that tests can use virtual time.
type script struct {
	mu    sync.Mutex
	steps []step
	at    []time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	do := s.steps[0]
	if len(s.steps) > 1 {
		s.steps = s.steps[1:]
	}
	s.at = append(s.at, time.Now())
	s.mu.Unlock()
	return do(r)
}

// then replaces the steps.
func (s *script) then(steps ...step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = steps
}

// posts returns the number of POSTs since the previous posts, and the pauses between them.
func (s *script) posts() (n int, pauses []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 1; i < len(s.at); i++ {
		pauses = append(pauses, s.at[i].Sub(s.at[i-1]))
	}
	n, s.at = len(s.at), nil
	return n, pauses
}

// scripted returns a client of steps that retries as in the gateway.
func scripted(t *testing.T, steps []step, change ...func(*Config)) (*Client, *script) {
	t.Helper()
	s := &script{steps: steps}
	client := newClient(t, "http://ongair.test", append(change, func(c *Config) { c.Transport = s })...)
	client.tries = maxTries
	return client, s
}

// sendWithin sends with a timeout and returns the duration.
func sendWithin(t *testing.T, client *Client, timeout time.Duration) (time.Duration, Receipt, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	begin := time.Now()
	receipt, err := client.Send(ctx, Text{ExternalID: testContact, Text: testText})
	return time.Since(begin), receipt, err
}

func TestACallWithoutAConnectionIsRetriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{refusedConnection, refusedConnection, refusedConnection, status(200)})
		_, receipt, err := sendWithin(t, client, 15*time.Second)
		require.NoError(t, err)
		assert.Equal(t, "35345432", receipt.ID)
		_, pauses := script.posts()
		require.Len(t, pauses, 3)
		for i, pause := range pauses {
			longest := 100 * time.Millisecond << i
			assert.LessOrEqual(t, pause, longest+1)
			assert.GreaterOrEqual(t, pause, longest/2)
		}
	})
}

func TestBackoffIsJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		for range 10 {
			client, script := scripted(t, []step{refusedConnection, status(200)})
			_, _, err := sendWithin(t, client, 15*time.Second)
			require.NoError(t, err)
			_, pauses := script.posts()
			seen[pauses[0]] = true
		}
		assert.Greater(t, len(seen), 5, "calls that fail together must not be retried together")
	})
}

func TestACallIsTriedAtMostFourTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{refusedConnection})
		_, _, err := sendWithin(t, client, time.Minute)
		f := requireFault(t, err, unreachable, fault.EffectNone)
		assert.Equal(t, time.Second, f.RetryAfter)
		n, _ := script.posts()
		assert.Equal(t, 4, n)
	})
}

func TestAThrottledCallWaitsForRetryAfter(t *testing.T) {
	for _, code := range []int{429, 503} {
		synctest.Test(t, func(t *testing.T) {
			client, script := scripted(t, []step{status(code, "2"), status(200)})
			_, _, err := sendWithin(t, client, 15*time.Second)
			require.NoError(t, err)
			_, pauses := script.posts()
			require.Len(t, pauses, 1)
			assert.GreaterOrEqual(t, pauses[0], 2*time.Second)
			assert.LessOrEqual(t, pauses[0], 2500*time.Millisecond)
		})
	}
}

func TestACallDoesNotWaitForADelayBeyondItsDeadline(t *testing.T) {
	for name, tt := range map[string]struct {
		step    step
		timeout time.Duration
		reason  ongairv1.ErrorReason
	}{
		"a throttle for a minute":          {status(429, "60"), 15 * time.Second, throttledReason},
		"a throttle that leaves no time":   {status(503, "2"), 2400 * time.Millisecond, throttledReason},
		"no connection, with 500 ms left":  {refusedConnection, 500 * time.Millisecond, unreachable},
		"a throttle without a delay":       {status(429), 15 * time.Second, throttledReason},
		"a throttle with an invalid delay": {status(429, "soon"), 15 * time.Second, throttledReason},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, script := scripted(t, []step{tt.step})
				took, _, err := sendWithin(t, client, tt.timeout)
				f := requireFault(t, err, tt.reason, fault.EffectNone)
				assert.NotZero(t, f.RetryAfter, "the caller may retry later")
				assert.Zero(t, took)
				n, _ := script.posts()
				assert.Equal(t, 1, n)
			})
		})
	}
}

func TestACallThatMayHaveHadAnEffectIsNotRetried(t *testing.T) {
	for name, tt := range map[string]struct {
		step  step
		posts int
	}{
		"500":                            {status(500), 1},
		"502":                            {status(502, "1"), 1},
		"503":                            {status(503), 1},
		"503 with an invalid delay":      {status(503, "soon"), 1},
		"503 with a negative delay":      {status(503, "-1"), 1},
		"503 with a fraction":            {status(503, "0.5"), 1},
		"503 with an empty delay":        {status(503, ""), 1},
		"504":                            {status(504, "1"), 1},
		"408":                            {status(408, "1"), 1},
		"a redirect":                     {status(302, "1"), 1},
		"a rejected call":                {status(422, "1"), 1},
		"a token rejected in both forms": {status(401, "1"), 2},
		"an invalid status":              {status(600, "1"), 1},
		"a connection that broke":        {brokenConnection, 1},
		"an expired deadline":            {hangingConnection, 1},
		"a truncated answer":             {brokenAnswer, 1},
		"an answer that is not JSON":     {nonsenseAnswer, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, script := scripted(t, []step{tt.step})
				_, _, err := sendWithin(t, client, 15*time.Second)
				require.Error(t, err)
				n, _ := script.posts()
				assert.Equal(t, tt.posts, n)
			})
		})
	}
}

func brokenAnswer(r *http.Request) (*http.Response, error) {
	response, _ := status(200)(r)
	response.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"sent":`), failingReader{}))
	return response, nil
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func nonsenseAnswer(r *http.Request) (*http.Response, error) {
	response, _ := status(200, "1")(r)
	response.Body = io.NopCloser(strings.NewReader("<html>"))
	return response, nil
}

func TestACallThatIsCancelledBeforeARetrySentNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{status(429, "5"), status(200)})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		begin := time.Now()
		time.AfterFunc(2*time.Second, cancel)
		_, err := client.Send(ctx, Text{ExternalID: testContact, Text: testText})
		requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CANCELLED, fault.EffectNone)
		assert.Equal(t, 2*time.Second, time.Since(begin))
		n, _ := script.posts()
		assert.Equal(t, 1, n)
	})
}

func TestRetriesStayInProportionToCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(t, []step{status(200)})
		flapping := func(calls int) (retries int) {
			for range calls {
				script.then(refusedConnection, status(200))
				_, _, _ = sendWithin(t, client, 15*time.Second)
			}
			n, _ := script.posts()
			return n - calls
		}
		// The budget starts with ten retries, and the successful calls add one.
		assert.Equal(t, 11, flapping(20))
		assert.Zero(t, flapping(5))
		script.then(status(200))
		for range 50 {
			_, _, err := sendWithin(t, client, 15*time.Second)
			require.NoError(t, err)
		}
		script.posts()
		assert.Equal(t, 5, flapping(10))
	})
}
