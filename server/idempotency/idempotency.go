// Package idempotency runs a keyed call once, on whichever replica it comes in,
// and replays its outcome to whoever makes it again.
//
// A key is claimed in a bucket of records (storage.Records) before the call, which only
// one claimer can, and the claim is durable before the call begins. Afterwards
// the bucket says how the call ended:
//
//   - with a response: stored, and replayed to later calls;
//   - with a failure that had no effect (fault.EffectNone): stored as free, and the
//     next call may claim the key;
//   - with anything else: stored as unknown, and later calls get OUTCOME_UNKNOWN.
//
// The outcome is given to the caller while it is being stored: whoever asks for the
// key here meanwhile gets it from memory, and another replica says for those
// milliseconds that the call is running. A claimer that dies just then leaves a call
// whose caller has its answer, and which is unknown to all others.
//
// A claimer that dies leaves its claim behind. It carries the call's deadline,
// which every call has: until then, and a grace for clocks that differ, others
// get IDEMPOTENCY_IN_FLIGHT, and after it OUTCOME_UNKNOWN. The call is never made
// again by the gateway.
//
// A claim whose writing fails may be stored all the same, its acknowledgement lost, or
// be stored later, while its caller is told that nothing was sent. So it is freed: by a
// free record that is written in its place, after which it cannot be stored any more, or
// over it (free.go). That is tried for five minutes. Where the log is away for longer, or
// the gateway stops before, the key is as that of a claimer that died.
//
// Claims and outcomes that come together share the syncing of the disk
// (storage.Records.Put). Each has an id of its own, by which its writer knows it again where
// the acknowledgement was lost.
//
// Keys are hashed, because those of a bucket refuse spaces, colons and whatever is not
// ASCII. Records go when the bucket's time to live is over (a time to live of one
// key would be lost when its outcome is stored).
package idempotency

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
)

const (
	bucket = "ONGAIR_IDEMPOTENCY"

	// DefaultKeep is how long an outcome is kept.
	DefaultKeep = 24 * time.Hour
	// grace is added to a claim's deadline before the claimer is held for dead:
	// the time that it may still need to store the outcome, and that clocks of
	// replicas may differ.
	grace = 10 * time.Second
	// claimTimeout bounds the writing of a claim, whose caller may have gone: longer than
	// the storage tries.
	claimTimeout = 10 * time.Second
	// storeTimeout bounds the storing of an outcome, after the call is over.
	storeTimeout = 5 * time.Second
	// inFlightDelay is what callers are told to wait for a call that is running:
	// most calls to Ongair are over by then.
	inFlightDelay = time.Second
	// claimAttempts bounds how often a claim is tried that others free again
	// between a look and a try.
	claimAttempts = 3
)

// Key identifies a call. Calls with equal keys are the same call.
type Key struct {
	// Caller is the name of the principal; callers do not share keys.
	Caller string
	// Channel and Method say what the key is for.
	Channel, Method string
	// RequestID is the caller's own.
	RequestID string
}

func (k Key) hash() string {
	sum := event.HashParts(k.Caller, k.Channel, k.Method, k.RequestID)
	return hex.EncodeToString(sum[:])
}

// Config of a Store. The zero value has the defaults.
type Config struct {
	// Keep is how long an outcome is kept.
	Keep time.Duration
	// Logger gets the outcomes that could not be stored.
	Logger *slog.Logger
}

// records is what a Store needs of storage.Records.
type records interface {
	Get(ctx context.Context, key string) (storage.Record, error)
	Put(ctx context.Context, key string, data []byte, last uint64) (revision uint64, err error)
}

// Store runs calls once. Its methods are safe for concurrent use.
type Store struct {
	mu sync.Mutex
	// ending has the outcomes that are being stored, by their keys' hashes.
	ending map[string]*ending
	// freeing has the ids of the claims that are being freed.
	freeing map[string]struct{}
	storing sync.WaitGroup
	// open ends with the first Wait, by close.
	open  context.Context
	close context.CancelFunc

	records records
	// writable returns a context that ends, with the reason, while nothing can be written
	// (storage.Storage.Writable).
	writable func() context.Context
	logger   *slog.Logger
	now      func() time.Time
}

// ending is an outcome that is being stored.
type ending struct {
	outcome record
	// over is closed when it is stored, or cannot be.
	over chan struct{}
}

// Open opens the store in a storage, and makes it if there is none. The storage stays the
// caller's.
func Open(ctx context.Context, in *storage.Storage, cfg Config) (*Store, error) {
	if cfg.Keep == 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	records, err := in.OpenRecords(ctx, storage.RecordsConfig{
		Bucket:      bucket,
		Description: "Outcomes of sending calls with a request_id",
		MaxAge:      cfg.Keep,
	})
	if err != nil {
		return nil, fmt.Errorf("idempotency records: %w", err)
	}
	return newStore(records, in.Writable, cfg.Logger), nil
}

