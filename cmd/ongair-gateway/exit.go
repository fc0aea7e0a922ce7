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
	// exitOK: done.
	exitOK = 0
	// exitFailed: the command could not run, for example because a port is in use.
	exitFailed = 1
	// exitUsage: the command line or the request is wrong. Nothing was sent.
	exitUsage = 2
	// exitRefused: the gateway or Ongair refused. Nothing was sent, and the same
	// command will be refused again.
	exitRefused = 3
	// exitUnavailable: nothing was sent, and the same command may work later.
	exitUnavailable = 4
	// exitUnknown: the message may have been sent. Do not just repeat the command.
	exitUnknown = 5
)

// usageError is a mistake in the command line.
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
		return exitUnknown // the connection broke, and nobody says what became of the call
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
		// Without a word on the effect, the connection may have broken after the
		// gateway had the call.
		return exitUnknown
	default:
		return exitRefused
	}
}

// statusOf returns the status that a call ended with, or nil for an error of
// another kind. Unlike status.FromError it leaves the message as it was sent,
// however often the error was wrapped.
func statusOf(err error) *status.Status {
	if withStatus, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return withStatus.GRPCStatus()
	}
	return nil
}

// describe says what happened: for an error of the gateway its reason, its
// message and, where several fields are bad, each of them. Advice comes last.
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
