package servertest

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// This file computes the expected events. It shares no code with the gateway, so that it cannot
// have the same defect.

// positions maps cursors to positions in the log. Positions count from 1. Position 0 is before
// the first event.
type positions struct {
	log      []*ongairv1.Event
	byCursor map[string]int
}

func positionsOf(log []*ongairv1.Event) positions {
	p := positions{log, map[string]int{}}
	for i, e := range log {
		p.byCursor[e.GetCursor()] = i + 1
	}
	return p
}

// ofCursor returns the position of a cursor, or 0 if no event has it. A stream from 0 must deliver
// everything.
func (p positions) ofCursor(cursor string) int { return p.byCursor[cursor] }

// ofEvent returns the position of an event, or 0 if it is not in the log.
func (p positions) ofEvent(e *ongairv1.Event) int { return p.byCursor[e.GetCursor()] }

// start returns the position at which a stream started. If the request does not determine it,
// the first response does, except that a start time includes all events received at that time
// or later.
func (p positions) start(s Stream) int {
	switch start := s.Request.GetStart().(type) {
	case *ongairv1.SubscribeRequest_Cursor:
		return p.ofCursor(start.Cursor)
	case *ongairv1.SubscribeRequest_Position:
		if start.Position == ongairv1.Position_POSITION_EARLIEST {
			return 0
		}
	case *ongairv1.SubscribeRequest_StartTime:
		since := start.StartTime.AsTime()
		included := slices.IndexFunc(p.log, func(e *ongairv1.Event) bool { return !e.GetReceiveTime().AsTime().Before(since) })
		if included >= 0 {
			return min(included, p.reported(s))
		}
	}
	return p.reported(s)
}

// reported returns the start position according to a stream's first response.
func (p positions) reported(s Stream) int {
	if len(s.Responses) == 0 {
		return 0
	}
	first := s.Responses[0]
	if len(first.GetEvents()) > 0 {
		return p.ofEvent(first.GetEvents()[0]) - 1
	}
	return p.ofCursor(first.GetCursor())
}

// matches reports whether an event matches the filters of a request.
func matches(req *ongairv1.SubscribeRequest, e *ongairv1.Event) bool {
	in := func(values []string, value string) bool { return len(values) == 0 || slices.Contains(values, value) }
	types := slices.Clone(req.GetNotificationTypes())
	for _, t := range req.GetEventTypes() {
		// EVENT_TYPE_MESSAGE_SENT is MessageSent, for example.
		var name strings.Builder
		for word := range strings.SplitSeq(strings.TrimPrefix(t.String(), "EVENT_TYPE_"), "_") {
			name.WriteString(word[:1] + strings.ToLower(word[1:]))
		}
		types = append(types, name.String())
	}
	return in(req.GetChannels(), e.GetChannel()) &&
		typeIn(types, e.GetNotificationType()) &&
		contactIn(req.GetExternalContactIds(), e.GetContact().GetExternalId()) &&
		in(req.GetConversationIds(), e.GetConversationId())
}

// typeIn reports whether a notification_type is one of types. Space and case of documented
// types are ignored.
func typeIn(types []string, notificationType string) bool {
	same := func(t string) bool {
		documented := slices.Contains([]string{
			"messagesent", "messagereceived", "imagereceived", "ticketstatusupdated", "locationreceived", "deliveryreceipt",
			"groupmessagereceived", "contactaddedtogroup", "contactremovedfromgroup", "groupcreated",
		}, strings.ToLower(strings.TrimSpace(t)))
		return t == notificationType || documented && strings.EqualFold(strings.TrimSpace(t), strings.TrimSpace(notificationType))
	}
	return len(types) == 0 || slices.ContainsFunc(types, same)
}

// contactIn reports whether a contact's id is one of ids, with or without a plus.
func contactIn(ids []string, contact string) bool {
	bare := regexp.MustCompile(`^\s*\+?(\d.*?)\s*$`)
	contact = bare.ReplaceAllString(contact, "$1")
	return len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return bare.ReplaceAllString(id, "$1") == contact })
}

// documented reports whether a field may become a typed field. A typed field is the same for an
// empty and a missing value.
func documented(name string) bool {
	return slices.Contains([]string{
		"notification_type", "id", "name", "text", "external_contact_id",
		"conversation_id", "status", "account_type", "image", "phone_number", "address", "latitude", "longitude",
		"group_id", "account",
	}, name)
}

// postKey returns a key for a webhook from its channel and fields in any order. once is true
// for message notifications, which count once.
func postKey(p Post) (key string, once bool) {
	last := map[string]string{}
	for _, f := range p.Fields {
		last[f.Name] = f.Value
	}
	switch last["notification_type"] {
	case "MessageSent", "MessageReceived", "ImageReceived":
		once = identifies(last["id"])
	}
	// If a webhook has only a phone number, it is also the contact's id.
	fields := slices.Clone(p.Fields)
	if phone := strings.TrimSpace(last["phone_number"]); phone != "" && strings.TrimSpace(last["external_contact_id"]) == "" {
		fields = append(fields, Field{"external_contact_id", phone})
	}
	return formatKey(p.Channel, fields), once
}

