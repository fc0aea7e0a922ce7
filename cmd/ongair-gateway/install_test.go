package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/programs"
)

// install returns a directory with packages that commands of a program install there. The pins are
// files that select the packages, and are copied to the directory. It is kept in the user's cache for
// later runs. If a command fails, for example without a network, the test is skipped as by programs.Skip.
func install(t *testing.T, program string, pins []string, commands ...[]string) string {
	t.Helper()
	key, err := exec.Command(program, "--version").Output()
	require.NoError(t, err)
	for _, pin := range pins {
		content, err := os.ReadFile(pin)
		require.NoError(t, err)
		key = append(key, content...)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "ongair-gateway-test")
	dir := filepath.Join(cache, fmt.Sprintf("%s-%x", filepath.Base(program), sha256.Sum256(key)))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	// Another process may install the same. The directory is that of the first one that succeeds.
	require.NoError(t, os.MkdirAll(cache, 0o755))
	incomplete, err := os.MkdirTemp(cache, "incomplete-")
	require.NoError(t, err)
	defer os.RemoveAll(incomplete)
	copyFiles(t, incomplete, pins...)
	for _, args := range commands {
		command := exec.CommandContext(t.Context(), args[0], args[1:]...)
		command.Dir = incomplete
		if out, err := command.CombinedOutput(); err != nil {
			programs.Skip(t, filepath.Base(program), fmt.Sprintf("%q failed: %s\n%s", args, err, out))
		}
	}
	_ = os.Rename(incomplete, dir) // fails if another process was first
	require.DirExists(t, dir)
	return dir
}

func copyFiles(t *testing.T, dir string, paths ...string) {
	t.Helper()
	for _, path := range paths {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), content, 0o600))
	}
}
