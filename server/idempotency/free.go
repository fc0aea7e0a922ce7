package idempotency

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/ongair/ongair-gateway/server/storage"
)

const (
	// freeTimeout bounds how long a claim is tried to be freed: most outages of a log are
	// over by then.
	freeTimeout = 5 * time.Minute
	// freeDelay is the pause between two tries: as long as callers are told to wait.
	freeDelay = inFlightDelay
	// maxFreeing bounds the claims that are being freed at once, of some KiB each: several
	// hundred a second fail in an outage.
	maxFreeing = 10_000
)

// free frees a key of a claim whose call nobody makes: a call that was never begun, or
// one that had no effect. last is what the claim expected of its key, or its revision.
// It tries until it knows that no such claim is there, and that none will be; after Wait
// once more.
func (s *Store) free(name string, claim record, last uint64) {
	err := s.beginFreeing(claim.ID)
	if err == nil {
		defer s.endFreeing(claim.ID)
		err = s.tryToFree(name, claim, last)
	}
	if err != nil {
		s.logger.Error("could not free the request_id of a call that sent nothing; if its claim was stored, it will be answered with OUTCOME_UNKNOWN",
			"error", err)
	}
}

func (s *Store) tryToFree(name string, claim record, last uint64) error {
	ctx, cancel := context.WithTimeout(s.open, freeTimeout)
	defer cancel()
	for {
		err := s.freeOnce(name, claim, last)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(freeDelay):
		case <-ctx.Done(): // and then once more
		}
	}
}

// freeOnce writes a free record where the claim would be. If that is stored, the claim
// was not, and cannot be any more, since its key has another revision than it expects:
// whatever still has it on its way. If not, what is there tells.
func (s *Store) freeOnce(name string, claim record, last uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	free := record{ID: rand.Text(), State: stateFree, Fingerprint: claim.Fingerprint}
	_, conflict := s.write(ctx, name, free, last)
	if !errors.Is(conflict, storage.ErrConflict) {
		return conflict
	}
	there, sequence, err := s.read(ctx, name)
	switch {
	case errors.Is(err, errMalformed):
		return nil // not the claim
	case err != nil:
		return err
	case there.ID == claim.ID:
		_, err = s.write(ctx, name, free, sequence)
		return err
	case sequence == last:
		return conflict // with one that cannot be read yet, which may be the claim
	}
	return nil // another's
}

var errTooManyFreeing = errors.New("too many are being freed")

func (s *Store) beginFreeing(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.freeing) >= maxFreeing {
		return errTooManyFreeing
	}
	s.freeing[id] = struct{}{}
	return nil
}

func (s *Store) endFreeing(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.freeing, id)
}

func (s *Store) isFreeing(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.freeing[id]
	return ok
}
