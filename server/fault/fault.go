// Package fault is the gateway's only error vocabulary.
//
// A Fault is made where the fact is known, travels up as an ordinary error, and
// becomes a gRPC status once, at the edge, through GRPCStatus, which grpc-go
// looks for. What a caller may know (reason, message, metadata, violations,
// advice) and what an operator needs (the cause) are different things: the
// status never holds the cause, and Error holds both.
//
// The reasons are the enum ongair.v1.ErrorReason; the table in reason.go gives
// each its gRPC code and HTTP status, and docs/errors.md explains each to
// callers.
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

// Domain is the domain of every ErrorInfo that the gateway makes: globally unique, as
// AIP-193 asks.
const Domain = "gateway.ongair.im"

// Effect is what is known of a failed call's effect outside the gateway. It is
// the metadata "effect" of the ErrorInfo.
type Effect string

// What is known of a failed call.
const (
	// EffectNotApplicable is for calls that have no effect to speak of.
	EffectNotApplicable Effect = ""
	// EffectNone says that nothing happened: the call can be repeated.
	EffectNone Effect = "none"
	// EffectUnknown says that the message may have gone out. The call MUST NOT
	// be repeated by the gateway.
	EffectUnknown Effect = "unknown"
)

// Violation is one bad field of a request.
type Violation struct {
	// Field is its path in the request, for example "external_id".
	Field string
	// Description says what is wrong with it.
	Description string
	// Reason says what is wrong with it, for programs: the id of the protovalidate rule
	// in upper case (STRING_MIN_BYTES), or one of the Violation constants.
	Reason string
}

// Reasons of violations that no protovalidate rule finds. docs/errors.md lists them.
const (
	ViolationMalformed = "MALFORMED" // not of the field's type, or not of its range
	ViolationConflict  = "CONFLICT"  // differs from another place that the request has it in
	ViolationRepeated  = "REPEATED"  // given more than once
	ViolationUnknown   = "UNKNOWN"   // no field has that name
)

// Fault is an error with a reason. It is immutable once it is returned, and so
// safe for concurrent use.
type Fault struct {
	// Reason says what went wrong, for programs.
	Reason ongairv1.ErrorReason
	// Message says what went wrong, for the caller's developers. The default is the first
	// violation, and how many there are beside it.
	Message string
	// Effect is what is known of the call's effect.
	Effect Effect
	// RetryAfter, where it is not zero, says that the same call can be repeated
	// after that time.
	RetryAfter time.Duration
	// Violations are the bad fields. The status lists at most MaxViolations of them.
	Violations []Violation
	// Metadata are further facts for programs, in the ErrorInfo.
	Metadata map[string]string
	// Cause is for the log and never leaves the gateway. It may be nil.
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

// RestartDelay is what the callers of a stopping gateway are told to wait: long enough for
// another replica to be found, or for this one to start again.
const RestartDelay = time.Second

// Stopping returns the fault of a call or stream that the gateway's stop ended. Clients
// repeat what is UNAVAILABLE, so one that may have had an effect MUST NOT be that: it is
// OUTCOME_UNKNOWN, whatever message says.
func Stopping(effect Effect, message string) *Fault {
	if effect == EffectUnknown {
		f := New(ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
			"the gateway stopped before the call was over; the message may have gone out")
		f.Effect = effect
		return f
	}
	f := New(ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, "%s", message)
	f.Effect, f.RetryAfter = effect, RestartDelay
	return f
}

// From returns err as a fault. A Fault in its chain is returned as it is, the
// end of a context is said as such, and anything else is an internal fault, of
// which the caller learns only that it happened. From(nil) is nil.
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
		f = New(ongairv1.ErrorReason_ERROR_REASON_CANCELLED, "the caller gave up")
	case errors.Is(err, context.DeadlineExceeded):
		f = New(ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED, "the deadline passed")
	default:
		f = New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "the gateway failed; its log says why")
	}
	f.Cause = err
	return f
}

// Error returns reason, message and cause: for the log, not for callers.
func (f *Fault) Error() string {
	message := f.message(min(len(f.Violations), MaxViolations), maxTextBytes)
	if f.Cause == nil {
		return fmt.Sprintf("%s: %s", ReasonName(f.Reason), message)
	}
	return fmt.Sprintf("%s: %s: %v", ReasonName(f.Reason), message, f.Cause)
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// GRPCStatus returns the status that the caller gets: grpc-go calls it for every error that
// a handler returns. What is not UTF-8 becomes U+FFFD, because a status that does not marshal
// would reach the caller without its details. The trailers of the status have at most
// MaxTrailerBytes: long texts are cut, and violations left out.
func (f *Fault) GRPCStatus() *status.Status { return f.fitted() }

// status returns the status with the first violations and texts of at most textBytes.
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
		return s // never: every detail marshals
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
