package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The values for fields that neither a triggered webhook nor the state has.
const (
	defaultContact   = "+254722200200"
	defaultText      = "Où est ma commande ?" // not ASCII, so that encodings differ
	defaultImage     = "https://example.com/sandbox/image.jpg"
	defaultAddress   = "Kenyatta Avenue, Nairobi"
	defaultLatitude  = "-1.286389"
	defaultLongitude = "36.817223"
	defaultGroup     = "7"
	defaultGroupName = "Sandbox"
)

// channelNumber is the channel's phone number. Webhooks about groups have it in their field
// account.
const channelNumber = "254700000000"

func webhookTypes() []string {
	return []string{
		"MessageSent", "MessageReceived", "ImageReceived", "TicketStatusUpdated", "DeliveryReceipt", "LocationReceived",
		"GroupMessageReceived", "ContactAddedToGroup", "ContactRemovedFromGroup", "GroupCreated",
	}
}

func checkWebhookType(name string) error {
	if !slices.Contains(webhookTypes(), name) {
		return fmt.Errorf("unknown type %q: use %s", name, strings.Join(webhookTypes(), ", "))
	}
	return nil
}

// webhookOf returns a webhook of one of webhookTypes, with the given fields and defaults for the
// others. The defaults are for the given contact, or else for the contact of the newest sent
// message. A message has a new id. A receipt has the id of the newest message that was sent to the
// contact.
func (s *Sandbox) webhookOf(notificationType string, given []Field) []Field {
	fields := lastOfEach(given)
	about := s.state.topicOf(cmp.Or(fields["external_contact_id"], fields["phone_number"]))
	return merge(s.defaultFields(notificationType, about, fields), given)
}

func (s *Sandbox) defaultFields(notificationType string, t topic, given map[string]string) []Field {
	group := func(more ...Field) []Field {
		fields := []Field{
			{"notification_type", notificationType}, {"phone_number", phoneNumber(t.contact.ExternalContactID)},
			{"group_id", defaultGroup},
		}
		return append(append(fields, more...), Field{"account", channelNumber})
	}
	switch notificationType {
	case "MessageSent", "MessageReceived", "ImageReceived":
		m := message{ID: s.state.newMessageID(), ConversationID: t.conversationID, Kind: kindText, Text: defaultText}
		if notificationType == "ImageReceived" {
			m.Kind, m.URL = kindImage, defaultImage
		}
		return s.messageFields(notificationType, t.contact, m)
	case "TicketStatusUpdated":
		return s.ticketFields(t.contact, t.conversationID, statusClosed)
	case "DeliveryReceipt":
		return receiptFields(t.contact.ExternalContactID, t.messageID)
	case "LocationReceived":
		fields := []Field{
			{"notification_type", notificationType}, {"phone_number", phoneNumber(t.contact.ExternalContactID)},
			{"address", defaultAddress}, {"latitude", defaultLatitude}, {"longitude", defaultLongitude},
		}
		if _, ok := given["external_contact_id"]; ok {
			fields = slices.Delete(fields, 1, 2) // Ongair sends one of the two
		}
		return fields
	case "GroupMessageReceived":
		return group(Field{"text", defaultText})
	case "GroupCreated":
		return []Field{{"notification_type", notificationType}, {"name", defaultGroupName}, {"id", defaultGroup}}
	default: // ContactAddedToGroup and ContactRemovedFromGroup
		return group()
	}
}

// merge replaces defaults by the given fields of the same name, and appends the other given fields.
func merge(defaults, given []Field) []Field {
	merged := slices.Clone(defaults)
	replaced := make(map[string]bool)
	for _, f := range given {
		i := slices.IndexFunc(merged, func(d Field) bool { return d.Name == f.Name })
		if i < 0 || i >= len(defaults) || replaced[f.Name] {
			merged = append(merged, f)
			continue
		}
		merged[i] = f
		replaced[f.Name] = true
	}
	return merged
}
