package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// idleHeartbeat is the interval at which JetStream reports that there are no new messages.
// Follow fails if two are missing.
const idleHeartbeat = 5 * time.Second

// consumerTimeout is the time for which JetStream keeps the consumer of a Follow that ended.
const consumerTimeout = 10 * time.Second

// Follow calls deliver with every message from a sequence on, in order and without a
// gap, as they are stored, until ctx ends or the stream fails. If retention removes
// messages before they are delivered, the sequence jumps. deliver MUST NOT block for long.
// It is called by one goroutine at a time, and not after Follow returned. If there is no
// message to deliver when Follow begins, it calls caughtUp, once and before deliver.
//
// Follow does not try again by itself: a caller whose Follow failed calls it again, from
// the message after the last one that it got.
//
// JetStream pushes the messages, and its flow control bounds what is on the way to
// 32 MiB. Pulling them would stand still at times for as long as two heartbeats
// (docs/log.md).
func (s *Stream) Follow(ctx context.Context, from uint64, caughtUp func(), deliver func(sequence uint64, data []byte)) error {
	connected, stop := s.storage.whileConnected(ctx)
	defer stop()
	f := following{stream: s, deliver: deliver, failed: make(chan error, 1)}
	err := f.start(connected, from, caughtUp)
	if err == nil {
		select {
		case err = <-f.failed:
		case <-connected.Done():
		}
		f.end()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if connected.Err() != nil {
		err = context.Cause(connected)
	}
	return err
}

// following is one call of Follow.
type following struct {
	stream  *Stream
	deliver func(sequence uint64, data []byte)
	// failed gets the first failure.
	failed    chan error
	consuming jetstream.ConsumeContext

	mu        sync.Mutex
	delivered uint64
	ended     bool
}

func (f *following) start(ctx context.Context, from uint64, caughtUp func()) error {
	consumer, err := f.stream.stream.CreatePushConsumer(ctx, jetstream.ConsumerConfig{
		DeliverSubject:    f.stream.storage.conn.NewInbox(),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		FlowControl:       true,
		IdleHeartbeat:     idleHeartbeat,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerTimeout,
	})
	if err != nil {
		return err
	}
	if consumer.CachedInfo().NumPending == 0 {
		caughtUp()
	}
	f.consuming, err = consumer.Consume(f.take, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { f.fail(err) }))
	return err
}

// take delivers a message, unless messages are missing before it.
func (f *following) take(msg jetstream.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	f.delivered++
	meta, err := msg.Metadata()
	if err == nil && meta.Sequence.Consumer != f.delivered {
		err = errIncomplete
	}
	if err != nil {
		f.ended = true
		f.fail(err)
		return
	}
	f.deliver(meta.Sequence.Stream, msg.Data())
}

func (f *following) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

// end waits until deliver is not called any more.
func (f *following) end() {
	f.consuming.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
}

// errDisconnected means that the connection to NATS was lost.
var errDisconnected = errors.New("connection to NATS lost")

// whileConnected returns a context that ends with the connection: what JetStream
// sends into a broken one does not come again, and nothing shows that it was
// sent. The caller MUST call stop.
func (s *Storage) whileConnected(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	detach := context.AfterFunc(s.connection.Load().ctx, func() { cancel(errDisconnected) })
	return ctx, func() {
		detach()
		cancel(nil)
	}
}

// connection is one connection to NATS. Its context ends with it.
type connection struct {
	ctx  context.Context
	lost context.CancelFunc
}

func newConnection() *connection {
	ctx, lost := context.WithCancel(context.Background())
	return &connection{ctx, lost}
}

// watchConnection replaces s.connection each time the connection is lost, until it is closed.
func (s *Storage) watchConnection() {
	s.connection.Store(newConnection())
	changes := s.conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		for status := range changes {
			s.connection.Swap(newConnection()).lost()
			if status == nats.CLOSED {
				s.conn.RemoveStatusListener(changes) // which ends the loop
			}
		}
	}()
}
