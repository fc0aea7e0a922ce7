package event

import (
	"cmp"
	"crypto/sha256"
	"strings"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Buckets is the number of buckets that order keys are spread over. It never
// changes: the bucket of an event is a part of how it is stored.
const Buckets = 64

// OrderKey returns what an event is ordered by: events with equal keys belong to
// one contact, in the order of the log. The key is the channel, a NUL, and the
// normalised id of the contact; without a contact the id of the conversation, and
// without that the id of the event. Keys never change: the bucket is made of them.
func OrderKey(e *ongairv1.Event) string {
	return e.GetChannel() + "\x00" +
		cmp.Or(NormalizeContactID(e.GetContact().GetExternalId()), e.GetConversationId(), e.GetId())
}

// Bucket returns the bucket of an order key: 0 to Buckets-1.
func Bucket(orderKey string) int {
	return int(sha256.Sum256([]byte(orderKey))[0]) % Buckets
}

// NormalizeContactID returns the part of a contact's id that tells contacts apart:
// without the white space around it, and without a plus before a digit. The id
// "+254722200200", the same without its plus, and " 254722200200", which a form
// makes of a plus that is not escaped, are one contact. The result is a substring
// of id.
func NormalizeContactID(id string) string {
	id = strings.TrimSpace(id)
	if len(id) > 1 && id[0] == '+' && '0' <= id[1] && id[1] <= '9' {
		return id[1:]
	}
	return id
}
