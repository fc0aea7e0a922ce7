package idempotency

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/ongair/ongair-gateway/server/storage"
)

// claim stores the claim, or returns the existing record of the key. If it fails, the call MUST
// NOT be made. If claim returns an error but the claim is stored nevertheless, the key is freed
// again.
func (s *Store) claim(ctx context.Context, name string, claim record) (revision uint64, earlier *record, err error) {
	var last uint64 // the last known revision of the key
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
		// Call settlingOf before read. In the other order, the outcome of the claim that was read
		// could be stored between the two calls, and would be missed.
		settling := s.settlingOf(name)
		there, sequence, err := s.read(ctx, name)
		if err != nil {
			return 0, nil, unavailable(err)
		}
		if there.ID == claim.ID {
			return sequence, nil, nil // an earlier try has stored it
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
	// Other callers keep claiming and freeing the key. This caller gets the same error as if such
	// a call were running.
	return 0, nil, inFlight()
}

// ready returns an error if the storage cannot be written, or if ctx has ended.
func (s *Store) ready(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return context.Cause(s.writable())
}

// tryClaim writes a claim, and waits for it until ctx ends. If tryClaim returns an error, the
// claim may still have been stored, or may be stored later.
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

// read returns the record of a key and its revision. If a key has no record, or an operator has
// deleted its record, read returns a free record.
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

// write stores a record, which MUST have an id. last MUST be the current revision of the key, or
// 0 if the key has none. Otherwise write fails with storage.ErrConflict. In a cluster, write also
// returns a conflict while another record of the key is being stored. That record may not be
// readable yet.
func (s *Store) write(ctx context.Context, name string, r record, last uint64) (revision uint64, err error) {
	data, err := r.encode()
	if err != nil {
		return 0, err
	}
	revision, err = s.records.Put(ctx, name, data, last)
	if errors.Is(err, storage.ErrConflict) {
		// An earlier try, whose acknowledgement was lost, may have stored the record.
		if there, sequence, readErr := s.read(ctx, name); readErr == nil && there.ID == r.ID {
			return sequence, nil
		}
	}
	return revision, err
}
