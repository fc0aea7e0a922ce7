// Package idempotency runs a keyed call once, on whichever replica it comes in,
// and replays its outcome to whoever makes it again.
//
// A key is claimed in a JetStream key-value bucket before the call, which only
// one claimer can, and the claim is durable before the call begins. Afterwards
// the bucket says how the call ended:
//
//   - with a response: stored, and replayed to later calls;
//   - with a failure that had no effect (fault.EffectNone): the claim is deleted,
//     and the key is free for another try;
//   - with anything else: stored as unknown, and later calls get OUTCOME_UNKNOWN.
//
// A claimer that dies leaves its claim behind. It carries the call's deadline,
// which every call has: until then, and a grace for clocks that differ, others
// get IDEMPOTENCY_IN_FLIGHT, and after it OUTCOME_UNKNOWN. The call is never made
// again by the gateway.
//
// Keys are hashed, because JetStream's refuse spaces, colons and whatever is not
// ASCII. Records go when the bucket's time to live is over (a time to live of one
// key would be lost when its outcome is stored).
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	bucket = "ONGAIR_IDEMPOTENCY"

	// DefaultKeep is how long an outcome is kept.
	DefaultKeep = 24 * time.Hour
	// grace is added to a claim's deadline before the claimer is held for dead:
	// the time that it may still need to store the outcome, and that clocks of
	// replicas may differ.
	grace = 10 * time.Second
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
	h := sha256.New()
	for _, part := range []string{k.Caller, k.Channel, k.Method, k.RequestID} {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(part), part) // a hash's Write never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Config of a Store. The zero value has the defaults.
type Config struct {
	// Keep is how long an outcome is kept.
	Keep time.Duration
	// Logger gets the outcomes that could not be stored.
	Logger *slog.Logger
}

// Store runs calls once. Its methods are safe for concurrent use.
type Store struct {
	kv     jetstream.KeyValue
	logger *slog.Logger
	now    func() time.Time
}

// Open opens the store in a JetStream and makes it where there is none.
func Open(ctx context.Context, js jetstream.JetStream, cfg Config) (*Store, error) {
	if cfg.Keep == 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	want := jetstream.KeyValueConfig{
		Bucket:      bucket,
		Description: "Outcomes of sending calls with a request_id",
		TTL:         cfg.Keep,
		Storage:     jetstream.FileStorage,
	}
	kv, err := js.CreateKeyValue(ctx, want)
	if errors.Is(err, jetstream.ErrBucketExists) {
		// It is there with other settings: it takes this run's, and keeps the
		// replicas that an operator gave it.
		var stream jetstream.Stream
		if stream, err = js.Stream(ctx, "KV_"+bucket); err == nil {
			want.Replicas = stream.CachedInfo().Config.Replicas
			kv, err = js.UpdateKeyValue(ctx, want)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("idempotency records: %w", err)
	}
	return &Store{kv: kv, logger: cfg.Logger, now: time.Now}, nil
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
	claim := record{State: stateClaimed, Fingerprint: print, Deadline: deadline.Add(grace)}
	revision, earlier, err := s.claim(ctx, name, claim)
	if err != nil {
		return false, err
	}
	if earlier != nil {
		return true, s.replay(*earlier, print, response)
	}
	outcome := record{State: stateUnknown, Fingerprint: print}
	// Deferred, so that a call that panics leaves an unknown outcome, too.
	defer func() { s.finish(ctx, name, revision, outcome) }()
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

// claim makes the claim, or returns the record that is there.
func (s *Store) claim(ctx context.Context, name string, claim record) (revision uint64, earlier *record, err error) {
	value, err := claim.encode()
	if err != nil {
		return 0, nil, err
	}
	for range claimAttempts {
		revision, err = s.kv.Create(ctx, name, value)
		if err == nil {
			return revision, nil, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return 0, nil, unavailable(err)
		}
		entry, err := s.kv.Get(ctx, name)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // freed in between
		}
		if err != nil {
			return 0, nil, unavailable(err)
		}
		earlier, err := decodeRecord(entry.Value())
		if err != nil {
			return 0, nil, unavailable(err)
		}
		return 0, &earlier, nil
	}
	// Others keep claiming it and failing without effect: for this caller that is
	// the same as a call that is running.
	return 0, nil, inFlight()
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

// finish stores how a call ended, after its caller may have gone. Where that
// fails the claim stands, and says in the end that the outcome is unknown.
func (s *Store) finish(ctx context.Context, name string, revision uint64, outcome record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	var err error
	if outcome.State == stateFree {
		err = s.kv.Delete(ctx, name, jetstream.LastRevision(revision))
	} else {
		var value []byte
		if value, err = outcome.encode(); err == nil {
			_, err = s.kv.Update(ctx, name, value, revision)
		}
	}
	if err != nil {
		s.logger.Error("could not store the outcome of a call; its request_id will be answered with OUTCOME_UNKNOWN",
			"state", outcome.State, "error", err)
	}
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
