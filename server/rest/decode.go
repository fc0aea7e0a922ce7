package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// NewDecoder returns a decoder of one request, which may have enums as a query may. Its
// errors name the field and say what it takes; those of protojson repeat the value.
func (m marshaler) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		request, ok := v.(proto.Message)
		if !ok {
			return m.JSONPb.NewDecoder(r).Decode(v)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(body)) == 0 {
			return io.EOF // grpc-gateway treats it as a request without fields
		}
		if m.UnmarshalOptions.Unmarshal(body, request) == nil {
			return nil
		}
		proto.Reset(request)
		return decodeMembers(body, request)
	})
}

// decodeMembers decodes a request that protojson does not take as it is, member by member,
// so that what is wrong can be named.
func decodeMembers(body []byte, request proto.Message) error {
	members, err := membersOf(body)
	if err != nil {
		return errors.New("the body is not a JSON object")
	}
	message := request.ProtoReflect()
	fields := message.Descriptor().Fields()
	given := map[protoreflect.FieldDescriptor]bool{} // false for a null, which sets nothing
	for _, m := range members {
		field := fieldOf(fields, m.name)
		if field == nil {
			return fmt.Errorf("%s: unknown field: use one of %s", m.name, namesOf(fields))
		}
		if _, duplicate := given[field]; duplicate {
			return fmt.Errorf("%s: duplicate field", m.name)
		}
		if excluded(field, given) && !m.isNull() {
			return fmt.Errorf("%s: %s", m.name, onlyOne(field.ContainingOneof()))
		}
		given[field] = !m.isNull()
		one := fmt.Appendf(nil, "{%q:%s}", field.Name(), canonicalJSON(field, m.value))
		part := message.New().Interface()
		if protojson.Unmarshal(one, part) != nil {
			return fmt.Errorf("%s: %s", m.name, wantedInJSON(field, m.value))
		}
		proto.Merge(request, part)
	}
	return nil
}

// member is a member of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

func (m member) isNull() bool { return string(m.value) == "null" }

// membersOf returns the members of a JSON object in their order, duplicates included.
func membersOf(object []byte) (members []member, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.Join(err, errors.New("not an object"))
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: name.(string)}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// canonicalJSON is canonical for the value of a member.
func canonicalJSON(field protoreflect.FieldDescriptor, value json.RawMessage) json.RawMessage {
	var text string
	var list []json.RawMessage
	switch {
	case field.Kind() != protoreflect.EnumKind:
	case value[0] == '"' && json.Unmarshal(value, &text) == nil:
		if name, err := json.Marshal(canonical(field, text)); err == nil {
			return name
		}
	case value[0] == '[' && json.Unmarshal(value, &list) == nil:
		for i := range list {
			list[i] = canonicalJSON(field, list[i])
		}
		if names, err := json.Marshal(list); err == nil {
			return names
		}
	}
	return value
}

// wantedInJSON is wanted for a member.
func wantedInJSON(field protoreflect.FieldDescriptor, value json.RawMessage) string {
	switch {
	case field.IsList() && value[0] != '[':
		return "use a list; for each value: " + wanted(field)
	case field.Kind() == protoreflect.StringKind && value[0] == '"':
		return "is not Unicode"
	}
	return wanted(field)
}
