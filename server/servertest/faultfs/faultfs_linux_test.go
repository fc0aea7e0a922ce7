package faultfs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ongair/ongair-gateway/server/servertest/faultfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everything keeps all unsynced data.
func everything(n int) int { return n }

// half keeps half of the unsynced data, rounded up.
func half(n int) int { return (n + 1) / 2 }

// shell operates on the files of a disk, and fails the test on an error.
type shell struct {
	t   *testing.T
	dir string
}

func (s shell) path(name string) string { return filepath.Join(s.dir, name) }

// write opens a file with flags, writes at an offset, and syncs if sync is true.
func (s shell) write(name string, flags int, offset int64, data string, sync bool) {
	s.t.Helper()
	f, err := os.OpenFile(s.path(name), os.O_RDWR|flags, 0o600)
	require.NoError(s.t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte(data), offset)
	require.NoError(s.t, err)
	if sync {
		require.NoError(s.t, f.Sync())
	}
}

func (s shell) create(name, data string) { s.t.Helper(); s.write(name, os.O_CREATE, 0, data, true) }

func (s shell) sync(name string) {
	s.t.Helper()
	f, err := os.Open(s.path(name))
	require.NoError(s.t, err)
	defer f.Close()
	require.NoError(s.t, f.Sync())
}

func (s shell) mkdir(name string)  { s.t.Helper(); require.NoError(s.t, os.Mkdir(s.path(name), 0o700)) }
func (s shell) remove(name string) { s.t.Helper(); require.NoError(s.t, os.Remove(s.path(name))) }
func (s shell) rename(a, b string) {
	s.t.Helper()
	require.NoError(s.t, os.Rename(s.path(a), s.path(b)))
}
func (s shell) truncate(n string, size int64) {
	s.t.Helper()
	require.NoError(s.t, os.Truncate(s.path(n), size))
}

// files returns the content of every file.
func (s shell) files() map[string]string {
	s.t.Helper()
	files := map[string]string{}
	require.NoError(s.t, filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(s.dir, path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	}))
	return files
}

func TestAPowerCutKeepsSyncedData(t *testing.T) {
	for _, tt := range []struct {
		name string
		// setup makes synced changes, and change is followed by the power cut.
		setup, change func(shell)
		survive       func(int) int
		want          map[string]string
	}{
		{"synced data survives", nil, func(s shell) { s.create("a", "one") }, faultfs.Nothing, map[string]string{"a": "one"}},
		{"data written with O_SYNC survives", nil, func(s shell) { s.write("a", os.O_CREATE|os.O_SYNC, 0, "one", false) }, faultfs.Nothing, map[string]string{"a": "one"}},
		{"a new unsynced file is lost", nil, func(s shell) { s.write("a", os.O_CREATE, 0, "one", false) }, faultfs.Nothing, map[string]string{}},
		{"a name that was synced without its data is an empty file", nil, func(s shell) {
			s.write("a", os.O_CREATE, 0, "one", false)
			s.sync("")
		}, faultfs.Nothing, map[string]string{"a": ""}},
		{"a synced file keeps its name, and the directories above it", nil, func(s shell) {
			s.mkdir("d")
			s.mkdir("d/e")
			s.create("d/e/a", "one")
		}, faultfs.Nothing, map[string]string{"d/e/a": "one"}},
		{"an unsynced append is lost", func(s shell) { s.create("a", "one") }, func(s shell) { s.write("a", 0, 3, "two", false) }, faultfs.Nothing, map[string]string{"a": "one"}},
		{"a prefix of an unsynced append survives", func(s shell) { s.create("a", "one") }, func(s shell) { s.write("a", 0, 3, "two", false) }, half, map[string]string{"a": "onetw"}},
		{"an unsynced overwrite is undone", func(s shell) { s.create("a", "abcdef") }, func(s shell) { s.write("a", 0, 2, "CD", false) }, faultfs.Nothing, map[string]string{"a": "abcdef"}},
		{"a prefix of an unsynced overwrite survives", func(s shell) { s.create("a", "abcdefgh") }, func(s shell) { s.write("a", 0, 2, "CDEFGH", false) }, half, map[string]string{"a": "abCDEfgh"}},
		{"an unsynced truncation is undone", func(s shell) { s.create("a", "abcdef") }, func(s shell) { s.truncate("a", 2) }, faultfs.Nothing, map[string]string{"a": "abcdef"}},
		{"an unsynced truncation survives", func(s shell) { s.create("a", "abcdef") }, func(s shell) { s.truncate("a", 2) }, half, map[string]string{"a": "ab"}},
		{"a rewritten file is truncated", func(s shell) { s.create("a", "abcdef") }, func(s shell) { s.write("a", os.O_TRUNC, 0, "ABCD", false) }, half, map[string]string{"a": "AB"}},
		{"a gap is filled with zeros", nil, func(s shell) { s.write("a", os.O_CREATE, 2, "c", true) }, faultfs.Nothing, map[string]string{"a": "\x00\x00c"}},
		{"a symbolic link survives once its directory is synced, with its target", func(s shell) { s.create("a", "one") }, func(s shell) {
			require.NoError(s.t, os.Symlink("a", s.path("b")))
			s.sync("")
		}, faultfs.Nothing, map[string]string{"a": "one", "b": "one"}},
		{"an unsynced rename is undone completely", func(s shell) { s.create("a", "new"); s.create("b", "old") }, func(s shell) { s.rename("a", "b") }, faultfs.Nothing, map[string]string{"a": "new", "b": "old"}},
		{"an unsynced rename survives", func(s shell) { s.create("a", "new"); s.create("b", "old") }, func(s shell) { s.rename("a", "b") }, everything, map[string]string{"b": "new"}},
		{"a rename survives once its directory is synced", func(s shell) { s.create("a", "new"); s.create("b", "old") }, func(s shell) {
			s.rename("a", "b")
			s.sync("")
		}, faultfs.Nothing, map[string]string{"b": "new"}},
		{"a rename does not sync the data", func(s shell) { s.create("b", "old") }, func(s shell) {
			s.write("a", os.O_CREATE, 0, "new", false)
			s.rename("a", "b")
			s.sync("")
		}, faultfs.Nothing, map[string]string{"b": ""}},
		{"an unsynced removal is undone", func(s shell) { s.create("a", "one") }, func(s shell) { s.remove("a") }, faultfs.Nothing, map[string]string{"a": "one"}},
		{"an unsynced removal survives", func(s shell) { s.create("a", "one") }, func(s shell) { s.remove("a") }, everything, map[string]string{}},
		{"a prefix of the changes of names survives", nil, func(s shell) {
			s.mkdir("d")
			s.write("a", os.O_CREATE, 0, "", false)
			s.write("d/b", os.O_CREATE, 0, "", false)
			s.remove("a")
		}, half, map[string]string{"a": ""}},
		{"the files of a renamed directory move with it", func(s shell) { s.mkdir("d"); s.create("d/a", "one") }, func(s shell) {
			s.rename("d", "e")
			s.sync("")
		}, faultfs.Nothing, map[string]string{"e/a": "one"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := faultfs.New(t)
			s := shell{t, disk.Dir()}
			if tt.setup != nil {
				tt.setup(s)
			}
			tt.change(s)
			disk.PowerOff()
			disk.PowerOn(tt.survive)
			assert.Equal(t, tt.want, s.files())
		})
	}
}

