package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	// startTimeout bounds the start of a server, including filling a log.
	startTimeout = 5 * time.Minute
	// endTimeout bounds the stop of a server. After it the server is killed.
	endTimeout = 30 * time.Second
)

// addresses is the line of JSON that a server prints when it is ready.
type addresses struct {
	// GRPC is host:port.
	GRPC string `json:"grpc,omitempty"`
	// HTTP is host:port of a server that serves REST.
	HTTP string `json:"http,omitempty"`
	// Post is the URL to which events are posted.
	Post string `json:"post,omitempty"`
	// Admin is host:port of a gateway's admin port.
	Admin string `json:"admin,omitempty"`
}

// process is a server under test.
type process struct {
	addresses
	// ready is the time from the start of the process until it was ready.
	ready time.Duration

	pid int
	// end asks the process to stop. It may be called more than once.
	end, kill func() error
	// ended is closed when the process has ended. err is set before.
	ended chan struct{}
	err   error
}

// start runs this program again with args, and waits until it is ready. The process ends when its
// stdin closes: at stop, or when this process ends.
func (r *runner) start(ctx context.Context, args ...string) (*process, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), r.program, args...) //nolint:gosec // this program itself
	cmd.Stderr = r.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return r.launch(ctx, cmd, &cmd.Stdout, stdin.Close, func([]byte) bool { return true })
}

// startProgram starts the gateway's program with a config file. Its log is JSON.
func (r *runner) startProgram(ctx context.Context, program, file string) (*process, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, "serve", "--config", file) //nolint:gosec // the program that buildGateway built
	end := func() error { return cmd.Process.Signal(os.Interrupt) }
	return r.launch(ctx, cmd, &cmd.Stderr, end, func(line []byte) bool { return bytes.Contains(line, []byte(`"msg":"gateway ready"`)) })
}

// launch starts a process and waits for the line with its addresses, for which isReady returns
// true. The other lines go to the log.
func (r *runner) launch(ctx context.Context, cmd *exec.Cmd, output *io.Writer, end func() error, isReady func(line []byte) bool) (*process, error) {
	began := time.Now()
	// Wait would close cmd.StdoutPipe, perhaps before the line is read.
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*output = childOut
	err = cmd.Start()
	_ = childOut.Close() // the process has a copy
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	p := &process{pid: cmd.Process.Pid, end: end, kill: cmd.Process.Kill, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	line := make(chan []byte, 1)
	go func() {
		defer func() { _ = out.Close() }() // read to its end
		lines := bufio.NewReader(out)
		for {
			l, err := lines.ReadBytes('\n')
			if err != nil || isReady(l) {
				line <- l                    // an incomplete line fails to decode below
				_, _ = io.Copy(r.log, lines) // an error also means the end
				return
			}
			_, _ = r.log.Write(l) // stderr may be closed
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case l := <-line:
		p.ready = time.Since(began)
		if err := json.Unmarshal(l, &p.addresses); err != nil {
			return nil, errors.Join(fmt.Errorf("%s did not start: %w", cmd.Args[1], err), p.stop())
		}
		return p, nil
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("%s: %w", cmd.Args[1], ctx.Err()), p.kill())
	}
}

// stop stops the process, and kills it after endTimeout. It may be called more than once.
func (p *process) stop() error {
	_ = p.end() // the process may have ended already
	select {
	case <-p.ended:
		return p.err
	case <-time.After(endTimeout):
		err := p.kill()
		<-p.ended
		return errors.Join(fmt.Errorf("a server did not stop within %s", endTimeout), err)
	}
}

// crash kills the process with SIGKILL and waits for its end.
func (p *process) crash() error {
	err := p.kill()
	<-p.ended
	return err
}

// announce prints the addresses of a ready server.
func announce(out io.Writer, a addresses) error {
	return json.NewEncoder(out).Encode(a)
}

// untilClosed returns a context that ends when in is closed.
func untilClosed(ctx context.Context, in io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in) // an error also means the end
		cancel()
	}()
	return ctx
}

// clockTick is the unit of /proc/PID/stat. Linux has 100 ticks per second on every architecture
// that Go supports.
const clockTick = 10 * time.Millisecond

// cpuTime returns the CPU time of a process in user and kernel mode.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses that may contain any character. Fields 14 and 15
	// are the times.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has too few fields", pid)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}

// anonymousMemory returns the anonymous memory of a process in bytes: heap and stacks, but not
// pages of files.
func anonymousMemory(pid int) (int64, error) {
	kib, err := procField(pid, "smaps_rollup", "Anonymous:")
	return kib << 10, err
}

// bytesRead returns the number of bytes that a process has read with system calls: from files,
// cached or not, and from sockets.
func bytesRead(pid int) (int64, error) { return procField(pid, "io", "rchar:") }

// writesMade returns the number of system calls with which a process has written to sockets and
// files.
func writesMade(pid int) (int64, error) { return procField(pid, "io", "syscw:") }

// procField returns the number after a name in a file of /proc/PID.
func procField(pid int, file, name string) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s has no field %s", pid, file, name)
}
