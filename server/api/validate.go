package api

import (
	"errors"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// newValidator returns a validator with the rules of all requests.
func newValidator() (protovalidate.Validator, error) {
	return protovalidate.New(protovalidate.WithMessages(
		&ongairv1.SendRequest{}, &ongairv1.SendImageRequest{}, &ongairv1.SendDocumentRequest{},
		&ongairv1.CreateTicketRequest{}, &ongairv1.ListEventsRequest{}, &ongairv1.SubscribeRequest{},
		&ongairv1.CreateStreamTicketRequest{},
	))
}

// validate validates a message against the rules of the proto. It returns a fault with the
// first violation of each invalid field. The ready-made interceptor is not used, because it
// answers with its own detail type, and clients know google.rpc.BadRequest.
func validate(validator protovalidate.Validator, m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return nil // a message of an unknown method
	}
	err := validator.Validate(message)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return err
	}
	var violations []fault.Violation
	seen := map[string]bool{}
	for _, v := range invalid.Violations {
		field := protovalidate.FieldPathString(v.Proto.GetField())
		if seen[field] {
			continue
		}
		seen[field] = true
		violations = append(violations, fault.Violation{
			Field: field, Description: v.Proto.GetMessage(), Reason: violationReason(v.Proto.GetRuleId()),
		})
	}
	return fault.Invalid(violations...)
}

// violationReason returns the id of a rule in the form of a reason: STRING_MIN_BYTES
// for string.min_bytes.
func violationReason(ruleID string) string {
	return strings.ToUpper(strings.ReplaceAll(ruleID, ".", "_"))
}
