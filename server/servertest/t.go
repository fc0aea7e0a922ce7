package servertest

import (
	"context"
	"io"
	"os"
)

// T is what this package needs of a test: a *testing.T, or a *rapid.T, whose
// histories each have gateways of their own.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Failed() bool
	Logf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
	Output() io.Writer
}

// Rounds returns how often a test repeats what it is about: short times in an
// ordinary run, long times where ONGAIR_GATEWAY_SOAK is set, as `make soak` does.
func Rounds(short, long int) int {
	if os.Getenv("ONGAIR_GATEWAY_SOAK") != "" {
		return long
	}
	return short
}
