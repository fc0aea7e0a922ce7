package config

import (
	"io/fs"
	"os"
	"time"
)

// If a file is younger than minAge, a later version of it may have the same modification time.
// Some file systems store times in whole seconds, and FAT in steps of two seconds.
const minAge = 2 * time.Second

// fileState is the state of a file before it was read.
type fileState struct {
	info fs.FileInfo // nil if the file could not be read
	at   time.Time
}

// stateOf returns the state of a file. For a link, it is the state of the target.
func stateOf(path string) fileState {
	state := fileState{at: time.Now()}
	state.info, _ = os.Stat(path) // the error is reported when the file is read
	return state
}

// changed reports whether the file at path may have changed since this state was recorded.
// Special cases:
//
//   - A file that could not be read may be readable now.
//   - A file that was just written may have been written again with the same modification time.
//   - A pipe counts as unchanged, because it was read to its end and cannot be read again.
func (s fileState) changed(path string) bool {
	if s.info == nil {
		return true
	}
	now, err := os.Stat(path)
	if err == nil && !now.Mode().IsRegular() && os.SameFile(s.info, now) {
		return false
	}
	return s.at.Sub(s.info.ModTime()) < minAge || err != nil || !os.SameFile(s.info, now) || !s.info.ModTime().Equal(now.ModTime()) ||
		s.info.Size() != now.Size() || s.info.Mode() != now.Mode() // there is a warning about files that all users can read
}

// watch records the state of a file before it is read. If a file is read several times, watch
// keeps the state from before the first time. So a change between two of these reads is not
// missed.
func (r *reading) watch(path string) {
	if _, ok := r.states[path]; !ok && path != "" {
		r.states[path] = stateOf(path)
	}
}

// FilesChanged reports whether a file of the configuration may have changed since it was read. It
// does not read the content of the files. For a link it compares the target, because Kubernetes
// updates a mounted file by replacing a link.
func (l Loaded) FilesChanged() bool {
	for path, state := range l.reading.states {
		if state.changed(path) {
			return true
		}
	}
	return false
}
