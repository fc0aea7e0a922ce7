//go:build !linux

package storage

import "errors"

// checkMemory fails: there is no file system in memory that is always there.
func checkMemory(string, uint64) error { return errors.ErrUnsupported }
