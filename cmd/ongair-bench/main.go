// Ongair-bench measures Ongair Gateway and compares it with baselines.
//
// Each workload runs baselines and the gateway alternately, on one machine and in one run:
// baseline, gateway, baseline, gateway. A baseline is the simplest server that does the same work:
// a bare grpc-go server that shares encoded frames, one JetStream publish per post, one fsync of a
// file. The result is the ratio of the two within a round. The report has the median over the
// rounds. Absolute figures depend on the machine and its other users.
//
// The server under test is a separate process: this program again, with a hidden command. The first
// process is the load:
//   - Posts go over kept connections, without net/http (post.go).
//   - Streams use grpc-go with a codec that counts events without decoding them (scan.go).
//   - Server-Sent Events are counted by their blank lines, without net/http's client (sse.go).
//
// CPU time is the kernel's account of the server process during the measured time, in steps of 10
// ms. Memory is its anonymous memory at the end of that time. Load and server share the cores of
// the machine, so the load also bounds the throughput. The report therefore includes the CPU time
// of the load. If both together use all cores, CPU time per unit of work is the more precise
// figure.
//
// All traffic is on loopback, and all files are in one temporary directory. Time and size are
// bounded. A missed goal does not change the exit code. The program reads /proc, so it requires
// Linux.
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

// cli is the command line. All commands except the first are servers, which the first starts.
type cli struct {
	Run benchCmd `cmd:"" default:"withargs" help:"Run the named workloads, or all of them."`

	ServeGateway   serveGatewayCmd   `cmd:"" hidden:""`
	ServeBare      serveBareCmd      `cmd:"" hidden:""`
	ServeLog       serveLogCmd       `cmd:"" hidden:""`
	ServeJetstream serveJetStreamCmd `cmd:"" hidden:""`
	ServeConsumer  serveConsumerCmd  `cmd:"" hidden:""`
	ServePublish   servePublishCmd   `cmd:"" hidden:""`
	ServeFsync     serveFsyncCmd     `cmd:"" hidden:""`
	ServeSend      serveSendCmd      `cmd:"" hidden:""`
	ServeSSE       serveSSECmd       `cmd:"" hidden:"" name:"serve-sse"`
}

// stdio holds the standard streams of a command.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// run runs the command in args and returns the exit code. It is 1 if something failed to run, and
// otherwise 0, even if goals are missed.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ended := -1
	parser, err := kong.New(&cli{},
		kong.Name("ongair-bench"),
		kong.Description("Measures Ongair Gateway and compares it with baselines."),
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
		if ended >= 0 { // kong printed the help
			return ended
		}
		if err == nil {
			err = command.Run()
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "ongair-bench:", err) // stderr may be closed
		return 1
	}
	return 0
}
