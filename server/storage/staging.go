package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// On Linux, the atomic batches of an embedded server are staged in memory.
//
// nats-server stages a batch in files below the directory of its stream, and syncs them 6 times
// for each batch. So it can complete a batch whose commit was interrupted by a crash. The gateway
// does not need that, because a message without an acknowledgement may be stored or not. So the
// staging directory is a link to a directory in memory, and only the commit syncs the batch.
//
// After a power cut during a commit, nats-server logs that it cannot restore the rest of the
// batch. If staging in memory is not possible or fails, batches are staged on the disk, and only
// large batches are used (minBatchOnDisk). nats-server removes the links when it starts.

const (
	// memoryDir is the directory of Linux for files in memory.
	memoryDir = "/dev/shm"
	// stagingRoom is how much of memoryDir has to be free: twice the largest batch. The default
	// of Docker is 64 MiB for a container.
	stagingRoom = 2 * maxBatchBytes

	// streamsDir has the directories of the streams, below storeDir, and batchesDir is the
	// directory of the staging below that of a stream.
	streamsDir = "jetstream/$G/streams"
	batchesDir = "batches"
)

// stage makes the server stage the batches of all streams in memory. It MUST be called when the
// server has started, before a batch is published, and again when a batch could not be staged.
func (e *embedded) stage() {
	e.staging.Lock()
	defer e.staging.Unlock()
	streams, err := e.streams()
	if err == nil {
		err = e.makeStaging()
	}
	for _, stream := range streams {
		if err == nil {
			err = e.link(stream)
		}
	}
	e.setStaged(err)
}

// stageStream makes the server stage the batches of a new stream in memory, if it stages those of
// the other streams there.
func (e *embedded) stageStream(name string) {
	e.staging.Lock()
	defer e.staging.Unlock()
	if e.staged.Load() {
		e.setStaged(e.link(name))
	}
}

// setStaged sets how batches are staged: in memory, or on the disk if err is not nil.
func (e *embedded) setStaged(err error) {
	e.staged.Store(err == nil)
	if err == nil {
		return
	}
	e.unlink()
	level := slog.LevelInfo
	if errors.Is(err, errors.ErrUnsupported) { // as everywhere but on Linux
		level = slog.LevelDebug
	}
	e.log.Log(context.Background(), level, "batches are staged on the disk, so intake is slower", "error", err)
}

// makeStaging makes an empty directory in memory.
func (e *embedded) makeStaging() error {
	if err := checkMemory(e.memory, stagingRoom); err != nil {
		return err
	}
	if err := os.RemoveAll(e.stagingDir()); err != nil { // what a killed process left
		return err
	}
	return os.Mkdir(e.stagingDir(), 0o700) // fails if another user's is there
}

// link makes the directory of a stream's batches one in memory.
func (e *embedded) link(stream string) error {
	target, link := filepath.Join(e.stagingDir(), stream), e.linkOf(stream)
	if err := os.MkdirAll(target, 0o700); err != nil {
		return err
	}
	if there, err := os.Readlink(link); err == nil && there == target {
		return nil
	}
	return os.Symlink(target, link)
}

// unstage removes the staging directory from memory after the server has stopped. If it fails, the
// next start removes the directory.
func (e *embedded) unstage() {
	e.unlink()
	_ = os.RemoveAll(e.stagingDir())
}

// unlink removes the links.
func (e *embedded) unlink() {
	streams, _ := e.streams() // none, or those that stage made no link for either
	for _, stream := range streams {
		if _, err := os.Readlink(e.linkOf(stream)); err == nil {
			_ = os.Remove(e.linkOf(stream))
		}
	}
}

// stagingDir returns the directory in memory for this data directory. The lock of the data
// directory protects both.
func (e *embedded) stagingDir() string {
	path, err := filepath.Abs(e.dir)
	if err != nil { // there is no working directory
		path = e.dir
	}
	hash := sha256.Sum256([]byte(path))
	return filepath.Join(e.memory, "ongair-gateway-"+hex.EncodeToString(hash[:8]))
}

// linkOf returns the path where nats-server stages the batches of a stream.
func (e *embedded) linkOf(stream string) string {
	return filepath.Join(e.dir, storeDir, streamsDir, stream, batchesDir)
}

// streams returns the names of all streams.
func (e *embedded) streams() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(e.dir, storeDir, streamsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}
