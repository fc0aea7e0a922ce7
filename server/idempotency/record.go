package idempotency

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
)

// state is how far a call is.
type state string

const (
	stateClaimed state = "claimed" // running, or its claimer died
	stateDone    state = "done"    // over, with a response
	stateUnknown state = "unknown" // over, and it may have had an effect
	stateFree    state = "free"    // over, without an effect: the key may be claimed again
)

// record is what the bucket holds for a key, as JSON. It never holds what was
// sent, only a hash of it.
type record struct {
	// ID tells what one writer wrote from what another did.
	ID          string    `json:"id"`
	State       state     `json:"state"`
	Fingerprint string    `json:"fingerprint"`
	Deadline    time.Time `json:"deadline,omitzero"`
	Response    []byte    `json:"response,omitempty"`
}

func (r record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("idempotency record: %w", err)
	}
	return b, nil
}

// errMalformed says that what is stored is no record.
var errMalformed = errors.New("malformed")

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("idempotency record: %w: %w", errMalformed, err)
	}
	return r, nil
}

// fingerprint tells one request from another. Two releases of the gateway may
// encode a request differently, and then an id that is repeated over an upgrade
// is taken for a reused one: an error, never a second message.
func fingerprint(request proto.Message) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return "", fmt.Errorf("idempotency fingerprint: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
