package ongair

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// DefaultMaxInFlight is the default bound of a channel's calls in flight to Ongair.
const DefaultMaxInFlight = 512

const (
	// maxWait bounds how long a call waits for its turn, by either limit. With a longer queue,
	// calls would be made after their callers have lost interest.
	maxWait = time.Second

	// circuitFailures is how many calls in a row must fail for the circuit to open. If Ongair still
	// answers some calls, the circuit stays closed for them. The count has no time window, because
	// calls to an Ongair that hangs would end after the window.
	circuitFailures = 20
	// circuitOpenFor is how long the circuit stays open. Then circuitProbes calls are allowed. The
	// circuit closes if all of them succeed, and opens again if one fails.
	circuitOpenFor = 5 * time.Second
	circuitProbes  = 3
	// slowCall is how long a call must run for its deadline or cancellation to count as a failure
	// of Ongair. Otherwise a caller with a deadline of 10 ms would open the circuit for all
	// callers.
	slowCall = 5 * time.Second
)

// guard enforces a channel's limits and has its circuit breaker. Each channel has its own, so that
// channels do not affect each other. It is safe for concurrent use.
type guard struct {
	turns   *turns
	caller  func(context.Context) string
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
}

// newGuard returns the guard of a channel.
func newGuard(config Config, log *slog.Logger) *guard {
	caller := config.Caller
	if caller == nil {
		caller = func(context.Context) string { return "" }
	}
	return &guard{
		turns:  newTurns(config.MaxInFlight, config.MaxRate),
		caller: caller,
		circuit: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Timeout:     circuitOpenFor,
			MaxRequests: circuitProbes,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= circuitFailures },
			IsExcluded:  func(err error) bool { return errors.Is(err, errNoVerdict) },
			OnStateChange: func(_ string, from, to gobreaker.State) {
				log.Warn("circuit breaker of the channel changed", "from", from.String(), "to", to.String())
			},
		}),
	}
}

// errNoVerdict is the result of a call that shows nothing about Ongair.
var errNoVerdict = errors.New("no verdict")

// admit waits for a call's turn. The caller MUST call settle once, with the result of verdict.
// Every error of admit is without an effect.
func (g *guard) admit(ctx context.Context) (settle func(verdict error), err error) {
	done, err := g.circuit.Allow()
	if err != nil {
		return nil, circuitOpen(err)
	}
	caller := g.caller(ctx)
	if late := g.turns.take(ctx, caller, maxWait); late != nil {
		done(errNoVerdict)
		return nil, busy(ctx, late)
	}
	return func(verdict error) {
		g.turns.release(caller)
		done(verdict)
	}, nil
}

// busy returns the fault of a call that got no turn.
func busy(ctx context.Context, late *limitError) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := newFault(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_BUSY, fault.EffectNone, 0,
		"the channel exceeds its limit; nothing was sent")
	f.Metadata = map[string]string{"limit": late.limit}
	f.RetryAfter = max(late.wait, time.Second)
	f.Cause = late
	return f
}

func circuitOpen(cause error) error {
	f := newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CIRCUIT_OPEN, fault.EffectNone, 0,
		"recent calls of the channel failed, so the circuit is open; nothing was sent")
	f.RetryAfter = circuitOpenFor
	f.Cause = cause
	return f
}

// verdict returns what a call shows about Ongair: nil if Ongair answered, errNoVerdict if the call
// was too short to judge, or the failure.
func verdict(err error, took time.Duration) error {
	if err == nil {
		return nil
	}
	switch fault.From(err).Reason {
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_TOKEN_REJECTED,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REDIRECTED:
		return nil // an answer, even if not a success
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
