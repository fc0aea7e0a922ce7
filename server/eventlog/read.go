package eventlog

import (
	"cmp"
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
func (l *Log) Read(ctx context.Context, position uint64, maxEvents, maxBytes int) (event.Segment, error) {
	entries, err := l.readBare(ctx, position, maxEvents, maxBytes)
	if err != nil || len(entries) > 0 {
		return segment(entries, err)
	}
	// There is nothing, or something is special about the next entries.
	for {
		var gap uint64 // the sequence behind a gap, 0 where there is none
		last := position
		_, err := l.get(ctx, getRequest{Seq: position + 1, Batch: maxEvents, MaxBytes: maxBytes},
			func(sequence uint64, data []byte) bool {
				if sequence != last+1 {
					// Retention may be at work between any two entries of an answer.
					gap = sequence
					return false
				}
				last = sequence
				if e, ok := l.entry(sequence, data); ok {
					entries = append(entries, e)
				}
				return true
			})
		switch {
		case err != nil || len(entries) > 0:
			return segment(entries, err)
		case last > position:
			position = last // none of these entries was an event
		case gap > 0:
			return event.Segment{}, l.expired(position, gap)
		default:
			return event.Segment{}, l.checkEnd(ctx, position)
		}
	}
}

// segment makes a segment of entries, unless there was an error.
func segment(entries []event.Entry, err error) (event.Segment, error) {
	if err != nil {
		return event.Segment{}, err
	}
	return event.SegmentOf(entries)
}

// readBare reads entries without their headers, which cost JetStream and its
// client more than the events do. Their sequences are then not said, only how
// many entries there are and which one is the last; where that does not add up to
// a run without gaps, or an entry is no event, it returns none.
func (l *Log) readBare(ctx context.Context, position uint64, maxEvents, maxBytes int) ([]event.Entry, error) {
	entries := make([]event.Entry, 0, maxEvents)
	last := position
	end, err := l.get(ctx, getRequest{Seq: position + 1, Batch: maxEvents, MaxBytes: maxBytes, NoHeaders: true},
		func(_ uint64, data []byte) bool {
			last++
			e, err := l.verify(last, data)
			entries = append(entries, e)
			return err == nil
		})
	if err != nil || end.last != last {
		return nil, err
	}
	return entries, nil
}

// ReadMatching returns the events after a position that are of a channel, of a
// documented type, or of both (an empty one means all), and the position up to
// which there are no others. JetStream finds them by their subjects, without
// reading the rest. It fails as Read does.
func (l *Log) ReadMatching(ctx context.Context, position uint64, channel, notificationType string, maxEvents, maxBytes int,
) (events event.Segment, upTo uint64, err error) {
	// What is appended while this reads is left for the next time.
	bounds, err := l.Bounds(ctx)
	if err != nil {
		return event.Segment{}, position, err
	}
	upTo = max(position, bounds.Last)
	request := getRequest{
		Seq:      position + 1,
		NextFor:  subject(cmp.Or(channel, "*"), cmp.Or(notificationType, "*")),
		Batch:    maxEvents,
		MaxBytes: maxBytes,
	}
	var entries []event.Entry
	last := position
	end, err := l.get(ctx, request, func(sequence uint64, data []byte) bool {
		last = sequence
		if e, ok := l.entry(sequence, data); ok {
			entries = append(entries, e)
		}
		return true
	})
	if err != nil {
		return event.Segment{}, position, err
	}
	if end.pending > 0 {
		upTo = last
	}
	// The events between two that match are not seen here, so only the log's
	// beginning tells whether one that would match is gone.
	events, err = segment(entries, l.checkEnd(ctx, position))
	return events, upTo, err
}

// checkEnd fails where nothing comes after a position not because it is the
// newest, but because all that came is gone.
func (l *Log) checkEnd(ctx context.Context, position uint64) error {
	bounds, err := l.Bounds(ctx)
	if err != nil {
		return err
	}
	if position+1 < bounds.First {
		return l.expired(position, bounds.First)
	}
	return nil
}

// idleHeartbeat is how often JetStream says that it has nothing new; Follow
// fails after two that did not come.
const idleHeartbeat = 5 * time.Second

// consumerTimeout is how long JetStream keeps its part of a Follow that ended.
const consumerTimeout = 10 * time.Second

// Follow calls deliver with every event after a position, in order and without a
// gap, as they are stored, until ctx ends or the log fails. Where retention has
// removed events before they could be delivered, the sequence jumps. deliver
// MUST NOT block for long.
//
// It does not try to mend anything by itself: a caller whose Follow failed calls
// it again, from the last event that it got.
func (l *Log) Follow(ctx context.Context, position uint64, deliver func(event.Entry)) error {
	connected, stop := l.whileConnected(ctx)
	defer stop()
	failed := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if connected.Err() != nil {
			err = context.Cause(connected)
		}
		return unavailable("follow", err)
	}
	consumer, err := l.stream.CreateConsumer(connected, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       position + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerTimeout,
	})
	if err != nil {
		return failed(err)
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(idleHeartbeat))
	if err != nil {
		return failed(err)
	}
	defer messages.Stop()
	for delivered := uint64(1); ; delivered++ {
		msg, err := messages.Next(jetstream.NextContext(connected))
		if err != nil {
			return failed(err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return failed(err)
		}
		if meta.Sequence.Consumer != delivered {
			return failed(errIncomplete)
		}
		if e, ok := l.entry(meta.Sequence.Stream, msg.Data()); ok {
			deliver(e)
		}
	}
}

