package storage

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// end ends messages that were a batch, by what came of that: err, or the sequence of
// the last one. One that JetStream refused for a duplicate or a conflict, which it
// does not name, goes again in two halves, and so on. One whose acknowledgement was
// lost goes again whole: if it was stored, it is all duplicates.
func (c *committer) end(ctx context.Context, messages []*pending, last uint64, err error) {
	switch {
	case err == nil:
		for i, p := range messages {
			p.end(Ack{Sequence: last - uint64(len(messages)-1-i)}, nil)
		}
	case isConflict(err):
		rest := c.sift(ctx, messages)
		if len(rest) < len(messages) {
			c.commitAgain(ctx, rest)
			return
		}
		c.halve(ctx, messages) // what was in the way is not there any more, or not here yet
	case divisible(err):
		c.halve(ctx, messages)
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		c.commitAgain(ctx, messages)
	default:
		for _, p := range messages {
			p.end(Ack{}, cause(ctx, err))
		}
	}
}

// halve ends messages of a batch in two parts.
func (c *committer) halve(ctx context.Context, messages []*pending) {
	half := len(messages) / 2
	c.commitAgain(ctx, messages[:half])
	c.commitAgain(ctx, messages[half:])
}

// sift ends the messages that conflict with what is stored, and returns the others.
// Conflicts are ordinary, since each repeated call is one: to look for them costs a
// read each, in place of the batches and single publishes that halving takes.
func (c *committer) sift(ctx context.Context, messages []*pending) (rest []*pending) {
	stream, err := c.js.Stream(ctx, c.stream)
	if err != nil {
		return messages
	}
	for _, p := range messages {
		expected, err := strconv.ParseUint(p.msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
		if err == nil {
			// Only what is newer counts: the answer may come from a replica that is behind.
			stored, err := stream.GetLastMsgForSubject(ctx, p.msg.Subject)
			if err == nil && stored.Sequence > expected {
				p.end(Ack{}, ErrConflict)
				continue
			}
		}
		rest = append(rest, p)
	}
	return rest
}

// divisible reports whether a batch failed for one of its messages, or as a batch, so
// that its parts may be stored.
func divisible(err error) bool {
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (refused.ErrorCode == codeBatchDuplicate || refused.ErrorCode == codeBatchDisabled)
}

func isConflict(err error) bool {
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// commitAgain ends each message of what was a batch, or a part of one, in order.
func (c *committer) commitAgain(ctx context.Context, messages []*pending) {
	if len(messages) < minBatch {
		for _, p := range messages {
			p.end(c.publish(ctx, p.msg))
		}
		return
	}
	b := c.newBatch()
	b.stage(messages)
	last, err := b.commit(ctx)
	c.end(ctx, messages, last, err)
}

// cause prefers the reason that ended ctx to the error that its end led to.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// publish stores one message. A try that was not acknowledged may have stored it
// all the same; the next one finds its id then, and says so.
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
	return c.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(c.stream))
}
