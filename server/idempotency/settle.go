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
	// settleTimeout bounds how long a key is being settled: most outages of a log are
	// over by then.
	settleTimeout = 5 * time.Minute
	// settleDelay is the pause between two tries: as long as callers are told to wait.
	settleDelay = inFlightDelay
	// stopTimeout bounds Wait: the last try may begin storeTimeout before its end.
	stopTimeout = 2 * storeTimeout
	// maxSettling bounds the keys that are tried again at the same time. Each takes 8 to 12
	// KiB with its goroutine and its response, which is two ids of Ongair's, of 256 bytes at
	// most. Several hundred claims a second fail in an outage, and may take maxFreeing of
	// that: the rest is for calls that may have had an effect.
	maxSettling = 10_000
	maxFreeing  = maxSettling / 2
)

var (
	errTooManySettling = errors.New("too many are being settled")
	errReplaced        = errors.New("the claim was replaced by another record")
)

// settlement is a key whose outcome is to be stored in place of its claim. Its fields do
// not change.
type settlement struct {
	name string
	// claim is the id of the claim. last is its revision if the call was made, and otherwise
	// the revision that it expected of its key: it may be stored or not.
	claim string
	last  uint64
	made  bool
	// outcome is the record to store.
	outcome record
	// tried is closed after the first try.
	tried chan struct{}
}

func newSettlement(name string, claim record, last uint64, made bool, outcome record) *settlement {
	return &settlement{name: name, claim: claim.ID, last: last, made: made, outcome: outcome, tried: make(chan struct{})}
}

// settle tries in the background to store the outcome of a claim until it is stored, or
// nothing of the claim is there and none of it can be stored later. It gives up after
// settleTimeout, or when too many are tried again.
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

// retrySettling goes on after a first try that failed with err.
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
		case <-ctx.Done(): // and then once more
		}
		err = s.trySettle(x)
	}
	return err
}

// trySettle writes the outcome where the claim is, or would be. If that is stored, no
// part of the claim can be stored any more, since its key has another revision than it
// expects. If not, what is there tells.
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
		return conflict // with a record that cannot be read yet, which may be the claim
	}
	return x.replaced()
}

// lost reports whether the log has lost the claim of a call that may have had an effect,
// because it was restored from an older copy: the key is free, as it was before the
// claim, and another call would claim it. A free key with a later revision was deleted by
// an operator and stays free.
func (x *settlement) lost(there record, sequence uint64) bool {
	return there.State == stateFree && sequence < x.last && x.outcome.State != stateFree
}

// replaced is the result if another record is there, which stays. A call without an effect
// has no more to store then, because its claim is gone.
func (x *settlement) replaced() error {
	if x.outcome.State == stateFree {
		return nil
	}
	return errReplaced
}

// beginRetrying counts a key that is tried again, unless there are too many.
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

// outcomeOf returns the outcome of a call that is being stored, or nil. If it frees the
// key, outcomeOf waits for the first try to store it.
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

// settlingOf returns what is being settled of a key.
func (s *Store) settlingOf(name string) []*settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.settling[name])
}

// unsettledText says what becomes of a key that is given up.
const unsettledText = "could not store the outcome of a call; if its claim is stored, its request_id will be answered with OUTCOME_UNKNOWN"

// logUnsettled logs that a key is given up, from time to time.
func (s *Store) logUnsettled(x *settlement, err error) {
	if suppressed, ok := s.unsettled.Allow(); ok {
		s.logger.Error(unsettledText, "state", x.outcome.State, "error", err, "suppressed", suppressed)
	}
}

// logRest logs how many keys were given up since the last line about one.
func (s *Store) logRest() {
	if suppressed := s.unsettled.Reset(); suppressed > 0 {
		s.logger.Error(unsettledText, "suppressed", suppressed)
	}
}
