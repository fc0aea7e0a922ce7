package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/gen"
)

func TestProtoWritesTheFilesOfTheContract(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want fs.FS
	}{
		"full":  {nil, gen.Protos(false)},
		"plain": {[]string{"--plain"}, gen.Protos(true)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "folder")
			got := command(t, nil, append([]string{"proto", "--output", dir}, tt.args...)...)
			require.Zero(t, got.code, got.errOut)
			assert.Empty(t, got.out)
			require.NoError(t, fs.WalkDir(tt.want, ".", func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				want, err := fs.ReadFile(tt.want, path)
				require.NoError(t, err)
				written, err := os.ReadFile(filepath.Join(dir, path))
				require.NoError(t, err)
				assert.Equal(t, string(want), string(written), path)
				return nil
			}))
		})
	}
}

func TestProtoReplacesItsFilesAndKeepsABufYAML(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "ongair", "v1", "message.proto")
	require.NoError(t, os.MkdirAll(filepath.Dir(old), 0o755))
	require.NoError(t, os.WriteFile(old, []byte("old"), 0o644))
	buf := filepath.Join(dir, "buf.yaml")
	require.NoError(t, os.WriteFile(buf, []byte("mine"), 0o644))
	require.Zero(t, command(t, nil, "proto", "--output", dir).code)
	content, err := os.ReadFile(old)
	require.NoError(t, err)
	assert.Contains(t, string(content), "message SendRequest")
	content, err = os.ReadFile(buf)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(content))
}

func TestProtoReportsTheFileThatItCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	got := command(t, nil, "proto", "--output", file)
	assert.Equal(t, exitFailed, got.code)
	assert.Contains(t, got.errOut, "--output: ")
	assert.Contains(t, got.errOut, file)
	assert.Equal(t, exitUsage, command(t, nil, "proto").code, "--output is required")
}
