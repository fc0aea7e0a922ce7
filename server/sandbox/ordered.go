package sandbox

// ordered keeps the newest values by id, at most limit of them. The caller synchronizes access.
type ordered[T any] struct {
	limit int
	byID  map[string]*T
	ids   []string // oldest first
}

func newOrdered[T any](limit int) ordered[T] {
	return ordered[T]{limit: limit, byID: make(map[string]*T)}
}

func (o *ordered[T]) get(id string) (*T, bool) {
	v, ok := o.byID[id]
	return v, ok
}

// put adds a value under a new id. If the limit is reached, it evicts the oldest value and returns
// it.
func (o *ordered[T]) put(id string, v *T) (evicted *T) {
	if len(o.ids) >= o.limit {
		oldest := o.ids[0]
		evicted = o.byID[oldest]
		delete(o.byID, oldest)
		o.ids = o.ids[1:]
	}
	o.byID[id] = v
	o.ids = append(o.ids, id)
	return evicted
}

// list returns copies of the values, oldest first. It is never nil, so that its JSON is a list.
func (o *ordered[T]) list() []T {
	values := make([]T, len(o.ids))
	for i, id := range o.ids {
		values[i] = *o.byID[id]
	}
	return values
}
