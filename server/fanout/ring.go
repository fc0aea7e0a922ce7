package fanout

import (
	"slices"

	"github.com/ongair/ongair-gateway/server/event"
)

// ring holds every record after floor, without a gap, and forgets the oldest
// ones to stay within its bytes. It is not safe for concurrent use.
type ring struct {
	maxBytes int
	bytes    int
	floor    uint64
	records  []*event.Record
}

// reset empties the ring at a position of the log.
func (r *ring) reset(position uint64) {
	r.records, r.bytes, r.floor = nil, 0, position
}

// head is the sequence of the newest record that the ring has seen.
func (r *ring) head() uint64 { return r.floor + uint64(len(r.records)) }

// add puts a record at the end. Where events before it are missing, because
// retention was faster than the log could deliver them, the ring starts anew with
// it, so that readers who need them look into the log and learn of the gap there.
func (r *ring) add(record *event.Record) {
	if record.Sequence <= r.head() {
		return
	}
	if record.Sequence != r.head()+1 {
		r.reset(record.Sequence - 1)
	}
	r.records = append(r.records, record)
	r.bytes += record.Size()
	for r.bytes > r.maxBytes && len(r.records) > 1 {
		r.bytes -= r.records[0].Size()
		r.records[0] = nil // the array behind the slice lives on until it grows
		r.records = r.records[1:]
		r.floor++
	}
}

// after returns a copy of the records after position, at most limit; behind is
// true where the ring has forgotten some of them.
func (r *ring) after(position uint64, limit int) (records []*event.Record, behind bool) {
	if position < r.floor {
		return nil, true
	}
	if position >= r.head() {
		return nil, false
	}
	records = r.records[position-r.floor:]
	return slices.Clone(records[:min(len(records), limit)]), false
}
