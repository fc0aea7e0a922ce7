package sandbox

// ordered has the newest values by id, at most a number of them. It is not safe for concurrent
// use.
type ordered[T any] struct {
	most int
	byID map[string]*T
	ids  []string // oldest first
}

func newOrdered[T any](most int) ordered[T] {
	return ordered[T]{most: most, byID: make(map[string]*T)}
}

func (o *ordered[T]) get(id string) (*T, bool) {
	v, ok := o.byID[id]
	return v, ok
}

// put adds a value under a new id. It returns the oldest value if that was removed, or nil.
func (o *ordered[T]) put(id string, v *T) (forgotten *T) {
	if len(o.ids) >= o.most {
		oldest := o.ids[0]
		forgotten = o.byID[oldest]
		delete(o.byID, oldest)
		o.ids = o.ids[1:]
	}
	o.byID[id] = v
	o.ids = append(o.ids, id)
	return forgotten
}

// list returns a copy of the values, oldest first. It is never nil, so that JSON has a list.
func (o *ordered[T]) list() []T {
	values := make([]T, len(o.ids))
	for i, id := range o.ids {
		values[i] = *o.byID[id]
	}
	return values
}
