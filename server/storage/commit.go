// Appends and Puts that come together share the syncing of the disk, and one that comes
// alone does not wait for others.
//
// A message that comes alone is one publish, made by whoever publishes it. So are
// fewer than minBatch at a time, which JetStream syncs one after the other. A
// batch is synced about 7 times whatever its size, because JetStream stages it in
// files of its own (measured with nats-server 2.15, docs/log.md). So with that
// many under way messages wait, and once as many wait as are worth a batch they go
// as one. While it is committed, those that come are staged as the next one, which
// is committed as soon as the one before is over. There is no timer.
//
// A batch is over when each of its messages is, so that nothing overtakes one that
// JetStream refused whole, for a duplicate or a conflict in it, and that goes in
// parts then. Batched messages are stored in the order in which they came.

package storage

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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

// pending is a message that waits for its turn.
type pending struct {
	ctx context.Context
	msg *nats.Msg
	// turn is closed when the wait is over. Then single says that the caller
	// publishes it, or stored and err are what became of it.
	turn   chan struct{}
	single bool
	ack    Ack
	err    error
}

// key is the same for messages of which only one can be stored: by their id, or by
// what they expect of their subject.
func (p *pending) key() string {
	if expected := p.msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader); expected != "" {
		return expected + " " + p.msg.Subject
	}
	return p.msg.Header.Get(jetstream.MsgIDHeader)
}

func (p *pending) end(ack Ack, err error) {
	p.ack, p.err = ack, err
	close(p.turn)
}

// committer publishes messages of one stream, one by one or in batches. Its method
// store is safe for concurrent use.
type committer struct {
	conn     *nats.Conn
	js       jetstream.JetStream
	stream   string
	writable func() context.Context

	mu sync.Mutex
	// singles is how many single publishes are under way.
	singles int
	// batching says that batches are being made; then all that come wait for one.
	batching bool
	// idle is closed once no single publish is under way, where it is not nil.
	idle    chan struct{}
	waiting []*pending
	// came has a token when there is something new in waiting.
	came chan struct{}
}

// newCommitter returns a committer for a stream, which should allow atomic publishes: where
// it does not, every message is a publish of its own. writable returns a context
// that ends, with the reason, while JetStream is known to be unable to write
// (Storage.Writable): publishes then fail at once.
func newCommitter(conn *nats.Conn, js jetstream.JetStream, stream string, writable func() context.Context) *committer {
	return &committer{conn: conn, js: js, stream: stream, writable: writable, came: make(chan struct{}, 1)}
}

// store returns once msg is durable. It MUST have a Nats-Msg-Id or a
// Nats-Expected-Last-Subject-Sequence: by the one it is found where it was stored
// before, and the other one fails with ErrConflict where it is not so. store takes
// 5 s at most alone, and 9 s where others wait, too.
//
// Where ctx ends while it waits for its turn, it is not stored; the batch that it is in
// goes on without ctx, because others are in it, also while that only waits for the one
// before. Where it fails otherwise it may be stored all the same, its acknowledgement
// lost; so may one that conflicts, with itself then. To publish a message with an id again is safe within
// the stream's duplicate window.
func (c *committer) store(ctx context.Context, msg *nats.Msg) (Ack, error) {
	p := &pending{ctx: ctx, msg: msg, turn: make(chan struct{})}
	c.enqueue(p)
	return c.outcome(p)
}

// outcome waits for what becomes of a message.
func (c *committer) outcome(p *pending) (Ack, error) {
	select {
	case <-p.turn:
	case <-p.ctx.Done():
		c.abandon(p)
		return Ack{}, p.ctx.Err()
	}
	if !p.single {
		return p.ack, p.err
	}
	defer c.landed()
	ctx, cancel := context.WithTimeout(c.writable(), singleTimeout)
	defer cancel()
	// It ends with its caller, too: nobody else is in it.
	defer context.AfterFunc(p.ctx, cancel)()
	ack, err := c.publish(ctx, p.msg)
	if err != nil && p.ctx.Err() != nil {
		err = p.ctx.Err()
	}
	return ack, err
}

// enqueue gives messages their turn, or has them wait for it.
func (c *committer) enqueue(messages ...*pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, messages...)
	select {
	case c.came <- struct{}{}:
	default:
	}
	c.admit()
}

// abandon gives back the turn of a message whose ctx has ended, if it came at that
// moment. It does not come later: admit and take look at ctx first.
func (c *committer) abandon(p *pending) {
	c.mu.Lock()
	single := p.single
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
		p := c.waiting[0]
		c.waiting = c.waiting[1:]
		if p.ctx.Err() != nil {
			continue // nobody waits for it any more
		}
		c.singles++
		p.single = true
		close(p.turn)
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
		if len(b.messages) == 0 {
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

// take returns those of the messages that wait for which a batch has room; none as
// long as all together are not worth one.
func (c *committer) take(b *batch) []*pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b.messages)+len(c.waiting) < minBatch {
		return nil
	}
	n, bytes := 0, b.bytes
	for n < len(c.waiting) && len(b.messages)+n < maxBatch {
		bytes += len(c.waiting[n].msg.Data)
		if bytes > maxBatchBytes && len(b.messages)+n > 0 {
			break
		}
		n++
	}
	taken := make([]*pending, 0, n)
	for _, p := range c.waiting[:n] {
		// Only here: what is in a batch stays in it, since others share its fate, and
		// since it may be stored already when the batch is tried again.
		if p.ctx.Err() == nil {
			taken = append(taken, p)
		}
	}
	c.waiting = c.waiting[n:]
	return taken
}

// commit ends each message of a batch.
func (c *committer) commit(b *batch) {
	ctx, cancel := context.WithTimeout(c.writable(), batchTimeout)
	defer cancel()
	last, err := b.commit(ctx)
	c.end(ctx, b.messages, last, err)
	for _, p := range b.copies {
		first := b.first[p.key()]
		switch {
		case first.err != nil:
			p.end(Ack{}, first.err)
		case p.msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader) != "":
			p.end(Ack{}, ErrConflict)
		default:
			p.end(Ack{Sequence: first.ack.Sequence, Duplicate: true}, nil)
		}
	}
	if len(b.held) > 0 {
		c.enqueue(b.held...)
	}
}
