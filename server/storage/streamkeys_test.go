package storage

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dirWithMessage returns a data directory with one message.
func dirWithMessage(t *testing.T, keys ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	_, err := store(t, dir, keys...)
	require.NoError(t, err)
	return dir
}

// replaceFile replaces the content of a file. undo restores it.
func replaceFile(t *testing.T, path string, content []byte) (undo func()) {
	t.Helper()
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return func() { require.NoError(t, os.WriteFile(path, before, 0o600)) }
}

func TestDataOfAnotherKeyIsNotOpened(t *testing.T) {
	const streamKey = "jetstream/jetstream/$G/streams/TEST/" + streamKeyFile
	foreign, err := os.ReadFile(filepath.Join(dirWithMessage(t, keyA), keyFile))
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		file    string
		content []byte
	}{
		"the key file of another directory with the same key": {keyFile, foreign},
		"an empty stream key":    {streamKey, nil},
		"a truncated stream key": {streamKey, make([]byte, 40)},
		"a damaged stream key":   {streamKey, make([]byte, 72)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := dirWithMessage(t, keyA)
			undo := replaceFile(t, filepath.Join(dir, tt.file), tt.content)
			_, err := Open(t.Context(), Config{Dir: dir, EncryptionKeys: []string{keyA}})
			require.ErrorContains(t, err, "does not match")
			undo()
			before, err := store(t, dir, keyA)
			require.NoError(t, err)
			assert.EqualValues(t, 1, before, "no data must be destroyed")
		})
	}
}

// nats-server would encrypt files in place. A kill in the meantime would lose data.
func TestAnUnencryptedDirectoryIsNotOpenedWithAForeignKeyFile(t *testing.T) {
	dir := dirWithMessage(t)
	foreign, err := os.ReadFile(filepath.Join(dirWithMessage(t, keyA), keyFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, keyFile), foreign, 0o600))
	_, err = Open(t.Context(), Config{Dir: dir, EncryptionKeys: []string{keyA}})
	require.ErrorContains(t, err, "in clear text")
	require.NoError(t, os.Remove(filepath.Join(dir, keyFile)))
	before, err := store(t, dir)
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)
}

func TestAStreamIsReadableAfterACrash(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, streams string){
		"a stream without files": func(t *testing.T, streams string) {
			require.NoError(t, os.MkdirAll(filepath.Join(streams, "NEW", "msgs"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(streams, "NEW", "_test_123"), nil, 0o600))
		},
		"a stream with only its key": func(t *testing.T, streams string) {
			require.NoError(t, os.Remove(filepath.Join(streams, "TEST", streamFile)))
		},
		"a stream that was being deleted": func(t *testing.T, streams string) {
			require.NoError(t, os.Rename(filepath.Join(streams, "TEST"), filepath.Join(streams, ".TEST")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := dirWithMessage(t, keyA)
			damage(t, filepath.Join(dir, "jetstream", "jetstream", "$G", "streams"))
			_, err := store(t, dir, keyA)
			require.NoError(t, err)
		})
	}
}

func TestABackupNeedsTheKeyFromWhenItWasMade(t *testing.T) {
	dir, backup := dirWithMessage(t, keyA), t.TempDir()
	require.NoError(t, os.CopyFS(backup, os.DirFS(dir)))
	_, err := store(t, dir, keyB, keyA)
	require.NoError(t, err)

	// Restore only the messages. The directory keeps its current key.
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "jetstream")))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "jetstream"), os.DirFS(filepath.Join(backup, "jetstream"))))
	before, err := store(t, dir, keyB)
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)

	before, err = store(t, backup, keyA)
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)
}
