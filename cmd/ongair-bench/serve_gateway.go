package main

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/webhook"
)

const (
	// channel is the name of the channel of gateways under test.
	channel = "bench"
	// secret is the webhook secret of the channel. Its ports are reachable from loopback only.
	secret = "a-secret-for-benchmarks"
)

// serveGatewayCmd is the gateway under test. It has an embedded log with fsync, and defaults for
// everything except the ports.
type serveGatewayCmd struct {
	Dir      string `required:""`
	Upstream string `default:"http://127.0.0.1:9"` // nothing listens there
}

// Run serves until stdin ends.
func (c *serveGatewayCmd) Run(ctx context.Context, io stdio) error {
	const anyPort = "127.0.0.1:0"
	ctx = untilClosed(ctx, io.in)
	gateway, err := server.New(config.Config{
		GRPCAddr: anyPort, HTTPAddr: anyPort, WebhookAddr: anyPort, AdminAddr: anyPort,
		Channels: map[string]config.Channel{channel: {BaseURL: c.Upstream, Token: "unused", WebhookSecret: secret}},
		DataDir:  c.Dir,
		Logger:   slog.New(slog.NewTextHandler(io.err, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return gateway.Run(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-gateway.Ready():
		}
		a := gateway.Addresses()
		return announce(io.out, addresses{
			GRPC:  a.GRPC,
			HTTP:  a.HTTP,
			Post:  "http://" + a.Webhook + webhook.Path(channel, secret),
			Admin: a.Admin,
		})
	})
	return group.Wait()
}

// startGateway starts a gateway on a data directory.
func (r *runner) startGateway(ctx context.Context, dir string) (*process, error) {
	return r.start(ctx, "serve-gateway", "--dir", dir)
}
