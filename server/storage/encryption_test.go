package storage

import (
	"bytes"
	"io/fs"
	"log/slog"
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
	// canary is a text that must not be on the disk unencrypted.
	canary = "CANARY +254722200200"
)

// store opens a directory, publishes a message and returns the number of earlier messages.
func store(t *testing.T, dir string, keys ...string) (before uint64, err error) {
	t.Helper()
	js, err := Open(t.Context(), Config{Dir: dir, EncryptionKeys: keys})
	if err != nil {
		return 0, err
	}
	defer func() { require.NoError(t, js.Close()) }()
	stream, err := js.api.CreateOrUpdateStream(t.Context(), natsjs.StreamConfig{Name: "TEST", Subjects: []string{"test.>"}})
	require.NoError(t, err)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	for sequence := range info.State.LastSeq {
		msg, err := stream.GetMsg(t.Context(), sequence+1)
		require.NoError(t, err)
		assert.Equal(t, canary, string(msg.Data))
	}
	_, err = js.api.Publish(t.Context(), "test."+"CANARY", []byte(canary))
	require.NoError(t, err)
	return info.State.Msgs, nil
}

// clear reports whether the files of a directory contain the canary unencrypted.
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

func TestEncryptedDataRequiresTheKey(t *testing.T) {
	dir := t.TempDir()
	for want := range uint64(3) {
		before, err := store(t, dir, keyA)
		require.NoError(t, err)
		assert.Equal(t, want, before)
		assert.False(t, clear(t, dir))
	}
	for name, keys := range map[string][]string{
		"no key": nil, "another key": {keyB}, "a part of the key": {keyA[1:]}, "others": {keyB, keyA[1:]},
	} {
		_, err := store(t, dir, keys...)
		require.ErrorContains(t, err, "encrypted", name)
		assert.NotContains(t, err.Error(), "key-")
	}
	before, err := store(t, dir, keyA)
	require.NoError(t, err)
	assert.EqualValues(t, 3, before, "a wrong key must not destroy data")
}

// nats-server encrypts files in place. A kill in the meantime would lose data.
func TestAnUnencryptedDirectoryStaysUnencrypted(t *testing.T) {
	dir := t.TempDir()
	_, err := store(t, dir)
	require.NoError(t, err)
	assert.True(t, clear(t, dir), "clear must find the canary")
	_, err = store(t, dir, keyA)
	require.ErrorContains(t, err, "is not encrypted")
	before, err := store(t, dir)
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
	for _, keys := range [][]string{nil, {keyA}, {keyB, keyA}} {
		_, err = store(t, dir, keys...)
		require.ErrorContains(t, err, "missing")
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, keyFile), note, 0o600))
	before, err := store(t, dir, keyA)
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)
}

func TestAKeyIsReplaced(t *testing.T) {
	dir := t.TempDir()
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	_, err = store(t, dir, keyB, keyA)
	require.NoError(t, err)
	_, err = store(t, dir, keyA)
	require.ErrorContains(t, err, "another key", "only the new key is valid after a start with both")
	before, err := store(t, dir, keyB)
	require.NoError(t, err)
	assert.EqualValues(t, 2, before)
}

func TestAKeyIsReplacedWhileTheDirectoryIsOpen(t *testing.T) {
	dir := t.TempDir()
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	js, err := Open(t.Context(), Config{Dir: dir, EncryptionKeys: []string{keyA}})
	require.NoError(t, err)
	require.ErrorContains(t, js.ReplaceKeys(nil), "encryption cannot be changed")

	// If the new key cannot be written, the old one is kept.
	require.NoError(t, os.Mkdir(filepath.Join(dir, keyFile+".new"), 0o700))
	require.Error(t, js.ReplaceKeys([]string{keyB, keyA}))
	kept, _, err := directoryKey(dir, []string{keyA}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Equal(t, js.embedded.key, kept)
	require.NoError(t, os.Remove(filepath.Join(dir, keyFile+".new")))

	require.NoError(t, js.ReplaceKeys([]string{keyB, keyA}))
	_, err = js.api.Publish(t.Context(), "test.x", []byte(canary))
	require.NoError(t, err)
	require.NoError(t, js.Close())
	_, err = store(t, dir, keyA)
	require.ErrorContains(t, err, "another key")
	before, err := store(t, dir, keyB)
	require.NoError(t, err)
	assert.EqualValues(t, 2, before)
	assert.False(t, clear(t, dir))
}

// The file with keys may be read while it is being written.
func TestReplacingAKeyRequiresTheOldKey(t *testing.T) {
	dir := t.TempDir()
	js, err := Open(t.Context(), Config{Dir: dir, EncryptionKeys: []string{keyA}})
	require.NoError(t, err)
	for name, keys := range map[string][]string{
		"a part of the new key":              {keyB[:MinKeyLength]},
		"only the new key":                   {keyB},
		"a part of the old key":              {keyB, keyA[:MinKeyLength]},
		"the old key with another character": {keyA + "0", keyB},
	} {
		require.ErrorContains(t, js.ReplaceKeys(keys), "keep the previous key", name)
	}
	require.NoError(t, js.Close())
	_, err = store(t, dir, keyA)
	require.NoError(t, err)
}

func TestAKeyThatCannotBeReplacedAtTheStartIsReplacedLater(t *testing.T) {
	dir := t.TempDir()
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	obstacle := filepath.Join(dir, keyFile+".new")
	require.NoError(t, os.Mkdir(obstacle, 0o700))
	var log bytes.Buffer
	js, err := Open(t.Context(), Config{
		Dir: dir, EncryptionKeys: []string{keyB, keyA}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err, "the old key must open the directory")
	assert.Contains(t, log.String(), "keep the previous key")
	assert.NotContains(t, log.String(), "key-")
	require.Error(t, js.ReplaceKeys([]string{keyB, keyA}), "the obstacle still exists")

	require.NoError(t, os.Remove(obstacle))
	require.NoError(t, js.ReplaceKeys([]string{keyB, keyA}))
	require.NoError(t, js.Close())
	before, err := store(t, dir, keyB)
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)
}

func TestAnOpenUnencryptedLogCannotGetAKey(t *testing.T) {
	js, err := Open(t.Context(), Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, js.Close()) }()
	require.ErrorContains(t, js.ReplaceKeys([]string{keyA}), "encryption cannot be changed")
}

func TestADamagedKeyOpensNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	sealed, err := os.ReadFile(filepath.Join(dir, keyFile))
	require.NoError(t, err)
	last := len(sealed) - len("=\n") - 1
	for name, damage := range map[string]string{
		"empty":           "",
		"cut short":       string(sealed[:last]),
		"another version": "v2" + string(sealed[2:]),
		"a flipped bit":   string(sealed[:10]) + string(sealed[10]^1) + string(sealed[11:]),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, keyFile), []byte(damage), 0o600))
		_, err = store(t, dir, keyA)
		require.ErrorContains(t, err, "damaged", name)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, keyFile), sealed, 0o600))
	before, err := store(t, dir, keyA)
	require.NoError(t, err)
	assert.EqualValues(t, 1, before)
}

func TestOnlyTheOwnerHasAccessToTheDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	for _, path := range []string{dir, filepath.Join(dir, keyFile), filepath.Join(dir, "lock")} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, path)
	}
}
