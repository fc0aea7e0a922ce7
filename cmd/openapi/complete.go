package main

import (
	"maps"
	"regexp"
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/ongair/ongair-gateway/gen/go/ongair/v1" // registers the messages
)

// object is a JSON object, and list a JSON array.
type (
	object = map[string]any
	list   = []any
)

const refPrefix = "#/components/schemas/"

// ref returns a reference to a schema.
func ref(name string) object { return object{"$ref": refPrefix + name} }

// child returns an object in an object, and creates it if it does not exist.
func child(o object, name string) object {
	if o[name] == nil {
		o[name] = object{}
	}
	return o[name].(object)
}

// complete completes a generated document.
func complete(document object) {
	tidy(document)
	schemas := child(child(document, "components"), "schemas")
	for name, schema := range schemas {
		completeSchema(name, schema.(object))
	}
	describeWellKnownTypes(schemas)
	addErrors(document)
	paths := child(document, "paths")
	child(child(paths, "/v1/events"), "get")["parameters"] = queryOf(schemas, "ongair.v1.ListEventsRequest",
		object{"position": "POSITION_EARLIEST", "page_size": 10})
	completeStream(child(paths, "/v1/events:subscribe"), schemas)
	for path, methods := range paths {
		for _, operation := range methods.(object) {
			completeOperation(path, operation.(object), schemas)
		}
	}
}

// completeSchema completes the schema of a message of ongair.v1.
func completeSchema(name string, schema object) {
	found, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil || !strings.HasPrefix(name, "ongair.v1.") {
		return
	}
	flatten(schema)
	if strings.HasSuffix(name, "Request") {
		schema["additionalProperties"] = false
		excludeEachOther(schema, found.Descriptor())
		addRules(child(schema, "properties"), found.Descriptor())
		return
	}
	delete(schema, "additionalProperties")
	var required list
	fields := found.Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); !field.HasPresence() {
			required = append(required, string(field.Name()))
		}
	}
	if required != nil {
		schema["required"] = required
	}
}

// flatten makes the properties of a message's oneofs properties of the message.
func flatten(schema object) {
	properties := child(schema, "properties")
	for _, part := range asList(schema["allOf"]) {
		for name, property := range asObject(part.(object)["properties"]) {
			properties[name] = property
		}
		flattenOneOf(properties, part.(object))
	}
	flattenOneOf(properties, schema)
	delete(schema, "allOf")
	delete(schema, "oneOf")
}

func flattenOneOf(properties, schema object) {
	for _, choice := range asList(schema["oneOf"]) {
		for name, property := range asObject(choice.(object)["properties"]) {
			properties[name] = property
		}
	}
}

// excludeEachOther allows at most one field of each oneof of a request.
func excludeEachOther(schema object, message protoreflect.MessageDescriptor) {
	var pairs list
	for i := range message.Oneofs().Len() {
		oneof := message.Oneofs().Get(i)
		if oneof.IsSynthetic() {
			continue
		}
		fields := oneof.Fields()
		for a := range fields.Len() {
			for b := range a {
				pairs = append(pairs, object{"required": list{string(fields.Get(b).Name()), string(fields.Get(a).Name())}})
			}
		}
	}
	if pairs != nil {
		schema["not"] = object{"anyOf": pairs}
	}
}

// addRules adds the rules of protovalidate that the generator ignores: that a field may be empty
// whatever its pattern, that a duration is not negative, and that a value of an enum is excluded.
func addRules(properties object, message protoreflect.MessageDescriptor) {
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		schema := properties[string(field.Name())].(object)
		rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
		if pattern, ok := schema["pattern"].(string); ok && rules.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE {
			schema["pattern"] = "^$|" + pattern
		}
		if rules.GetDuration().GetGte() != nil { // a schema of text has no bound, and no duration here may be negative
			schema["pattern"] = "^[0-9]"
		}
		if field.IsList() {
			schema, rules = asObject(schema["items"]), rules.GetRepeated().GetItems()
		}
		var excluded list
		for _, number := range rules.GetEnum().GetNotIn() {
			excluded = append(excluded, string(field.Enum().Values().ByNumber(protoreflect.EnumNumber(number)).Name()))
		}
		if excluded != nil {
			schema["not"] = object{"enum": excluded}
		}
	}
}

// describeWellKnownTypes replaces the descriptions of Google's types, which are about programs.
func describeWellKnownTypes(schemas object) {
	schemas["google.protobuf.Duration"] = object{
		"type": "string", "pattern": `^-?[0-9]+(\.[0-9]{1,9})?s$`, "examples": list{"15s", "0.5s"},
		"description": "A duration in seconds, with the suffix s.",
	}
	schemas["google.protobuf.Timestamp"] = object{
		"type": "string", "format": "date-time", "examples": list{"2026-01-31T12:00:00Z"},
		"description": "A time, as in RFC 3339.",
	}
}

// rule is a line that the generator adds to a description for a rule of protovalidate.
var rule = regexp.MustCompile(`(?m)^ ?(string|duration|timestamp|repeated|int32|enum)\.([a-z_]+) = (.*)\n?`)

// tidy cleans the descriptions in a value, and turns the bounds in bytes in them into keywords.
func tidy(value any) {
	switch value := value.(type) {
	case object:
		if description, ok := value["description"].(string); ok {
			for _, found := range rule.FindAllStringSubmatch(description, -1) {
				addBound(value, found[2], found[3])
			}
			description = rule.ReplaceAllString(description, "")
			value["description"] = strings.TrimSpace(strings.ReplaceAll(description, "\n ", "\n"))
			if value["description"] == "" {
				delete(value, "description")
			}
		}
		for _, member := range value {
			tidy(member)
		}
	case list:
		for _, element := range value {
			tidy(element)
		}
	}
}

