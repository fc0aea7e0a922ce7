package main

import (
	"context"
	"fmt"
	"net"

	"github.com/ongair/ongair-gateway/server/sandbox"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

type sandboxCmd struct {
	Addr       string `default:"127.0.0.1:4010" placeholder:"HOST:PORT" help:"Address to listen on (${default})."`
	Token      string `env:"ONGAIR_TOKEN" required:"" help:"The API token that the sandbox accepts."`
	WebhookURL string `placeholder:"URL" help:"URL that receives webhooks. By default the sandbox posts none."`
	LogLevel   string `env:"ONGAIR_GATEWAY_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"Log level: debug, info, warn or error (${default})."`
	LogFormat  string `env:"ONGAIR_GATEWAY_LOG_FORMAT" default:"text" placeholder:"FORMAT" help:"Log format: text or json (${default})."`
}

// Run runs the sandbox until ctx ends.
func (c sandboxCmd) Run(ctx context.Context, s streams) error {
	logger, err := telemetry.NewLogger(s.err, c.LogLevel, c.LogFormat)
	if err != nil {
		return usageError{err}
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("sandbox port: %w", err)
	}
	_, _ = fmt.Fprintf(s.out, "The sandbox imitates Ongair at http://%[1]s/api/v1/base. Its controls are at http://%[1]s/_sandbox/\n",
		listener.Addr()) // stdout may be closed
	return sandbox.New(sandbox.Config{Token: c.Token, WebhookURL: c.WebhookURL, Logger: logger}).Run(ctx, listener)
}
