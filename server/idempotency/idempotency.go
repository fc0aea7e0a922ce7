// Package idempotency ensures that only one of all calls with the same key is made, on all
// replicas together. Later calls with that key get the stored outcome.
//
// # Claims and outcomes
//
// Before the call, its key is claimed in a bucket of records (storage.Records). If several
// callers claim a key, only one claim succeeds. It is synced to the disk before the call begins.
// After the call, its outcome replaces the claim:
//
//   - A response is stored, and replayed to later calls.
//   - If the call failed without an effect (fault.EffectNone), the key becomes free, and the next
//     call can claim it.
//   - Any other failure is stored as unknown. Later calls get OUTCOME_UNKNOWN.
//
// The caller does not wait until the outcome is stored. Storing takes milliseconds. If the log is
// unavailable, it is retried until the log is back (settle.go), within the limits below. Until
// the outcome is stored:
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
// If writing a claim fails, the claim may still be stored, now or later. But its caller was told
// that nothing was sent. So the gateway frees the key, in the same way as after a call without an
// effect. It writes a free record. This record either replaces the stored claim, or takes the
// revision at which the claim would have been stored. In the second case the claim can no longer
// be stored.
//
// Storing an outcome is retried once a second for five minutes, or for 10 s during a stop. At
// most 10,000 keys are retried at a time. At most half of these may be keys that are only to be
// freed. The other half is reserved for outcomes of calls that were made, even if many claims
// fail in an outage. If outcomes are dropped, the gateway logs how many, at most once per minute.
// A later call with such a key gets the same answers as after a kill of the gateway.
//
// Each record has an id, and is written only over the revision that it expects. So a retry
// recognises a record that it has already stored without getting the acknowledgement. It never
// overwrites a newer record.
//
// Claims and outcomes that are written at the same time share one sync of the disk
// (storage.Records.Put).
//
// Keys are hashed, because keys of a bucket must not contain spaces, colons or non-ASCII
// characters. All records use the time to live of the bucket, not one of their own. One of their
// own would be lost when the outcome replaces the claim.
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
	// If a claim still exists at its call's deadline plus grace, the gateway that made the call
	// is considered dead. It covers the time for storing the outcome and the difference of the
	// replicas' clocks.
	grace = 10 * time.Second
	// claimTimeout is the maximum time for writing a claim. The write continues even if the
	// caller has cancelled. claimTimeout is longer than all retries of the storage together.
	claimTimeout = 10 * time.Second
	// storeTimeout bounds one attempt to store an outcome.
	storeTimeout = 5 * time.Second
	// inFlightDelay is the retry delay of IDEMPOTENCY_IN_FLIGHT. Most calls to Ongair take less
	// than this.
	inFlightDelay = time.Second
	// claimAttempts is the maximum number of attempts to claim a key, if other calls claim and
	// free the key between the attempts.
	claimAttempts = 3
	// logInterval is the interval at which dropped outcomes are logged.
	logInterval = time.Minute
)

// Key identifies a call. Calls with equal keys are the same call.
type Key struct {
	// Caller is the name of the caller. Callers do not share keys.
	Caller string
	// Channel and Method are the channel and the gRPC method of the call.
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

// Store makes at most one call for each key. Its methods are safe for concurrent use.
type Store struct {
	mu sync.Mutex
	// settling has the outcomes that are being stored, by the hash of their key. retrying is the
	// number of these outcomes that could not be stored at the first attempt and are being
	// retried.
	settling map[string][]*settlement
	retrying int
	storing  sync.WaitGroup
	// open is a context that ends when close is called. Wait calls close.
	open  context.Context
	close context.CancelFunc

	records records
	// writable returns a context. While the storage cannot be written, that context is cancelled,
	// and its cause is the reason (storage.Storage.Writable).
	writable func() context.Context
	logger   *slog.Logger
	// unsettled limits the log lines about dropped outcomes.
	unsettled *telemetry.Throttle
	now       func() time.Time
}

// Open opens the store in a storage, and creates it if it does not exist. The caller must still
// close the storage.
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

// Do runs call, which MUST fill in response, if no call with the same key was made before.
// Otherwise it copies the earlier response into response, and replayed is true. ctx MUST have a
// deadline.
//
// Do returns the error of call, or one of these:
//
//   - IDEMPOTENCY_KEY_REUSED if the request of the earlier call differs
//   - IDEMPOTENCY_IN_FLIGHT if the earlier call is running
//   - OUTCOME_UNKNOWN if the outcome of the earlier call is unknown
//   - LOG_UNAVAILABLE if the key cannot be claimed. In that case Do does not run call
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
	// This is deferred, so that the outcome is stored as unknown even if call panics.
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
		"an earlier call with this request_id may have been sent; it is not repeated")
	f.Effect = fault.EffectUnknown
	return f
}

// Wait waits until all outcomes are stored and all failed claims are freed. Those that are not
// stored or freed within 10 s are dropped. It MUST be called after the last call.
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
