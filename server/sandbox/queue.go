package sandbox

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// maxQueued bounds the waiting webhooks, if the sandbox does not run or posts too slowly.
const maxQueued = 100_000

// queue has webhooks in the order of their due times, and of their arrival for equal times.
// push is safe for concurrent use. pop MUST be called by one goroutine.
type queue struct {
	mu     sync.Mutex
	items  items
	pushed int64
	// earlier gets a signal when the first item has changed.
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

// pop waits until the first webhook is due and removes it. It fails only when ctx ends.
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

// first removes the first webhook if it is due. Otherwise it returns the time to wait. For an
// empty queue that is an hour, because a push ends the wait.
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
	(*h)[last] = item{} // releases the webhook
	*h = (*h)[:last]
	return popped
}
