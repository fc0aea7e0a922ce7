package config

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// As with --config <(decrypt gateway.yaml): what was read to its end cannot be read again.
func TestAPipeIsReadAtAStartAndHasNoChanges(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	written := make(chan error, 1)
	go func() {
		written <- os.WriteFile(pipe, []byte("channels: {a: {token: t, webhook_secret: a-secret-for-tests-only}}"), 0o600)
	}()
	loaded, err := Load(Source{File: pipe})
	require.NoError(t, err)
	require.NoError(t, <-written)
	assert.False(t, loaded.FilesChanged())
	next := writeFile(t, "next", "channels: {}")
	require.NoError(t, os.Rename(next, pipe))
	assert.True(t, loaded.FilesChanged(), "there is a file in its place")
}
