//go:build unix

package listen

import (
	"math"
	"syscall"
)

// maxFiles returns the process' limit of open files. Go raises it to the hard limit before
// main.
func maxFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}
