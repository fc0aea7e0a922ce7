//go:build !unix

package listen

import "math"

// maxFiles returns how many files the process may have open: these systems do not say.
func maxFiles() int { return math.MaxInt32 }
