// Ongair-gateway runs Ongair Gateway. Its other commands call a gateway, run a sandbox, create
// API keys and check a configuration.
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
	// Register this first, because an unhandled SIGHUP ends the process. Only serve handles it.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process
	code := run(ctx, hangup, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli is the command line: a field for each command.
type cli struct {
	Serve              serveCmd              `cmd:"" help:"Run the gateway."`
	Sandbox            sandboxCmd            `cmd:"" help:"Run a sandbox that imitates Ongair."`
	Send               sendCmd               `cmd:"" help:"Send a text message."`
	SendImage          sendImageCmd          `cmd:"" help:"Send an image by its URL."`
	SendDocument       sendDocumentCmd       `cmd:"" help:"Send a document by its URL."`
	CreateTicket       createTicketCmd       `cmd:"" help:"Open a conversation with a contact."`
	ListEvents         listEventsCmd         `cmd:"" help:"Print one page of events."`
	CreateStreamTicket createStreamTicketCmd `cmd:"" help:"Create a ticket that a web page uses to subscribe."`
	Tail               tailCmd               `cmd:"" help:"Print events as they arrive."`
	Proto              protoCmd              `cmd:"" help:"Write the .proto files for generating clients."`
	Keys               keysCmd               `cmd:"" help:"Create API keys."`
	Config             configCmd             `cmd:"" help:"Check the configuration."`
	Version            versionCmd            `cmd:"" help:"Print the version."`
}

// streams are the output streams of a command.
type streams struct {
	// out receives data. err receives everything else.
	out, err io.Writer
}

// parserExit is an exit code of kong. run recovers it from a panic, so that kong does not end the
// process.
type parserExit int

// run runs the command of args and returns the exit code.
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
		kong.Description("Send messages through Ongair with typed gRPC calls, and subscribe to its webhooks as a stream."),
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
		signal.Reset(syscall.SIGHUP) // SIGHUP ends the other commands, for example when their terminal is closed
	}
	if err := command.Run(); err != nil {
		return fail(stderr, err)
	}
	return exitOK
}

// fail prints the error of a command and returns the exit code.
func fail(stderr io.Writer, err error) int {
	_, _ = fmt.Fprintln(stderr, "ongair-gateway:", describe(err)) // stderr may be closed
	_, configured := errors.AsType[config.Error](err)
	if usage, ok := errors.AsType[usageError](err); ok && usage.error != nil && !configured {
		_, _ = fmt.Fprintln(stderr, "Run \"ongair-gateway --help\" for usage.")
	}
	return exitCode(err)
}
