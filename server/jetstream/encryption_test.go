package jetstream

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	keyA = "key-A-of-the-tests-0123456789abcdef"
	keyB = "key-B-of-the-tests-0123456789abcdef"
	// canary is a text that must not be on the disk in clear.
	canary = "CANARY +254722200200"
)

// store opens a directory, publishes a message, and returns how many there were.
func store(t *testing.T, dir, key string) (before uint64, err error) {
	t.Helper()
	js, err := Open(t.Context(), Config{Dir: dir, EncryptionKey: key})
	if err != nil {
		return 0, err
	}
	defer func() { require.NoError(t, js.Close()) }()
	stream, err := js.API().CreateOrUpdateStream(t.Context(), natsjs.StreamConfig{Name: "TEST", Subjects: []string{"test.>"}})
	require.NoError(t, err)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	for sequence := range info.State.LastSeq {
		msg, err := stream.GetMsg(t.Context(), sequence+1)
		require.NoError(t, err)
		assert.Equal(t, canary, string(msg.Data))
	}
	_, err = js.API().Publish(t.Context(), "test."+"CANARY", []byte(canary))
	require.NoError(t, err)
	return info.State.Msgs, nil
}

// clear reports whether the canary can be found in the files of a directory.
func clear(t *testing.T, dir string) (found bool) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || strings.Contains(string(content), "CANARY")
		return err
	}))
	return found
}

func TestWhatIsStoredWithAKeyCannotBeReadWithoutIt(t *testing.T) {
	dir := t.TempDir()
	for want := range uint64(3) {
		before, err := store(t, dir, keyA)
		require.NoError(t, err)
		assert.Equal(t, want, before)
		assert.False(t, clear(t, dir))
	}
	for name, key := range map[string]string{"no key": "", "another key": keyB, "a part of the key": keyA[1:]} {
		_, err := store(t, dir, key)
		require.ErrorContains(t, err, "encrypted", name)
		assert.NotContains(t, err.Error(), "key-")
	}
	before, err := store(t, dir, keyA)
	require.NoError(t, err)
	assert.EqualValues(t, 3, before, "a wrong key destroys nothing")
}

// nats-server encrypts in place, and a kill meanwhile would lose what it is at.
func TestADirectoryInClearTextStaysSo(t *testing.T) {
	dir := t.TempDir()
	_, err := store(t, dir, "")
	require.NoError(t, err)
	assert.True(t, clear(t, dir), "else this looks in the wrong place")
	_, err = store(t, dir, keyA)
	require.ErrorContains(t, err, "clear text")
	before, err := store(t, dir, "")
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)
}

func TestEncryptedFilesOfAnUnknownKeyAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	note, err := os.ReadFile(filepath.Join(dir, keyFile))
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, keyFile)))
	for _, key := range []string{"", keyA, keyB} {
		_, err = store(t, dir, key)
		require.ErrorContains(t, err, "missing")
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, keyFile), note, 0o600))
	before, err := store(t, dir, keyA)
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)
}

func TestTheDataDirectoryIsItsOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	for _, path := range []string{dir, filepath.Join(dir, keyFile), filepath.Join(dir, "lock")} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, path)
	}
}
