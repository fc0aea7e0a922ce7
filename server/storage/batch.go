package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
	conn   *nats.Conn
	stream string
	id     string
	// messages are in the batch: all but the newest are published, since that one
	// will have to commit the others.
	messages []*pending
	bytes    int
	// first has the message of each key, and copies are those that come after it with
	// the same key, and share its fate: a batch may not have an id twice.
	first  map[string]*pending
	copies []*pending
	// subjects are those of messages that expect something of them, which a batch
	// may have once each. What expects something else is held for a later batch.
	subjects map[string]struct{}
	held     []*pending
	// err is why a message could not be published, which is the end of the batch.
	err error
}

func (c *committer) newBatch() *batch {
	return &batch{
		conn: c.conn, stream: c.stream, id: nuid.Next(),
		first: map[string]*pending{}, subjects: map[string]struct{}{},
	}
}

// stage puts messages into the batch.
func (b *batch) stage(messages []*pending) {
	for _, p := range messages {
		key, expects := p.key(), p.msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader) != ""
		_, taken := b.subjects[p.msg.Subject]
		switch {
		case b.first[key] != nil:
			b.copies = append(b.copies, p)
		case expects && taken:
			b.held = append(b.held, p)
		default:
			if len(b.messages) > 0 && b.err == nil {
				b.err = b.conn.PublishMsg(b.newest())
			}
			b.first[key] = p
			if expects {
				b.subjects[p.msg.Subject] = struct{}{}
			}
			b.messages = append(b.messages, p)
			b.bytes += len(p.msg.Data)
		}
	}
}

// newest returns the newest message as one of the batch. It has a header of its own:
// the message may have to be published again alone.
func (b *batch) newest() *nats.Msg {
	p := b.messages[len(b.messages)-1]
	header := maps.Clone(p.msg.Header)
	header[headerBatchID] = []string{b.id}
	header[headerBatchSequence] = []string{strconv.Itoa(len(b.messages))}
	return &nats.Msg{Subject: p.msg.Subject, Data: p.msg.Data, Header: header}
}

// commit stores the batch, which MUST NOT be empty, and returns the sequence of its
// last message. Where it is not acknowledged within batchTry, the error is
// context.DeadlineExceeded.
func (b *batch) commit(ctx context.Context) (last uint64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	ctx, cancel := context.WithTimeout(ctx, batchTry)
	defer cancel()
	msg := b.newest()
	msg.Header[headerBatchCommit] = []string{"1"}
	reply, err := b.conn.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, err
	}
	return b.check(reply.Data)
}

// check reads the acknowledgement of the batch.
func (b *batch) check(data []byte) (last uint64, err error) {
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Last   uint64              `json:"seq"`
		Count  int                 `json:"count"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("acknowledgement of a batch: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Stream != b.stream || ack.Count != len(b.messages) {
		return 0, fmt.Errorf("acknowledgement of a batch: %d messages in %q, want %d", ack.Count, ack.Stream, len(b.messages))
	}
	return ack.Last, nil
}
