package api

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ongair/ongair-gateway/server/fault"
)

// Metadata of the header fields that the IETF draft "The Idempotency-Key HTTP
// Header Field" describes.
const (
	// MetadataIdempotencyKey is an alternative to the field request_id.
	MetadataIdempotencyKey = "idempotency-key"
	// MetadataReplayed is "true" in the header of a stored answer.
	MetadataReplayed = "idempotent-replayed"
)

// applyIdempotencyKey sets the request_id from the call's metadata, which over REST is the
// header. The draft requires quotes around the key; most clients send none.
func applyIdempotencyKey(ctx context.Context, req any) error {
	given := metadata.ValueFromIncomingContext(ctx, MetadataIdempotencyKey)
	if len(given) == 0 {
		return nil
	}
	field := requestIDField(req)
	if field == nil {
		return nil
	}
	message := req.(proto.Message).ProtoReflect()
	key := unquote(given[0])
	inBody := message.Get(field).String()
	switch {
	case len(given) > 1:
		return fault.Invalid(fault.Violation{Field: "request_id", Description: "Idempotency-Key is given more than once", Reason: fault.ViolationRepeated})
	case key == "":
		return fault.Invalid(fault.Violation{Field: "request_id", Description: "Idempotency-Key is empty", Reason: fault.ViolationMalformed})
	case inBody != "" && inBody != key:
		return fault.Invalid(fault.Violation{Field: "request_id", Description: "differs from Idempotency-Key", Reason: fault.ViolationConflict})
	}
	message.Set(field, protoreflect.ValueOfString(key))
	return nil
}

func requestIDField(req any) protoreflect.FieldDescriptor {
	message, ok := req.(proto.Message)
	if !ok {
		return nil
	}
	return message.ProtoReflect().Descriptor().Fields().ByName("request_id")
}

// unquote returns the value of a structured-field string (RFC 8941, 3.3.3). It returns other
// texts unchanged.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s[1 : len(s)-1])
}
