package servertest

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// Guarantee is a guarantee to users, and the function that checks it.
type Guarantee struct {
	// Name names a section of docs/guarantees.md. Sentence is its summary.
	Name, Sentence string
	// Check returns the violation, or nil.
	Check func(*History) error
}

// Guarantees returns all guarantees.
func Guarantees() []Guarantee {
	return []Guarantee{
		{"Durable", "an event whose webhook was answered 200 is in the log", durable},
		{"Complete", "a subscriber gets every event after its start that its filters match", complete},
		{"Ordered", "every subscriber gets events in the log's order", ordered},
		{"Unique", "one stream never delivers an event twice, and the log holds a message notification once", unique},
		{"Resumable", "any cursor continues exactly after it", resumable},
		{"Bookmarked", "a cursor is never ahead of an event not yet delivered, and advances on a quiet stream", bookmarked},
		{"Isolated", "a stalled subscriber does not affect the others", isolated},
		{"Explicit", "a stream that cannot deliver an event ends with a reason", explicit},
		{"Once", "calls with one request_id reach Ongair once", once},
		{"Whole", "every field of every webhook is in its event", whole},
	}
}

// durable compares the webhooks that were answered 200 with the log. It counts those that are
// equal. A message notification counts once, however often it was posted.
func durable(h *History) error {
	stored := map[string]int{}
	for _, e := range h.Log {
		stored[eventKey(e)]++
	}
	acked, posted := map[string]int{}, map[string]int{}
	for _, p := range h.Posts {
		key, once := postKey(p)
		posted[key]++
		if p.acked() && (acked[key] == 0 || !once) {
			acked[key]++
		}
	}
	var errs []error
	for key, n := range acked {
		if stored[key] < n {
			errs = append(errs, fmt.Errorf("%d of %d webhooks that were answered 200 are not in the log: %s", n-stored[key], n, key))
		}
	}
	for key, n := range stored {
		if posted[key] < n {
			errs = append(errs, fmt.Errorf("the log has %d events of which %d were posted: %s", n, posted[key], key))
		}
	}
	return errors.Join(errs...)
}

// complete compares the delivered events of each stream with the log between the stream's start
// and its last cursor.
func complete(h *History) error {
	positions := positionsOf(h.Log)
	return eachStream(h, func(s Stream) error {
		if len(s.Responses) == 0 {
			return nil
		}
		end := positions.ofCursor(s.Responses[len(s.Responses)-1].GetCursor())
		delivered := map[int]bool{}
		for _, e := range s.events() {
			delivered[positions.ofEvent(e)] = true
		}
		var errs []error
		for p := positions.start(s) + 1; p <= end; p++ {
			if matches(s.Request, h.Log[p-1]) && !delivered[p] {
				errs = append(errs, fmt.Errorf("missed event %d (%s)", p, h.Log[p-1].GetId()))
			}
		}
		for _, e := range s.events() {
			if !matches(s.Request, e) {
				errs = append(errs, fmt.Errorf("delivered event %s, which does not match its filter", e.GetId()))
			}
		}
		return errors.Join(errs...)
	})
}

func ordered(h *History) error {
	positions := positionsOf(h.Log)
	return eachStream(h, func(s Stream) error {
		last := 0
		for _, e := range s.events() {
			p := positions.ofEvent(e)
			if p == 0 {
				return fmt.Errorf("delivered event %s, which is not in the log at its cursor", e.GetId())
			}
			if p < last {
				return fmt.Errorf("delivered event %d after event %d", p, last)
			}
			last = p
		}
		return nil
	})
}

func unique(h *History) error {
	inLog := map[string]bool{}
	for _, e := range h.Log {
		for _, identity := range []string{"event " + e.GetId(), notification(e)} {
			if identity != "" && inLog[identity] {
				return fmt.Errorf("the log has %s twice", identity)
			}
			inLog[identity] = true
		}
	}
	return eachStream(h, func(s Stream) error {
		seen := map[string]bool{}
		for _, e := range s.events() {
			if seen[e.GetCursor()] {
				return fmt.Errorf("delivered event %s twice", e.GetId())
			}
			seen[e.GetCursor()] = true
		}
		return nil
	})
}

func resumable(h *History) error {
	positions := positionsOf(h.Log)
	return eachStream(h, func(s Stream) error {
		start, ok := s.Request.GetStart().(*ongairv1.SubscribeRequest_Cursor)
		if !ok || len(s.events()) == 0 {
			return nil
		}
		first := positions.ofEvent(s.events()[0])
		for p := positions.ofCursor(start.Cursor) + 1; p <= len(h.Log); p++ {
			if matches(s.Request, h.Log[p-1]) {
				if first != p {
					return fmt.Errorf("resumed with event %d, want %d", first, p)
				}
				return nil
			}
		}
		return fmt.Errorf("resumed with event %d, but no later event matches", first)
	})
}

