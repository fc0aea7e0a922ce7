package webhook

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

// identify returns the event's id. The id of a message notification is derived from its content: all
// fields except the contact's name, which may become known between two deliveries. Another content
// with the same id of Ongair is another event, so that no text of a person is lost. Every other
// webhook gets a random id, because two different ticket updates may have equal bytes.
func identify(e *ongairv1.Event, found []field) string {
	ongairID, ok := notificationID(e)
	if !ok {
		return event.RandomID()
	}
	counted := slices.DeleteFunc(slices.Clone(found), func(f field) bool { return f.name == "name" })
	// The order of fields does not matter, except for repeated names, whose last value counts.
	slices.SortStableFunc(counted, func(a, b field) int { return strings.Compare(a.name, b.name) })
	var content []string
	for i, f := range counted {
		isLast := i+1 == len(counted) || counted[i+1].name != f.name
		switch {
		case isLast && (f.name == typeField || f.name == "id"):
		case f.null:
			content = append(content, f.name, "null")
		default:
			content = append(content, f.name, "\""+f.value) // the quote distinguishes a text from null
		}
	}
	if raw := e.GetRawBody(); raw != nil {
		// Clients draw the boundary of a multipart form anew for each request.
		boundary := boundaryOf(labelOf(raw.GetContentType()), raw.GetContent())
		content = append(content, strings.ReplaceAll(string(raw.GetContent()), cmp.Or(boundary, "\x00"), ""))
	}
	return event.DerivedID(e.GetChannel(), event.TypeOf(e.GetNotificationType()), ongairID, content...)
}

// notificationID returns Ongair's id of a message notification, of which Ongair may deliver
// several; ok is false for every other event, and if the id is not a positive decimal number,
// as Ongair's are. Senders that have no id write 0, null, undefined or -1.
func notificationID(e *ongairv1.Event) (id string, ok bool) {
	switch p := e.GetPayload().(type) {
	case *ongairv1.Event_MessageSent:
		id = p.MessageSent.GetId()
	case *ongairv1.Event_MessageReceived:
		id = p.MessageReceived.GetId()
	case *ongairv1.Event_ImageReceived:
		id = p.ImageReceived.GetId()
	}
	id = strings.TrimSpace(id)
	return id, id != "" && len(id) <= 64 && strings.Trim(id, "0123456789") == "" && strings.Trim(id, "0") != ""
}

// rememberedIDs is the number of Ongair's ids that are remembered to detect their reuse.
const rememberedIDs = 4096

// reuses notices an id of Ongair's that comes again with another content. It forgets: it is
// for a warning, best effort and per replica. It is safe for concurrent use.
type reuses struct {
	seed maphash.Seed

	mu   sync.Mutex
	seen [rememberedIDs]struct{ id, event uint64 }
}

func newReuses() *reuses { return &reuses{seed: maphash.MakeSeed()} }

// reused reports whether the id of a message notification was seen with another content.
func (r *reuses) reused(e *ongairv1.Event) bool {
	ongairID, ok := notificationID(e)
	if !ok {
		return false
	}
	id := maphash.String(r.seed, e.GetChannel()+"\x00"+event.TypeName(event.TypeOf(e.GetNotificationType()))+"\x00"+ongairID)
	content := maphash.String(r.seed, e.GetId())
	r.mu.Lock()
	defer r.mu.Unlock()
	slot := &r.seen[id%rememberedIDs]
	reused := slot.id == id && slot.event != content
	slot.id, slot.event = id, content
	return reused
}
