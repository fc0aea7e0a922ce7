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
// The caller gets its answer while the outcome is being stored, which takes
// milliseconds, or until the log is back (settle.go). Meanwhile a later call here gets the
// outcome from memory. Another replica gets what the claim says: it carries the call's
// deadline, which every call has. Until then, and a grace for clocks that differ, it gets
// IDEMPOTENCY_IN_FLIGHT, and after it OUTCOME_UNKNOWN. Once the outcome is stored, every
// replica replays it.
//
// A claimer that dies before the outcome is stored leaves its claim behind, although
// the caller may have its answer. The call is never made again by the gateway.
//
// A claim whose writing fails may be stored all the same, its acknowledgement lost, or
// be stored later, while its caller is told that nothing was sent. Its outcome is free, and
// is stored in the same way: in the place of the claim, which cannot be stored any more
// then, or over it.
//
// An outcome is tried to be stored for five minutes, once a second, and for 10 s at a
// stop. 10,000 at most are tried again at the same time, half of which may be free, so
// that claims that fail in an outage leave room for calls that were made. What is given
// up is logged, once a minute with a count, and its key is as that of a claimer that died.
// Each record has an id of its own and expects the revision that it was made for: a try
// whose acknowledgement was lost is recognised, and none overwrites a newer record.
//
// Claims and outcomes that come together share the syncing of the disk
// (storage.Records.Put).
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
	"github.com/ongair/ongair-gateway/server/telemetry"
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
	// storeTimeout bounds one try to store an outcome, after the call is over.
	storeTimeout = 5 * time.Second
	// inFlightDelay is what callers are told to wait for a call that is running:
	// most calls to Ongair are over by then.
	inFlightDelay = time.Second
	// claimAttempts bounds how often a claim is tried that others free again
	// between a look and a try.
	claimAttempts = 3
	// logInterval is how often outcomes that could not be stored are logged.
	logInterval = time.Minute
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
	// settling has the outcomes that are being stored, by their keys' hashes, and retrying
	// counts those of them whose first try failed.
	settling map[string][]*settlement
	retrying int
	storing  sync.WaitGroup
	// open ends with the first Wait, by close.
	open  context.Context
	close context.CancelFunc

	records records
	// writable returns a context that ends, with the reason, while nothing can be written
	// (storage.Storage.Writable).
	writable func() context.Context
	logger   *slog.Logger
	// unsettled limits the lines about outcomes that could not be stored.
	unsettled *telemetry.Throttle
	now       func() time.Time
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
		settling:  map[string][]*settlement{},
		records:   records,
		writable:  writable,
		logger:    logger,
		unsettled: telemetry.NewThrottle(logInterval, 1),
		now:       time.Now,
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
	defer func() { s.settle(newSettlement(name, claim, revision, true, outcome)) }()
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

// Wait waits until the outcomes of all calls are stored, and claims without a call are
// freed, 10 s at most: what is not stored by then is given up. It is for after the last
// call.
func (s *Store) Wait() {
	timer := time.AfterFunc(stopTimeout-storeTimeout, s.close)
	s.storing.Wait()
	timer.Stop()
	s.close()
	s.logRest()
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
