package idempotency

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/ongair/ongair-gateway/server/jetstream/groupcommit"
)

// claim makes the claim, or returns the record that is there.
func (s *Store) claim(ctx context.Context, name string, claim record) (revision uint64, earlier *record, err error) {
	var last uint64 // of the key, as far as is known
	for range claimAttempts {
		if there := s.endingOf(ctx, name); there != nil {
			return 0, there, nil
		}
		revision, err = s.tryClaim(ctx, name, claim, last)
		if !errors.Is(err, groupcommit.ErrConflict) {
			break
		}
		there, sequence, err := s.read(ctx, name)
		if err != nil {
			return 0, nil, unavailable(err)
		}
		if there.State == stateClaimed {
			if ended := s.endingOf(ctx, name); ended != nil {
				return 0, ended, nil
			}
		}
		if there.State != stateFree {
			return 0, &there, nil
		}
		last = sequence
	}
	switch {
	case errors.Is(err, groupcommit.ErrConflict):
		// Others keep claiming it and failing without effect: for this caller that is
		// the same as a call that is running.
		return 0, nil, inFlight()
	case err != nil:
		return 0, nil, unavailable(err)
	}
	return revision, nil, nil
}

// tryClaim writes a claim and waits for it no longer than ctx. A claim that is written
// after that has nobody who would make its call, so its key is freed again: it would
// look like a call whose outcome is unknown.
func (s *Store) tryClaim(ctx context.Context, name string, claim record, last uint64) (uint64, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	type written struct {
		revision uint64
		err      error
	}
	claimed := make(chan written) // without room: either the caller takes it, or it is freed
	s.storing.Go(func() {
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
		defer cancel()
		revision, err := s.write(writing, name, claim, last)
		select {
		case claimed <- written{revision, err}:
		case <-ctx.Done():
			if err == nil {
				s.store(ctx, name, revision, record{State: stateFree, Fingerprint: claim.Fingerprint})
			}
		}
	})
	select {
	case w := <-claimed:
		return w.revision, w.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// store stores an outcome, after its caller may have gone.
func (s *Store) store(ctx context.Context, name string, revision uint64, outcome record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if _, err := s.write(ctx, name, outcome, revision); err != nil {
		s.logger.Error("could not store the outcome of a call; its request_id will be answered with OUTCOME_UNKNOWN",
			"state", outcome.State, "error", err)
	}
}

// read returns the record of a key and its revision. Where there is none, or an
// operator deleted it, the key is free.
func (s *Store) read(ctx context.Context, name string) (r record, revision uint64, err error) {
	msg, err := s.stream.GetLastMsgForSubject(ctx, subjectPrefix+name)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return record{State: stateFree}, 0, nil
	case err != nil:
		return record{}, 0, err
	case msg.Header.Get(headerOperation) != "": // a mark of a deletion
		return record{State: stateFree}, msg.Sequence, nil
	}
	r, err = decodeRecord(msg.Data)
	return r, msg.Sequence, err
}

// write stores a record, and fails with groupcommit.ErrConflict unless last is the
// revision of its key, 0 where there is none.
func (s *Store) write(ctx context.Context, name string, r record, last uint64) (revision uint64, err error) {
	r.ID = nuid.Next()
	msg := nats.NewMsg(subjectPrefix + name)
	if msg.Data, err = r.encode(); err != nil {
		return 0, err
	}
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
	ack, err := s.committer.Publish(ctx, msg)
	if errors.Is(err, groupcommit.ErrConflict) {
		// A try whose acknowledgement was lost is in the way of the next one.
		if there, sequence, readErr := s.read(ctx, name); readErr == nil && there.ID == r.ID {
			return sequence, nil
		}
	}
	return ack.Sequence, err
}
