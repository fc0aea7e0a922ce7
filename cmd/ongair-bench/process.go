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
	// startTimeout bounds the start of a server, including the filling of a log.
	startTimeout = 5 * time.Minute
	// endTimeout bounds the stop of a server. Then it is killed.
	endTimeout = 30 * time.Second
)

// addresses are the addresses that a server prints when it is ready.
type addresses struct {
	// GRPC is host:port.
	GRPC string `json:"grpc,omitempty"`
	// Post is the URL to which events are posted.
	Post string `json:"post,omitempty"`
	// Admin is host:port of a gateway's admin port.
	Admin string `json:"admin,omitempty"`
}

// process is a server under test.
type process struct {
	addresses
	// ready is the time from its start until it was ready.
	ready time.Duration

	pid int
	// end asks it to stop. It may be called again.
	end, kill func() error
	// ended is closed after the process ended, with err.
	ended chan struct{}
	err   error
}

// start runs this program again with args, and waits until it is ready. The process ends with
// stop, or when this process ends and closes its stdin.
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
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, "serve", "--config", file) //nolint:gosec // a program of ours
	end := func() error { return cmd.Process.Signal(os.Interrupt) }
	return r.launch(ctx, cmd, &cmd.Stderr, end, func(line []byte) bool { return bytes.Contains(line, []byte(`"msg":"gateway ready"`)) })
}

// launch starts a process and waits for the line with its addresses.
func (r *runner) launch(ctx context.Context, cmd *exec.Cmd, output *io.Writer, end func() error, isReady func(line []byte) bool) (*process, error) {
	began := time.Now()
	// Not cmd.StdoutPipe, because Wait would close it, perhaps before the line is read.
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*output = childOut
	err = cmd.Start()
	_ = childOut.Close() // the process has its own
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
				line <- l                    // no line is an error below
				_, _ = io.Copy(r.log, lines) // an error is an end, too
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

// stop stops the process. It may be called again.
func (p *process) stop() error {
	_ = p.end() // it may have been stopped before
	select {
	case <-p.ended:
		return p.err
	case <-time.After(endTimeout):
		err := p.kill()
		<-p.ended
		return errors.Join(fmt.Errorf("a server did not stop within %s", endTimeout), err)
	}
}

// crash kills the process.
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
		_, _ = io.Copy(io.Discard, in) // an error is an end, too
		cancel()
	}()
	return ctx
}

// clockTick is the unit of /proc/PID/stat: Linux has 100 of them a second on every
// architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime returns the CPU time of a process, in user and kernel mode.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses with any content. The times are the fields 14
	// and 15.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat has too few fields")
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}

// anonymousMemory returns the anonymous memory of a process in bytes: heap and stacks, without
// pages that the kernel can read again from files.
func anonymousMemory(pid int) (int64, error) {
	kib, err := procField(pid, "smaps_rollup", "Anonymous:")
	return kib << 10, err
}

// bytesRead returns the bytes that a process has read through system calls: from files, cached
// or not, and from sockets.
func bytesRead(pid int) (int64, error) { return procField(pid, "io", "rchar:") }

// procField returns the number of a field in a file of /proc/PID.
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
	return 0, fmt.Errorf("/proc/PID/%s has no %s", file, name)
}
