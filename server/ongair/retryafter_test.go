package ongair

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ongair/ongair-gateway/server/fault"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		value, date string
		want        time.Duration
		valid       bool
	}{
		"absent":                             {"", "", time.Second, false},
		"seconds":                            {"7", "", 7 * time.Second, true},
		"seconds with spaces":                {" 7 ", "", 7 * time.Second, true},
		"zero":                               {"0", "", time.Second, true},
		"negative":                           {"-5", "", time.Second, false},
		"a fraction":                         {"1.5", "", time.Second, false},
		"words":                              {"soon", "", time.Second, false},
		"an hour":                            {"3600", "", time.Hour, true},
		"a day":                              {"86400", "", time.Hour, true},
		"beyond a Duration":                  {"9223372037", "", time.Hour, true},
		"beyond 64 bits":                     {"99999999999999999999", "", time.Hour, true},
		"a date":                             {at(30 * time.Second), "", 30 * time.Second, true},
		"a past date":                        {at(-time.Minute), "", time.Second, true},
		"a distant date":                     {at(48 * time.Hour), "", time.Hour, true},
		"a date by a wrong clock":            {at(48*time.Hour + 10*time.Second), at(48 * time.Hour), 10 * time.Second, true},
		"a date with an invalid Date header": {at(30 * time.Second), "now", 30 * time.Second, true},
		"a date in the form of RFC 850":      {now.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 GMT"), "", time.Minute, true},
		"a signed number":                    {"+5", "", time.Second, false},
		"a number with a unit":               {"5s", "", time.Second, false},
		"a list":                             {"5, 7", "", time.Second, false},
		"an impossible date":                 {"Sun, 31 Feb 2026 08:49:37 GMT", "", time.Second, false},
		"a date of the year 1":               {"Mon, 01 Jan 0001 00:00:00 GMT", "", time.Second, true},
		"seconds with a Date header":         {"7", at(-time.Hour), 7 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			header.Set("Retry-After", test.value)
			header.Set("Date", test.date)
			got, valid := retryAfter(header, now)
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.valid, valid)
		})
	}
}

func TestTheLongestRetryAfterCounts(t *testing.T) {
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	date := now.Add(20 * time.Second).Format(http.TimeFormat)
	for name, test := range map[string]struct {
		values []string
		want   time.Duration
		valid  bool
	}{
		"the last one":      {[]string{"5", "7"}, 7 * time.Second, true},
		"the first one":     {[]string{"7", "5"}, 7 * time.Second, true},
		"a date":            {[]string{"5", date}, 20 * time.Second, true},
		"with invalid ones": {[]string{"soon", "7", "-1"}, 7 * time.Second, true},
		"with a huge one":   {[]string{"7", "99999999999999999999"}, time.Hour, true},
		"all invalid":       {[]string{"soon", ""}, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, valid := retryAfter(http.Header{"Retry-After": test.values}, now)
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.valid, valid)
		})
	}
}

func TestAThrottledCallReportsRetryAfter(t *testing.T) {
	past := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC).Format(http.TimeFormat)
	for name, test := range map[string]struct {
		status int
		values []string
		want   time.Duration
	}{
		"429":                       {429, nil, time.Second},
		"429 for some seconds":      {429, []string{"17"}, 17 * time.Second},
		"429 with an invalid delay": {429, []string{"soon"}, time.Second},
		"503 for some seconds":      {503, []string{"17"}, 17 * time.Second},
		"503 for no time":           {503, []string{"0"}, time.Second},
		"503 until a past date":     {503, []string{past}, time.Second},
		"503 for very long":         {503, []string{"99999999999999999999"}, time.Hour},
		"503 twice":                 {503, []string{"3", "17"}, 17 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			client, script := scripted(t, []step{status(test.status, test.values...)})
			client.tries = 1
			_, err := send(t, client)
			f := requireFault(t, err, throttledReason, fault.EffectNone)
			assert.Equal(t, test.want, f.RetryAfter)
			n, _ := script.posts()
			assert.Equal(t, 1, n)
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7", "")
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:30 GMT")
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, value, date string) {
		got, _ := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Unix(0, 0))
		assert.GreaterOrEqual(t, got, minRetryAfter)
		assert.LessOrEqual(t, got, maxRetryAfter)
	})
}
