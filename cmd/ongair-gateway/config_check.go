package main

import (
	"fmt"
	"io"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

// configCmd is about the configuration.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Say whether serve would take this configuration, and start nothing."`
}

// configCheckCmd has the flags of serve, since what serve takes depends on them, too.
type configCheckCmd struct {
	serveCmd `embed:""`
}

// Run checks what serve would read: flags, environment, file, and the files it names.
func (c configCheckCmd) Run(s streams) error {
	cfg, logLevel, logFormat, err := c.settings()
	if err != nil {
		return usageError{err}
	}
	if cfg.Logger, err = telemetry.NewLogger(io.Discard, logLevel, logFormat); err != nil {
		return usageError{err}
	}
	if _, err := server.New(cfg); err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintf(s.out, "The configuration is valid: %d channels, %d callers.\n", len(cfg.Channels), cfg.CallerCount())
	return err
}
