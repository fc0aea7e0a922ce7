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
	// bucketStream is the prefix of the stream of a key-value bucket, and bucketSubject that of
	// the subjects of its keys. A deletion leaves a message with headerOperation (JetStream's
	// ADR-8).
	bucketStream    = "KV_"
	bucketSubject   = "$KV."
	headerOperation = "KV-Operation"
)

// RecordsConfig configures Records.
type RecordsConfig struct {
	// Bucket is the name of the key-value bucket.
	Bucket, Description string
	// MaxAge is the time for which a record is kept. 0 means forever.
	MaxAge time.Duration
}

// Records is a key-value bucket, which other NATS clients can read. Its methods are safe for
// concurrent use.
type Records struct {
	stream *Stream
	// prefix is the prefix of the subjects of records, and published that with which they are
	// published.
	prefix, published string
}

// Record is the newest value of a key.
type Record struct {
	// Exists reports whether the key has a value. Data is the value.
	Exists bool
	Data   []byte
	// Revision is the revision that the next Put has to expect. It is 0 if the key never had a
	// value, or its last value has expired.
	Revision uint64
}

// ErrConflict means that the key of a Put has another revision.
var ErrConflict = errors.New("the key has another revision")

// OpenRecords opens a bucket in the same way as OpenStream opens a stream.
func (s *Storage) OpenRecords(ctx context.Context, cfg RecordsConfig) (*Records, error) {
	bucket := s.settings.name(cfg.Bucket)
	prefix := bucketSubject + bucket + "."
	uses := s.uses(bucketStream+bucket, s.settings.recordPrefix()+prefix, false)
	stream, err := s.open(ctx, uses, jetstream.StreamConfig{
		Name:              bucketStream + bucket,
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
		// Only the leader is asked for records. A direct get may be answered by a replica that
		// lags behind, which would not find a record whose acknowledgement was lost.
		AllowDirect: false,
	})
	if err != nil {
		return nil, err
	}
	return &Records{stream: stream, prefix: prefix, published: s.settings.recordPrefix() + prefix}, nil
}

// Get returns the record of a key. A key that was deleted has no value.
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

// Put stores data under a key and returns its revision once it is on the disk. It fails with
// ErrConflict unless last is the newest revision of the key, or 0 if the key has none.
// Concurrent Puts share a sync. Put takes at most 9 s.
//
// If Put fails, data may be stored, because its acknowledgement may have been lost. Put
// retries if an acknowledgement is lost, so it may conflict with itself: data MUST identify
// its caller. A cluster also reports a conflict while another Put to the key is being stored
// and cannot be read yet.
func (r *Records) Put(ctx context.Context, key string, data []byte, last uint64) (revision uint64, err error) {
	msg := nats.NewMsg(r.published + key)
	msg.Data = data
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
	ack, err := r.stream.committer.store(&pending{ctx: ctx, msg: msg, record: true, expected: last})
	return ack.Sequence, err
}
