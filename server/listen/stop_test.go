package listen

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAStopWaitsForRequestsAndThenTwoSeconds(t *testing.T) {
	const grace = time.Minute
	for name, tt := range map[string]struct {
		// requests are the beginnings and ends of requests, after the stop began.
		requests [][2]time.Duration
		// graceful is when all connections have ended; 0 means never.
		graceful time.Duration
		want     time.Duration
		cut      bool
	}{
		"no request, and a connection that stays": {nil, 0, 2 * time.Second, true},
		"a request":                         {[][2]time.Duration{{0, 10 * time.Second}}, 0, 12 * time.Second, true},
		"a request that begins later":       {[][2]time.Duration{{time.Second, 10 * time.Second}}, 0, 12 * time.Second, true},
		"requests one after the other":      {[][2]time.Duration{{0, 5 * time.Second}, {6 * time.Second, 9 * time.Second}}, 0, 11 * time.Second, true},
		"a request that outlives the grace": {[][2]time.Duration{{0, 2 * grace}}, 0, grace, true},
		"connections that all end":          {[][2]time.Duration{{0, 3 * time.Second}}, 3500 * time.Millisecond, 3500 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), grace)
				defer cancel()
				var running Running
				for _, request := range tt.requests {
					if request[0] == 0 {
						running.Begin()
					} else {
						time.AfterFunc(request[0], running.Begin)
					}
					time.AfterFunc(request[1], running.End)
				}
				start, ended := time.Now(), make(chan struct{})
				if tt.graceful > 0 {
					time.AfterFunc(tt.graceful, func() { close(ended) })
				}
				wasCut := false
				Stop(ctx, &running, func() { <-ended }, func() { wasCut = true; close(ended) })
				assert.Equal(t, tt.want, time.Since(start))
				assert.Equal(t, tt.cut, wasCut)
				time.Sleep(2 * grace) // the requests that were cut end, too
			})
		})
	}
}
