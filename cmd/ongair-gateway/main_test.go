package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	"github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// patience bounds every wait for a process. Only a failing test waits this long.
const patience = 30 * time.Second

// binary is the path of the built program. The tests run it as users do.
var binary string

func TestMain(m *testing.M) {
	os.Exit(testMain(m)) //nolint:forbidigo // the end of a test binary
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ongair-gateway-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "ongair-gateway")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	return m.Run()
}

// process is a running ongair-gateway.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // the result of Wait
	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
	// changed is closed and replaced after each write.
	changed chan struct{}
}

// environment returns the environment of a process. It has the variables of env, and none of the
// machine's except PATH and HOME.
func environment(env []string) []string {
	for _, variable := range env {
		if name, value, _ := strings.Cut(variable, "="); secretVariable.MatchString(name) {
			servertest.Given(value)
		}
	}
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
}

// start starts the program. It kills the program when the test ends.
func start(t servertest.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), ended: make(chan struct{}), changed: make(chan struct{})}
	p.cmd.Env = environment(env)
	p.cmd.Dir = servertest.TempDir(t)
	p.cmd.Stdout = &output{p, &p.stdout}
	p.cmd.Stderr = &output{p, &p.stderr}
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		assertNoSecrets(t, args, p.out(), p.errOut())
		if slices.Contains(args, "--log-format=json") {
			assertJSON(t, p.errOut())
		}
		if t.Failed() {
			t.Logf("%v\nstdout: %s\nstderr: %s", args, p.out(), p.errOut())
		}
	})
	return p
}

// assertJSON asserts that each line of a log is JSON, except the error of a failed command.
func assertJSON(t servertest.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if strings.HasSuffix(line, "\n") && !strings.HasPrefix(line, "ongair-gateway: ") { // a kill may truncate the last line
			assert.True(t, json.Valid([]byte(line)), line)
		}
	}
}

// output stores the output of a process.
type output struct {
	p   *process
	buf *bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.buf.Write(b)
	close(o.p.changed)
	o.p.changed = make(chan struct{})
	return len(b), nil
}

func (p *process) out() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

func (p *process) errOut() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// waitFor waits until done returns true. It calls done after each write of the process.
func (p *process) waitFor(t servertest.T, what string, done func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-p.ended:
			if !done() {
				require.FailNow(t, "the process ended before "+what, "%s", p.errOut())
			}
			return
		case <-timeout:
			require.FailNow(t, "timed out waiting for "+what, "stdout: %s\nstderr: %s", p.out(), p.errOut())
		}
	}
}

// kill kills the process and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// stop ends the process with SIGTERM and returns its exit code.
func (p *process) stop(t servertest.T) int {
	t.Helper()
	p.terminate(t)
	return p.wait(t)
}

// terminate sends SIGTERM.
func (p *process) terminate(t servertest.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
}

// wait waits for the end of the process and returns its exit code.
func (p *process) wait(t servertest.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.FailNow(t, "the process did not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// gateway is a running `ongair-gateway serve`.
type gateway struct {
	*process
	GRPC, HTTP, Webhook, Admin string
}

// freePorts returns flags that select free ports, so that tests can run in parallel. It also
// selects JSON logs.
func freePorts() []string {
	return []string{
		"--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0", "--webhook-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0",
		"--log-format=json",
	}
}

// serve starts a gateway on free ports and waits until it is ready.
func serve(t servertest.T, env []string, args ...string) *gateway {
	t.Helper()
	g := &gateway{process: start(t, env, append(append([]string{"serve"}, freePorts()...), args...)...)}
	g.waitFor(t, "readiness", func() bool {
		lines := bufio.NewScanner(strings.NewReader(g.errOut()))
		for lines.Scan() {
			var line struct{ Msg, GRPC, HTTP, Webhook, Admin string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "gateway ready" {
				g.GRPC, g.HTTP, g.Webhook, g.Admin = line.GRPC, line.HTTP, line.Webhook, line.Admin
				return true
			}
		}
		return false
	})
	return g
}

// storages returns the kinds of storage of an event log.
func storages() []string { return []string{embedded, external} }

const (
	embedded = "embedded"
	external = "external" // a NATS server, which survives a kill of the gateway
)

// emptyLog returns the flags for a new event log in a storage.
func emptyLog(t servertest.T, storage string) []string {
	t.Helper()
	if storage == external {
		return []string{"--nats-url", storagetest.Serve(t, nil).URL()}
	}
	return []string{"--data-dir", servertest.TempDir(t)}
}

func (g *gateway) endpoints() servertest.Endpoints {
	return servertest.Endpoints{GRPC: g.GRPC, HTTP: g.HTTP}
}

func (g *gateway) webhookURL(channel string) string {
	return "http://" + g.Webhook + webhook.Path(channel, secretOf(channel))
}

// secretOf returns the webhook secret of a channel.
func secretOf(channel string) string {
	if channel == config.DefaultChannel {
		return servertest.Secret
	}
	return servertest.Secret + "-of-" + channel
}

// oneChannel returns the environment of a gateway with one channel, which uses the sandbox.
func oneChannel(sandboxURL string) []string {
	return []string{
		"ONGAIR_TOKEN=" + servertest.Token,
		"ONGAIR_BASE_URL=" + sandboxURL,
		"ONGAIR_WEBHOOK_SECRET=" + servertest.Secret,
	}
}

// silentSandbox starts a sandbox that posts no webhooks, and returns it and its URL.
func silentSandbox(t *testing.T) (*sandbox.Sandbox, string) {
	t.Helper()
	return servertest.StartSandbox(t, sandbox.Config{Silent: true})
}

// result is the exit code and the output of a command.
type result struct {
	code        int
	out, errOut string
}

// command runs the program and waits for its end.
func command(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = environment(env)
	cmd.Dir = t.TempDir()
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		_, exited := errors.AsType[*exec.ExitError](err)
		require.True(t, exited, "%v", err)
	}
	assertNoSecrets(t, args, out.String(), errOut.String())
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}
