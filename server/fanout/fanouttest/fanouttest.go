// Package fanouttest runs a fanout for tests.
package fanouttest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ongair/ongair-gateway/server/fanout"
)

// Run returns a fanout that follows a log until the test ends.
func Run(t *testing.T, log fanout.Log) *fanout.Fanout {
	t.Helper()
	f := fanout.New(log, fanout.Config{})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-done)
	})
	<-f.Ready()
	return f
}
