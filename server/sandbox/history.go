package sandbox

import "sync"

const (
	historyCount = 10_000
	historyBytes = 64 << 20
)

// history keeps the newest entries: at most historyCount, and at most historyBytes of bodies but always the newest one.
// Its zero value is empty and ready; it may be used concurrently.
type history[T any] struct {
	mu      sync.Mutex
	entries []entry[T]
	bytes   int
}

type entry[T any] struct {
	value *T
	size  int
}

// add keeps v, whose body has size bytes. From then on v is changed only through change.
func (h *history[T]) add(v *T, size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, entry[T]{v, size})
	h.bytes += size
	for len(h.entries) > historyCount || (h.bytes > historyBytes && len(h.entries) > 1) {
		h.bytes -= h.entries[0].size
		h.entries[0] = entry[T]{} // the array outlives the slice's start, and must not keep the body
		h.entries = h.entries[1:]
	}
}

// change runs f, which may write to values that were added, while nobody reads them.
func (h *history[T]) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// list copies the entries, oldest first. It is never nil, so that it is a list in JSON.
func (h *history[T]) list() []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	values := make([]T, len(h.entries))
	for i, e := range h.entries {
		values[i] = *e.value
	}
	return values
}

func (h *history[T]) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries, h.bytes = nil, 0
}
