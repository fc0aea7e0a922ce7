package sandbox

import "sync"

const (
	historyCount = 10_000
	historyBytes = 64 << 20
)

// history keeps the newest entries: at most historyCount, with at most historyBytes of bodies. It
// always keeps the newest entry. Its zero value is empty and ready to use. It is safe for
// concurrent use.
type history[T any] struct {
	mu      sync.Mutex
	entries []entry[T]
	bytes   int
}

type entry[T any] struct {
	value *T
	size  int
}

// add keeps v, whose body has size bytes. Later changes of v MUST use change.
func (h *history[T]) add(v *T, size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, entry[T]{v, size})
	h.bytes += size
	for len(h.entries) > historyCount || (h.bytes > historyBytes && len(h.entries) > 1) {
		h.bytes -= h.entries[0].size
		h.entries[0] = entry[T]{} // the array must not keep the body
		h.entries = h.entries[1:]
	}
}

// change runs f, which may write to entries. No entry is read meanwhile.
func (h *history[T]) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// list returns copies of the entries, oldest first. It is never nil, so that its JSON is a list.
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