func newStore(records records, writable func() context.Context, logger *slog.Logger) *Store {
	s := &Store{
		ending:   map[string]*ending{},
		freeing:  map[string]struct{}{},
		records:  records,
		writable: writable,
		logger:   logger,
		now:      time.Now,
	}
	s.open, s.close = context.WithCancel(context.Background())
	return s
}

// Do makes call unless it was made before with the same key, and returns what it
// returned; call fills in response. Where it was made before, response is what
// it was then, replayed is true and call is not made. ctx MUST have a deadline.
//
// It fails with IDEMPOTENCY_KEY_REUSED where the request of the earlier call was
// another one, IDEMPOTENCY_IN_FLIGHT while that is running, OUTCOME_UNKNOWN where
// nobody knows how it ended, and LOG_UNAVAILABLE, having done nothing, where the
// claim cannot be made.
func (s *Store) Do(ctx context.Context, key Key, request, response proto.Message,
	call func(context.Context) error,
) (replayed bool, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return false, errors.New("idempotency: a keyed call needs a deadline")
	}
	print, err := fingerprint(request)
	if err != nil {
		return false, err
	}
	name := key.hash()
	claim := record{ID: rand.Text(), State: stateClaimed, Fingerprint: print, Deadline: deadline.Add(grace)}
	revision, earlier, err := s.claim(ctx, name, claim)
	if err != nil {
		return false, err
	}
	if earlier != nil {
		return true, s.replay(*earlier, print, response)
	}
	outcome := record{ID: rand.Text(), State: stateUnknown, Fingerprint: print}
	// Deferred, so that a call that panics leaves an unknown outcome, too.
	defer func() { s.finish(ctx, name, claim, revision, outcome) }()
	err = call(ctx)
	switch {
	case err == nil:
		outcome.Response, err = proto.Marshal(response)
		if err == nil {
			outcome.State = stateDone
		}
	case fault.From(err).Effect == fault.EffectNone:
		outcome.State = stateFree
	}
	return false, err
}

// replay answers a call from the record of an earlier one.
func (s *Store) replay(earlier record, print string, response proto.Message) error {
	switch {
	case earlier.Fingerprint != print:
		f := fault.New(ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
			"the request_id was used before, for another request")
		f.Effect = fault.EffectNone
		return f
	case earlier.State == stateDone:
		return proto.Unmarshal(earlier.Response, response)
	case earlier.State == stateClaimed && s.now().Before(earlier.Deadline):
		return inFlight()
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		"an earlier call with this request_id may have reached the contact; the gateway will not make it again")
	f.Effect = fault.EffectUnknown
	return f
}

// endingOf returns the outcome of a key that is being stored, or nil. It waits for
// one that frees the key.
func (s *Store) endingOf(ctx context.Context, name string) *record {
	s.mu.Lock()
	e := s.ending[name]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	if e.outcome.State != stateFree {
		return &e.outcome
	}
	select {
	case <-e.over:
	case <-ctx.Done():
	}
	return nil
}

// finish stores how the call of a claim ended, and does not wait for it. Where that
// fails the claim stands, and says in the end that the outcome is unknown; unless the
// call had no effect, which its caller was told: then it is freed.
func (s *Store) finish(ctx context.Context, name string, claim record, revision uint64, outcome record) {
	e := &ending{outcome: outcome, over: make(chan struct{})}
	s.mu.Lock()
	s.ending[name] = e
	s.mu.Unlock()
	s.storing.Go(func() {
		err := s.store(ctx, name, revision, outcome)
		s.mu.Lock()
		delete(s.ending, name)
		s.mu.Unlock()
		close(e.over)
		switch {
		case err == nil:
		case outcome.State == stateFree:
			s.free(name, claim, revision)
		default:
			s.logger.Error("could not store the outcome of a call; its request_id will be answered with OUTCOME_UNKNOWN",
				"state", outcome.State, "error", err)
		}
	})
}

// Wait waits until the outcomes of all calls are stored, and claims without a call are
// freed, 10 s at most: what cannot be freed by then is given up. It is for after the
// last call.
func (s *Store) Wait() {
	s.close()
	s.storing.Wait()
}

func inFlight() error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT, "a call with this request_id is running")
	f.RetryAfter = inFlightDelay
	return f
}

func unavailable(cause error) error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE,
		"the gateway cannot record the request_id at the moment, so it sent nothing")
	f.Effect = fault.EffectNone
	f.RetryAfter = inFlightDelay
	f.Cause = cause
	return f
}
