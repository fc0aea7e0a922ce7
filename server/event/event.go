// Package event encodes events. Each encoding of an event is made once.
//
// The log stores an event as an ongair.v1.Event (stored.go). It has no cursor, because its
// position is not known before it is stored. It has a checksum, which distinguishes it from
// messages of other NATS clients.
//
// Subscribers get records (segment.go). A record is the stored event with its cursor appended, as
// one element of SubscribeResponse.events. Making a record is one copy without marshalling,
// because protobuf allows the fields of a message in any order, and puts the elements of a
// repeated field one after the other. The records of consecutive events are next to each other in
// a segment, so a response to any number of subscribers is a part of a segment (response.go).
//
// The fields that filters compare are located once, when the record is made (filter.go).
package event

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// idBytes is the size of an event's id before it is written in hexadecimal. It has as many bits as
// a UUID.
const idBytes = 16

// DerivedID returns the id of a message notification: the same for each delivery of it, and
// another one for another channel, documented type, Ongair id or content. It is 32
// hexadecimal digits. content is every other field, as the caller spells it.
func DerivedID(channel string, documented ongairv1.EventType, ongairID string, content ...string) string {
	sum := HashParts(append([]string{channel, TypeName(documented), ongairID}, content...)...)
	return hex.EncodeToString(sum[:idBytes])
}

// HashParts returns the SHA-256 of a list of texts. The length of each text comes before it,
// so no two lists are the same input.
func HashParts(parts ...string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(part), part) // a hash's Write never fails
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// RandomID returns a random id of 32 hexadecimal digits, for events that are not message
// notifications.
func RandomID() string {
	var b [idBytes]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand.Read
	return hex.EncodeToString(b[:])
}

// TypeOf returns the documented type of a notification_type, or EVENT_TYPE_UNSPECIFIED. White
// space around the name and its case do not count.
func TypeOf(notificationType string) ongairv1.EventType {
	name := strings.TrimSpace(notificationType)
	for number := range len(ongairv1.EventType_name) {
		documented := ongairv1.EventType(number)
		if known := TypeName(documented); known != "" && strings.EqualFold(known, name) {
			return documented
		}
	}
	return ongairv1.EventType_EVENT_TYPE_UNSPECIFIED
}

// TypeName returns Ongair's notification_type of a documented type; empty for a
// value that is not one.
func TypeName(t ongairv1.EventType) string {
	switch t {
	case ongairv1.EventType_EVENT_TYPE_MESSAGE_SENT:
		return "MessageSent"
	case ongairv1.EventType_EVENT_TYPE_MESSAGE_RECEIVED:
		return "MessageReceived"
	case ongairv1.EventType_EVENT_TYPE_IMAGE_RECEIVED:
		return "ImageReceived"
	case ongairv1.EventType_EVENT_TYPE_TICKET_STATUS_UPDATED:
		return "TicketStatusUpdated"
	case ongairv1.EventType_EVENT_TYPE_LOCATION_RECEIVED:
		return "LocationReceived"
	case ongairv1.EventType_EVENT_TYPE_DELIVERY_RECEIPT:
		return "DeliveryReceipt"
	case ongairv1.EventType_EVENT_TYPE_GROUP_MESSAGE_RECEIVED:
		return "GroupMessageReceived"
	case ongairv1.EventType_EVENT_TYPE_CONTACT_ADDED_TO_GROUP:
		return "ContactAddedToGroup"
	case ongairv1.EventType_EVENT_TYPE_CONTACT_REMOVED_FROM_GROUP:
		return "ContactRemovedFromGroup"
	case ongairv1.EventType_EVENT_TYPE_GROUP_CREATED:
		return "GroupCreated"
	case ongairv1.EventType_EVENT_TYPE_UNSPECIFIED:
	}
	return ""
}
