package main

import (
	"context"
	"fmt"
	"net"

	"github.com/ongair/ongair-gateway/server/sandbox"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

type sandboxCmd struct {
	Addr       string `default:"127.0.0.1:4010" placeholder:"HOST:PORT" help:"Where to listen (${default})."`
	Token      string `env:"ONGAIR_TOKEN" required:"" help:"The API token that calls must have."`
	WebhookURL string `placeholder:"URL" help:"Where to post webhooks; none are posted if unset."`
	LogLevel   string `env:"ONGAIR_GATEWAY_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error (${default})."`
	LogFormat  string `env:"ONGAIR_GATEWAY_LOG_FORMAT" default:"text" placeholder:"FORMAT" help:"text or json (${default})."`
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
	_, _ = fmt.Fprintf(s.out, "An Ongair to develop against is at http://%[1]s/api/v1/base, its controls at http://%[1]s/_sandbox/\n",
		listener.Addr()) // a user who closed stdout does not want to know
	return sandbox.New(sandbox.Config{Token: c.Token, WebhookURL: c.WebhookURL, Logger: logger}).Run(ctx, listener)
}
