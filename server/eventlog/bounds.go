package eventlog

import (
	"context"
	"sync"
	"time"

	"github.com/ongair/ongair-gateway/server/storage"
)

// Bounds are the ends of the log. A reader at position First-1 gets all events. A reader at
// position Last gets new events.
type Bounds struct {
	// First is the sequence of the oldest event, or Last+1 if the log has no events.
	First uint64
	// Last is the sequence of the newest event, or 0 if the log never had one.
	Last uint64
	// replicated means that direct gets may be answered by a replica that lags behind Last.
	replicated bool
}

// Bounds returns the present ends of the log. Thousands of subscribers may call it at once after
// a restart, so the storage is asked once at a time. Each caller gets the answer to a question
// that was asked after its call.
func (l *Log) Bounds(ctx context.Context) (Bounds, error) { return l.ends.ask(ctx) }

func (l *Log) askBounds(ctx context.Context) (Bounds, error) {
	info, err := l.info(ctx)
	if err != nil {
		return Bounds{}, err
	}
	l.replicated.Store(info.Replicated)
	b := Bounds{First: info.First, Last: info.Last, replicated: info.Replicated}
	if info.Messages == 0 {
		b.First = b.Last + 1
	}
	if known := l.Head(); info.Replicated && b.Last < known { // the answer is of a server that lags behind
		b.Last = known
		if info.Messages == 0 {
			b.First = 1 // which is unknown: a read finds out
		}
	}
	return b, nil
}

func (l *Log) info(ctx context.Context) (storage.Info, error) {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return storage.Info{}, unavailable("info", err)
	}
	l.saw(info.Last)
	return info, nil
}

// questionTimeout bounds the time of an answer.
const questionTimeout = 5 * time.Second

// question is a request that many callers share: those that come while it is being answered share
// the next one. Its method ask is safe for concurrent use.
type question[T any] struct {
	put func(context.Context) (T, error)

	mu      sync.Mutex
	asking  bool
	waiting *answer[T] // nil if no caller waits for the next one
}

// answer is valid once done is closed.
type answer[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// ask returns the answer to a question that is put after the call. It fails with the error of
// put, or when ctx ends.
func (q *question[T]) ask(ctx context.Context) (T, error) {
	q.mu.Lock()
	if q.waiting == nil {
		q.waiting = &answer[T]{done: make(chan struct{})}
	}
	mine := q.waiting
	if !q.asking {
		q.asking = true
		go q.putAll()
	}
	q.mu.Unlock()
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		var none T
		return none, unavailable("ask the log", ctx.Err())
	}
}

// putAll puts the question until no caller waits for an answer. An answer is for all waiting
// callers, so it does not depend on the context of one of them.
func (q *question[T]) putAll() {
	for {
		q.mu.Lock()
		next := q.waiting
		q.waiting = nil
		q.asking = next != nil
		q.mu.Unlock()
		if next == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), questionTimeout)
		next.value, next.err = q.put(ctx)
		cancel()
		close(next.done)
	}
}
