package ongair

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// DefaultMaxInFlight is how many calls of a channel may be with Ongair at once.
const DefaultMaxInFlight = 512

const (
	// maxWait bounds how long a call waits for its turn, by either limit. A longer
	// queue would be older than what its callers still want.
	maxWait = time.Second

	// circuitFailures is how many calls in a row have to fail for the circuit to open:
	// an Ongair that answers some of them is left to answer those. There is no window
	// of time, in which calls to one that hangs would end after it had passed.
	circuitFailures = 20
	// circuitOpenFor is how long it stays open. Then circuitProbes calls are let
	// through: it closes when all of them go well, and opens again when one fails.
	circuitOpenFor = 5 * time.Second
	circuitProbes  = 3
	// slowCall is how long Ongair must have had a call for its deadline, or its
	// caller's patience, to count as Ongair's failure. Otherwise a caller who waits
	// for 10 ms would open the circuit for everybody.
	slowCall = 5 * time.Second
)

// guard keeps a channel from flooding its Ongair, and from waiting for one that is
// down. Each channel has its own, so that none suffers for another. It is safe for
// concurrent use.
type guard struct {
	inFlight *semaphore.Weighted
	rate     *rate.Limiter
	circuit  *gobreaker.TwoStepCircuitBreaker[struct{}]
}

// newGuard returns a guard; a maxRate of 0 means no rate.
func newGuard(maxInFlight int, maxRate float64, log *slog.Logger) *guard {
	limit, burst := rate.Inf, 0
	if maxRate > 0 {
		limit, burst = rate.Limit(maxRate), max(1, int(maxRate))
	}
	return &guard{
		inFlight: semaphore.NewWeighted(int64(maxInFlight)),
		rate:     rate.NewLimiter(limit, burst),
		circuit: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Timeout:     circuitOpenFor,
			MaxRequests: circuitProbes,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= circuitFailures },
			IsExcluded:  func(err error) bool { return errors.Is(err, errNoVerdict) },
			OnStateChange: func(_ string, from, to gobreaker.State) {
				log.Warn("the circuit to Ongair changed", "from", from.String(), "to", to.String())
			},
		}),
	}
}

// errNoVerdict is the result of a call that says nothing about Ongair.
var errNoVerdict = errors.New("no verdict")

// admit waits for a call's turn. settle MUST be called once, with the result of
// the call as verdict has it. Every error is a fault without an effect.
func (g *guard) admit(ctx context.Context) (settle func(verdict error), err error) {
	done, err := g.circuit.Allow()
	if err != nil {
		return nil, circuitOpen(err)
	}
	begin := time.Now()
	if err := g.enter(ctx); err != nil {
		done(errNoVerdict)
		return nil, g.turnedAway(ctx, "in_flight", maxWait, err)
	}
	settle = func(verdict error) {
		g.inFlight.Release(1)
		done(verdict)
	}
	if wait, err := g.pace(ctx, begin.Add(maxWait)); err != nil {
		settle(errNoVerdict)
		return nil, g.turnedAway(ctx, "rate", wait, err)
	}
	return settle, nil
}

// enter waits for a call's turn among those in flight, up to maxWait.
func (g *guard) enter(ctx context.Context) error {
	if g.inFlight.TryAcquire(1) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	return g.inFlight.Acquire(ctx, 1)
}

// errNoTime says that a call's turn comes too late.
var errNoTime = errors.New("its turn comes too late")

// pace waits for a call's turn by the rate, until a time at most. Where it fails it
// returns when a turn would have come.
func (g *guard) pace(ctx context.Context, until time.Time) (wait time.Duration, err error) {
	if g.rate.Limit() == rate.Inf {
		return 0, nil
	}
	turn := g.rate.Reserve()
	wait = turn.Delay()
	if wait == 0 {
		return 0, nil
	}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	if time.Until(until) < wait {
		turn.Cancel()
		return wait, errNoTime
	}
	select {
	case <-time.After(wait):
		return 0, nil
	case <-ctx.Done():
		turn.Cancel()
		return wait, ctx.Err()
	}
}

// turnedAway is the fault of a call whose turn did not come.
func (g *guard) turnedAway(ctx context.Context, limit string, wait time.Duration, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := newFault(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_BUSY, fault.EffectNone, 0,
		"the channel has more calls than it may make; nothing was sent")
	f.Metadata = map[string]string{"limit": limit}
	f.RetryAfter = max(wait, time.Second)
	f.Cause = cause
	return f
}

func circuitOpen(cause error) error {
	f := newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CIRCUIT_OPEN, fault.EffectNone, 0,
		"the channel's last calls to Ongair all failed, so this one was not made; nothing was sent")
	f.RetryAfter = circuitOpenFor
	f.Cause = cause
	return f
}

// verdict returns what a call that took some time says about Ongair: nil where it
// answered, errNoVerdict where the call was too short to tell, or the failure.
func verdict(err error, took time.Duration) error {
	if err == nil {
		return nil
	}
	switch fault.From(err).Reason {
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_TOKEN_REJECTED,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REDIRECTED:
		return nil // an answer, if not the one that was hoped for
	case ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED,
		ongairv1.ErrorReason_ERROR_REASON_CANCELLED:
		if took < slowCall {
			return errNoVerdict
		}
	case ongairv1.ErrorReason_ERROR_REASON_INTERNAL:
		return errNoVerdict
	default:
	}
	return err
}
