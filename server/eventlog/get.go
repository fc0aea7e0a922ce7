package eventlog

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

// getRequest asks JetStream for stored messages (its ADR-31, batched direct get).
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	NoHeaders bool       `json:"no_hdr,omitempty"`
}

// getTimeout bounds the time that an answer of at most a few MiB takes.
const getTimeout = 5 * time.Second

// maxReads bounds the reads under way at once: their answers of 1 MiB each and
// more share the connection with appends and the tail, and a NATS server cuts
// one off that has 64 MiB waiting for it.
const maxReads = 16

// errIncomplete says that JetStream did not complete an answer.
var errIncomplete = errors.New("incomplete answer")

// Headers of the message that ends an answer: how many match beyond it, and the
// sequence of its last one.
const (
	headerPending = "Nats-Num-Pending"
	headerLast    = "Nats-Last-Sequence"
)

// answerEnd is what the end of a complete answer says.
type answerEnd struct{ pending, last uint64 }

// get calls each with every message of the answer, until it returns false. The
// data is each's to keep. Without headers the sequence is 0. Where each has ended
// it, or there is no message, the end is the zero value.
func (l *Log) get(ctx context.Context, req getRequest, each func(sequence uint64, data []byte) bool) (answerEnd, error) {
	select {
	case l.reading <- struct{}{}:
		defer func() { <-l.reading }()
	case <-ctx.Done():
		return answerEnd{}, unavailable("read", ctx.Err())
	}
	body, err := json.Marshal(req)
	if err != nil {
		return answerEnd{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, getTimeout, errIncomplete)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	// Room for the whole answer: what finds no room is dropped.
	answer := make(chan *nats.Msg, req.Batch+1)
	inbox := l.conn.NewInbox() // one of NewRespInbox would come a second time, to the connection's own subscription
	sub, err := l.conn.ChanSubscribe(inbox, answer)
	if err != nil {
		return answerEnd{}, unavailable("read", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	sub.SetClosedHandler(func(string) { fail(nats.ErrConnectionClosed) })
	if err := l.conn.PublishRequest("$JS.API.DIRECT.GET."+streamName, inbox, body); err != nil {
		return answerEnd{}, unavailable("read", err)
	}
	for {
		var msg *nats.Msg
		select {
		case msg = <-answer:
		case <-ctx.Done():
			return answerEnd{}, unavailable("read", context.Cause(ctx))
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204": // end of batch
			var end answerEnd
			var errPending, errLast error
			end.pending, errPending = strconv.ParseUint(msg.Header.Get(headerPending), 10, 64)
			end.last, errLast = strconv.ParseUint(msg.Header.Get(headerLast), 10, 64)
			if err := errors.Join(errPending, errLast); err != nil {
				return answerEnd{}, unavailable("read", fmt.Errorf("%w: %w", errIncomplete, err))
			}
			return end, nil
		case "404": // no message there, or after it
			return answerEnd{}, nil
		default:
			return answerEnd{}, unavailable("read", fmt.Errorf("%w: status %s %s", errIncomplete, status, msg.Header.Get("Description")))
		}
		var sequence uint64
		if !req.NoHeaders {
			sequence, err = strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
			if err != nil {
				return answerEnd{}, unavailable("read", fmt.Errorf("%w: %w", errIncomplete, err))
			}
		}
		if !each(sequence, msg.Data) {
			return answerEnd{}, nil
		}
	}
}
