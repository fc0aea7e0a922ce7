package rest

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ongair/ongair-gateway/server/event"
)

// Messages that have a form of their own in JSON and in a query.
const (
	timestampName = "google.protobuf.Timestamp"
	durationName  = "google.protobuf.Duration"
)

// fieldOf returns the field with a name, in either spelling, or nil.
func fieldOf(fields protoreflect.FieldDescriptors, name string) protoreflect.FieldDescriptor {
	if field := fields.ByTextName(name); field != nil {
		return field
	}
	return fields.ByJSONName(name)
}

// excluded returns whether a request that has the fields given may not have another field,
// because only one of a oneof may be set.
func excluded(field protoreflect.FieldDescriptor, given map[protoreflect.FieldDescriptor]bool) bool {
	oneof := field.ContainingOneof()
	if oneof == nil {
		return false
	}
	for i := range oneof.Fields().Len() {
		if given[oneof.Fields().Get(i)] {
			return true
		}
	}
	return false
}

// onlyOne returns the error for fields that exclude each other.
func onlyOne(oneof protoreflect.OneofDescriptor) string {
	return "use only one of " + namesOf(oneof.Fields())
}

// namesOf lists the names of fields.
func namesOf(fields protoreflect.FieldDescriptors) string {
	var names []string
	for i := range fields.Len() {
		names = append(names, string(fields.Get(i).Name()))
	}
	return strings.Join(names, ", ")
}

// canonical returns a value as the parsers of grpc-gateway and protojson take it, if it is
// one that people write. Any other value is returned as it is.
func canonical(field protoreflect.FieldDescriptor, text string) string {
	switch field.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind:
		return text
	case protoreflect.EnumKind:
		if value := event.EnumValue(field.Enum(), text); value != nil {
			return string(value.Name())
		}
		return text
	case protoreflect.MessageKind:
		if field.Message().FullName() == timestampName {
			text = strings.ToUpper(text) // RFC 3339 takes a t and a z
		}
		return strings.TrimSpace(text)
	default:
		return strings.TrimSpace(text)
	}
}

// wanted returns the expected form of a field's value, with an example. It does not repeat the
// given value, which may be a secret.
func wanted(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.StringKind:
		return `use a text, in JSON in quotes, as in "42"`
	case protoreflect.BytesKind:
		return "use base64, as in T25nYWly"
	case protoreflect.BoolKind:
		return "use true or false"
	case protoreflect.EnumKind:
		return "use one of " + strings.Join(event.EnumNames(field.Enum()), ", ")
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "use a whole number of 32 bits, as in 100"
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "use a whole number of 64 bits, as in 100"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "use a number, as in 1.5"
	case protoreflect.MessageKind, protoreflect.GroupKind:
		switch field.Message().FullName() {
		case timestampName:
			return "use RFC 3339, as in 2026-01-31T12:00:00Z"
		case durationName:
			return "use seconds, as in 10s"
		}
	}
	return "is not of the field's type"
}
