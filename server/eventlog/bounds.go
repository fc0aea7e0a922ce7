package eventlog

import (
	"context"
	"sync"
	"time"

	"github.com/ongair/ongair-gateway/server/storage"
)

// Bounds are the ends of the log: a reader at position First-1 gets everything,
// one at Last gets what comes.
type Bounds struct {
	// First is the sequence of the oldest event that is kept; Last+1 in a log
	// that keeps none.
	First uint64
	// Last is the sequence of the newest event; 0 in a log that never had one.
	Last uint64
	// replicated says that direct gets may be answered by a replica that has not come
	// to Last yet.
	replicated bool
}

// Bounds returns the ends of the log as they are now. Thousands may ask at once,
// as subscribers do that come back after a restart: the storage is asked one
// question at a time, and each caller gets the answer to one that was asked after
// it had come.
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

// questionTimeout bounds the time that an answer takes.
const questionTimeout = 5 * time.Second

// question is one that many ask: all who come while an answer is under way share
// the next one. Its method ask is safe for concurrent use.
type question[T any] struct {
	put func(context.Context) (T, error)

	mu      sync.Mutex
	asking  bool
	waiting *answer[T] // nil where nobody waits for the next one
}

// answer is there once done is closed.
type answer[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// ask returns the answer to a question that is put after ask was called. It fails
// with what put failed with, or when ctx ends.
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

// putAll puts the question again and again, until nobody waits for an answer. Each
// time is for all who wait, so it does not end with one of them.
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
