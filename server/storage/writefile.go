package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// writeFile replaces the content of a file. If it is interrupted, the file has the old or
// the new content. When it returns, the new content is on the disk; if it fails, the old
// one is, except for errUndecided.
func writeFile(path, content string) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	// Before the rename, since what fails after it comes too late.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, dir.Close())
	}
	return syncNames(dir)
}

// errUndecided is why a new file is in its place, and perhaps only until a power cut.
var errUndecided = errors.New("a power cut may bring back the file before")

// syncDir makes sure of the names in a directory.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return syncNames(dir)
}

// syncNames syncs and closes a directory.
func syncNames(dir *os.File) error {
	if runtime.GOOS == "windows" { // which syncs no directory, and whose file system keeps names in its journal
		return dir.Close()
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("%w: %w", errUndecided, err)
	}
	return nil
}
