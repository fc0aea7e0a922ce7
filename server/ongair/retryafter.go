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

// retryAfter returns the advice in the header Retry-After, from 1 s to 1 h, and
// whether there is any. Of several headers the longest advice counts, since Ongair
// and a proxy before it may each give one, and an invalid one is as good as absent.
func retryAfter(header http.Header, now time.Time) (advice time.Duration, valid bool) {
	// A date is counted from the answer's own Date, if it has one, so that clocks that
	// disagree do no harm.
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

// parseRetryAfter reads a number of seconds or an HTTP date, which may be past.
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
