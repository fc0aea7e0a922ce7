package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// startOn starts a gateway with a data directory. It does not wait until the gateway is ready.
func startOn(t *testing.T, env []string, dir string) *process {
	t.Helper()
	return start(t, env, append(append([]string{"serve"}, freePorts()...), "--data-dir", dir)...)
}

// requireStop sends SIGTERM. It requires that the process stops within 10 s, with exit code 0 and
// without an error in its log. Before main, the signal kills the process. If beforeMain is true,
// that is allowed if the process has logged nothing.
func requireStop(t *testing.T, p *process, beforeMain bool) {
	t.Helper()
	begin := time.Now()
	p.terminate(t)
	code := p.wait(t)
	assert.Less(t, time.Since(begin), 10*time.Second, "the grace")
	assert.Empty(t, p.out())
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); beforeMain && ok && status.Signaled() {
		assert.Equal(t, syscall.SIGTERM, status.Signal())
		assert.Empty(t, p.errOut())
		return
	}
	assert.Zero(t, code)
	for line := range strings.Lines(p.errOut()) {
		var entry struct{ Level string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		assert.NotEqual(t, "ERROR", entry.Level, line)
	}
}

func TestSIGTERMDuringTheStartIsAnOrderlyStop(t *testing.T) {
	t.Parallel()
	_, url := silentSandbox(t)
	env, random := oneChannel(url), Random(t)
	exists := func(path string) func() bool {
		return func() bool {
			_, err := os.Stat(path)
			return err == nil
		}
	}

	t.Run("after some time", func(t *testing.T) {
		dir, r := t.TempDir(), NewRecorder(t)
		g := serve(t, env, "--data-dir", dir)
		for id := range 100 {
			require.Equal(t, http.StatusOK, r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(id, "Hi")...))
		}
		r.HangUp()
		require.Zero(t, g.stop(t))
		moments := []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond}
		for range Rounds(4, 100) {
			moments = append(moments, time.Duration(random.Int64N(int64(100*time.Millisecond))))
		}
		for _, moment := range moments {
			p := startOn(t, env, dir)
			<-time.After(moment)
			requireStop(t, p, true)
		}
		// After a fixed time, the start may not have begun or may be complete. Once the lock exists,
		// it has begun.
		lock := filepath.Join(dir, "lock")
		for range Rounds(4, 100) {
			require.NoError(t, os.Remove(lock))
			p := startOn(t, env, dir)
			require.Eventually(t, exists(lock), patience, time.Millisecond)
			<-time.After(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
			requireStop(t, p, false)
		}
		g = serve(t, env, "--data-dir", dir)
		r.Verify(g.endpoints())
		requireStop(t, g.process, false)
	})

	const streams = "jetstream/jetstream/$G/streams/"
	for name, path := range map[string]string{
		"the data directory is locked":           "lock",
		"the server's directory exists":          "jetstream",
		"the log exists":                         streams + "ONGAIR_EVENTS",
		"the log has its first block":            streams + "ONGAIR_EVENTS/msgs/1.blk",
		"the request_ids' bucket exists":         streams + "KV_ONGAIR_IDEMPOTENCY",
		"the request_ids' bucket has its blocks": streams + "KV_ONGAIR_IDEMPOTENCY/msgs/1.blk",
	} {
		t.Run("as soon as "+name, func(t *testing.T) {
			dir := t.TempDir()
			p := startOn(t, env, dir)
			require.Eventually(t, exists(filepath.Join(dir, filepath.FromSlash(path))), patience, time.Millisecond)
			requireStop(t, p, false)
			requireStop(t, serve(t, env, "--data-dir", dir).process, false)
		})
	}
}

// A second signal does not wait for running calls.
func TestASecondSIGTERMEndsTheGatewayAtOnce(t *testing.T) {
	t.Parallel()
	box, url := silentSandbox(t)
	box.SetFaults(sandbox.Fault{Path: "/send", Connection: sandbox.Hang})
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir(), "--grace", "1h")
	go func() { _ = command(t, nil, "send", "--addr", g.GRPC, "--external-id", Contact, "--text", "Hello") }()
	require.Eventually(t, func() bool { return len(box.Requests()) == 1 }, patience, time.Millisecond)
	g.terminate(t)
	g.waitFor(t, "stopping", func() bool { return strings.Contains(g.errOut(), "gateway stopping") })
	g.terminate(t)
	g.wait(t)
}

// When a subscriber over REST disconnects, grpc-gateway must not log in its own format.
func TestADisconnectedSubscriberPrintsNothingOutsideTheLog(t *testing.T) {
	t.Parallel()
	_, url := silentSandbox(t)
	g, r := serve(t, oneChannel(url), "--data-dir", t.TempDir()), NewRecorder(t)
	for id := range 20 {
		conn, err := net.Dial("tcp", g.HTTP)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET /v1/events:subscribe?position=POSITION_EARLIEST HTTP/1.1\r\nHost: gateway\r\n\r\n")
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).SetLinger(0)) // Close sends a reset
		require.NoError(t, conn.Close())
		require.Equal(t, http.StatusOK, r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(id, "Hi")...))
	}
	assert.Zero(t, g.stop(t))
}