func bookmarked(h *History) error {
	positions := positionsOf(h.Log)
	return eachStream(h, func(s Stream) error {
		at := positions.start(s)
		for i, r := range s.Responses {
			next := positions.ofCursor(r.GetCursor())
			if next < at {
				return fmt.Errorf("response %d: the cursor moved back from %d to %d", i, at, next)
			}
			delivered := map[int]bool{}
			for _, e := range r.GetEvents() {
				p := positions.ofEvent(e)
				if p > next {
					return fmt.Errorf("response %d: the cursor %d is before its own event %d", i, next, p)
				}
				delivered[p] = true
			}
			for p := at + 1; p <= next; p++ {
				if matches(s.Request, h.Log[p-1]) && !delivered[p] {
					return fmt.Errorf("response %d: the cursor %d is ahead of event %d, which was not delivered", i, next, p)
				}
			}
			at = next
		}
		if s.Settled && at != len(h.Log) {
			return fmt.Errorf("the last cursor is %d, and the log ends at %d", at, len(h.Log))
		}
		return nil
	})
}

func isolated(h *History) error {
	stalled := false
	for _, s := range h.Streams {
		stalled = stalled || s.Stalled
	}
	if !stalled {
		return nil
	}
	return eachStream(h, func(s Stream) error {
		if !s.Settled && !s.Stalled && !s.Left && !s.Killed && s.Err == nil {
			return errors.New("did not reach the end of the log while another stream was stalled")
		}
		return nil
	})
}

func explicit(h *History) error {
	var errs []error
	for _, c := range h.Calls {
		if err := explained(c.Err); err != nil {
			errs = append(errs, fmt.Errorf("call %q: %w", c.Text, err))
		}
	}
	return errors.Join(append(errs, eachStream(h, func(s Stream) error {
		if s.Err == nil && len(s.Responses) == 0 && !s.Stalled {
			return errors.New("got neither a response nor an error")
		}
		if s.Killed {
			return nil
		}
		return explained(s.Err)
	}))...)
}

// explained returns an error if err has no known reason, or lacks the metadata of its reason.
func explained(err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	info := fault.Info(s)
	if info == nil {
		return fmt.Errorf("ended without a reason: %w", err)
	}
	if fault.ReasonOf(s) == ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return fmt.Errorf("ended with unknown reason %q: %w", info.GetReason(), err)
	}
	if fault.ReasonOf(s) == ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED {
		for _, key := range []string{"oldest_cursor", "lost_events"} {
			if info.GetMetadata()[key] == "" {
				return fmt.Errorf("expired without %s: %w", key, err)
			}
		}
	}
	return nil
}

// once counts how often Ongair received each call.
func once(h *History) error {
	received := map[string]int{}
	for _, text := range h.Upstream {
		received[text]++
	}
	ids := map[string]string{}
	var errs []error
	for _, c := range h.Calls {
		n := received[c.Text]
		if n > 1 {
			errs = append(errs, fmt.Errorf("%q reached Ongair %d times", c.Text, n))
		}
		if c.Err == nil && n == 0 {
			errs = append(errs, fmt.Errorf("%q succeeded, and Ongair never received it", c.Text))
		}
		if c.Err != nil || c.RequestID == "" {
			continue
		}
		if id, ok := ids[c.RequestID]; ok && id != c.MessageID {
			errs = append(errs, fmt.Errorf("request_id %q was answered with message %s and with %s", c.RequestID, id, c.MessageID))
		}
		ids[c.RequestID] = c.MessageID
	}
	return errors.Join(errs...)
}

// whole checks that each webhook that was answered 200 has an event. It compares fields, not
// bytes.
func whole(h *History) error {
	found := map[string]bool{}
	for _, e := range h.Log {
		found[eventKey(e)] = true
	}
	var errs []error
	for _, p := range h.Posts {
		if key, _ := postKey(p); p.acked() && !found[key] {
			errs = append(errs, fmt.Errorf("no event has all fields of %s", key))
		}
	}
	return errors.Join(errs...)
}

func eachStream(h *History, check func(Stream) error) error {
	var errs []error
	for _, s := range h.Streams {
		if err := check(s); err != nil {
			errs = append(errs, fmt.Errorf("stream %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}