func addBound(schema object, name, bound string) {
	n, err := strconv.Atoi(bound)
	if err != nil || schema["type"] != "string" {
		return
	}
	switch name {
	case "min_bytes":
		schema["minLength"], schema["x-min-bytes"] = min(n, 1), n
	case "max_bytes":
		schema["maxLength"], schema["x-max-bytes"] = n, n
	}
}

func asList(value any) list {
	l, _ := value.(list)
	return l
}

func asObject(value any) object {
	o, _ := value.(object)
	return o
}

// sends reports whether a path sends to a contact.
func sends(path string) bool {
	return strings.HasPrefix(path, "/v1/messages:") || path == "/v1/tickets"
}

// completeOperation adds headers, errors and an example to an operation.
func completeOperation(path string, operation, schemas object) {
	if summary, _ := operation["summary"].(string); !strings.Contains(summary, " ") {
		operation["summary"] = operation["description"] // one sentence
		delete(operation, "description")
	}
	responses := child(operation, "responses")
	parameters := asList(operation["parameters"])
	if sends(path) {
		parameters = append(parameters, object{
			"name": "Idempotency-Key", "in": "header", "description": "The same as request_id. It may be in quotes.",
			"schema": object{"type": "string", "pattern": `^([ -~]{1,128}|"[ -~]{1,128}")$`},
		})
		child(child(responses, "200"), "headers")["Idempotent-Replayed"] = object{
			"description": "Present, with the value true, if the response is that of an earlier call.", "schema": object{"type": "string"},
		}
	}
	if parameters != nil {
		operation["parameters"] = parameters
	}
	for status, response := range errorResponses(path) {
		responses[status] = response
	}
	if body := asObject(operation["requestBody"]); body != nil {
		content := asObject(asObject(body["content"])["application/json"])
		content["example"] = examples()[path]
		request := asObject(schemas[strings.TrimPrefix(asObject(content["schema"])["$ref"].(string), refPrefix)])
		if request["required"] == nil {
			delete(body, "required") // the gateway takes an empty body as a request without fields
		}
	}
}

// examples are requests by path. A test sends each of them to a gateway.
func examples() map[string]any {
	contact := "+254722200200"
	return map[string]any{
		"/v1/messages:send": object{"external_id": contact, "text": "Hello", "request_id": "order-1017-shipped"},
		"/v1/messages:sendImage": object{
			"external_id": contact, "image": "https://example.com/receipt.png", "content_type": "image/png", "text": "Your receipt",
		},
		"/v1/messages:sendDocument":     object{"external_id": contact, "file_url": "https://example.com/invoice.pdf", "caption": "Your invoice"},
		"/v1/tickets":                   object{"external_id": contact, "message_id": "1017", "name": "Asha Njeri", "text": "My order is late"},
		"/v1/events:createStreamTicket": object{"event_types": list{"EVENT_TYPE_MESSAGE_RECEIVED"}},
		"/v1/events:subscribe":          object{"position": "POSITION_EARLIEST", "event_types": list{"EVENT_TYPE_MESSAGE_RECEIVED"}},
	}
}

// queryOf returns the fields of a request as parameters of a URL, in their order. The generator
// leaves out those of a path with a second method, and copies the types of Google into the others.
func queryOf(schemas object, request string, example object) (parameters list) {
	found, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(request))
	if err != nil {
		panic(err) // never: its package is imported
	}
	properties := child(child(schemas, request), "properties")
	fields := found.Descriptor().Fields()
	for i := range fields.Len() {
		name := string(fields.Get(i).Name())
		schema := maps.Clone(properties[name].(object))
		parameter := object{"name": name, "in": "query", "description": schema["description"], "schema": schema}
		delete(schema, "description")
		if value, ok := example[name]; ok {
			parameter["example"] = value
		}
		parameters = append(parameters, parameter)
	}
	return parameters
}

// completeStream describes the two methods and the two formats of a subscription.
func completeStream(methods, schemas object) {
	post := child(methods, "post")
	get := object{}
	for name, value := range post {
		if name != "requestBody" {
			get[name] = value
		}
	}
	post["operationId"] = "OngairService_SubscribePost"
	get["responses"], post["responses"] = streamResponses(), streamResponses()
	parameters := queryOf(schemas, "ongair.v1.SubscribeRequest", object{"position": "POSITION_EARLIEST"})
	both := list{
		object{
			"name": "ticket", "in": "query", "description": "A ticket of CreateStreamTicket, in place of an API key. It has the filters.",
			"schema": object{"type": "string"},
		},
		object{
			"name": "Last-Event-ID", "in": "header", "description": "A cursor, which replaces the start of the request.",
			"schema": object{"type": "string"},
		},
	}
	get["parameters"], post["parameters"] = append(parameters, both...), both
	for _, operation := range []object{get, post} {
		operation["security"] = list{object{"bearer": list{}}, object{}}
	}
	methods["get"] = get
	schemas["StreamLine"] = object{
		"description": "A line of a stream: a response, or the error that ends the stream.",
		"oneOf": list{
			object{"type": "object", "required": list{"result"}, "properties": object{"result": ref("ongair.v1.SubscribeResponse")}},
			object{"type": "object", "required": list{"error"}, "properties": object{"error": ref(statusSchema)}},
		},
	}
}

func streamResponses() object {
	return object{"200": object{
		"description": "The stream.",
		"content": object{
			"application/x-ndjson": object{"schema": ref("StreamLine")},
			"text/event-stream": object{"schema": object{
				"type": "string",
				"description": "Server-Sent Events. A message has the cursor as id, the notification type as event, and an " +
					"ongair.v1.Event as data. A message without data is a heartbeat. The last message, event: end, has a google.rpc.Status as data.",
			}},
		},
	}}
}
