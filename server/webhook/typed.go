package webhook

import (
	"cmp"
	"strings"
	"unicode/utf8"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

// replacement replaces bytes that are not UTF-8 in strings of protobuf.
const replacement = string(utf8.RuneError)

// posted is the part of a POST that makes the event.
type posted struct {
	// contentType is the Content-Type of the body, and query the raw query of the URL.
	contentType, query string
	body               []byte
}

// parse returns the event of a webhook. It never fails: what has no typed field is in the event's
// fields, and what fields cannot represent is in raw_body. problem is how the webhook differs from
// Ongair's documentation, or empty.
func parse(channel string, p posted) (e *ongairv1.Event, problem string) {
	inQuery, _, _ := formFields([]byte(p.query), len(p.query)) // the port bounds the URL
	wrappings := maxWrappings
	if hasType(inQuery) {
		wrappings = 0 // the webhook is in the query, so the body is not unwrapped
	}
	found, whole, err := readFields(p.contentType, p.body, wrappings)
	found = append(inQuery, found...)
	e = &ongairv1.Event{Channel: channel}
	if !whole {
		e.RawBody = &ongairv1.RawBody{ContentType: strings.ToValidUTF8(p.contentType, replacement), Content: p.body}
	}
	// Of a repeated field the last value counts, as in PHP and Rails.
	last := make(map[string]int, len(found))
	for i, f := range found {
		last[f.name] = i
	}
	value := func(name string) string {
		if i, ok := last[name]; ok && !found[i].null {
			return found[i].value
		}
		return ""
	}
	homes := homesOf(e, value(typeField))
	for i, f := range found {
		home, typed := homes[f.name]
		typed = typed && last[f.name] == i && !f.null
		exact := typed
		if typed {
			text := cmp.Or(f.text, strings.ToValidUTF8(f.value, replacement))
			if f.name == "external_contact_id" {
				text = strings.TrimSpace(text)
			}
			*home() = text
			exact = text == f.value
		}
		// If the whole body is kept, it already has the exact bytes of typed values.
		if !typed || whole && !exact {
			e.Fields = append(e.Fields, keep(f, whole))
		}
	}
	if e.Contact != nil && e.Contact.ExternalId == "" {
		e.Contact.ExternalId = strings.TrimSpace(e.Contact.PhoneNumber)
	}
	if t := e.GetTicketStatusUpdated(); t != nil {
		t.TicketStatus = ticketStatus(t.GetStatus())
	}
	e.Id = identify(e, found)
	switch {
	case err != nil:
		problem = err.Error()
	case value(typeField) == "":
		problem = "no " + typeField
	}
	return e, problem
}

// homesOf returns the typed place of each documented field, for an event of a type. A place is
// created when it is used, so that an event without a contact has no Contact.
func homesOf(e *ongairv1.Event, notificationType string) map[string]func() *string {
	contact := func() *ongairv1.Contact {
		if e.Contact == nil {
			e.Contact = &ongairv1.Contact{}
		}
		return e.Contact
	}
	homes := map[string]func() *string{
		"notification_type":   func() *string { return &e.NotificationType },
		"account_type":        func() *string { return &e.AccountType },
		"conversation_id":     func() *string { return &e.ConversationId },
		"external_contact_id": func() *string { return &contact().ExternalId },
		"name":                func() *string { return &contact().Name },
		"phone_number":        func() *string { return &contact().PhoneNumber },
	}
	home := func(name string, field *string) { homes[name] = func() *string { return field } }
	switch event.TypeOf(notificationType) {
	case ongairv1.EventType_EVENT_TYPE_MESSAGE_SENT:
		p := &ongairv1.MessageSent{}
		e.Payload = &ongairv1.Event_MessageSent{MessageSent: p}
		home("id", &p.Id)
		home("text", &p.Text)
		home("image", &p.Image)
	case ongairv1.EventType_EVENT_TYPE_MESSAGE_RECEIVED:
		p := &ongairv1.MessageReceived{}
		e.Payload = &ongairv1.Event_MessageReceived{MessageReceived: p}
		home("id", &p.Id)
		home("text", &p.Text)
	case ongairv1.EventType_EVENT_TYPE_IMAGE_RECEIVED:
		p := &ongairv1.ImageReceived{}
		e.Payload = &ongairv1.Event_ImageReceived{ImageReceived: p}
		home("id", &p.Id)
		home("text", &p.Text)
		home("image", &p.Image)
	case ongairv1.EventType_EVENT_TYPE_TICKET_STATUS_UPDATED:
		p := &ongairv1.TicketStatusUpdated{}
		e.Payload = &ongairv1.Event_TicketStatusUpdated{TicketStatusUpdated: p}
		home("id", &p.Id)
		home("status", &p.Status)
	case ongairv1.EventType_EVENT_TYPE_LOCATION_RECEIVED:
		p := &ongairv1.LocationReceived{}
		e.Payload = &ongairv1.Event_LocationReceived{LocationReceived: p}
		home("address", &p.Address)
		home("latitude", &p.Latitude)
		home("longitude", &p.Longitude)
	case ongairv1.EventType_EVENT_TYPE_DELIVERY_RECEIPT:
		p := &ongairv1.DeliveryReceipt{}
		e.Payload = &ongairv1.Event_DeliveryReceipt{DeliveryReceipt: p}
		home("id", &p.Id)
	case ongairv1.EventType_EVENT_TYPE_GROUP_MESSAGE_RECEIVED:
		p := &ongairv1.GroupMessageReceived{}
		e.Payload = &ongairv1.Event_GroupMessageReceived{GroupMessageReceived: p}
		home("group_id", &p.GroupId)
		home("text", &p.Text)
		home("account", &p.Account)
	case ongairv1.EventType_EVENT_TYPE_CONTACT_ADDED_TO_GROUP:
		p := &ongairv1.ContactAddedToGroup{}
		e.Payload = &ongairv1.Event_ContactAddedToGroup{ContactAddedToGroup: p}
		home("group_id", &p.GroupId)
		home("account", &p.Account)
	case ongairv1.EventType_EVENT_TYPE_CONTACT_REMOVED_FROM_GROUP:
		p := &ongairv1.ContactRemovedFromGroup{}
		e.Payload = &ongairv1.Event_ContactRemovedFromGroup{ContactRemovedFromGroup: p}
		home("group_id", &p.GroupId)
		home("account", &p.Account)
	case ongairv1.EventType_EVENT_TYPE_GROUP_CREATED:
		p := &ongairv1.GroupCreated{}
		e.Payload = &ongairv1.Event_GroupCreated{GroupCreated: p}
		home("id", &p.Id)
		home("name", &p.Name) // the group's, not a contact's
	case ongairv1.EventType_EVENT_TYPE_UNSPECIFIED:
	}
	return homes
}

// keep returns a field as the event stores it. If the body is stored too (whole is false), keep
// omits the exact bytes of a name that is not UTF-8. This bounds an event to about three times its
// body, because alternating bytes double in a string.
func keep(f field, whole bool) *ongairv1.WebhookField {
	kept := &ongairv1.WebhookField{Name: strings.ToValidUTF8(f.name, replacement)}
	if whole && !utf8.ValidString(f.name) {
		kept.RawName = []byte(f.name)
	}
	if utf8.ValidString(f.value) {
		kept.Value = f.value
	} else {
		kept.RawValue = []byte(f.value)
	}
	return kept
}

func ticketStatus(status string) ongairv1.TicketStatus {
	switch status {
	case "Open":
		return ongairv1.TicketStatus_TICKET_STATUS_OPEN
	case "Pending":
		return ongairv1.TicketStatus_TICKET_STATUS_PENDING
	case "Closed":
		return ongairv1.TicketStatus_TICKET_STATUS_CLOSED
	}
	return ongairv1.TicketStatus_TICKET_STATUS_UNSPECIFIED
}
