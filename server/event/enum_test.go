package event

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

func TestAnEnumValueHasItsCommonNames(t *testing.T) {
	types := ongairv1.EventType(0).Descriptor()
	for _, name := range []string{
		"EVENT_TYPE_MESSAGE_RECEIVED", "event_type_message_received", "MESSAGE_RECEIVED", "message_received", "message-received",
		"MessageReceived", "messageReceived", "messagereceived", " MessageReceived\t", "2",
	} {
		value := EnumValue(types, name)
		require.NotNil(t, value, name)
		assert.Equal(t, ongairv1.EventType_EVENT_TYPE_MESSAGE_RECEIVED.Number(), value.Number(), name)
	}
	for _, name := range []string{"", " ", "_", "Message", "MessageReceivedx", "EVENT_TYPE_", "11", "-1", "2.0", "99999999999", "Message Received"} {
		assert.Nil(t, EnumValue(types, name), name)
	}
	position := EnumValue(ongairv1.Position(0).Descriptor(), "earliest")
	require.NotNil(t, position)
	assert.Equal(t, ongairv1.Position_POSITION_EARLIEST.Number(), position.Number())
}

func TestADocumentedTypeIsFoundByOngairsName(t *testing.T) {
	types := ongairv1.EventType(0).Descriptor()
	for number := range ongairv1.EventType_name {
		if name := TypeName(ongairv1.EventType(number)); name != "" {
			value := EnumValue(types, name)
			require.NotNil(t, value, name)
			assert.Equal(t, protoreflect.EnumNumber(number), value.Number(), name)
		}
	}
}

func TestShortEnumNamesMatchTheValues(t *testing.T) {
	assert.Equal(t, []string{"earliest", "latest"}, EnumNames(ongairv1.Position(0).Descriptor()))
	assert.Equal(t, []string{"in", "out"}, EnumNames(ongairv1.Direction(0).Descriptor()))
	for _, name := range EnumNames(ongairv1.EventType(0).Descriptor()) {
		assert.NotNil(t, EnumValue(ongairv1.EventType(0).Descriptor(), name), name)
	}
}
