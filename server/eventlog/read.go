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

	"github.com/ongair/ongair-gateway/server/event"
)

// Read returns events after a position, oldest first: at most maxEvents, and at
// most about maxBytes of them. It returns none where the position is the newest.
// It fails with CURSOR_EXPIRED where retention has removed the next one.
//
// It keeps nothing on the server, so a reader that goes away leaves nothing
// behind, and any replica can go on for it.
func (l *Log) Read(ctx context.Context, position uint64, maxEvents, maxBytes int) ([]*event.Record, error) {
	records := make([]*event.Record, 0, maxEvents)
	err := l.get(ctx, getRequest{Seq: position + 1, Batch: maxEvents, MaxBytes: maxBytes},
		func(sequence uint64, data []byte) error {
			record, err := event.NewRecord(sequence, data, l.Cursor(sequence))
			if err != nil {
				return err
			}
			records = append(records, record)
			return nil
		})
	if err != nil {
		return nil, err
	}
	if len(records) > 0 {
		if first := records[0].Sequence; first != position+1 {
			return nil, l.expired(position, first)
		}
		return records, nil
	}
	// Nothing after the position: it is the newest, or all that came after it is
	// gone.
	bounds, err := l.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	if position+1 < bounds.First {
		return nil, l.expired(position, bounds.First)
	}
	return nil, nil
}

// Follow calls deliver with every event after a position, in order and without a
// gap, as they are stored, until ctx ends or the log fails. Where retention has
// removed events before they could be delivered, the sequence jumps. deliver
// MUST NOT block for long.
func (l *Log) Follow(ctx context.Context, position uint64, deliver func(*event.Record)) error {
	consumer, err := l.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   position + 1,
	})
	if err != nil {
		return unavailable("follow", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return unavailable("follow", err)
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	defer messages.Stop()
	for {
		msg, err := messages.Next()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return unavailable("follow", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return unavailable("follow", err)
		}
		record, err := event.NewRecord(meta.Sequence.Stream, msg.Data(), l.Cursor(meta.Sequence.Stream))
		if err != nil {
			return unavailable("follow", err)
		}
		deliver(record)
	}
}

// getRequest asks JetStream for stored messages (its ADR-31, batched direct get).
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
}

// getTimeout is the longest time between two messages of an answer.
const getTimeout = 5 * time.Second

// errIncomplete says that JetStream did not complete an answer.
var errIncomplete = errors.New("incomplete answer")

// get calls each with every message of the answer. The data is each's to keep.
func (l *Log) get(ctx context.Context, req getRequest, each func(sequence uint64, data []byte) error) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	inbox := l.conn.NewRespInbox()
	sub, err := l.conn.SubscribeSync(inbox)
	if err != nil {
		return unavailable("read", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return unavailable("read", err)
	}
	if err := l.conn.PublishRequest("$JS.API.DIRECT.GET."+streamName, inbox, body); err != nil {
		return unavailable("read", err)
	}
	for {
		msg, err := next(ctx, sub)
		if err != nil {
			return unavailable("read", err)
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204": // end of batch
			return nil
		case "404": // no message there, or after it
			return nil
		default:
			return unavailable("read", fmt.Errorf("%w: status %s %s", errIncomplete, status, msg.Header.Get("Description")))
		}
		sequence, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return unavailable("read", fmt.Errorf("%w: %w", errIncomplete, err))
		}
		if err := each(sequence, msg.Data); err != nil {
			return unavailable("read", err)
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