func TestADiskWorksAfterEachPowerCut(t *testing.T) {
	disk := faultfs.New(t)
	s := shell{t, disk.Dir()}
	s.mkdir("d")
	s.create("d/a", "one")
	for _, more := range []string{"two", "three"} {
		disk.PowerOff()
		disk.PowerOn(faultfs.Nothing)
		s.create("d/"+more, more)
		s.write("d/a", 0, 0, "ONE", false)
	}
	disk.PowerOff()
	disk.PowerOn(faultfs.Nothing)
	assert.Equal(t, map[string]string{"d/a": "one", "d/two": "two", "d/three": "three"}, s.files())
	info, err := os.Stat(s.path("d/a"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
}

func TestNothingIsSyncedAfterThePowerIsOff(t *testing.T) {
	disk := faultfs.New(t)
	s := shell{t, disk.Dir()}
	f, err := os.Create(s.path("a"))
	require.NoError(t, err)
	_, err = f.WriteString("one")
	require.NoError(t, err)
	disk.PowerOff()
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	_, err = f.WriteString("two")
	require.ErrorIs(t, err, syscall.EIO)
	require.NoError(t, f.Close())
	require.ErrorIs(t, os.Mkdir(s.path("d"), 0o700), syscall.EIO)
	disk.PowerOn(faultfs.Nothing)
	assert.Empty(t, s.files())
}

func TestAFaultLastsUntilItIsEnded(t *testing.T) {
	disk := faultfs.New(t)
	s := shell{t, disk.Dir()}
	s.create("a", "one")
	f, err := os.OpenFile(s.path("a"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()

	for _, errno := range []syscall.Errno{syscall.EROFS, syscall.EIO, syscall.ENOSPC} {
		disk.FailWrites(errno)
		_, err = f.WriteAt([]byte("ONE"), 0)
		require.ErrorIs(t, err, errno)
		require.ErrorIs(t, f.Truncate(0), errno)
		require.ErrorIs(t, os.Mkdir(s.path("d"), 0o700), errno)
		require.ErrorIs(t, os.Rename(s.path("a"), s.path("b")), errno)
		require.ErrorIs(t, os.Remove(s.path("a")), errno)
		_, err = os.Create(s.path("b"))
		require.ErrorIs(t, err, errno)
		assert.Equal(t, map[string]string{"a": "one"}, s.files(), "reads work")
	}
	disk.FailWrites(0)
	s.write("a", 0, 0, "two", false)

	disk.FailSyncs(syscall.EIO)
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	disk.FailSyncs(0)
	require.NoError(t, f.Sync())
}

func TestASlowSyncEndsAfterItsDelayOrWhenReleased(t *testing.T) {
	disk := faultfs.New(t)
	s := shell{t, disk.Dir()}
	s.create("a", "one")
	disk.DelaySyncs(20 * time.Millisecond)
	started := time.Now()
	s.sync("a")
	assert.GreaterOrEqual(t, time.Since(started), 20*time.Millisecond)

	for _, end := range []func(){func() { disk.DelaySyncs(0) }, disk.PowerOff} {
		disk.DelaySyncs(time.Hour)
		synced := make(chan error, 1)
		f, err := os.OpenFile(s.path("a"), os.O_RDWR, 0)
		require.NoError(t, err)
		go func() { synced <- f.Sync() }()
		select {
		case <-synced:
			require.FailNow(t, "the sync did not wait")
		case <-time.After(20 * time.Millisecond):
		}
		assert.Equal(t, map[string]string{"a": "one"}, s.files(), "other operations work")
		end()
		select {
		case <-synced:
		case <-time.After(10 * time.Second):
			require.FailNow(t, "the sync did not end")
		}
		require.NoError(t, f.Close())
	}
}
