package eventlog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Group commit: appends that come together share the syncing of the disk, and one
// that comes alone does not wait for others.
//
// An append that comes alone is one publish, made by whoever appends. So are
// fewer than minBatch at a time, which JetStream syncs one after the other. A
// batch is synced about 7 times whatever its size, because JetStream stages it in
// files of its own (measured with nats-server 2.15, docs/log.md). So with that
// many under way appends wait, and once as many wait as are worth a batch they go
// as one. While it is committed, those that come are staged as the next one, which
// is committed as soon as the one before is over. There is no timer.
//
// A batch is over when each of its appends is, so that nothing overtakes one that
// JetStream refused whole for a duplicate in it, and that goes in parts then.
const (
	// minBatch is the size from which a batch is cheaper than single publishes, of
	// which fewer than that are under way at the same time: also because of slow
	// disks, where 19 of them would take longer than singleTimeout at 300 ms a sync.
	minBatch = 8
	// maxBatch and maxBatchBytes bound a batch; JetStream's own limit is 1,000.
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
	// singleTimeout bounds a single publish, and batchTimeout a batch, which may have
	// to wait for singles on a slow disk: less than the 10 s that a webhook waits.
	singleTimeout = 5 * time.Second
	batchTimeout  = 9 * time.Second
	// singleTry and batchTry bound one try, so that there is time for another one
	// where an acknowledgement was lost.
	singleTry = 2 * time.Second
	batchTry  = 7 * time.Second
)

// appending is an append that waits for its turn.
type appending struct {
	ctx context.Context
	msg *nats.Msg
	// turn is closed when the wait is over. Then single says that the caller
	// publishes it, or stored and err are what became of it.
	turn   chan struct{}
	single bool
	stored bool
	err    error
}

func (a *appending) id() string { return a.msg.Header.Get(jetstream.MsgIDHeader) }

func (a *appending) end(stored bool, err error) {
	a.stored, a.err = stored, err
	close(a.turn)
}

// committer publishes appends, one by one or in batches. Its method append is safe
// for concurrent use.
type committer struct {
	conn     *nats.Conn
	js       jetstream.JetStream
	writable func() context.Context
	// saw is told the sequences that were stored.
	saw func(sequence uint64)

	mu sync.Mutex
	// singles is how many single publishes are under way.
	singles int
	// batching says that batches are being made; then all that come wait for one.
	batching bool
	// idle is closed once no single publish is under way, where it is not nil.
	idle    chan struct{}
	waiting []*appending
	// came has a token when there is something new in waiting.
	came chan struct{}
}

func newCommitter(conn *nats.Conn, js jetstream.JetStream, writable func() context.Context, saw func(sequence uint64)) *committer {
	return &committer{conn: conn, js: js, writable: writable, saw: saw, came: make(chan struct{}, 1)}
}

// append returns once msg is stored, or found to be. Where ctx ends before its
// commit has begun, it is not stored; the commit of a batch that has begun goes on
// without ctx, because others are in it.
func (c *committer) append(ctx context.Context, msg *nats.Msg) (stored bool, err error) {
	a := &appending{ctx: ctx, msg: msg, turn: make(chan struct{})}
	c.enqueue(a)
	return c.outcome(a)
}

// outcome waits for what becomes of an append.
func (c *committer) outcome(a *appending) (stored bool, err error) {
	select {
	case <-a.turn:
	case <-a.ctx.Done():
		c.abandon(a)
		return false, unavailable("append", a.ctx.Err())
	}
	if !a.single {
		return a.stored, a.err
	}
	defer c.landed()
	ctx, cancel := context.WithTimeout(c.writable(), singleTimeout)
	defer cancel()
	// It ends with its caller, too: nobody else is in it.
	defer context.AfterFunc(a.ctx, cancel)()
	if stored, err = c.publish(ctx, a.msg); err != nil && a.ctx.Err() != nil {
		err = unavailable("append", a.ctx.Err())
	}
	return stored, err
}

// enqueue gives appends their turn, or has them wait for it.
func (c *committer) enqueue(appends ...*appending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, appends...)
	select {
	case c.came <- struct{}{}:
	default:
	}
	c.admit()
}

// abandon gives back the turn of an append whose ctx has ended, if it came at that
// moment. It does not come later: admit and stage look at ctx first.
func (c *committer) abandon(a *appending) {
	c.mu.Lock()
	single := a.single
	c.mu.Unlock()
	if single {
		c.landed()
	}
}