// identifies reports whether Ongair's id is valid: a positive number.
func identifies(id string) bool { return regexp.MustCompile(`^\s*0*[1-9][0-9]*\s*$`).MatchString(id) }

// notification returns a key for the message notification of an event, without the contact's
// name. It is empty for other events.
func notification(e *ongairv1.Event) string {
	var id string
	switch p := e.GetPayload().(type) {
	case *ongairv1.Event_MessageSent:
		id = p.MessageSent.GetId()
	case *ongairv1.Event_MessageReceived:
		id = p.MessageReceived.GetId()
	case *ongairv1.Event_ImageReceived:
		id = p.ImageReceived.GetId()
	}
	if !identifies(id) {
		return ""
	}
	nameless := proto.Clone(e).(*ongairv1.Event)
	if nameless.GetContact() != nil {
		nameless.Contact.Name = ""
	}
	return eventKey(nameless)
}

// eventKey returns the key of the webhook that an event was made from.
func eventKey(e *ongairv1.Event) string {
	fields := []Field{
		{"notification_type", e.GetNotificationType()},
		{"account_type", e.GetAccountType()},
		{"conversation_id", e.GetConversationId()},
		{"external_contact_id", e.GetContact().GetExternalId()},
		{"name", e.GetContact().GetName()},
		{"phone_number", e.GetContact().GetPhoneNumber()},
	}
	add := func(name, value string) { fields = append(fields, Field{name, value}) }
	switch p := e.GetPayload().(type) {
	case *ongairv1.Event_MessageSent:
		add("id", p.MessageSent.GetId())
		add("text", p.MessageSent.GetText())
		add("image", p.MessageSent.GetImage())
	case *ongairv1.Event_MessageReceived:
		add("id", p.MessageReceived.GetId())
		add("text", p.MessageReceived.GetText())
	case *ongairv1.Event_ImageReceived:
		add("id", p.ImageReceived.GetId())
		add("text", p.ImageReceived.GetText())
		add("image", p.ImageReceived.GetImage())
	case *ongairv1.Event_TicketStatusUpdated:
		add("id", p.TicketStatusUpdated.GetId())
		add("status", p.TicketStatusUpdated.GetStatus())
	case *ongairv1.Event_LocationReceived:
		add("address", p.LocationReceived.GetAddress())
		add("latitude", p.LocationReceived.GetLatitude())
		add("longitude", p.LocationReceived.GetLongitude())
	case *ongairv1.Event_DeliveryReceipt:
		add("id", p.DeliveryReceipt.GetId())
	case *ongairv1.Event_GroupMessageReceived:
		add("group_id", p.GroupMessageReceived.GetGroupId())
		add("text", p.GroupMessageReceived.GetText())
		add("account", p.GroupMessageReceived.GetAccount())
	case *ongairv1.Event_ContactAddedToGroup:
		add("group_id", p.ContactAddedToGroup.GetGroupId())
		add("account", p.ContactAddedToGroup.GetAccount())
	case *ongairv1.Event_ContactRemovedFromGroup:
		add("group_id", p.ContactRemovedFromGroup.GetGroupId())
		add("account", p.ContactRemovedFromGroup.GetAccount())
	case *ongairv1.Event_GroupCreated:
		add("id", p.GroupCreated.GetId())
		add("name", p.GroupCreated.GetName())
	}
	if raw := e.GetRawBody(); raw != nil {
		fields = append(fields, RawBody(raw.GetContentType(), string(raw.GetContent()))...)
	}
	for _, f := range e.GetFields() {
		name, value := f.GetName(), f.GetValue()
		if f.GetRawName() != nil {
			name = string(f.GetRawName())
		}
		text := value
		if f.GetRawValue() != nil {
			value = string(f.GetRawValue())
			text = strings.ToValidUTF8(value, "\uFFFD")
		}
		if trimmed := strings.TrimSpace(text); f.GetRawValue() != nil || name == "external_contact_id" && trimmed != text {
			// The typed field repeats this value as valid UTF-8, perhaps trimmed. Count it once.
			fields = slices.DeleteFunc(fields, func(typed Field) bool {
				return typed.Name == name && (typed.Value == text || typed.Value == trimmed)
			})
		}
		add(name, value)
	}
	return formatKey(e.GetChannel(), fields)
}

// maxPlain is the longest value in bytes that a key contains. A longer value is replaced by its
// hash, to keep failures readable.
const maxPlain = 1000

func formatKey(channel string, fields []Field) string {
	var words []string
	for _, f := range fields {
		if f.Value == "" && documented(f.Name) {
			continue
		}
		value := f.Value
		if len(value) > maxPlain {
			value = fmt.Sprintf("%d bytes with the hash %x", len(value), sha256.Sum256([]byte(value)))
		}
		words = append(words, fmt.Sprintf("%q=%q", f.Name, value))
	}
	slices.Sort(words)
	return channel + " " + strings.Join(words, " ")
}
