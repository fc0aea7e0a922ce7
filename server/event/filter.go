package event

import (
	"cmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Filter selects events. The zero value matches all events. It is immutable, and safe for
// concurrent use.
type Filter struct {
	channels, externalIDs, conversationIDs set
	// types has the names of the types. Documented types have the name of TypeName.
	types set
}

type set map[string]struct{}

// NewFilter returns the filter of a request. event_types and notification_types are one filter: an
// event matches if either contains its type. The proto's rules allow only documented event types.
// Contacts are compared by their normalised ids.
func NewFilter(req *ongairv1.SubscribeRequest) Filter {
	var types []string
	for _, name := range req.GetNotificationTypes() {
		types = append(types, cmp.Or(TypeName(TypeOf(name)), name))
	}
	for _, t := range req.GetEventTypes() {
		types = append(types, TypeName(t))
	}
	var contacts []string
	for _, id := range req.GetExternalContactIds() {
		contacts = append(contacts, NormalizeContactID(id))
	}
	return Filter{
		channels:        newSet(req.GetChannels()),
		types:           newSet(types),
		externalIDs:     newSet(contacts),
		conversationIDs: newSet(req.GetConversationIds()),
	}
}

// matches reports whether a record in wire matches.
func (f *Filter) matches(wire []byte, r *record) bool {
	return f.channels.matches(wire, r.channel) &&
		f.matchesType(wire, r) &&
		f.externalIDs.matches(wire, r.externalID) &&
		f.conversationIDs.matches(wire, r.conversationID)
}

func (f *Filter) matchesType(wire []byte, r *record) bool {
	if name := TypeName(r.documented); name != "" && f.types != nil {
		_, ok := f.types[name]
		return ok
	}
	return f.types.matches(wire, r.notificationType)
}

// Count returns how many events of a segment match.
func (f *Filter) Count(s Segment) (events int) {
	for i := range s.records {
		if f.matches(s.wire, &s.records[i]) {
			events++
		}
	}
	return events
}

// MatchesAll reports whether every event matches.
func (f *Filter) MatchesAll() bool {
	return f.channels == nil && f.types == nil && f.externalIDs == nil && f.conversationIDs == nil
}

// Single returns the channel and the documented type that the filter matches, each empty if
// the filter matches any. ok is false if the filter matches several channels or types, a
// type that is not documented, or every channel and type.
func (f *Filter) Single() (channel, notificationType string, ok bool) {
	channel, oneChannel := f.channels.single()
	notificationType, oneType := f.types.single()
	documented := notificationType == "" || TypeOf(notificationType) != ongairv1.EventType_EVENT_TYPE_UNSPECIFIED
	return channel, notificationType, oneChannel && oneType && documented && channel+notificationType != ""
}

func newSet(values []string) set {
	if len(values) == 0 {
		return nil
	}
	s := make(set, len(values))
	for _, v := range values {
		s[v] = struct{}{}
	}
	return s
}

// single returns the only value, or the empty one for the empty set.
func (s set) single() (value string, ok bool) {
	for v := range s {
		value = v
	}
	return value, len(s) <= 1
}

// matches reports whether the set has a value. The empty set has all values.
func (s set) matches(wire []byte, value span) bool {
	if s == nil {
		return true
	}
	_, ok := s[string(wire[value.start:value.end])] // a look-up does not copy its key
	return ok
}
