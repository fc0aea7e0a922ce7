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
	caller := g.caller(ctx)
	if late := g.turns.take(ctx, caller, maxWait); late != nil {
		done(errNoVerdict)
		return nil, turnedAway(ctx, late)
	}
	return func(verdict error) {
		g.turns.give(caller)
		done(verdict)
	}, nil
}

// turnedAway is the fault of a call whose turn did not come.
func turnedAway(ctx context.Context, late *limitError) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := newFault(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_BUSY, fault.EffectNone, 0,
		"the channel has more calls than it may make; nothing was sent")
	f.Metadata = map[string]string{"limit": late.limit}
	f.RetryAfter = max(late.wait, time.Second)
	f.Cause = late
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
