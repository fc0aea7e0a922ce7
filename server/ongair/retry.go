package ongair

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	// maxTries bounds the tries of one call, including the first.
	maxTries = 4
	// firstBackoff is the first pause if Ongair advises none. Each pause is twice the one before,
	// less jitter: 100, 200 and 400 ms. A call thus outlives the restart of a proxy.
	firstBackoff = 100 * time.Millisecond
	// minTryTime is how much of a call's deadline must remain after a pause. With less, a try could
	// not be answered in time.
	minTryTime = 500 * time.Millisecond
)

// call makes one call. It retries only after a try that certainly had no effect, and only if there
// was no connection or a throttle with a valid Retry-After. It does not retry beyond the deadline
// of ctx or the channel's retry budget.
func (c *Client) call(ctx context.Context, r request) (answer, error) {
	for retries := 0; ; retries++ {
		a, got, err := c.try(ctx, r)
		if err == nil {
			c.budget.earn()
			return a, nil
		}
		pause, ok := c.pause(got, fault.From(err), retries)
		if !ok || !fits(ctx, pause) || !c.budget.spend() {
			return answer{}, err
		}
		c.log.LogAttrs(ctx, slog.LevelDebug, "retrying the call to Ongair; nothing was sent",
			slog.String("reason", fault.ReasonName(fault.From(err).Reason)), slog.Duration("pause", pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return answer{}, c.broken(ctx, fault.EffectNone, err)
		}
	}
}

// pause returns how long to wait before the next try. It returns false if a retry is not allowed or
// would not help.
func (c *Client) pause(got reply, f *fault.Fault, retries int) (time.Duration, bool) {
	if f.Effect != fault.EffectNone || retries+1 >= c.tries {
		return 0, false
	}
	switch f.Reason {
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_UNREACHABLE:
		backoff := firstBackoff << retries
		return backoff/2 + jitter(backoff/2), true
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED:
		// Without a Retry-After the caller decides, because it knows how urgent the call is.
		if _, advised := retryAfter(got.header, time.Now()); !advised {
			return 0, false
		}
		// Jitter only adds to the advice.
		return f.RetryAfter + jitter(f.RetryAfter/4), true
	default:
		return 0, false
	}
}

// jitter returns a random part of d, so that calls that fail together are not retried together.
func jitter(d time.Duration) time.Duration {
	return rand.N(d + 1) //nolint:gosec // it need not be unpredictable
}

// fits reports whether ctx leaves time for a try after a pause.
func fits(ctx context.Context, pause time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= pause+minTryTime
}

// A retry costs as many tokens as ten successful calls earn. The scheme and the ratio are those of
// gRPC's throttling of retries (its proposal A6).
const (
	retryCost = 10
	maxTokens = 10 * retryCost
)

// retryBudget bounds the retries of a channel in proportion to its calls: a burst of 10, and then
// one for every 10 successful calls. This keeps retries from overloading an Ongair that recovers.
// It is safe for concurrent use.
type retryBudget struct {
	// spent is how many of maxTokens are spent.
	spent atomic.Int64
}

func (b *retryBudget) earn() {
	for {
		spent := b.spent.Load()
		if spent == 0 || b.spent.CompareAndSwap(spent, spent-1) {
			return
		}
	}
}

// spend takes the tokens for a retry. It returns false if too few are left.
func (b *retryBudget) spend() bool {
	for {
		spent := b.spent.Load()
		if spent+retryCost > maxTokens {
			return false
		}
		if b.spent.CompareAndSwap(spent, spent+retryCost) {
			return true
		}
	}
}
