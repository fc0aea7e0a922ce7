//go:build !unix

package listen

import "math"

// maxFiles returns the largest number, because these systems have no limit that can be read.
func maxFiles() int { return math.MaxInt32 }
