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

// state is the state of a call.
type state string

const (
	stateClaimed state = "claimed" // the call is running, or the gateway that made it was killed or dropped its outcome
	stateDone    state = "done"    // the call ended with a response
	stateUnknown state = "unknown" // the call ended and may have had an effect
	stateFree    state = "free"    // the call ended without an effect; the key may be claimed again
)

// record is the value of a key in the bucket, as JSON. It does not contain the request, only a
// hash of it.
type record struct {
	// ID is a random id of this write. Each written record has another one.
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

// errMalformed means that the stored value is not a record.
var errMalformed = errors.New("malformed")

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("idempotency record: %w: %w", errMalformed, err)
	}
	return r, nil
}

// fingerprint returns a hash of a request. Two releases of the gateway may encode a request
// differently. In that case, a call that is repeated after an upgrade fails with
// IDEMPOTENCY_KEY_REUSED. No second message is sent.
func fingerprint(request proto.Message) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return "", fmt.Errorf("idempotency fingerprint: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
