package eventlog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ongair/ongair-gateway/server/event"
)

// idleHeartbeat is how often JetStream says that it has nothing new; Follow
// fails after two that did not come.
const idleHeartbeat = 5 * time.Second

// consumerTimeout is how long JetStream keeps its part of a Follow that ended.
const consumerTimeout = 10 * time.Second

// Follow calls deliver with every event after a position, in order and without a
// gap, as they are stored, until ctx ends or the log fails. Where retention has
// removed events before they could be delivered, the sequence jumps. deliver
// MUST NOT block for long; it is called by one goroutine at a time, and not after
// Follow returned.
//
// It does not try to mend anything by itself: a caller whose Follow failed calls
// it again, from the last event that it got.
//
// JetStream pushes the events, and its flow control bounds what is on the way to
// 32 MiB. Pulling them would stand still at times for as long as two heartbeats
// (docs/log.md).
func (l *Log) Follow(ctx context.Context, position uint64, deliver func(event.Entry)) error {
	connected, stop := l.whileConnected(ctx)
	defer stop()
	f := following{log: l, deliver: deliver, failed: make(chan error, 1)}
	err := f.start(connected, position)
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
	return unavailable("follow", err)
}

// following is one call of Follow.
type following struct {
	log     *Log
	deliver func(event.Entry)
	// failed gets the first failure.
	failed    chan error
	consuming jetstream.ConsumeContext

	mu        sync.Mutex
	delivered uint64
	ended     bool
}

func (f *following) start(ctx context.Context, position uint64) error {
	consumer, err := f.log.stream.CreatePushConsumer(ctx, jetstream.ConsumerConfig{
		DeliverSubject:    f.log.conn.NewInbox(),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       position + 1,
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
	f.consuming, err = consumer.Consume(f.take, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { f.fail(err) }))
	return err
}

// take delivers the event of a message, unless messages are missing before it.
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
	if e, ok := f.log.entry(meta.Sequence.Stream, msg.Data()); ok {
		f.deliver(e)
	}
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
