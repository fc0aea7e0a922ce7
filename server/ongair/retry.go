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
	// maxTries bounds the tries of one call.
	maxTries = 4
	// firstBackoff is the first pause where Ongair names none; each is twice the one
	// before, less jitter: 100, 200 and 400 ms, so that a call outlives the restart of
	// a proxy.
	firstBackoff = 100 * time.Millisecond
	// minTryTime is what must be left of a call's deadline after a pause: less is no
	// time for a try whose answer is to be read.
	minTryTime = 500 * time.Millisecond
)

// call makes one call. It tries again only after a try of which is known that it
// sent nothing, and only where that may help: no connection, or a throttle that
// says for how long. It does not wait for what the deadline of ctx has no room
// for, nor beyond the channel's budget of retries.
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
		c.log.LogAttrs(ctx, slog.LevelDebug, "calling Ongair again, nothing was sent",
			slog.String("reason", fault.ReasonName(fault.From(err).Reason)), slog.Duration("pause", pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return answer{}, c.broken(ctx, fault.EffectNone, err)
		}
	}
}

// pause returns how long to wait after a failed try before the next one; false
// where there MUST NOT be one, or it would not help.
func (c *Client) pause(got reply, f *fault.Fault, retries int) (time.Duration, bool) {
	if f.Effect != fault.EffectNone || retries+1 >= c.tries {
		return 0, false
	}
	switch f.Reason {
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_UNREACHABLE:
		backoff := firstBackoff << retries
		return backoff/2 + jitter(backoff/2), true
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED:
		// One that names no delay is left to the caller, who knows whether it is urgent.
		if _, advised := retryAfter(got.header, time.Now()); !advised {
			return 0, false
		}
		// Never earlier than it says.
		return f.RetryAfter + jitter(f.RetryAfter/4), true
	default:
		return 0, false
	}
}

// jitter returns a random part of d, so that those that fail together do not come
// back together.
func jitter(d time.Duration) time.Duration {
	return rand.N(d + 1) //nolint:gosec // it need not be unpredictable
}

// fits reports whether ctx leaves time for a try after a pause.
func fits(ctx context.Context, pause time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= pause+minTryTime
}

// Tokens of a retryBudget: a retry costs as much as ten calls that went well earn.
// It is gRPC's own scheme for throttling retries (its proposal A6), with its
// recommended ratio.
const (
	retryCost = 10
	maxTokens = 10 * retryCost
)

// retryBudget keeps the retries of a channel in proportion to its calls: after a
// burst of 10, one for every 10 calls that went well. An Ongair that is down gets
// no more from retries than it can stand when it comes back. It is safe for
// concurrent use.
type retryBudget struct {
	// spent is how many of maxTokens are gone.
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

// spend takes the tokens for a retry; false where they are not there.
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
