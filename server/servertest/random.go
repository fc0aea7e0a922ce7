package servertest

import (
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/stretchr/testify/require"
)

// Random returns a random source for a test, and logs its seed. ONGAIR_GATEWAY_SEED sets the seed.
// The source is not safe for concurrent use.
func Random(t T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64() //nolint:gosec // it need not be unpredictable
	if s := os.Getenv("ONGAIR_GATEWAY_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err, "ONGAIR_GATEWAY_SEED")
	}
	t.Logf("ONGAIR_GATEWAY_SEED=%d repeats the random choices", seed)
	return rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it must be predictable
}
