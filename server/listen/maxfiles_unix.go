//go:build unix

package listen

import (
	"math"
	"syscall"
)

// maxFiles returns how many files the process may have open. Go has raised that to what
// the system allows before main.
func maxFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}
