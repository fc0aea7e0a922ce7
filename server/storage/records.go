package storage

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// bucketStream and bucketSubject are what the stream of a key-value bucket and the
	// subjects of its keys begin with, and headerOperation is on the mark that a deletion
	// leaves (JetStream's ADR-8).
	bucketStream    = "KV_"
	bucketSubject   = "$KV."
	headerOperation = "KV-Operation"
)

// RecordsConfig says what Records are.
type RecordsConfig struct {
	// Bucket is the name of the key-value bucket.
	Bucket, Description string
	// MaxAge is how long a record is kept.
	MaxAge time.Duration
}

// Records are values under keys: a key-value bucket, which other NATS clients can read.
// Its methods are safe for concurrent use.
type Records struct {
	stream *Stream
	prefix string
}

// Record is the newest value of a key.
type Record struct {
	// Exists says whether the key has a value, which Data is.
	Exists bool
	Data   []byte
	// Revision is what a Put has to expect: 0 if the key never had a value, or the last one
	// has expired.
	Revision uint64
}

// ErrConflict is the failure of a Put whose key has another revision.
var ErrConflict = errors.New("the key has another revision")

// OpenRecords opens a bucket, as OpenStream does a stream.
func (s *Storage) OpenRecords(ctx context.Context, cfg RecordsConfig) (*Records, error) {
	prefix := bucketSubject + cfg.Bucket + "."
	stream, err := s.open(ctx, jetstream.StreamConfig{
		Name:              bucketStream + cfg.Bucket,
		Description:       cfg.Description,
		Subjects:          []string{prefix + ">"},
		MaxMsgsPerSubject: 1,
		MaxAge:            cfg.MaxAge,
		Duplicates:        min(duplicateWindow, cfg.MaxAge), // records have no message id
		// As a client makes a bucket.
		Discard:     jetstream.DiscardNew,
		AllowRollup: true,
		DenyDelete:  true,
		MaxBytes:    -1,
		// The leader is asked for records: any replica may answer a direct get, and one that
		// is behind would not find a record whose acknowledgement was lost.
		AllowDirect: false,
	})
	if err != nil {
		return nil, err
	}
	return &Records{stream: stream, prefix: prefix}, nil
}

// Get returns the record of a key. A key that an operator deleted has no value.
func (r *Records) Get(ctx context.Context, key string) (Record, error) {
	msg, err := r.stream.stream.GetLastMsgForSubject(ctx, r.prefix+key)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Record{}, nil
	case err != nil:
		return Record{}, err
	case msg.Header.Get(headerOperation) != "": // the mark of a deletion
		return Record{Revision: msg.Sequence}, nil
	}
	return Record{Exists: true, Data: msg.Data, Revision: msg.Sequence}, nil
}

// Put stores data under a key and returns its revision once it is on the disk. It fails
// with ErrConflict unless revision last is the newest one of the key, 0 for none. Puts that
// wait at the same time share the syncing. Put takes 9 s at most.
//
// If it fails, data may be stored all the same, its acknowledgement lost. A try whose
// acknowledgement is lost is made again, so a Put may conflict with itself: data MUST tell
// the caller whose it is. A cluster also reports a conflict while another Put to the
// key is being stored, whose data cannot be read yet.
func (r *Records) Put(ctx context.Context, key string, data []byte, last uint64) (revision uint64, err error) {
	msg := nats.NewMsg(r.prefix + key)
	msg.Data = data
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
	ack, err := r.stream.committer.store(&pending{ctx: ctx, msg: msg, record: true, expected: last})
	return ack.Sequence, err
}
