package event

import (
	"testing"

	"github.com/stretchr/testify/assert"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Stored data depends on these values. They must never change.
func TestOrderKeysAndBucketsAreUnchanged(t *testing.T) {
	contact := func(id string) *ongairv1.Event {
		return &ongairv1.Event{Id: "e1", Channel: "support", ConversationId: "22", Contact: &ongairv1.Contact{ExternalId: id}}
	}
	for name, tt := range map[string]struct {
		event  *ongairv1.Event
		key    string
		bucket int
	}{
		"a contact":                                {contact("+254722200200"), "support\x00254722200200", 0x0d},
		"the same without its plus":                {contact("254722200200"), "support\x00254722200200", 0x0d},
		"the same with a plus that became a space": {contact(" 254722200200"), "support\x00254722200200", 0x0d},
		"a contact other than a phone number":      {contact("wxid_+1"), "support\x00wxid_+1", 0x04},
		"only a plus":                              {contact("+"), "support\x00+", 0x17},
		"a plus before letters":                    {contact("+asha"), "support\x00+asha", 0x3d},
		"no contact": {
			&ongairv1.Event{Id: "e1", Channel: "support", ConversationId: "22"}, "support\x0022", 0x02,
		},
		"white space as contact": {contact(" \t"), "support\x0022", 0x02},
		"neither":                {&ongairv1.Event{Id: "e1", Channel: "support"}, "support\x00e1", 0x29},
		"another channel":        {&ongairv1.Event{Id: "e1", Channel: "sales", ConversationId: "22"}, "sales\x0022", 0x09},
	} {
		t.Run(name, func(t *testing.T) {
			key := OrderKey(tt.event)
			assert.Equal(t, tt.key, key)
			assert.Equal(t, tt.bucket, Bucket(key))
		})
	}
}
