package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/dustin/go-humanize"
)

const (
	// maxFile is how large the config file, and each of the files of TLS, may be.
	maxFile = 1 << 20
	// maxSecret is how large a file with a secret may be.
	maxSecret = 16 << 10
)

// readFile reads a regular file of at most limit bytes. What else has a path is rejected,
// since nobody may ever write to a pipe, and a device may have no end. The limit is that of
// the reading: the size that a file claims to have may be wrong.
func readFile(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK the opening of a pipe waits until somebody writes to it.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was read only
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is not a regular file")}
	}
	return readBounded(file, limit)
}

// readAnyFile is readFile for whatever has a path. It waits for a pipe.
func readAnyFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was read only
	return readBounded(file, limit)
}

// readBounded reads what is left of a file, and fails if that is more than limit bytes.
func readBounded(file *os.File, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = &fs.PathError{Op: "read", Path: file.Name(), Err: fmt.Errorf("it is larger than %s", humanize.IBytes(uint64(limit)))}
	}
	return content, err
}

// contentOf reads a file for a setting, and remembers its state from before. While the
// gateway runs, it rejects what is not a regular file.
func (r *reading) contentOf(path string, limit int64) ([]byte, error) {
	r.watch(path)
	read := readAnyFile
	if r.running {
		read = readFile
	}
	content, err := read(path, limit)
	if err != nil {
		r.states[path] = fileState{}
	}
	return content, err
}
