// Package fault provides the errors that the gateway returns to callers.
//
// A Fault is created where the failure is known and returned as an ordinary error. grpc-go
// turns it into a status at the edge, through GRPCStatus. The status has what the caller may
// know: reason, message, metadata, violations and retry delay. It never has the cause, which is
// for the log. Error returns both.
//
// The reasons are the enum ongair.v1.ErrorReason. The table in reason.go gives each one its
// gRPC code and HTTP status. docs/errors.md explains them to callers.
package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Domain is the domain of every ErrorInfo of the gateway. AIP-193 requires it to be globally
// unique.
const Domain = "gateway.ongair.im"

// Effect states whether a failed call had an effect outside the gateway. It is the metadata
// "effect" of the ErrorInfo.
type Effect string

// The effects of a failed call.
const (
	// EffectNotApplicable is for calls that change nothing, such as Subscribe.
	EffectNotApplicable Effect = ""
	// EffectNone means that nothing was sent. The call can be repeated.
	EffectNone Effect = "none"
	// EffectUnknown means that the message may have been sent. The gateway MUST NOT repeat the
	// call.
	EffectUnknown Effect = "unknown"
)

// Violation is one bad field of a request.
type Violation struct {
	// Field is the path of the field in the request, for example "external_id".
	Field string
	// Description describes the error.
	Description string
	// Reason is the machine-readable error: the id of the protovalidate rule in upper case
	// (STRING_MIN_BYTES), or one of the Violation constants.
	Reason string
}

// Reasons of violations that protovalidate does not report. docs/errors.md lists them.
const (
	ViolationMalformed = "MALFORMED" // has the wrong type, or is out of range
	ViolationConflict  = "CONFLICT"  // differs from the same field elsewhere in the request
	ViolationRepeated  = "REPEATED"  // given more than once
	ViolationUnknown   = "UNKNOWN"   // no field has that name
)

// Fault is an error with a reason. It MUST NOT be changed once it is returned, and is then safe
// for concurrent use.
type Fault struct {
	// Reason is the machine-readable reason.
	Reason ongairv1.ErrorReason
	// Message is the text for the caller's developers. If it is empty, the message is the first
	// violation and the number of further ones.
	Message string
	// Effect states whether the call had an effect.
	Effect Effect
	// RetryAfter is the delay after which the same call can be repeated. Zero means that it
	// should not be repeated.
	RetryAfter time.Duration
	// Violations are the bad fields. The status lists at most MaxViolations of them.
	Violations []Violation
	// Metadata are further machine-readable values of the ErrorInfo.
	Metadata map[string]string
	// Cause is logged and never sent to the caller. It may be nil.
	Cause error
}

// New returns a fault with a public message.
func New(reason ongairv1.ErrorReason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Invalid returns the fault of a request with bad fields.
func Invalid(violations ...Violation) *Fault {
	return &Fault{Reason: ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, Violations: violations}
}

// RestartDelay is the retry delay of calls that a stop of the gateway ends. It is long enough
// to find another replica or for this one to restart.
const RestartDelay = time.Second

// Stopping returns the fault of a call or stream that the stop of the gateway ended. If the
// call may have had an effect, the reason is OUTCOME_UNKNOWN and message is ignored, because
// clients repeat calls that fail with UNAVAILABLE.
func Stopping(effect Effect, message string) *Fault {
	if effect == EffectUnknown {
		f := New(ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
			"the gateway stopped during the call; the message may have been sent")
		f.Effect = effect
		return f
	}
	f := New(ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, "%s", message)
	f.Effect, f.RetryAfter = effect, RestartDelay
	return f
}

// From returns err as a fault:
//
//   - A Fault in its chain is returned unchanged.
//   - The end of a context becomes CANCELLED or DEADLINE_EXCEEDED.
//   - Any other error becomes INTERNAL. Its text is only in the cause.
//
// From(nil) returns nil.
func From(err error) *Fault {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	var f *Fault
	switch {
	case errors.Is(err, context.Canceled):
		f = New(ongairv1.ErrorReason_ERROR_REASON_CANCELLED, "the caller cancelled the call")
	case errors.Is(err, context.DeadlineExceeded):
		f = New(ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED, "the deadline passed")
	default:
		f = New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "internal error: see the gateway's log")
	}
	f.Cause = err
	return f
}

// Error returns reason, message and cause. It is for the log, not for callers.
func (f *Fault) Error() string {
	message := f.message(min(len(f.Violations), MaxViolations), maxTextBytes)
	if f.Cause == nil {
		return fmt.Sprintf("%s: %s", ReasonName(f.Reason), message)
	}
	return fmt.Sprintf("%s: %s: %v", ReasonName(f.Reason), message, f.Cause)
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// GRPCStatus returns the status for the caller. grpc-go calls it for every error of a handler.
// Its trailers have at most MaxTrailerBytes: long texts are cut, and violations left out.
// Invalid UTF-8 becomes U+FFFD, because a status that cannot be marshalled loses its details.
func (f *Fault) GRPCStatus() *status.Status { return f.fitted() }

// status returns the status with the first violations, and texts of at most textBytes.
func (f *Fault) status(violations, textBytes int) *status.Status {
	s := status.New(Code(f.Reason), text(f.message(violations, textBytes), 2*textBytes))
	details := []protoadapt.MessageV1{f.info(textBytes)}
	if violations > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range f.Violations[:violations] {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: text(v.Field, textBytes), Description: text(v.Description, textBytes), Reason: v.Reason,
			})
		}
		details = append(details, bad)
	}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	detailed, err := s.WithDetails(details...)
	if err != nil {
		return s // unreachable: all details can be marshalled
	}
	return detailed
}

// message returns the message of a status that lists the first violations.
func (f *Fault) message(listed, textBytes int) string {
	if f.Message != "" || len(f.Violations) == 0 {
		return text(cmp.Or(f.Message, "the request is invalid"), textBytes)
	}
	first := f.Violations[0]
	message := text(first.Field, textBytes/2) + ": " + text(first.Description, textBytes)
	switch more := len(f.Violations) - 1; {
	case more == 0:
		return message
	case listed == len(f.Violations):
		return fmt.Sprintf("%s (and %d more)", message, more)
	default:
		return fmt.Sprintf("%s (and %d more, %d of them not listed)", message, more, len(f.Violations)-listed)
	}
}

func (f *Fault) info(textBytes int) *errdetails.ErrorInfo {
	info := &errdetails.ErrorInfo{Reason: ReasonName(f.Reason), Domain: Domain}
	if len(f.Metadata) > 0 || f.Effect != EffectNotApplicable {
		info.Metadata = make(map[string]string, len(f.Metadata)+1)
		for k, v := range f.Metadata {
			info.Metadata[text(k, textBytes)] = text(v, textBytes)
		}
		if f.Effect != EffectNotApplicable {
			info.Metadata["effect"] = string(f.Effect)
		}
	}
	return info
}
