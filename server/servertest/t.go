package servertest

import (
	"io"
	"os"

	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// T is the part of *testing.T and *rapid.T that this package uses. Each history of a *rapid.T
// has its own gateways.
type T interface {
	storagetest.T
	Output() io.Writer
}

// Rounds returns the number of repetitions in a test: long if ONGAIR_GATEWAY_SOAK is set, as by
// `make soak`, and short otherwise.
func Rounds(short, long int) int {
	if os.Getenv("ONGAIR_GATEWAY_SOAK") != "" {
		return long
	}
	return short
}
