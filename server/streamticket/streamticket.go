// Package streamticket issues tickets for event streams, and reads them.
//
// A browser's EventSource cannot send an API key as a header, and a key in a URL would be logged. A
// caller therefore creates a ticket for a page. The page puts the ticket into the URL of one stream
// after the other, for up to a minute.
//
// A ticket has the caller's credential, the filters of the stream and the time of its expiry. It is
// encrypted and authenticated with AES-256-GCM, so that a page can neither change nor read it: the
// credential is the hash of the caller's key, and the filters may be ids of contacts. The gateway
// checks the credential again for each stream. A ticket of a revoked key is rejected.
//
// The key is random. It is created once in a bucket of records, so that every replica reads the
// tickets of all others, also after a restart.
package streamticket

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
)

const (
	bucket  = "ONGAIR_TICKETS"
	keyName = "key"
	keySize = 32

	// readAttempts and readPause bound the wait for a key that another replica creates: 10 s, which
	// is longer than a Put takes.
	readAttempts = 100
	readPause    = 100 * time.Millisecond

	// Validity is the time for which a ticket can be used.
	Validity = time.Minute
	// MaxBytes bounds a ticket. It fits into a URL with the other parameters of a stream: REST
	// requests have at most 16 KiB of headers.
	MaxBytes = 8 << 10

	// version is the first byte of a ticket's content.
	version = 1
	// fixedBytes are the version, the expiry and the length of the credential.
	fixedBytes = 1 + 8 + 2
)

// encoding is strict, so that a ticket has one spelling.
var encoding = base64.RawURLEncoding.Strict() //nolint:gochecknoglobals // it is immutable

// Tickets issues and reads tickets. It is immutable, and safe for concurrent use.
type Tickets struct {
	aead cipher.AEAD
	now  func() time.Time
}

// Ticket is the content of a ticket.
type Ticket struct {
	// Credential is the caller's (auth.Principal.Credential).
	Credential []byte
	// Filters has the filters of the stream.
	Filters *ongairv1.SubscribeRequest
}

// Open returns the Tickets with the key in a storage, and creates the key if it does not exist.
func Open(ctx context.Context, in *storage.Storage) (*Tickets, error) {
	records, err := in.OpenRecords(ctx, storage.RecordsConfig{Bucket: bucket, Description: "Key of stream tickets"})
	if err != nil {
		return nil, fmt.Errorf("stream tickets: %w", err)
	}
	var key []byte
	err = in.Await(ctx, "the key of stream tickets", func(ctx context.Context) (err error) {
		key, err = readKey(ctx, records)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("key of stream tickets: %w", err)
	}
	return New(key)
}

// records is the part of storage.Records that readKey uses.
type records interface {
	Get(ctx context.Context, key string) (storage.Record, error)
	Put(ctx context.Context, key string, data []byte, last uint64) (revision uint64, err error)
}

// readKey returns the key, and creates it if it does not exist or was deleted. If several replicas
// create it at the same time, all of them return the same one. An existing key is not written again,
// so that a gateway also starts on a full disk.
func readKey(ctx context.Context, in records) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		stored, err := in.Get(ctx, keyName)
		switch {
		case err != nil:
			return nil, err
		case stored.Exists && len(stored.Data) != keySize:
			return nil, fmt.Errorf("it has %d bytes, not %d: delete the key %q of the bucket %s", len(stored.Data), keySize, keyName, bucket)
		case stored.Exists:
			return stored.Data, nil
		}
		key := make([]byte, keySize)
		_, _ = rand.Read(key) // never fails
		_, err = in.Put(ctx, keyName, key, stored.Revision)
		if err == nil {
			return key, nil
		}
		// On a conflict, another replica is creating the key. A cluster reports that before the key
		// can be read.
		if !errors.Is(err, storage.ErrConflict) || attempt == readAttempts {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readPause):
		}
	}
}

// New returns the Tickets with a key of 32 bytes.
func New(key []byte) (*Tickets, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Tickets{aead: aead, now: time.Now}, err
}

// Issue returns a ticket, and the time of its expiry. It fails with INVALID_REQUEST if the ticket
// would have more than MaxBytes.
func (t *Tickets) Issue(ticket Ticket) (text string, expiry time.Time, err error) {
	filters, err := proto.Marshal(ticket.Filters)
	if err != nil {
		return "", time.Time{}, err
	}
	expiry = t.now().Add(Validity).Truncate(time.Millisecond)
	content := binary.BigEndian.AppendUint64([]byte{version}, uint64(expiry.UnixMilli()))
	content = binary.BigEndian.AppendUint16(content, uint16(len(ticket.Credential)))
	content = append(append(content, ticket.Credential...), filters...)
	text = encoding.EncodeToString(t.aead.Seal(nil, nil, content, nil)) //nolint:gosec // the nonce is random
	if len(text) > MaxBytes {
		return "", time.Time{}, fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
			"the filters are too large for a ticket: use fewer or shorter values")
	}
	return text, expiry, nil
}

// Read returns the content of a ticket. It fails with CREDENTIALS_INVALID if the ticket is invalid
// or has expired.
func (t *Tickets) Read(text string) (Ticket, error) {
	sealed, err := encoding.DecodeString(text)
	if err != nil || len(text) > MaxBytes {
		return Ticket{}, invalid()
	}
	content, err := t.aead.Open(nil, nil, sealed, nil)
	if err != nil || len(content) < fixedBytes || content[0] != version {
		return Ticket{}, invalid()
	}
	if expiry := int64(binary.BigEndian.Uint64(content[1:])); t.now().UnixMilli() >= expiry {
		return Ticket{}, fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, "expired stream ticket: create another one")
	}
	rest, length := content[fixedBytes:], int(binary.BigEndian.Uint16(content[9:]))
	if length > len(rest) {
		return Ticket{}, invalid()
	}
	ticket := Ticket{Credential: rest[:length:length], Filters: &ongairv1.SubscribeRequest{}}
	if proto.Unmarshal(rest[length:], ticket.Filters) != nil {
		return Ticket{}, invalid()
	}
	return ticket, nil
}

func invalid() error {
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, "invalid stream ticket: create another one")
}
