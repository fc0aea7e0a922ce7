package storage

import (
	"fmt"
	"syscall"
)

// tmpfsMagic is the type of a file system in memory (statfs(2)).
const tmpfsMagic = 0x01021994

// checkMemory fails unless a directory is in memory, with so many bytes free.
func checkMemory(dir string, room uint64) error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if stat.Type != tmpfsMagic {
		return fmt.Errorf("%s is not in memory", dir)
	}
	if free := stat.Bavail * uint64(stat.Bsize); free < room {
		return fmt.Errorf("%s has %d bytes free and needs %d", dir, free, room)
	}
	return nil
}
