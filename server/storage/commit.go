package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// minBatchOnDisk is the size from which a batch is cheaper than single publishes. JetStream
	// stages a batch in separate files, and syncs about 7 times for each batch. A batch that is
	// staged in memory (staging.go) is synced once, and is cheaper from minBatchInMemory on
	// (measured with nats-server 2.15, docs/log.md).
	minBatchOnDisk   = 16
	minBatchInMemory = 4
	// maxBatch and maxBatchBytes bound a group. JetStream's limit is 1,000 messages. A group also
	// has at most a quarter of the stream's MaxBytes. A batch is stored at once, and retention
	// would otherwise remove its beginning before it is delivered.
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
	maxBatchPart  = 4
	// singleTimeout bounds a group of single publishes, and batchTimeout a batch. Both are less
	// than the 10 s that a webhook waits.
	singleTimeout = 5 * time.Second
	batchTimeout  = 9 * time.Second
	// singleTry and batchTry bound one try, so that there is time for a retry if an
	// acknowledgement is lost.
	singleTry = 2 * time.Second
	batchTry  = 7 * time.Second

	// codeIncomplete rejects a batch with a message that was not staged (JetStream's ADR-50).
	codeIncomplete jetstream.ErrorCode = 10176
)

// committer stores the messages of one stream in groups. Messages that arrive while a group is
// being stored are the next group. So a single message does not wait for others, and there is no
// timer.
//
// A large group is an atomic batch, which JetStream syncs once. A small group is one publish for
// each message, all at the same time. Only one group is stored at a time, so no message overtakes
// a batch that is rejected because of a duplicate or a conflict, and then stored in parts. The
// messages of a batch are stored in the order of their arrival.
//
// Its method store is safe for concurrent use.
type committer struct {
	storage *Storage
	js      jetstream.JetStream
	stream  jetstream.Stream
	// maxBytes bounds the data of a group.
	maxBytes int64
	// batch is publishBatch.
	batch func(ctx context.Context, messages []*nats.Msg) (last uint64, err error)

	mu      sync.Mutex
	waiting []*pending
	// running means that run is running.
	running bool
}

// pending is a message to store.
type pending struct {
	// ctx is the context of its caller.
	ctx context.Context
	msg *nats.Msg
	// record means that msg is the value of a key, with the expected revision of the key. Other
	// messages have an id.
	record   bool
	expected uint64
	// copies are later messages of its group with the same key or id.
	copies []*pending
	// done is closed once ack and err are set.
	done chan struct{}
	ack  Ack
	err  error
}

func newCommitter(storage *Storage, stream jetstream.Stream) *committer {
	c := &committer{storage: storage, js: storage.api, stream: stream, maxBytes: maxBatchBytes}
	if kept := stream.CachedInfo().Config.MaxBytes; kept > 0 {
		c.maxBytes = min(maxBatchBytes, kept/maxBatchPart)
	}
	c.batch = c.publishBatch
	return c
}

// store returns once the message is durable or cannot be stored. If its context ends before the
// message is in a group, it is not stored. A group does not depend on the context of one of its
// callers.
func (c *committer) store(p *pending) (Ack, error) {
	c.enqueue(p)
	return p.wait()
}

func (c *committer) enqueue(messages ...*pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range messages {
		p.done = make(chan struct{})
	}
	c.waiting = append(c.waiting, messages...)
	if !c.running {
		c.running = true
		go c.run()
	}
}

func (p *pending) wait() (Ack, error) {
	select {
	case <-p.done:
		return p.ack, p.err
	case <-p.ctx.Done():
		return Ack{}, p.ctx.Err()
	}
}

// end sets the result of the message and its copies.
func (p *pending) end(ack Ack, err error) {
	p.ack, p.err = ack, err
	close(p.done)
	for _, copied := range p.copies {
		switch {
		case err != nil:
			copied.end(Ack{}, err)
		case p.record:
			copied.end(Ack{}, ErrConflict)
		default:
			copied.end(Ack{Sequence: ack.Sequence, Duplicate: true}, nil)
		}
	}
}

// key identifies a message within a group.
func (p *pending) key() string {
	if p.record {
		return p.msg.Subject
	}
	return p.msg.Header.Get(jetstream.MsgIDHeader)
}

// run stores groups until no message waits.
func (c *committer) run() {
	for group := c.take(); len(group) > 0; group = c.take() {
		if len(group) < c.storage.minBatch() {
			c.publishEach(group)
		} else {
			c.publishTogether(group)
		}
	}
}

