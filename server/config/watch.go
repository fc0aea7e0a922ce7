package config

import (
	"io/fs"
	"os"
	"time"
)

// minAge is how old a file has to be for its modification time to tell it from a later one:
// some file systems store whole seconds, FAT every second one.
const minAge = 2 * time.Second

// fileState is what the system said of a file before it was read.
type fileState struct {
	info fs.FileInfo // nil if the file could not be read
	at   time.Time
}

// stateOf returns the state of a file, links followed.
func stateOf(path string) fileState {
	state := fileState{at: time.Now()}
	state.info, _ = os.Stat(path) // whoever reads it says why it cannot be
	return state
}

// changed reports whether the file at a path may have another content than when it had
// this state. A file that could not be read may be readable now. One that had just been
// written may have been written again without a change of its modification time. A pipe
// was read to its end.
func (s fileState) changed(path string) bool {
	if s.info == nil {
		return true
	}
	now, err := os.Stat(path)
	if err == nil && !now.Mode().IsRegular() && os.SameFile(s.info, now) {
		return false
	}
	return s.at.Sub(s.info.ModTime()) < minAge || err != nil || !os.SameFile(s.info, now) || !s.info.ModTime().Equal(now.ModTime()) ||
		s.info.Size() != now.Size() || s.info.Mode() != now.Mode() // the mode decides on a warning
}

// watch remembers the state of a file that is going to be read. Of a file that is read
// more than once the first state counts, so that no change between is missed.
func (r *reading) watch(path string) {
	if _, ok := r.states[path]; !ok && path != "" {
		r.states[path] = stateOf(path)
	}
}

// FilesChanged reports whether a file that the configuration was read from, or that it
// names, may have changed since. It reads none of them. Where links lead is a part of a
// file's state, since Kubernetes replaces links.
func (l Loaded) FilesChanged() bool {
	for path, state := range l.reading.states {
		if state.changed(path) {
			return true
		}
	}
	return false
}
