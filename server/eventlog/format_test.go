package eventlog

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Clients may keep cursors for years, so the format must never change.
func TestTheCursorFormatIsUnchanged(t *testing.T) {
	id := identity{0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07}
	for cursor, at := range map[string]position{
		"AQECAwQFBgcAAAAAAAAAAAAAAACJGa92": {},
		"AQECAwQFBgcAAAAAAAAAAQAAAAC0eYbG": {sequence: 1},
		"AQECAwQFBgcAAAAAAAAAKoKgiVLzZKjZ": {sequence: 42, checksum: 0x82a08952},
		"AQECAwQFBgf_______________9JVZaT": {sequence: 1<<64 - 1, checksum: 1<<32 - 1},
	} {
		assert.Equal(t, cursor, encodeCursor(id, at))
		decoded, err := decodeCursor(id, cursor)
		require.NoError(t, err)
		assert.Equal(t, at, decoded)
	}
}

func TestSubjectsAreUnchanged(t *testing.T) {
	assert.Equal(t, "ONGAIR_EVENTS", streamName)
	assert.Equal(t, "ongair-log-identity", metadataIdentity)
	asha := &ongairv1.Contact{ExternalId: "+254722200200"}
	for subject, e := range map[string]*ongairv1.Event{
		"ongair.events.support.MessageSent.0d":             {NotificationType: "MessageSent", Contact: asha},
		"ongair.events.support.MessageReceived.0d":         {NotificationType: "MessageReceived", Contact: asha},
		"ongair.events.support.ImageReceived.0d":           {NotificationType: "ImageReceived", Contact: asha},
		"ongair.events.support.TicketStatusUpdated.02":     {NotificationType: "TicketStatusUpdated", ConversationId: "22"},
		"ongair.events.support.LocationReceived.0d":        {NotificationType: "LocationReceived", Contact: asha},
		"ongair.events.support.DeliveryReceipt.0d":         {NotificationType: "DeliveryReceipt", Contact: asha},
		"ongair.events.support.GroupMessageReceived.0d":    {NotificationType: "GroupMessageReceived", Contact: asha},
		"ongair.events.support.ContactAddedToGroup.0d":     {NotificationType: "ContactAddedToGroup", Contact: asha},
		"ongair.events.support.ContactRemovedFromGroup.0d": {NotificationType: "ContactRemovedFromGroup", Contact: asha},
		"ongair.events.support.GroupCreated.29":            {NotificationType: "GroupCreated", Id: "e1"},
		"ongair.events.support.Other.29":                   {NotificationType: "VideoReceived", Id: "e1"},
	} {
		e.Channel = "support"
		assert.Equal(t, subject, subjectOf(e))
	}
}
