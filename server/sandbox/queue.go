package sandbox

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// maxQueued bounds the webhooks that wait. They wait if Run is not active or if posting is too
// slow.
const maxQueued = 100_000

// queue holds webhooks until they are due. The earliest is first. Webhooks that are due at the same
// time keep the order in which they were pushed. Any goroutine may push, but only one may pop.
type queue struct {
	mu     sync.Mutex
	items  items
	pushed int64
	// earlier has room for one signal that the first item changed.
	earlier chan struct{}
}

func newQueue() *queue { return &queue{earlier: make(chan struct{}, 1)} }

// push queues a webhook. It returns false if the queue is full.
func (q *queue) push(due time.Time, compose webhook) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= maxQueued {
		return false
	}
	q.pushed++
	pushed := item{due, q.pushed, compose}
	heap.Push(&q.items, pushed)
	if q.items[0].order == pushed.order {
		select {
		case q.earlier <- struct{}{}:
		default:
		}
	}
	return true
}

// pop waits until the first webhook is due, removes it and returns it. It fails only if ctx ends,
// and then removes nothing.
func (q *queue) pop(ctx context.Context) (webhook, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		compose, wait := q.first(time.Now())
		if compose != nil {
			return compose, nil
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-q.earlier:
		case <-timer.C:
		}
	}
	return nil, ctx.Err()
}

// first removes and returns the first webhook if it is due. Otherwise it returns the time until
// then. For an empty queue this is an hour, because a push ends the wait anyway.
func (q *queue) first(now time.Time) (webhook, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil, time.Hour
	}
	if wait := q.items[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&q.items).(item).compose, 0
}

type item struct {
	due     time.Time
	order   int64
	compose webhook
}

// items implements heap.Interface for a queue.
type items []item

func (h items) Len() int { return len(h) }

func (h items) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].order < h[j].order
	}
	return h[i].due.Before(h[j].due)
}

func (h items) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *items) Push(x any) { *h = append(*h, x.(item)) }

func (h *items) Pop() any {
	last := len(*h) - 1
	popped := (*h)[last]
	(*h)[last] = item{} // the array must not keep the webhook
	*h = (*h)[:last]
	return popped
}
