package main

import (
	"fmt"
	"io"

	"github.com/dustin/go-humanize/english"

	"github.com/ongair/ongair-gateway/server/config"
)

// configCmd has the commands for the configuration.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check the configuration of serve without starting it."`
}

// configCheckCmd has the flags of serve, because they are part of the configuration.
type configCheckCmd struct {
	serveCmd `embed:""`
}

// Run checks the flags, the environment, the config file and the files that it names. It does
// not check the machine, for example whether a port is free.
func (c configCheckCmd) Run(s streams) error {
	loaded, err := config.Load(c.source())
	if err != nil {
		return usageError{err}
	}
	for _, warning := range loaded.Warnings() {
		_, _ = fmt.Fprintln(s.err, "warning:", warning) // the result goes to stdout
	}
	cfg := loaded.Config
	callers := cfg.CallerCount()
	_, err = fmt.Fprintf(s.out, "The configuration is valid: %s, %s.\n", english.Plural(len(cfg.Channels), "channel", ""), english.Plural(callers, "caller", ""))
	if callers == 0 && !cfg.InsecureNoAuthentication && err == nil {
		_, err = io.WriteString(s.out, "No caller is configured: every program on this machine can read messages and write to your customers.\n")
	}
	return err
}
