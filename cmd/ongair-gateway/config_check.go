package main

import (
	"fmt"
	"io"

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
	_, err = fmt.Fprintf(s.out, "The configuration is valid: %s, %s.\n", counted(len(cfg.Channels), "channel"), counted(callers, "caller"))
	if callers == 0 && !cfg.InsecureNoAuthentication && err == nil {
		_, err = io.WriteString(s.out, "Without a caller the gateway is open on loopback: who is on this machine reads and writes to your customers.\n")
	}
	return err
}

// counted says how many there are of something.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
