package idempotency

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/ongair/ongair-gateway/server/storage"
)

// claim makes the claim, or returns the record that is there. Where it fails, nobody
// makes the claim's call, and a claim that was stored all the same is freed.
func (s *Store) claim(ctx context.Context, name string, claim record) (revision uint64, earlier *record, err error) {
	var last uint64 // of the key, as far as is known
	tried := false
	defer func() {
		if err != nil && tried {
			s.settle(newSettlement(name, claim, last, false,
				record{ID: rand.Text(), State: stateFree, Fingerprint: claim.Fingerprint}))
		}
	}()
	for range claimAttempts {
		if there := s.outcomeOf(ctx, name); there != nil {
			return 0, there, nil
		}
		if err := s.ready(ctx); err != nil {
			return 0, nil, unavailable(err)
		}
		tried = true
		revision, err := s.tryClaim(ctx, name, claim, last)
		if err == nil {
			return revision, nil, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return 0, nil, unavailable(err)
		}
		// Before the read, after which a claim may be settled that is read.
		settling := s.settlingOf(name)
		there, sequence, err := s.read(ctx, name)
		if err != nil {
			return 0, nil, unavailable(err)
		}
		if there.ID == claim.ID {
			return sequence, nil, nil // it was in its own way
		}
		for _, x := range settling {
			switch {
			case x.claim != there.ID:
			case x.outcome.State == stateFree:
				return 0, nil, inFlight()
			default:
				return 0, &x.outcome, nil
			}
		}
		if there.State != stateFree {
			return 0, &there, nil
		}
		last = sequence
	}
	// Others keep claiming it and failing without effect: for this caller that is the
	// same as a call that is running.
	return 0, nil, inFlight()
}

// ready fails where nothing can be written.
func (s *Store) ready(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return context.Cause(s.writable())
}

// tryClaim writes a claim and waits for it no longer than ctx. Where it fails, the claim
// may be stored all the same, also later.
func (s *Store) tryClaim(ctx context.Context, name string, claim record, last uint64) (uint64, error) {
	type written struct {
		revision uint64
		err      error
	}
	claimed := make(chan written, 1)
	s.storing.Go(func() {
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
		defer cancel()
		revision, err := s.write(writing, name, claim, last)
		claimed <- written{revision, err}
	})
	select {
	case w := <-claimed:
		return w.revision, w.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// read returns the record of a key and its revision. Where there is none, or an
// operator deleted it, the key is free.
func (s *Store) read(ctx context.Context, name string) (r record, revision uint64, err error) {
	there, err := s.records.Get(ctx, name)
	switch {
	case err != nil:
		return record{}, 0, err
	case !there.Exists:
		return record{State: stateFree}, there.Revision, nil
	}
	r, err = decodeRecord(there.Data)
	return r, there.Revision, err
}

// write stores a record, which MUST have an id, and fails with storage.ErrConflict
// unless last is the revision of its key, 0 where there is none. A cluster refuses in the
// same way while another one is being stored there, which cannot be read yet.
func (s *Store) write(ctx context.Context, name string, r record, last uint64) (revision uint64, err error) {
	data, err := r.encode()
	if err != nil {
		return 0, err
	}
	revision, err = s.records.Put(ctx, name, data, last)
	if errors.Is(err, storage.ErrConflict) {
		// A try whose acknowledgement was lost is in the way of the next one.
		if there, sequence, readErr := s.read(ctx, name); readErr == nil && there.ID == r.ID {
			return sequence, nil
		}
	}
	return revision, err
}
