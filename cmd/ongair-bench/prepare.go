package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// newDir creates an empty directory for a server's files. The run removes it at its end.
func (r *runner) newDir() (string, error) { return os.MkdirTemp(r.dir, "data-") }

// preparedLog returns a data directory with logEvents events, after a clean stop. It is created
// once per run, without syncing.
func (r *runner) preparedLog(ctx context.Context) (string, error) {
	if r.prepared != "" {
		return r.prepared, nil
	}
	dir, err := r.newDir()
	if err != nil {
		return "", err
	}
	r.logf("filling a log with %d events", r.logEvents)
	server, err := r.start(ctx, "serve-log", "--dir", dir, "--append", strconv.Itoa(r.logEvents))
	if err != nil {
		return "", err
	}
	if err := server.stop(); err != nil {
		return "", err
	}
	r.prepared = dir
	return dir, nil
}

// copyLog copies a data directory, so that changes leave the original unchanged.
func (r *runner) copyLog(from string) (string, error) {
	dir, err := r.newDir()
	if err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, os.DirFS(from))
}

// dirBytes returns the size of the files under a directory.
func dirBytes(dir string) (total float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += float64(info.Size())
		}
		return err
	})
	return total, err
}
