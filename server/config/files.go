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
	// maxFile bounds the config file and each of the TLS files.
	maxFile = 1 << 20
	// maxSecret bounds a file with a secret.
	maxSecret = 16 << 10
)

// readFile reads a regular file of at most limit bytes. It rejects other files. A pipe may never
// get a writer, and a device may never end. The limit applies to the bytes read, because the size
// that a file reports may be wrong.
func readFile(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe waits for a writer.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the file was only read, so an error of Close does not matter
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return readBounded(file, limit)
}

// readAnyFile reads a file of any type. It waits for a pipe.
func readAnyFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was read only
	return readBounded(file, limit)
}

// readBounded reads the rest of a file. It fails if more than limit bytes remain.
func readBounded(file *os.File, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = &fs.PathError{Op: "read", Path: file.Name(), Err: fmt.Errorf("larger than %s", humanize.IBytes(uint64(limit)))}
	}
	return content, err
}

// contentOf first records the state of a file, and then reads it for a setting. While the gateway
// runs, it rejects files that are not regular.
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
