package config

import (
	"io/fs"
	"os"
	"time"
)

// minAge is the age from which a file's modification time distinguishes it from a later
// version. Some file systems store whole seconds, FAT every second one.
const minAge = 2 * time.Second

// fileState is the state of a file before it was read.
type fileState struct {
	info fs.FileInfo // nil if the file could not be read
	at   time.Time
}

// stateOf returns the state of a file, and follows links.
func stateOf(path string) fileState {
	state := fileState{at: time.Now()}
	state.info, _ = os.Stat(path) // the error is reported when the file is read
	return state
}

// changed reports whether the content of the file at path may differ from its content in this
// state:
//
//   - A file that could not be read may be readable now.
//   - A file that was just written may have been written again with the same modification time.
//   - A pipe does not change, because it was read to its end.
func (s fileState) changed(path string) bool {
	if s.info == nil {
		return true
	}
	now, err := os.Stat(path)
	if err == nil && !now.Mode().IsRegular() && os.SameFile(s.info, now) {
		return false
	}
	return s.at.Sub(s.info.ModTime()) < minAge || err != nil || !os.SameFile(s.info, now) || !s.info.ModTime().Equal(now.ModTime()) ||
		s.info.Size() != now.Size() || s.info.Mode() != now.Mode() // a warning depends on the mode
}

// watch records the state of a file before it is read. If a file is read more than once, the
// first state is kept, so that no change in between is missed.
func (r *reading) watch(path string) {
	if _, ok := r.states[path]; !ok && path != "" {
		r.states[path] = stateOf(path)
	}
}

// FilesChanged reports whether a file of the configuration may have changed since it was read.
// It reads none of them. The targets of links are part of a file's state, because Kubernetes
// replaces links.
func (l Loaded) FilesChanged() bool {
	for path, state := range l.reading.states {
		if state.changed(path) {
			return true
		}
	}
	return false
}
