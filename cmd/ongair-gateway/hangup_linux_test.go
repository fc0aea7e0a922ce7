package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// SIGHUP may arrive at any time, also before the config file was read.
func TestSIGHUPNeverEndsTheGateway(t *testing.T) {
	_, url := silentSandbox(t)
	for name, tt := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"with a sandbox": {nil, []string{"--sandbox", "--sandbox-addr=127.0.0.1:0"}, "configuration not reloaded: --sandbox requires a restart"},
		"without":        {oneChannel(url), []string{"--data-dir", t.TempDir()}, "configuration unchanged"},
	} {
		t.Run(name, func(t *testing.T) {
			// The start blocks until the config file, a pipe, is written.
			config := filepath.Join(t.TempDir(), "gateway.yaml")
			require.NoError(t, syscall.Mkfifo(config, 0o600))
			p := start(t, tt.env, append(append([]string{"serve", "--config", config}, freePorts()...), tt.args...)...)
			pipe, err := os.OpenFile(config, os.O_WRONLY, 0)
			require.NoError(t, err)
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
			require.NoError(t, os.Remove(config))
			require.NoError(t, os.WriteFile(config, []byte("log_level: info"), 0o600))
			_, err = pipe.WriteString("log_level: info")
			require.NoError(t, err)
			require.NoError(t, pipe.Close())
			p.waitFor(t, "the log line", func() bool { return strings.Contains(p.errOut(), tt.want) })
			p.waitFor(t, "readiness", func() bool { return strings.Contains(p.errOut(), "gateway ready") })
			p.terminate(t)
			_ = p.cmd.Process.Signal(syscall.SIGHUP) // it may have ended
			assert.Zero(t, p.wait(t))
		})
	}
}

func TestAReloadDoesNotWaitForAPipe(t *testing.T) {
	g, _, secretFile := serveConfig(t)
	require.NoError(t, os.Remove(secretFile))
	require.NoError(t, syscall.Mkfifo(secretFile, 0o600))
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	g.waitFor(t, "the rejection", func() bool { return strings.Contains(g.errOut(), "not a regular file") })
	assert.True(t, g.accepts(t, "the-first-secret-0123456789"))
	assert.Zero(t, g.stop(t))
}

func TestSIGHUPEndsCommandsWithoutAConfiguration(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SIGHUP is ignored, for example by nohup, and child processes inherit that")
	}
	p := start(t, nil, "sandbox", "--addr", "127.0.0.1:0", "--token", "t")
	p.waitFor(t, "listening", func() bool { return strings.Contains(p.out(), "_sandbox/") })
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	assert.NotZero(t, p.wait(t))
}
