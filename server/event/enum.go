package event

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// EnumValue returns the value of an enum that text names, or nil. A value has these names:
//
//   - its own, as EVENT_TYPE_MESSAGE_RECEIVED;
//   - its own without the prefix that all values of the enum have, as message_received;
//   - that as Ongair writes it, as MessageReceived;
//   - its number.
//
// Case, underscores, hyphens and white space around the name do not count.
func EnumValue(enum protoreflect.EnumDescriptor, text string) protoreflect.EnumValueDescriptor {
	text = strings.TrimSpace(text)
	if number, err := strconv.ParseInt(text, 10, 32); err == nil {
		return enum.Values().ByNumber(protoreflect.EnumNumber(number))
	}
	words := strings.NewReplacer("_", "", "-", "")
	given := words.Replace(text)
	for i := range enum.Values().Len() {
		value := enum.Values().Get(i)
		for _, name := range []string{string(value.Name()), EnumName(value)} {
			if strings.EqualFold(words.Replace(name), given) {
				return value
			}
		}
	}
	return nil
}

// EnumName returns the short name of an enum's value, as message_received.
func EnumName(value protoreflect.EnumValueDescriptor) string {
	first := value.Parent().(protoreflect.EnumDescriptor).Values().Get(0).Name()
	prefix := strings.TrimSuffix(string(first), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), prefix))
}

// EnumNames returns the short names of an enum's values but the first, which means none.
func EnumNames(enum protoreflect.EnumDescriptor) []string {
	var names []string
	for i := 1; i < enum.Values().Len(); i++ {
		names = append(names, EnumName(enum.Values().Get(i)))
	}
	return names
}