// take returns the next group: the waiting messages, up to the bounds of a group. It drops
// messages of cancelled callers. If the group has a record with the same key and another
// revision, the later record waits for the next group.
func (c *committer) take() (group []*pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var later []*pending
	inGroup := map[string]*pending{}
	bytes := int64(0)
	for i, p := range c.waiting {
		if p.ctx.Err() != nil {
			continue
		}
		if len(group) == maxBatch || (len(group) > 0 && bytes+int64(len(p.msg.Data)) > c.maxBytes) {
			later = append(later, c.waiting[i:]...)
			break
		}
		first := inGroup[p.key()]
		switch {
		case first == nil:
			inGroup[p.key()] = p
			group = append(group, p)
			bytes += int64(len(p.msg.Data))
		case first.expected == p.expected:
			first.copies = append(first.copies, p)
		default:
			later = append(later, p)
		}
	}
	c.waiting = later
	c.running = len(group) > 0
	return group
}

// publishEach stores a group with a publish for each message.
func (c *committer) publishEach(group []*pending) {
	ctx, cancel := context.WithTimeout(c.storage.Writable(), singleTimeout)
	defer cancel()
	var publishing sync.WaitGroup
	for _, p := range group[1:] {
		publishing.Go(func() { p.end(c.publish(ctx, p.msg)) })
	}
	group[0].end(c.publish(ctx, group[0].msg))
	publishing.Wait()
}

// publishTogether stores a group as a batch, or in parts if that is refused.
func (c *committer) publishTogether(group []*pending) {
	ctx, cancel := context.WithTimeout(c.storage.Writable(), batchTimeout)
	defer cancel()
	c.publishParts(ctx, group)
}

// publishParts stores the messages of a group in order. If a batch is rejected because of a
// duplicate or a conflict, which JetStream does not name, it is retried in two halves, and so on.
// If its acknowledgement is lost, it is retried as a whole: if it was stored, all messages are
// duplicates then.
func (c *committer) publishParts(ctx context.Context, part []*pending) {
	if len(part) < c.storage.minBatch() {
		for _, p := range part {
			p.end(c.publish(ctx, p.msg))
		}
		return
	}
	messages := make([]*nats.Msg, 0, len(part))
	for _, p := range part {
		messages = append(messages, p.msg)
	}
	last, err := c.batch(ctx, messages)
	refusal, refused := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil:
		for i, p := range part {
			p.end(Ack{Sequence: last - uint64(len(part)-1-i)}, nil)
		}
	case refused:
		if refusal.ErrorCode == codeIncomplete {
			c.storage.stageAgain()
		}
		rest := c.endConflicts(ctx, part)
		if len(rest) < len(part) {
			c.publishParts(ctx, rest)
			return
		}
		half := len(part) / 2
		c.publishParts(ctx, part[:half])
		c.publishParts(ctx, part[half:])
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		c.publishParts(ctx, part)
	default:
		for _, p := range part {
			p.end(Ack{}, cause(ctx, err))
		}
	}
}

// publishBatch stores messages as an atomic batch: all of them, or none. It returns the
// sequence of the last one.
func (c *committer) publishBatch(ctx context.Context, messages []*nats.Msg) (last uint64, err error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, batchTry)
	defer cancel()
	// The acknowledgement of the last message is enough.
	ack, err := jetstreamext.PublishMsgBatch(ctx, c.js, messages, jetstreamext.BatchFlowControl{})
	for _, msg := range messages { // which may have to be published alone
		msg.Header.Del(jetstreamext.BatchIDHeader)
		msg.Header.Del(jetstreamext.BatchSeqHeader)
		msg.Header.Del(jetstreamext.BatchCommitHeader)
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// endConflicts ends the records that conflict with stored ones, and returns the other messages.
// Conflicts are common, since each repeated call is one. Looking for a conflict costs one read,
// and halving the batch would cost several publishes.
func (c *committer) endConflicts(ctx context.Context, part []*pending) (rest []*pending) {
	for _, p := range part {
		if p.record {
			// An older revision does not count: the answer may come from a replica that lags.
			stored, err := c.stream.GetLastMsgForSubject(ctx, p.msg.Subject)
			if err == nil && stored.Sequence > p.expected {
				p.end(Ack{}, ErrConflict)
				continue
			}
		}
		rest = append(rest, p)
	}
	return rest
}

// publish stores one message. A try without an acknowledgement may have stored it. The next try
// then finds its id.
func (c *committer) publish(ctx context.Context, msg *nats.Msg) (Ack, error) {
	for {
		ack, err := c.publishOnce(ctx, msg)
		switch {
		case err == nil:
			return Ack{Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
		case isConflict(err):
			return Ack{}, ErrConflict
		case ctx.Err() != nil, !errors.Is(err, context.DeadlineExceeded):
			return Ack{}, cause(ctx, err)
		}
	}
}

func (c *committer) publishOnce(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, singleTry)
	defer cancel()
	return c.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(c.stream.CachedInfo().Config.Name))
}

func isConflict(err error) bool {
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// cause returns why ctx ended if it has, and else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
