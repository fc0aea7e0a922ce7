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
	// readTimeout bounds the time of an answer, which has at most a few MiB.
	readTimeout = 5 * time.Second
	// firstTimeout is the time after which another server is asked, if a server has not begun to
	// answer. NATS chooses one at random, and may choose one that is frozen.
	firstTimeout = time.Second
	// maxReads bounds concurrent reads. Their answers, of 1 MiB and more, share the connection
	// with appends and the tail, and a NATS server closes a connection with 64 MiB pending.
	maxReads = 16
)

// ReadRequest selects messages of a stream. They are read oldest first.
type ReadRequest struct {
	// From is the first sequence to look at, 1 or more.
	From uint64
	// Subject is the subject of the messages, with * for any token. Empty means all messages.
	Subject string
	// MaxMessages and MaxBytes bound the answer. It has at least one message. MaxBytes is
	// approximate, and 0 means no bound.
	MaxMessages, MaxBytes int
	// Bare leaves out the sequences of the messages, which cost more than the messages.
	Bare bool
}

// ReadEnd is the end of an answer.
type ReadEnd struct {
	// Pending is the number of matching messages after the answer.
	Pending uint64
	// Last is the sequence of the last message of the answer.
	Last uint64
}

var (
	// errIncomplete means that JetStream did not complete an answer.
	errIncomplete = errors.New("incomplete answer")
	// errNoAnswer means that JetStream did not begin to answer.
	errNoAnswer = errors.New("no answer")
)

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

// Read calls each with every message of the answer, until each returns false. each may keep the
// data. With Bare the sequence is 0. The end is the zero value if each returned false, or if
// there is no message.
//
// Retention may remove messages between two messages of an answer. A Read leaves no state on
// the server. At most 16 reads run at a time.
func (s *Stream) Read(ctx context.Context, req ReadRequest, each func(sequence uint64, data []byte) bool) (ReadEnd, error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return ReadEnd{}, ctx.Err()
	}
	if req.Subject != "" {
		req.Subject = s.storage.settings.subjects() + req.Subject
	}
	body, err := req.encode()
	if err != nil {
		return ReadEnd{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, errIncomplete)
	defer cancel()
	for {
		end, err := s.ask(ctx, req, body, each)
		if !errors.Is(err, errNoAnswer) {
			return end, err
		}
	}
}

// ask asks one server. It fails with errNoAnswer if the server has not begun to answer within
// firstTimeout, and then has not called each.
func (s *Stream) ask(ctx context.Context, req ReadRequest, body []byte, each func(sequence uint64, data []byte) bool) (ReadEnd, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	first := time.AfterFunc(firstTimeout, func() { fail(errNoAnswer) })
	defer first.Stop()
	// The channel has room for the whole answer, because nats.go drops what does not fit.
	answer := make(chan *nats.Msg, req.MaxMessages+1)
	inbox := s.storage.conn.NewInbox() // one of NewRespInbox would come a second time, to the connection's own subscription
	sub, err := s.storage.conn.ChanSubscribe(inbox, answer)
	if err != nil {
		return ReadEnd{}, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	sub.SetClosedHandler(func(string) { fail(nats.ErrConnectionClosed) })
	if err := s.storage.conn.PublishRequest(s.storage.apiPrefix+"DIRECT.GET."+s.stream.CachedInfo().Config.Name, inbox, body); err != nil {
		return ReadEnd{}, err
	}
	begun := false
	for {
		var msg *nats.Msg
		select {
		case msg = <-answer:
		case <-ctx.Done():
			return ReadEnd{}, context.Cause(ctx)
		}
		if begun = begun || first.Stop(); !begun {
			return ReadEnd{}, errNoAnswer // the answer began too late
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
