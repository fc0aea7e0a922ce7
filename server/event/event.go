// Package event is the one value that crosses the gateway: an event and its
// encodings, each made once.
//
// An event has two encodings. The log stores it as an ongair.v1.Event without a
// cursor, because the position is known only once it is stored, and with a
// checksum that tells it from what others may have put into the log (stored.go).
// What subscribers get is a record: the same bytes with the cursor's field laid
// behind them, wrapped as one element of SubscribeResponse.events. In protobuf
// the fields of a message may come in any order and the elements of a repeated
// field are laid end to end. So making a record is one copy and no marshalling;
// records that follow each other in the log lie end to end in memory, in segments
// (segment.go); and a response is a stretch of a segment, whichever subscribers
// it goes to (response.go).
//
// What filters look at is found once, when the record is made.
package event

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// idBytes is the size of an event's id before it is written in hexadecimal: as
// many bits as a UUID, enough that two of them never meet.
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

// RandomID returns the id of an event that nothing identifies. It is 32
// hexadecimal digits.
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
