package ongair

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		value, date string
		want        time.Duration
	}{
		"absent":                              {"", "", time.Second},
		"seconds":                             {"7", "", 7 * time.Second},
		"seconds with spaces":                 {" 7 ", "", 7 * time.Second},
		"zero":                                {"0", "", time.Second},
		"negative":                            {"-5", "", time.Second},
		"a fraction":                          {"1.5", "", time.Second},
		"words":                               {"soon", "", time.Second},
		"an hour":                             {"3600", "", time.Hour},
		"a day":                               {"86400", "", time.Hour},
		"beyond a Duration":                   {"9223372037", "", time.Hour},
		"beyond 64 bits":                      {"99999999999999999999", "", time.Hour},
		"a date":                              {at(30 * time.Second), "", 30 * time.Second},
		"a date that is past":                 {at(-time.Minute), "", time.Second},
		"a date that is far":                  {at(48 * time.Hour), "", time.Hour},
		"a date by a clock that is wrong":     {at(48*time.Hour + 10*time.Second), at(48 * time.Hour), 10 * time.Second},
		"a date beside one that is no date":   {at(30 * time.Second), "now", 30 * time.Second},
		"a date in the form of RFC 850":       {now.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 GMT"), "", time.Minute},
		"seconds beside a date of the answer": {"7", at(-time.Hour), 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			header.Set("Retry-After", test.value)
			header.Set("Date", test.date)
			assert.Equal(t, test.want, retryAfter(header, now))
		})
	}
}

func TestAThrottledCallSaysWhenToTryAgain(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for value, want := range map[string]time.Duration{"17": 17 * time.Second, "": time.Second} {
			t.Run(strconv.Itoa(status)+" "+value, func(t *testing.T) {
				client := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
					if value != "" {
						w.Header().Set("Retry-After", value)
					}
					w.WriteHeader(status)
				}))
				_, err := send(t, client)
				f := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED, fault.EffectNone)
				assert.Equal(t, want, f.RetryAfter)
			})
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7", "")
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:30 GMT")
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, value, date string) {
		got := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Unix(0, 0))
		assert.GreaterOrEqual(t, got, minRetryAfter)
		assert.LessOrEqual(t, got, maxRetryAfter)
	})
}
