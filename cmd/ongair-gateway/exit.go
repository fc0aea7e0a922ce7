package main

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ongair/ongair-gateway/server/fault"
)

// Exit codes, for scripts.
const (
	// exitOK means success.
	exitOK = 0
	// exitFailed means that the command could not run, for example because a port is in use.
	exitFailed = 1
	// exitUsage means that the command line or the request is invalid. Nothing was sent.
	exitUsage = 2
	// exitRejected means that the gateway or Ongair rejected the call. Nothing was sent, and
	// the same command will be rejected again.
	exitRejected = 3
	// exitUnavailable means that nothing was sent, and that the same command may succeed later.
	exitUnavailable = 4
	// exitUnknown means that the message may have been sent. Do not simply repeat the command.
	exitUnknown = 5
)

// usageError is an error in the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	s := statusOf(err)
	if s == nil {
		return exitFailed
	}
	info := fault.Info(s)
	if info.GetMetadata()["effect"] == string(fault.EffectUnknown) {
		return exitUnknown
	}
	_, sent := errors.AsType[sentError](err)
	if sent && info == nil && s.Code() == codes.Unavailable {
		return exitUnknown // the connection was lost, so the effect is unknown
	}
	switch s.Code() {
	case codes.InvalidArgument:
		return exitUsage
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return exitUnavailable
	case codes.Unknown, codes.Internal, codes.DeadlineExceeded, codes.Canceled:
		if !sent {
			return exitUnavailable
		}
		// The error does not state the effect. The connection may have been lost after the gateway
		// received the call.
		return exitUnknown
	default:
		return exitRejected
	}
}

// statusOf returns the status of a failed call, or nil for other errors. Unlike
// status.FromError it does not add the texts of wrapping errors to the message.
func statusOf(err error) *status.Status {
	if withStatus, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return withStatus.GRPCStatus()
	}
	return nil
}

// describe returns the text for an error. The first line has the gateway's reason, the message
// and any advice. If several fields are invalid, a line for each field follows.
func describe(err error) string {
	s := statusOf(err)
	if s == nil {
		return err.Error()
	}
	lines := []string{s.Message()}
	if info := fault.Info(s); info != nil {
		lines[0] = info.GetReason() + ": " + s.Message()
	}
	if advised, ok := errors.AsType[advisedError](err); ok {
		lines[0] += "; " + advised.advice
	}
	for _, detail := range s.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) > 1 {
			for _, v := range bad.GetFieldViolations() {
				lines = append(lines, fmt.Sprintf("  %s: %s", v.GetField(), v.GetDescription()))
			}
		}
	}
	return strings.Join(lines, "\n")
}
