package idempotency

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ongair/ongair-gateway/server/storage"
)

const (
	// settleTimeout bounds the retries for one key. Most outages of the log are shorter than
	// this.
	settleTimeout = 5 * time.Minute
	// settleDelay is the pause between two attempts.
	settleDelay = inFlightDelay
	// stopTimeout is the maximum duration of Wait. The last attempt begins at the latest
	// storeTimeout before Wait ends.
	stopTimeout = 2 * storeTimeout
	// maxSettling bounds the keys that are retried at a time. Each such key takes 8 to 12 KiB of
	// memory for its goroutine and its response. A response consists of two ids of at most 256
	// bytes each. In an outage several hundred claims a second fail. At most maxFreeing of the
	// retried keys may come from failed claims. The remaining places are for calls that may have
	// had an effect.
	maxSettling = 10_000
	maxFreeing  = maxSettling / 2
)

var (
	errTooManySettling = errors.New("too many are being settled")
	errReplaced        = errors.New("the claim was replaced by another record")
)

// settlement is an outcome that will replace its claim in the storage. It is immutable.
type settlement struct {
	name string
	// claim is the id of the claim. If the call was made, last is the revision of the claim. If
	// it was not made, it is unknown whether the claim is stored, and last is the revision that
	// the key must have for the claim to be stored.
	claim string
	last  uint64
	made  bool
	// outcome is the record to store.
	outcome record
	// tried is closed after the first attempt.
	tried chan struct{}
}

func newSettlement(name string, claim record, last uint64, made bool, outcome record) *settlement {
	return &settlement{name: name, claim: claim.ID, last: last, made: made, outcome: outcome, tried: make(chan struct{})}
}

// settle stores the outcome of a claim in the background. It retries until one of two things is
// certain: the outcome is stored, or the claim is not stored and cannot be stored any more. It
// gives up after settleTimeout, or at once if too many keys are already being retried.
func (s *Store) settle(x *settlement) {
	s.mu.Lock()
	s.settling[x.name] = append(s.settling[x.name], x)
	s.mu.Unlock()
	s.storing.Go(func() {
		err := s.trySettle(x)
		close(x.tried)
		if err != nil {
			err = s.retrySettling(x, err)
		}
		s.endSettling(x)
		if err != nil {
			s.logUnsettled(x, err)
		}
	})
}

// retrySettling retries after a first attempt that failed with err.
func (s *Store) retrySettling(x *settlement, err error) error {
	if !s.beginRetrying(x) {
		return fmt.Errorf("%w: %w", errTooManySettling, err)
	}
	defer s.endRetrying()
	ctx, cancel := context.WithTimeout(s.open, settleTimeout)
	defer cancel()
	for err != nil && !errors.Is(err, errReplaced) && ctx.Err() == nil {
		select {
		case <-time.After(settleDelay):
		case <-ctx.Done(): // do not wait any longer, and make one last attempt
		}
		err = s.trySettle(x)
	}
	return err
}

// trySettle writes the outcome. If the claim is stored, the outcome overwrites it. If not, the
// outcome takes the revision at which the claim would be stored, so that the claim can no longer
// be stored. If the write conflicts with another record, trySettle reads that record and acts
// accordingly.
func (s *Store) trySettle(x *settlement) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	_, err := s.write(ctx, x.name, x.outcome, x.last)
	if !errors.Is(err, storage.ErrConflict) {
		return err
	}
	conflict := err
	there, sequence, err := s.read(ctx, x.name)
	switch {
	case errors.Is(err, errMalformed):
		return x.replaced()
	case err != nil:
		return err
	case there.ID == x.outcome.ID:
		return nil
	case there.ID == x.claim, x.lost(there, sequence):
		_, err = s.write(ctx, x.name, x.outcome, sequence)
		return err
	case sequence == x.last:
		return conflict // with a record that cannot be read yet; it may be the claim
	}
	return x.replaced()
}

// lost reports whether the log was restored from a copy that is older than the claim, and so has
// lost the claim of a call that may have had an effect. The key then looks free, so another call
// could claim it. If the key is free at a later revision than the claim's, an operator has
// deleted the record. Then the key stays free.
func (x *settlement) lost(there record, sequence uint64) bool {
	return there.State == stateFree && sequence < x.last && x.outcome.State != stateFree
}

// replaced returns the result of trySettle if another record has replaced the claim. That record
// is kept. If the call had no effect, the result is nil (success), because only the claim had to
// be removed.
func (x *settlement) replaced() error {
	if x.outcome.State == stateFree {
		return nil
	}
	return errReplaced
}

// beginRetrying counts a key that is retried. It returns false if there are too many.
func (s *Store) beginRetrying(x *settlement) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := maxSettling
	if x.outcome.State == stateFree {
		limit = maxFreeing
	}
	if s.retrying >= limit {
		return false
	}
	s.retrying++
	return true
}

func (s *Store) endRetrying() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retrying--
}

func (s *Store) endSettling(x *settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(s.settling[x.name], func(other *settlement) bool { return other == x })
	if len(rest) == 0 {
		delete(s.settling, x.name)
		return
	}
	s.settling[x.name] = rest
}

// outcomeOf returns the outcome that is being stored for a key. It returns nil if there is none,
// or if that outcome frees the key. If it frees the key after a call, outcomeOf first waits for
// the first attempt to store it.
func (s *Store) outcomeOf(ctx context.Context, name string) *record {
	for _, x := range s.settlingOf(name) {
		if x.outcome.State != stateFree {
			return &x.outcome
		}
		if !x.made {
			continue
		}
		select {
		case <-x.tried:
		case <-ctx.Done():
		}
	}
	return nil
}

// settlingOf returns the outcomes of a key that are being stored.
func (s *Store) settlingOf(name string) []*settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.settling[name])
}

// unsettledText is the log message for a dropped outcome.
const unsettledText = "could not store the outcome of a call; if its claim is stored, its request_id will be answered with OUTCOME_UNKNOWN"

// logUnsettled logs a dropped outcome, at most once per logInterval.
func (s *Store) logUnsettled(x *settlement, err error) {
	if suppressed, ok := s.unsettled.Allow(); ok {
		s.logger.Error(unsettledText, "state", x.outcome.State, "error", err, "suppressed", suppressed)
	}
}

// logRest logs how many outcomes were dropped since the last line about dropped outcomes, if any.
func (s *Store) logRest() {
	if suppressed := s.unsettled.Reset(); suppressed > 0 {
		s.logger.Error(unsettledText, "suppressed", suppressed)
	}
}
