package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// readTimeout bounds the time that an answer of at most a few MiB takes.
	readTimeout = 5 * time.Second
	// maxReads bounds the reads under way at once: their answers of 1 MiB each and
	// more share the connection with appends and the tail, and a NATS server cuts
	// one off that has 64 MiB waiting for it.
	maxReads = 16
)

// ReadRequest says which messages of a stream to read, oldest first.
type ReadRequest struct {
	// From is the first sequence to look at, 1 or more.
	From uint64
	// Subject is that of all messages, in which * stands for any token. Empty means all
	// messages.
	Subject string
	// MaxMessages and MaxBytes bound the answer, which has one message at least. MaxBytes
	// is approximate, and 0 means no bound.
	MaxMessages, MaxBytes int
	// Bare leaves out the sequences of the messages, which cost more than the messages
	// do.
	Bare bool
}

// ReadEnd is what the end of an answer says.
type ReadEnd struct {
	// Pending is how many messages match beyond the answer.
	Pending uint64
	// Last is the sequence of the last message of the answer.
	Last uint64
}

// errIncomplete says that JetStream did not complete an answer.
var errIncomplete = errors.New("incomplete answer")

// directGet is a request for stored messages (JetStream's ADR-31, batched direct get).
type directGet struct {
	Seq       uint64 `json:"seq,omitempty"`
	NextFor   string `json:"next_by_subj,omitempty"`
	Batch     int    `json:"batch"`
	MaxBytes  int    `json:"max_bytes,omitempty"`
	NoHeaders bool   `json:"no_hdr,omitempty"`
}

func (r ReadRequest) encode() ([]byte, error) {
	return json.Marshal(directGet{Seq: r.From, NextFor: r.Subject, Batch: r.MaxMessages, MaxBytes: r.MaxBytes, NoHeaders: r.Bare})
}

// Headers of the message that ends an answer, and the statuses that messages have which
// are not stored ones.
const (
	headerStatus      = "Status"
	headerDescription = "Description"
	headerPending     = "Nats-Num-Pending"
	headerLast        = "Nats-Last-Sequence"

	statusEnd  = "204"
	statusNone = "404" // no message there, or after it
)

// Read calls each with every message of the answer, until it returns false. The data is
// each's to keep. With Bare the sequence is 0. If each has ended it, or there is no
// message, the end is the zero value.
//
// Retention may remove messages between any two of an answer. A Read leaves nothing behind
// on the server, and at most 16 are under way at once.
func (s *Stream) Read(ctx context.Context, req ReadRequest, each func(sequence uint64, data []byte) bool) (ReadEnd, error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return ReadEnd{}, ctx.Err()
	}
	body, err := req.encode()
	if err != nil {
		return ReadEnd{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, errIncomplete)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	// Room for the whole answer: what finds no room is dropped.
	answer := make(chan *nats.Msg, req.MaxMessages+1)
	inbox := s.conn.NewInbox() // one of NewRespInbox would come a second time, to the connection's own subscription
	sub, err := s.conn.ChanSubscribe(inbox, answer)
	if err != nil {
		return ReadEnd{}, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	sub.SetClosedHandler(func(string) { fail(nats.ErrConnectionClosed) })
	if err := s.conn.PublishRequest("$JS.API.DIRECT.GET."+s.stream.CachedInfo().Config.Name, inbox, body); err != nil {
		return ReadEnd{}, err
	}
	for {
		var msg *nats.Msg
		select {
		case msg = <-answer:
		case <-ctx.Done():
			return ReadEnd{}, context.Cause(ctx)
		}
		switch status := msg.Header.Get(headerStatus); status {
		case "":
		case statusEnd:
			return readEnd(msg.Header)
		case statusNone:
			return ReadEnd{}, nil
		default:
			return ReadEnd{}, fmt.Errorf("%w: status %s %s", errIncomplete, status, msg.Header.Get(headerDescription))
		}
		var sequence uint64
		if !req.Bare {
			sequence, err = strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
			if err != nil {
				return ReadEnd{}, fmt.Errorf("%w: %w", errIncomplete, err)
			}
		}
		if !each(sequence, msg.Data) {
			return ReadEnd{}, nil
		}
	}
}

func readEnd(header nats.Header) (end ReadEnd, err error) {
	var errPending, errLast error
	end.Pending, errPending = strconv.ParseUint(header.Get(headerPending), 10, 64)
	end.Last, errLast = strconv.ParseUint(header.Get(headerLast), 10, 64)
	if err := errors.Join(errPending, errLast); err != nil {
		return ReadEnd{}, fmt.Errorf("%w: %w", errIncomplete, err)
	}
	return end, nil
}
