// Package idempotency makes a call with a key at most once, on any replica, and replays its
// outcome to later calls with the same key.
//
// # Claims and outcomes
//
// Before the call, its key is claimed in a bucket of records (storage.Records). One claim of a
// key succeeds, and it is on disk before the call begins. After the call, its outcome replaces
// the claim:
//
//   - A response is stored, and replayed to later calls.
//   - A failure without an effect (fault.EffectNone) frees the key. The next call may claim it.
//   - Any other failure is stored as unknown. Later calls get OUTCOME_UNKNOWN.
//
// The caller gets its answer while the outcome is being stored. That takes milliseconds, or
// lasts until the log is back (settle.go). Until then:
//
//   - A later call on this replica gets the outcome from memory.
//   - A later call on another replica gets IDEMPOTENCY_IN_FLIGHT until the deadline of the
//
// first call and a grace for the difference of clocks have passed, and then OUTCOME_UNKNOWN.
// The deadline is in the claim.
//
// If a gateway is killed before the outcome is stored, the claim stays. The gateway never makes
// that call again.
//
// # Failed writes
//
// A claim whose write failed may be stored all the same, now or later, although its caller was
// told that nothing was sent. The key is freed in the same way as after a call: the free record
// replaces the claim, or takes the revision that the claim expects, so that the claim can no
// longer be stored.
//
// Storing an outcome is retried once a second for five minutes, or for 10 s during a stop. At
// most 10,000 keys are retried at a time. At most half of them may be keys to be freed, so that
// claims that fail in an outage leave room for calls that were made. Dropped outcomes are
// logged once a minute with their number. Their keys behave as if the gateway had been killed.
//
// Each record has an id, and is written only over the revision that it expects. So a retry
// finds a record whose acknowledgement was lost, and never overwrites a newer one.
//
// Claims and outcomes that are written at the same time share one sync of the disk
// (storage.Records.Put).
//
// Keys are hashed, because a bucket does not accept spaces, colons or characters beyond ASCII
// in them. Records expire with the bucket's time to live. A time to live per key would be lost
// when the outcome replaces the claim.
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

	// DefaultKeep is the time for which outcomes are kept.
	DefaultKeep = 24 * time.Hour
	// grace is added to a claim's deadline before its gateway is considered dead. It covers the
	// time for storing the outcome and the difference of the replicas' clocks.
	grace = 10 * time.Second
	// claimTimeout bounds the writing of a claim, which continues after its caller has left. It
	// is longer than the storage retries.
	claimTimeout = 10 * time.Second
	// storeTimeout bounds one attempt to store an outcome.
	storeTimeout = 5 * time.Second
	// inFlightDelay is the retry delay of IDEMPOTENCY_IN_FLIGHT. Most calls to Ongair take
	// less.
	inFlightDelay = time.Second
	// claimAttempts bounds the attempts to claim a key that other callers claim and free in
	// between.
	claimAttempts = 3
	// logInterval is the interval at which dropped outcomes are logged.
	logInterval = time.Minute
)

// Key identifies a call. Calls with equal keys are the same call.
type Key struct {
	// Caller is the name of the caller. Callers do not share keys.
	Caller string
	// Channel and Method are those of the call.
	Channel, Method string
	// RequestID is the caller's request_id.
	RequestID string
}

func (k Key) hash() string {
	sum := event.HashParts(k.Caller, k.Channel, k.Method, k.RequestID)
	return hex.EncodeToString(sum[:])
}

// Config configures a Store. The zero value has the defaults.
type Config struct {
	// Keep is the time for which outcomes are kept. The default is DefaultKeep.
	Keep time.Duration
	// Logger logs the outcomes that could not be stored. Nil logs nothing.
	Logger *slog.Logger
}

// records is the part of storage.Records that a Store uses.
type records interface {
	Get(ctx context.Context, key string) (storage.Record, error)
	Put(ctx context.Context, key string, data []byte, last uint64) (revision uint64, err error)
}

// Store makes calls with a key at most once. Its methods are safe for concurrent use.
type Store struct {
	mu sync.Mutex
	// settling has the outcomes that are being stored, by the hash of their key. retrying is
	// the number of those whose first attempt failed.
	settling map[string][]*settlement
	retrying int
	storing  sync.WaitGroup
	// open ends when Wait calls close.
	open  context.Context
	close context.CancelFunc

	records records
	// writable returns a context that is cancelled, with the reason as its cause, while nothing
	// can be written (storage.Storage.Writable).
	writable func() context.Context
	logger   *slog.Logger
	// unsettled limits the log lines about dropped outcomes.
	unsettled *telemetry.Throttle
	now       func() time.Time
}

// Open opens the store in a storage, and creates it if it does not exist. It does not take
// ownership of the storage.
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

// Do makes call, which fills in response, unless a call with the same key was made before. Then
// response gets the earlier response, and replayed is true. ctx MUST have a deadline.
//
// Do fails with:
//
//   - IDEMPOTENCY_KEY_REUSED if the earlier call had another request
//   - IDEMPOTENCY_IN_FLIGHT if the earlier call is running
//   - OUTCOME_UNKNOWN if the outcome of the earlier call is unknown
//   - LOG_UNAVAILABLE if the key cannot be claimed; then call is not made
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
	// Deferred, so that a call that panics leaves an unknown outcome.
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

// replay answers a call with the record of an earlier one.
func (s *Store) replay(earlier record, print string, response proto.Message) error {
	switch {
	case earlier.Fingerprint != print:
		f := fault.New(ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
			"the request_id was used for another request")
		f.Effect = fault.EffectNone
		return f
	case earlier.State == stateDone:
		return proto.Unmarshal(earlier.Response, response)
	case earlier.State == stateClaimed && s.now().Before(earlier.Deadline):
		return inFlight()
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		"an earlier call with this request_id may have gone out; it is not repeated")
	f.Effect = fault.EffectUnknown
	return f
}

// Wait waits until all outcomes are stored and all failed claims are freed. It drops those that
// are not stored after 10 s. It MUST be called after the last call.
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
		"the request_id cannot be recorded; nothing was sent")
	f.Effect = fault.EffectNone
	f.RetryAfter = inFlightDelay
	f.Cause = cause
	return f
}
