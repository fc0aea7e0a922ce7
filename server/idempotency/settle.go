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
	// settleTimeout bounds the retries for one key. Most outages of a log are shorter.
	settleTimeout = 5 * time.Minute
	// settleDelay is the pause between two attempts.
	settleDelay = inFlightDelay
	// stopTimeout bounds Wait. The last attempt may begin storeTimeout before its end.
	stopTimeout = 2 * storeTimeout
	// maxSettling bounds the keys that are retried at a time. Each takes 8 to 12 KiB with its
	// goroutine and its response, which is two ids of at most 256 bytes. In an outage several
	// hundred claims a second fail. They may take maxFreeing of it. The rest is for calls that
	// may have had an effect.
	maxSettling = 10_000
	maxFreeing  = maxSettling / 2
)

var (
	errTooManySettling = errors.New("too many are being settled")
	errReplaced        = errors.New("the claim was replaced by another record")
)

// settlement is an outcome that is to be stored in place of its claim. Its fields do not
// change.
type settlement struct {
	name string
	// claim is the id of the claim. last is its revision if the call was made. Otherwise the
	// claim may be stored or not, and last is the revision that it expects of the key.
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

// settle stores the outcome of a claim in the background. It retries until the outcome is
// stored, or until the claim neither is stored nor can be stored later. It drops the outcome
// after settleTimeout, or if too many keys are retried.
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
		case <-ctx.Done(): // one last attempt
		}
		err = s.trySettle(x)
	}
	return err
}

// trySettle writes the outcome over the claim, or in its place. If that succeeds, the claim can
// no longer be stored, because its key has another revision than it expects. If it conflicts,
// the stored record decides what to do.
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
		return conflict // a record that cannot be read yet, possibly the claim
	}
	return x.replaced()
}

// lost reports whether the log has lost the claim of a call that may have had an effect,
// because it was restored from an older copy. Then the key is as free as before the claim, and
// another call could claim it. A free key with a later revision was deleted by an operator and
// stays free.
func (x *settlement) lost(there record, sequence uint64) bool {
	return there.State == stateFree && sequence < x.last && x.outcome.State != stateFree
}

// replaced returns the result for a claim that another record has replaced. That record stays.
// For a call without an effect it is a success, because its claim is gone.
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

// outcomeOf returns the outcome that is being stored for a key, or nil. If that outcome frees
// the key, outcomeOf waits for the first attempt to store it.
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

// logRest logs the number of outcomes dropped since the last such line.
func (s *Store) logRest() {
	if suppressed := s.unsettled.Reset(); suppressed > 0 {
		s.logger.Error(unsettledText, "suppressed", suppressed)
	}
}
