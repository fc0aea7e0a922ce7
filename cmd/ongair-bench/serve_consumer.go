package main

import (
	"context"
	"fmt"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// consumerPull is the number of messages per pull. Larger pulls are not faster.
const consumerPull = 10_000

// serveConsumerCmd reads a log with JetStream's ordered consumer when it gets a post. The consumer
// is in the process of the server and discards the messages.
type serveConsumerCmd struct {
	Dir string `required:""`
}

// Run serves until stdin ends.
func (c *serveConsumerCmd) Run(ctx context.Context, io stdio) error {
	ctx = untilClosed(ctx, io.in)
	js, err := openEmbedded(c.Dir)
	if err != nil {
		return err
	}
	defer js.close()
	stream, err := js.largest(ctx)
	if err != nil {
		return err
	}
	return servePosts(ctx, func(ctx context.Context, _ []byte) error {
		return consume(ctx, js.api, stream)
	}, func(url string) error {
		return announce(io.out, addresses{Post: url})
	})
}

// consume reads a stream from its first to its last message.
func consume(ctx context.Context, js natsjs.JetStream, stream *natsjs.StreamInfo) error {
	consumer, err := js.OrderedConsumer(ctx, stream.Config.Name, natsjs.OrderedConsumerConfig{
		DeliverPolicy: natsjs.DeliverAllPolicy,
	})
	if err != nil {
		return err
	}
	var got uint64
	ended := make(chan struct{})
	consuming, err := consumer.Consume(func(natsjs.Msg) {
		if got++; got == stream.State.Msgs {
			close(ended)
		}
	}, natsjs.PullMaxMessages(consumerPull))
	if err != nil {
		return err
	}
	defer consuming.Stop()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the consumer did not reach the end: %w", ctx.Err())
	}
}
