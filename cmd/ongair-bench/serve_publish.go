package main

import (
	"context"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// servePublishCmd is intake without a gateway. It publishes each post to JetStream, which syncs and
// acknowledges it before the answer. The body is stored unchanged and without a message id.
type servePublishCmd struct {
	Dir string `required:""`
}

// Run serves until stdin ends.
func (c *servePublishCmd) Run(ctx context.Context, io stdio) error {
	const subject = "events"
	ctx = untilClosed(ctx, io.in)
	js, err := openEmbedded(c.Dir)
	if err != nil {
		return err
	}
	defer js.close()
	if _, err := js.api.CreateStream(ctx, natsjs.StreamConfig{Name: "EVENTS", Subjects: []string{subject}}); err != nil {
		return err
	}
	return servePosts(ctx, func(ctx context.Context, body []byte) error {
		_, err := js.api.Publish(ctx, subject, body)
		return err
	}, func(url string) error {
		return announce(io.out, addresses{Post: url})
	})
}
