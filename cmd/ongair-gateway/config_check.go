package main

import (
	"fmt"
	"io"

	"github.com/dustin/go-humanize/english"

	"github.com/ongair/ongair-gateway/server/config"
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
// What it says of the machine, such as a port in use, is for serve to find out.
func (c configCheckCmd) Run(s streams) error {
	loaded, err := config.Load(c.source())
	if err != nil {
		return usageError{err}
	}
	for _, warning := range loaded.Warnings() {
		_, _ = fmt.Fprintln(s.err, "warning:", warning) // the result goes to the other stream
	}
	cfg := loaded.Config
	callers := cfg.CallerCount()
	_, err = fmt.Fprintf(s.out, "The configuration is valid: %s, %s.\n", english.Plural(len(cfg.Channels), "channel", ""), english.Plural(callers, "caller", ""))
	if callers == 0 && !cfg.InsecureNoAuthentication && err == nil {
		_, err = io.WriteString(s.out, "Without a caller the gateway is open on loopback: who is on this machine reads and writes to your customers.\n")
	}
	return err
}
