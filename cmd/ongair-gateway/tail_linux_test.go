package main

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTailResumesWhenAFrozenGatewayRunsAgain(t *testing.T) {
	testSilence(t, func(g *gateway, _ *relay) (end func()) {
		require.NoError(t, g.cmd.Process.Signal(syscall.SIGSTOP))
		return func() { require.NoError(t, g.cmd.Process.Signal(syscall.SIGCONT)) }
	})
}
