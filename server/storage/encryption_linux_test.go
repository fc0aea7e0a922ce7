package storage

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/faultfs"
)

// runUnprivileged runs f without root's permission to read all files.
func runUnprivileged(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		if os.Getuid() == 0 {
			if err := syscall.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		f()
		done <- nil
	}()
	require.NoError(t, <-done)
}

func TestADirectoryThatCannotBeOpenedKeepsItsKey(t *testing.T) {
	above := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(above), 0o711)) // searchable by the unprivileged user
	dir := filepath.Join(above, "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, keyFile)
	require.NoError(t, writeKey(path, "the directory's", keyA))
	// Other users may write to the directory, but not read it.
	require.NoError(t, os.Chmod(dir, 0o333))
	runUnprivileged(t, func() { assert.ErrorIs(t, writeKey(path, "the directory's", keyB), os.ErrPermission) })
	require.NoError(t, os.Chmod(dir, 0o700))
	sealed, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = openKey(string(sealed), keyA)
	assert.NoError(t, err)
}

func TestAFailedSyncOfANewKeyReportsThatEitherKeyMayBeNeeded(t *testing.T) {
	disk := faultfs.New(t)
	dir := filepath.Join(disk.Dir(), "data")
	keys := []string{keyB, keyA}
	js, err := Open(t.Context(), Config{Dir: dir, EncryptionKeys: keys[1:]})
	require.NoError(t, err)

	disk.FailDirectorySyncs(syscall.EIO)
	require.ErrorContains(t, js.ReplaceKeys(keys), "keep the previous key on the second line")
	require.Error(t, js.ReplaceKeys(keys[1:]), "the new key may not be on the disk")

	disk.FailDirectorySyncs(0)
	require.NoError(t, js.ReplaceKeys(keys))
	disk.PowerOff()
	_ = js.Close() // fails without the disk
	disk.PowerOn(faultfs.Nothing)
	_, err = store(t, dir, keyB)
	require.NoError(t, err)
}

func TestAStartSyncsAKeyThatAKilledProcessReplaced(t *testing.T) {
	disk := faultfs.New(t)
	dir := filepath.Join(disk.Dir(), "data")
	_, err := store(t, dir, keyA)
	require.NoError(t, err)
	path := filepath.Join(dir, keyFile)
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	key, err := openKey(string(old), keyA)
	require.NoError(t, err)

	// Simulate a kill between the rename and the sync of the directory.
	other := filepath.Join(disk.Dir(), keyFile)
	require.NoError(t, writeKey(other, key, keyB))
	require.NoError(t, os.Rename(other, path))

	js, err := Open(t.Context(), Config{Dir: dir, EncryptionKeys: []string{keyB, keyA}})
	require.NoError(t, err)
	disk.PowerOff()
	_ = js.Close() // fails without the disk
	disk.PowerOn(faultfs.Nothing)
	_, err = store(t, dir, keyB)
	require.NoError(t, err)
}
