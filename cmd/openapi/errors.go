package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

const (
	statusSchema = "google.rpc.Status"
	typePrefix   = "type.googleapis.com/google.rpc."
)

// reasons returns all reasons in the order of the enum.
func reasons() (all []ongairv1.ErrorReason) {
	values := ongairv1.ErrorReason(0).Descriptor().Values()
	for i := range values.Len() {
		if number := values.Get(i).Number(); number != 0 {
			all = append(all, ongairv1.ErrorReason(number))
		}
	}
	return all
}

// addErrors adds the schemas of errors, with every reason.
func addErrors(document object) {
	var names list
	for _, reason := range reasons() {
		names = append(names, fault.ReasonName(reason))
	}
	detail := func(name string, properties object, required ...any) object {
		properties["@type"] = object{"const": typePrefix + name}
		return object{"type": "object", "properties": properties, "required": append(list{"@type"}, required...)}
	}
	text := object{"type": "string"}
	schemas := child(child(document, "components"), "schemas")
	schemas[statusSchema] = object{
		"type":        "object",
		"description": "An error. Decide by the reason and the metadata effect of its ErrorInfo.",
		"properties": object{
			"code":    object{"type": "integer", "description": "The gRPC code."},
			"message": object{"type": "string", "description": "A text for developers, which may change."},
			"details": object{"type": "array", "items": object{"oneOf": list{
				ref("google.rpc.ErrorInfo"), ref("google.rpc.BadRequest"), ref("google.rpc.RetryInfo"),
			}}},
		},
		"required": list{"code", "message", "details"},
	}
	schemas["google.rpc.ErrorInfo"] = detail("ErrorInfo", object{
		"reason": object{"type": "string", "enum": names},
		"domain": object{"const": fault.Domain},
		"metadata": object{
			"type": "object", "additionalProperties": text,
			"properties": object{"effect": object{"type": "string", "enum": list{string(fault.EffectNone), string(fault.EffectUnknown)}}},
		},
	}, "reason", "domain")
	schemas["google.rpc.BadRequest"] = detail("BadRequest", object{"field_violations": object{"type": "array", "items": object{
		"type": "object", "properties": object{"field": text, "description": text, "reason": text}, "required": list{"field", "description"},
	}}}, "field_violations")
	schemas["google.rpc.RetryInfo"] = detail("RetryInfo", object{"retry_delay": ref("google.protobuf.Duration")}, "retry_delay")
}

// concerns reports whether a call of a path can fail with a reason.
func concerns(path string, reason ongairv1.ErrorReason) bool {
	name := fault.ReasonName(reason)
	stream := path == "/v1/events:subscribe"
	switch {
	case name == "METHOD_UNKNOWN": // of gRPC
		return false
	case strings.HasPrefix(name, "ONGAIR_"), strings.HasPrefix(name, "IDEMPOTENCY_"),
		name == "CHANNEL_BUSY", name == "CHANNEL_REQUIRED", name == "OUTCOME_UNKNOWN":
		return sends(path)
	case strings.HasPrefix(name, "CURSOR_"):
		return stream || path == "/v1/events"
	case name == "LOG_REPLACED", name == "STREAM_MOVED":
		return stream
	case name == "LOG_UNAVAILABLE":
		return path != "/v1/events:createStreamTicket"
	}
	return true
}

// errorResponses returns the errors of a path by HTTP status.
func errorResponses(path string) map[string]object {
	byStatus := map[int][]string{}
	for _, reason := range reasons() {
		if !concerns(path, reason) {
			continue
		}
		status := fault.HTTPStatus(reason)
		byStatus[status] = append(byStatus[status], fault.ReasonName(reason))
		if reason == ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE { // of its headers
			byStatus[http.StatusRequestHeaderFieldsTooLarge] = append(byStatus[http.StatusRequestHeaderFieldsTooLarge], fault.ReasonName(reason))
		}
	}
	responses := map[string]object{}
	for status, names := range byStatus {
		response := object{
			"description": fmt.Sprintf("Reasons: %s.", strings.Join(names, ", ")),
			"content":     object{"application/json": object{"schema": ref(statusSchema)}},
		}
		if status == http.StatusRequestHeaderFieldsTooLarge { // without a content type, so that every error has one schema
			response["description"] = fmt.Sprintf("%s If the URL and the headers exceed %d KiB, the answer is text.",
				response["description"], listen.MaxReadHeaderBytes>>10)
		}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable || status == http.StatusConflict {
			response["headers"] = object{"Retry-After": object{
				"description": "Seconds after which the same call can be repeated.", "schema": object{"type": "integer"},
			}}
		}
		responses[strconv.Itoa(status)] = response
	}
	return responses
}
