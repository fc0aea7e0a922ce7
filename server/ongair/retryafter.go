package ongair

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The advice for a throttled call is within these bounds. Without valid advice it is minRetryAfter.
const (
	minRetryAfter = time.Second
	maxRetryAfter = time.Hour
)

// retryAfter returns the delay in the header Retry-After, from 1 s to 1 h, and whether there is a
// valid one. If there are several headers, the longest delay counts: Ongair and a proxy in front of
// it may each add one. Invalid headers are ignored.
func retryAfter(header http.Header, now time.Time) (advice time.Duration, valid bool) {
	// A date is relative to the answer's own Date, if it has one, so that clocks may differ.
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	advice = minRetryAfter
	for _, value := range header.Values("Retry-After") {
		if d, ok := parseRetryAfter(strings.TrimSpace(value), now); ok {
			advice, valid = max(advice, d), true
		}
	}
	return min(advice, maxRetryAfter), valid
}

// parseRetryAfter parses a number of seconds or an HTTP date, which may be in the past.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	seconds, err := strconv.ParseUint(value, 10, 64)
	switch {
	case err == nil && seconds < uint64(maxRetryAfter/time.Second):
		return time.Duration(seconds) * time.Second, true
	case err == nil, errors.Is(err, strconv.ErrRange):
		return maxRetryAfter, true
	}
	at, err := http.ParseTime(value)
	return at.Sub(now), err == nil
}
