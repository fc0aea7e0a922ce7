package ongair

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The advice of a throttled call is within these. The lower one is also what
// holds where Ongair gives none that can be read.
const (
	minRetryAfter = time.Second
	maxRetryAfter = time.Hour
)

// retryAfter returns the advice in the header Retry-After, in seconds or as an
// HTTP date, from 1 s to 1 h. A date is counted from the answer's own Date,
// where it has one, so that clocks that disagree do no harm.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	seconds, err := strconv.ParseUint(value, 10, 64)
	switch {
	case err == nil && seconds < uint64(maxRetryAfter/time.Second):
		return max(time.Duration(seconds)*time.Second, minRetryAfter)
	case err == nil, errors.Is(err, strconv.ErrRange):
		return maxRetryAfter
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return minRetryAfter
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), minRetryAfter), maxRetryAfter)
}
