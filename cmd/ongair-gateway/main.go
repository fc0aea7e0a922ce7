// Ongair-gateway is Ongair Gateway and its command line.
//
// Data goes to stdout, logs and errors to stderr. The exit code says what a
// script needs to know; exit.go lists the codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/ongair/ongair-gateway/server/config"
)

func main() {
	// Before anything else: only serve knows what to do with it, and it must not end that.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends it at once
	code := run(ctx, hangup, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli is the command line: a field for each command.
type cli struct {
	Serve        serveCmd        `cmd:"" help:"Run the gateway."`
	Sandbox      sandboxCmd      `cmd:"" help:"Run an Ongair to develop against."`
	Send         sendCmd         `cmd:"" help:"Send a text message."`
	SendImage    sendImageCmd    `cmd:"" help:"Send an image, given by its URL."`
	SendDocument sendDocumentCmd `cmd:"" help:"Send a document, given by its URL."`
	CreateTicket createTicketCmd `cmd:"" help:"Open a conversation with a contact."`
	ListEvents   listEventsCmd   `cmd:"" help:"Print one page of events."`
	Tail         tailCmd         `cmd:"" help:"Print events as they come."`
	Proto        protoCmd        `cmd:"" help:"Write the .proto files that clients are generated from."`
	Keys         keysCmd         `cmd:"" help:"Make API keys."`
	Config       configCmd       `cmd:"" help:"Check the configuration."`
	Version      versionCmd      `cmd:"" help:"Print the version."`
}

// streams are where a command writes.
type streams struct {
	// out is for data, err for everything else.
	out, err io.Writer
}

// parserExit ends the parse where kong would end the process.
type parserExit int

// run runs the command that args name, and returns the exit code.
func run(ctx context.Context, hangup hangups, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			exit, ok := p.(parserExit)
			if !ok {
				panic(p)
			}
			code = int(exit)
		}
	}()
	parser, err := kong.New(&cli{},
		kong.Name("ongair-gateway"),
		kong.Description("Typed gRPC to Ongair, and Ongair's webhooks as a stream."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(parserExit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{stdout, stderr}, hangup),
	)
	if err != nil {
		return fail(stderr, err)
	}
	command, err := parser.Parse(args)
	if err == nil {
		err = rejectEmptyFlags(command)
	}
	if err != nil {
		return fail(stderr, usageError{err})
	}
	if command.Command() != "serve" {
		signal.Reset(syscall.SIGHUP) // which ends the others, as when their terminal is closed
	}
	if err := command.Run(); err != nil {
		return fail(stderr, err)
	}
	return exitOK
}

// fail says why a command failed, in one line where it is one fact.
func fail(stderr io.Writer, err error) int {
	_, _ = fmt.Fprintln(stderr, "ongair-gateway:", describe(err)) // nowhere left to complain
	_, configured := errors.AsType[config.Error](err)
	if usage, ok := errors.AsType[usageError](err); ok && usage.error != nil && !configured {
		_, _ = fmt.Fprintln(stderr, "Run \"ongair-gateway --help\" for the commands and their flags.")
	}
	return exitCode(err)
}
