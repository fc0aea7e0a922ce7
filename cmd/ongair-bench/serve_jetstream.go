package main

import (
	"context"
)

// serveJetStreamCmd opens a data directory with an embedded server and does nothing else. This is
// the minimum cost of a start.
type serveJetStreamCmd struct {
	Dir string `required:""`
}

// Run serves until stdin ends.
func (c *serveJetStreamCmd) Run(ctx context.Context, io stdio) error {
	ctx = untilClosed(ctx, io.in)
	js, err := openEmbedded(c.Dir)
	if err != nil {
		return err
	}
	defer js.close()
	if _, err := js.largest(ctx); err != nil { // wait until the server answers
		return err
	}
	if err := announce(io.out, addresses{}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
