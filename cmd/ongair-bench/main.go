// Ongair-bench measures Ongair Gateway beside what it is compared with.
//
// Each workload runs a gateway and its baselines in turn, round after round, on
// one machine in one run: baseline, gateway, baseline, gateway. A baseline is the
// least that could do the same work, written as well as we can: a bare grpc-go
// server that shares encoded frames, one JetStream publish for each post, one
// fsync of a file. What counts is the ratio of the two within a round, of which
// the report gives the median; an absolute figure says as much about the machine
// and its other users as about the gateway.
//
// The server under test is a process of its own (this program again, with a
// hidden command), and this one is its load: posts over kept connections that it
// writes and reads itself (post.go), streams over grpc-go with a codec that counts
// events without decoding them (scan.go). CPU time is the operating system's
// account of the server process over the measured window, in steps of 10 ms, and
// memory its anonymous memory at the end of it. Load and server share the
// machine's cores, so that throughput flat out is also bounded by the load, which
// is why the report gives the load's own CPU time: where the two together take all
// cores, CPU time per unit of work is the finer figure.
//
// Everything is on loopback, with files in one temporary directory, and bounded in
// time and size. It is not a test: missed goals do not change the exit code. It
// reads /proc, so it needs Linux.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli is the command line. All commands but the first are the servers that the
// first one starts.
type cli struct {
	Run benchCmd `cmd:"" default:"withargs" help:"Run workloads, all of them unless some are named."`

	ServeGateway   serveGatewayCmd   `cmd:"" hidden:""`
	ServeBare      serveBareCmd      `cmd:"" hidden:""`
	ServeLog       serveLogCmd       `cmd:"" hidden:""`
	ServeJetstream serveJetStreamCmd `cmd:"" hidden:""`
	ServeConsumer  serveConsumerCmd  `cmd:"" hidden:""`
	ServePublish   servePublishCmd   `cmd:"" hidden:""`
	ServeFsync     serveFsyncCmd     `cmd:"" hidden:""`
	ServeSend      serveSendCmd      `cmd:"" hidden:""`
}

// stdio is what a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// run runs the command that args name, and returns the exit code: 0, whether goals
// are met or not, or 1 where something did not run.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ended := -1
	parser, err := kong.New(&cli{},
		kong.Name("ongair-bench"),
		kong.Description("Measures Ongair Gateway beside its baselines."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) {
			if ended < 0 {
				ended = min(code, 1)
			}
		}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(stdio{stdin, stdout, stderr}),
	)
	if err == nil {
		var command *kong.Context
		command, err = parser.Parse(args)
		if ended >= 0 { // --help has said what there is to say
			return ended
		}
		if err == nil {
			err = command.Run()
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "ongair-bench:", err) // nowhere left to complain
		return 1
	}
	return 0
}
