package storage

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// openIn opens a storage and a stream in it.
func openIn(t *testing.T, cfg Config) (*Storage, *fixture) {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s, open(t, s)
}

// stagedBatches returns the number of batches that are staged in a directory.
func stagedBatches(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return len(entries)
}

func TestABatchIsStagedInMemory(t *testing.T) {
	s, f := openIn(t, Config{Dir: t.TempDir()})
	require.True(t, s.embedded.staged.Load())
	staging := filepath.Join(s.embedded.stagingDir(), streamName)
	assert.Zero(t, stagedBatches(t, staging))

	// A batch that is not committed is in the staging directory.
	msg := nats.NewMsg(subject)
	msg.Header.Set("Nats-Batch-Id", "1")
	msg.Header.Set("Nats-Batch-Sequence", "1")
	_, err := s.conn.RequestMsgWithContext(t.Context(), msg)
	require.NoError(t, err)
	assert.Equal(t, 1, stagedBatches(t, staging), "if nats-server stages batches elsewhere, each is synced 7 times")
	mode, err := os.Stat(s.embedded.stagingDir())
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), mode.Mode().Perm())

	f.commitTogether(withIDs(t.Context(), numbered(1, minBatchInMemory)...))
	assert.Equal(t, numbered(1, minBatchInMemory), f.all(t))
}

func TestStagingLeavesNothingInMemory(t *testing.T) {
	s, f := openIn(t, Config{Dir: t.TempDir()})
	f.commitTogether(withIDs(t.Context(), numbered(1, 50)...))
	link := s.embedded.linkOf(streamName)
	_, err := os.Readlink(link)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for _, path := range []string{link, s.embedded.stagingDir()} {
		_, err := os.Lstat(path)
		assert.ErrorIs(t, err, os.ErrNotExist)
	}
}

func TestADirectoryOpensWithLeftoverStagingFiles(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, link, target string){
		"a kill: a link and a batch in memory": func(t *testing.T, link, target string) {
			require.NoError(t, os.MkdirAll(filepath.Join(target, "batch", "msgs"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(target, "batch", "msgs", "1.blk"), []byte("x"), 0o600))
			require.NoError(t, os.Symlink(target, link))
		},
		"a power failure: a dangling link": func(t *testing.T, link, target string) {
			require.NoError(t, os.Symlink(target, link))
		},
		"a copy of the directory: a link to another staging directory": func(t *testing.T, link, _ string) {
			require.NoError(t, os.Symlink(t.TempDir(), link))
		},
		"staging on the disk": func(t *testing.T, link, _ string) {
			require.NoError(t, os.MkdirAll(filepath.Join(link, "batch", "msgs"), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, f := openIn(t, Config{Dir: dir})
			link, staging := s.embedded.linkOf(streamName), s.embedded.stagingDir()
			f.storeAll(t, "before")
			require.NoError(t, s.Close())
			damage(t, link, filepath.Join(staging, streamName))

			s, f = openIn(t, Config{Dir: dir})
			assert.True(t, s.embedded.staged.Load())
			assert.Zero(t, stagedBatches(t, filepath.Join(staging, streamName)))
			f.commitTogether(withIDs(t.Context(), numbered(1, 50)...))
			assert.Equal(t, slices.Concat([]string{"before"}, numbered(1, 50)), f.all(t))
		})
	}
}

// On the disk, batches are larger, because each costs more.
func TestBatchesAreStagedOnTheDiskWithoutMemory(t *testing.T) {
	for name, memory := range map[string]string{
		"no such directory":     "/nowhere",
		"a directory on a disk": t.TempDir(),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, f := openIn(t, Config{Dir: dir, memory: memory})
			assert.False(t, s.embedded.staged.Load())
			assert.Equal(t, minBatchOnDisk, f.storage.minBatch())
			f.commitTogether(withIDs(t.Context(), numbered(1, 100)...))
			assert.Equal(t, numbered(1, 100), f.all(t))
			_, err := os.Readlink(s.embedded.linkOf(streamName))
			require.Error(t, err)
		})
	}
	require.ErrorContains(t, checkMemory(memoryDir, 1<<60), "bytes free")
}

func TestBatchesAreStagedOnTheDiskIfAStreamHasNoLink(t *testing.T) {
	s, f := openIn(t, Config{Dir: t.TempDir()})
	require.NoError(t, os.MkdirAll(s.embedded.linkOf("OTHER"), 0o700))
	_, err := s.OpenStream(t.Context(), StreamConfig{Name: "OTHER", Subject: "other."})
	require.NoError(t, err)
	assert.Equal(t, minBatchOnDisk, f.storage.minBatch())
	require.NoError(t, s.Close())
	_, err = os.Lstat(s.embedded.stagingDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A batch that cannot be staged is published in parts.
func TestAStagingFailureRejectsNoMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		memory string
		staged bool
	}{
		"once":        {memoryDir, true},
		"permanently": {"/nowhere", false},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := openIn(t, Config{Dir: t.TempDir()})
			batch, refused := f.batch, 0
			f.batch = func(ctx context.Context, messages []*nats.Msg) (uint64, error) {
				last, err := batch(ctx, messages)
				if err != nil {
					refused++
				}
				return last, err
			}
			staging := s.embedded.stagingDir()
			require.NoError(t, os.RemoveAll(staging))
			require.NoError(t, os.WriteFile(staging, nil, 0o600)) // prevents nats-server from creating it again
			t.Cleanup(func() { assert.NoError(t, os.RemoveAll(staging)) })
			s.embedded.memory = tt.memory
			for round := range 3 {
				ids := numbered(50*round+1, 50*round+50)
				assert.Equal(t, slices.Repeat([]string{stored}, 50), f.commitTogether(withIDs(t.Context(), ids...)))
			}
			assert.Equal(t, numbered(1, 150), f.all(t))
			assert.Equal(t, 1, refused)
			assert.Equal(t, tt.staged, s.embedded.staged.Load())
		})
	}
}

func TestEachDirectoryHasItsOwnStaging(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	absolute := (&embedded{dir: filepath.Join(dir, "a")}).stagingDir()
	assert.Equal(t, absolute, (&embedded{dir: "a"}).stagingDir())
	assert.NotEqual(t, absolute, (&embedded{dir: "b"}).stagingDir())
}
