package servertest

import (
	"io"
	"os"

	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// T is what this package needs of a test: a *testing.T, or a *rapid.T, whose
// histories each have gateways of their own.
type T interface {
	storagetest.T
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
