package storage

import (
	"context"
	"errors"
	"strings"
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
	// groupTimeout bounds the tries of a group. It is less than the 10 s that a webhook waits. An
	// embedded server has no elections, so single publishes to it take longer only if the disk hangs.
	groupTimeout    = 9 * time.Second
	embeddedTimeout = 5 * time.Second
	// singleTry and batchTry bound one try, so that there is time for a retry if an
	// acknowledgement is lost.
	singleTry = 2 * time.Second
	batchTry  = 4 * time.Second
	// retryPause is the pause before another try. A cluster elects a leader in seconds.
	retryPause = 100 * time.Millisecond
	// maxIncomplete is the number of tries of a batch that stays incomplete.
	maxIncomplete = 3
)

// Codes with which JetStream refuses what it does not store.
const (
	codeNotAvailable   jetstream.ErrorCode = 10008 // no leader
	codeNotLeader      jetstream.ErrorCode = 10009
	codeOffline        jetstream.ErrorCode = 10118
	codeIDInProcess    jetstream.ErrorCode = 10158 // another message with the same id is being stored
	codeKeyInProcess   jetstream.ErrorCode = 10163 // the same of a key
	codeIncomplete     jetstream.ErrorCode = 10176 // a message of the batch was not staged (JetStream's ADR-50)
	codeTooManyBatches jetstream.ErrorCode = 10210
)

// isRetryable reports whether a publish that failed with err may succeed when it is tried again. It
// was refused during a change of leader, or its acknowledgement was lost.
func isRetryable(err error) bool {
	if refusal, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch refusal.ErrorCode {
		case codeNotAvailable, codeNotLeader, codeOffline, codeIDInProcess, codeKeyInProcess, codeIncomplete, codeTooManyBatches:
			return true
		default:
			return false
		}
	}
	for _, temporary := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, errDisconnected, nats.ErrReconnectBufExceeded,
		nats.ErrNoResponders, jetstream.ErrNoStreamResponse, // there is no leader
	} {
		if errors.Is(err, temporary) {
			return true
		}
	}
	return false
}

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
	timeout := groupTimeout
	if c.storage.embedded != nil {
		timeout = embeddedTimeout
	}
	ctx, cancel := context.WithTimeout(c.storage.Writable(), timeout)
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
	ctx, cancel := context.WithTimeout(c.storage.Writable(), groupTimeout)
	defer cancel()
	c.publishParts(ctx, group)
}

// publishParts stores the messages of a group in order. If a batch is rejected because of a
// duplicate or a conflict, which JetStream does not name, it is retried in two halves, and so on.
// If the failure is temporary, it is retried as a whole: if it was stored and its acknowledgement
// was lost, all messages are duplicates then.
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
	for incomplete := 1; isRetryable(err); incomplete++ {
		if isIncomplete(err) {
			c.storage.stageAgain()
			if incomplete == maxIncomplete {
				break
			}
		}
		if !pause(ctx) {
			break
		}
		last, err = c.batch(ctx, messages)
	}
	_, refused := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil:
		for i, p := range part {
			p.end(Ack{Sequence: last - uint64(len(part)-1-i)}, nil)
		}
	case refused && ctx.Err() == nil:
		rest := c.endConflicts(ctx, part)
		if len(rest) < len(part) {
			c.publishParts(ctx, rest)
			return
		}
		half := len(part) / 2
		c.publishParts(ctx, part[:half])
		c.publishParts(ctx, part[half:])
	default:
		for _, p := range part {
			p.end(Ack{}, cause(ctx, err))
		}
	}
}

func isIncomplete(err error) bool {
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	return ok && refusal.ErrorCode == codeIncomplete
}

// pause waits before another try. It returns false if ctx ends.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(retryPause):
		return true
	case <-ctx.Done():
		return false
	}
}

// publishBatch stores messages as an atomic batch: all of them, or none. It returns the
// sequence of the last one.
func (c *committer) publishBatch(ctx context.Context, messages []*nats.Msg) (last uint64, err error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	ctx, stop := c.try(ctx, batchTry)
	defer stop()
	// The acknowledgement of the last message is enough.
	ack, err := jetstreamext.PublishMsgBatch(ctx, c.js, messages, jetstreamext.BatchFlowControl{})
	for _, msg := range messages { // which may have to be published alone
		msg.Header.Del(jetstreamext.BatchIDHeader)
		msg.Header.Del(jetstreamext.BatchSeqHeader)
		msg.Header.Del(jetstreamext.BatchCommitHeader)
	}
	if err != nil {
		return 0, cause(ctx, err)
	}
	return ack.Sequence, nil
}

// try returns the context of one try, which ends when its acknowledgement cannot come any more.
func (c *committer) try(ctx context.Context, timeout time.Duration) (_ context.Context, stop func()) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	ctx, disconnect := c.storage.whileConnected(ctx)
	return ctx, func() { disconnect(); cancel() }
}

// endConflicts ends the records that conflict with stored ones, and returns the other messages.
// Conflicts are common, since each repeated call is one. Looking for a conflict costs one read,
// and halving the batch would cost several publishes.
func (c *committer) endConflicts(ctx context.Context, part []*pending) (rest []*pending) {
	for _, p := range part {
		if p.record {
			// An older revision does not count: the answer may come from a replica that lags.
			stored, err := c.stream.GetLastMsgForSubject(ctx, strings.TrimPrefix(p.msg.Subject, c.storage.settings.recordPrefix()))
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
		case !isRetryable(err) || !pause(ctx):
			return Ack{}, cause(ctx, err)
		}
	}
}

func (c *committer) publishOnce(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	ctx, stop := c.try(ctx, singleTry)
	defer stop()
	ack, err := c.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(c.stream.CachedInfo().Config.Name), jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil, cause(ctx, err)
	}
	return ack, nil
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
