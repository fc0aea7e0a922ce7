package eventlog

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Headers of an atomic batch (JetStream's ADR-50), and the error codes that it can
// be refused with.
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"

	codeBatchDuplicate jetstream.ErrorCode = 10201
	codeBatchDisabled  jetstream.ErrorCode = 10174
)

// batch is an atomic batch of JetStream: messages that it stages as they come, and
// stores, syncing the stream once, when the last of them says so. All are stored, or none.
// It is for one goroutine at a time.
type batch struct {
	conn *nats.Conn
	saw  func(sequence uint64)
	id   string
	// appends are in the batch: all but the newest are published, since that one
	// will have to commit the others.
	appends []*appending
	bytes   int
	// first has the append of each id, and copies are those that come after it with
	// the same id, and share its fate: a batch may not have an id twice.
	first  map[string]*appending
	copies []*appending
	// err is why a message could not be published, which is the end of the batch.
	err error
}

func (c *committer) newBatch() *batch {
	return &batch{conn: c.conn, saw: c.saw, id: nuid.Next(), first: map[string]*appending{}}
}

// stage puts appends into the batch, but for those that nobody waits for any more.
func (b *batch) stage(appends []*appending) {
	for _, a := range appends {
		switch {
		case a.ctx.Err() != nil:
		case b.first[a.id()] != nil:
			b.copies = append(b.copies, a)
		default:
			if len(b.appends) > 0 && b.err == nil {
				b.err = b.conn.PublishMsg(b.newest())
			}
			b.first[a.id()] = a
			b.appends = append(b.appends, a)
			b.bytes += len(a.msg.Data)
		}
	}
}

// newest returns the message of the newest append as one of the batch. It has a
// header of its own: the append may have to be published again alone.
func (b *batch) newest() *nats.Msg {
	a := b.appends[len(b.appends)-1]
	return &nats.Msg{
		Subject: a.msg.Subject,
		Data:    a.msg.Data,
		Header: nats.Header{
			jetstream.MsgIDHeader: a.msg.Header[jetstream.MsgIDHeader],
			headerBatchID:         {b.id},
			headerBatchSequence:   {strconv.Itoa(len(b.appends))},
		},
	}
}

// commit stores the batch, which MUST NOT be empty. Where it is not acknowledged
// within batchTry, the error is context.DeadlineExceeded.
func (b *batch) commit(ctx context.Context) error {
	if b.err != nil {
		return b.err
	}
	ctx, cancel := context.WithTimeout(ctx, batchTry)
	defer cancel()
	last := b.newest()
	last.Header[headerBatchCommit] = []string{"1"}
	reply, err := b.conn.RequestMsgWithContext(ctx, last)
	if err != nil {
		return err
	}
	return b.check(reply.Data)
}

// check reads the acknowledgement of the batch.
func (b *batch) check(data []byte) error {
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Last   uint64              `json:"seq"`
		Count  int                 `json:"count"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return fmt.Errorf("acknowledgement of a batch: %w", err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	if ack.Stream != streamName || ack.Count != len(b.appends) {
		return fmt.Errorf("acknowledgement of a batch: %d messages in %q, want %d", ack.Count, ack.Stream, len(b.appends))
	}
	b.saw(ack.Last)
	return nil
}