// errDisconnected says that the connection to NATS was lost.
var errDisconnected = errors.New("lost the connection to NATS")

// whileConnected returns a context that ends with the connection: what JetStream
// sends into a broken one does not come again, and nothing shows that it was
// sent.
func (l *Log) whileConnected(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	broken := l.conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		select {
		case <-broken:
			cancel(errDisconnected)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		l.conn.RemoveStatusListener(broken)
	}
}

// maxSkipped bounds how many entries that are no events are remembered.
const maxSkipped = 1000

// verify returns an entry of the log as one of a segment. It fails where the entry
// is not one that a Log appended.
func (l *Log) verify(sequence uint64, data []byte) (event.Entry, error) {
	e, checksum, err := event.Verify(data)
	return event.Entry{Sequence: sequence, Event: e, Cursor: encodeCursor(l.id, position{sequence, checksum})}, err
}

// entry is verify, and false where it fails: on a NATS that others use, too,
// anybody may have published into the log's subjects. Such an entry is reported
// once and passed over, since no subscriber could read it and no later event
// should wait behind it.
func (l *Log) entry(sequence uint64, data []byte) (event.Entry, bool) {
	e, err := l.verify(sequence, data)
	if err == nil {
		return e, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, reported := l.skipped[sequence]; !reported {
		if len(l.skipped) == maxSkipped {
			clear(l.skipped)
		}
		l.skipped[sequence] = struct{}{}
		l.logger.Error("an entry of the event log is not an event of the gateway and is passed over: who else publishes there?",
			"sequence", sequence, "subject_prefix", subjectPrefix, "error", err)
	}
	return event.Entry{}, false
}

// getRequest asks JetStream for stored messages (its ADR-31, batched direct get).
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	NoHeaders bool       `json:"no_hdr,omitempty"`
}

// getTimeout is the longest time between two messages of an answer.
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
	inbox := l.conn.NewRespInbox()
	sub, err := l.conn.SubscribeSync(inbox)
	if err != nil {
		return answerEnd{}, unavailable("read", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return answerEnd{}, unavailable("read", err)
	}
	if err := l.conn.PublishRequest("$JS.API.DIRECT.GET."+streamName, inbox, body); err != nil {
		return answerEnd{}, unavailable("read", err)
	}
	for {
		msg, err := next(ctx, sub)
		if err != nil {
			return answerEnd{}, unavailable("read", err)
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

func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
