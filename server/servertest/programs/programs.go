// Package programs finds what the tests of other programs need: the programs, and free ports. It
// depends on nothing, so that the tests of any package can use it.
package programs

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Require returns the path of a program. Without the program, the test is skipped as by Skip.
func Require(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Skip(t, program, "needs "+program)
	}
	return path
}

// Skip skips a test that lacks something. It fails the test instead if ONGAIR_GATEWAY_REQUIRE_WHAT is
// set, as in continuous integration.
func Skip(t testing.TB, what, reason string) {
	t.Helper()
	if variable := "ONGAIR_GATEWAY_REQUIRE_" + strings.ToUpper(what); os.Getenv(variable) != "" {
		require.FailNow(t, variable+" is set, but the test would be skipped", reason)
	}
	t.Skip(reason)
}

// FreeAddress returns an address on loopback with a free port, for a program that cannot choose one.
func FreeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }() // the program listens there
	return listener.Addr().String()
}