// landed is the end of a single publish.
func (c *committer) landed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.singles--
	c.settle()
	c.admit()
}

// settle closes idle if it is time. c.mu is held.
func (c *committer) settle() {
	if c.singles == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// admit gives those that wait their turn, if it is theirs. c.mu is held.
func (c *committer) admit() {
	if c.batching {
		return
	}
	for len(c.waiting) > 0 && len(c.waiting) < minBatch && c.singles < minBatch-1 {
		a := c.waiting[0]
		c.waiting = c.waiting[1:]
		if a.ctx.Err() != nil {
			continue // nobody waits for it any more
		}
		c.singles++
		a.single = true
		close(a.turn)
	}
	if len(c.waiting) == 0 {
		c.waiting = nil // and the array of those that are over with it
	}
	if len(c.waiting) >= minBatch {
		c.batching = true
		c.idle = make(chan struct{})
		go c.batches(c.idle)
		c.settle()
	}
}

// batches commits batch after batch, until fewer wait than are worth one. It begins
// once over is closed: JetStream acknowledges what it finds in its queue together,
// when it has stored all of it, so that singles would wait for a batch behind them.
func (c *committer) batches(over <-chan struct{}) {
	<-over
	for {
		b := c.newBatch()
		for before := over; before != nil; {
			b.stage(c.take(b))
			select {
			case <-before:
				before = nil
			case <-c.came:
			}
		}
		b.stage(c.take(b))
		if len(b.appends) == 0 {
			c.mu.Lock()
			c.batching = false
			c.admit()
			c.mu.Unlock()
			return
		}
		committed := make(chan struct{})
		go func() {
			defer close(committed)
			c.commit(b)
		}()
		over = committed
	}
}

// take returns those of the appends that wait for which a batch has room; none as
// long as all together are not worth one.
func (c *committer) take(b *batch) []*appending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b.appends)+len(c.waiting) < minBatch {
		return nil
	}
	n, bytes := 0, b.bytes
	for n < len(c.waiting) && len(b.appends)+n < maxBatch {
		bytes += len(c.waiting[n].msg.Data)
		if bytes > maxBatchBytes && len(b.appends)+n > 0 {
			break
		}
		n++
	}
	taken := c.waiting[:n]
	c.waiting = c.waiting[n:]
	return taken
}

// commit ends each append of a batch.
func (c *committer) commit(b *batch) {
	ctx, cancel := context.WithTimeout(c.writable(), batchTimeout)
	defer cancel()
	c.end(ctx, b.appends, b.commit(ctx))
	for _, a := range b.copies {
		a.end(false, b.first[a.id()].err)
	}
}

// end ends appends that were a batch, by what came of that. One that JetStream
// refused for a duplicate, which it does not name, goes again in two halves, and
// so on. One whose acknowledgement was lost goes again whole: if it was stored, it
// is all duplicates.
func (c *committer) end(ctx context.Context, appends []*appending, err error) {
	refused, _ := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil:
		for _, a := range appends {
			a.end(true, nil)
		}
	case refused != nil && (refused.ErrorCode == codeBatchDuplicate || refused.ErrorCode == codeBatchDisabled):
		half := len(appends) / 2
		c.commitAgain(ctx, appends[:half])
		c.commitAgain(ctx, appends[half:])
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		c.commitAgain(ctx, appends)
	default:
		for _, a := range appends {
			a.end(false, failed(ctx, err))
		}
	}
}

// commitAgain ends each append of what was a batch, or a part of one, in order.
func (c *committer) commitAgain(ctx context.Context, appends []*appending) {
	if len(appends) < minBatch {
		for _, a := range appends {
			a.end(c.publish(ctx, a.msg))
		}
		return
	}
	b := c.newBatch()
	b.stage(appends)
	c.end(ctx, appends, b.commit(ctx))
}

// failed is the fault of an append that failed with err, or for the reason that
// ended ctx.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return unavailable("append", err)
}

// publish stores one message. A try that was not acknowledged may have stored it
// all the same; the next one finds its id then, and says so.
func (c *committer) publish(ctx context.Context, msg *nats.Msg) (stored bool, err error) {
	for {
		ack, err := c.publishOnce(ctx, msg)
		if err == nil {
			c.saw(ack.Sequence)
			return !ack.Duplicate, nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return false, failed(ctx, err)
		}
	}
}

func (c *committer) publishOnce(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, singleTry)
	defer cancel()
	return c.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(streamName))
}
