package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// newDir makes an empty directory for a server's files. It goes with the run.
func (r *runner) newDir() (string, error) { return os.MkdirTemp(r.dir, "data-") }

// preparedLog returns a data directory with logEvents in it, closed in order. It is
// made once in a run, without syncing.
func (r *runner) preparedLog(ctx context.Context) (string, error) {
	if r.prepared != "" {
		return r.prepared, nil
	}
	dir, err := r.newDir()
	if err != nil {
		return "", err
	}
	r.say("filling a log with %d events", r.logEvents)
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

// copyLog copies a data directory, so that what is done to it stays without
// consequence.
func (r *runner) copyLog(from string) (string, error) {
	dir, err := r.newDir()
	if err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, os.DirFS(from))
}

// dirBytes returns how many bytes the files under a directory have.
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
