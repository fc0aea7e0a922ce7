package storagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/storage"
)

// startTimeout bounds the start of a server, with room for a busy machine.
const startTimeout = 20 * time.Second

// Settings are those of nats-server's configuration file, which may be JSON. Zero
// stands for its default.
type Settings map[string]any

// ParseSettings reads settings in the format of nats-server's configuration file.
func ParseSettings(t T, text string) Settings {
	t.Helper()
	settings, err := conf.Parse(text)
	require.NoError(t, err)
	return settings
}

// Server is a NATS server, a process of its own. Its methods are for the goroutine
// of the test.
type Server struct {
	dir      string
	settings Settings
	cmd      *exec.Cmd // nil while it is stopped
	output   bytes.Buffer
	ports    ports
}

// ports has the URLs of each port, which a server writes when it listens.
type ports struct{ Nats, Monitoring []string }

// Serve starts a NATS server that a gateway can use; settings, if there are any,
// make it another one.
func Serve(t T, settings Settings) *Server {
	t.Helper()
	s := newServer(t, settings)
	s.Start(t)
	return s
}

func newServer(t T, settings Settings) *Server {
	t.Helper()
	dir := tempDir(t)
	s := &Server{dir: dir, settings: Settings{
		"listen":         "127.0.0.1:-1", // any free port
		"http":           "127.0.0.1:-1",
		"ports_file_dir": dir,
		"max_payload":    storage.MaxPayload,
		// As the embedded one has it: what is acknowledged is on the disk.
		"jetstream": Settings{"store_dir": filepath.Join(dir, "data"), "sync_interval": "always"},
	}}
	maps.Copy(s.settings, settings)
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("nats-server: %s", s.output.String())
		}
	})
	return s
}

// tool returns the path of the nats-server that go.mod pins, which the first call
// builds unless Go's build cache has it.
//
//nolint:gochecknoglobals // it is the same for all tests of a process, and asking takes half a second
var tool = sync.OnceValues(func() (string, error) {
	path, err := exec.Command("go", "tool", "-n", "nats-server").Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("building nats-server: %w: %s", err, failed.Stderr)
	}
	return strings.TrimSpace(string(path)), err
})

// Start starts the server, and starts it again after Stop, on the same address and
// data. It does nothing if the server runs.
func (s *Server) Start(t T) {
	t.Helper()
	require.True(t, s.start(t), "the NATS server does not start")
}

// start starts the server, and reports whether it listens within startTimeout.
func (s *Server) start(t T) bool {
	t.Helper()
	if s.cmd != nil {
		return true
	}
	path, err := tool()
	require.NoError(t, err)
	var settings bytes.Buffer
	encoder := json.NewEncoder(&settings)
	encoder.SetEscapeHTML(false) // nats-server does not read \u003e, for >
	require.NoError(t, encoder.Encode(s.settings))
	file := filepath.Join(s.dir, "nats-server.conf")
	require.NoError(t, os.WriteFile(file, settings.Bytes(), 0o600))
	// It outlives the context of the test, in whose cleanup gateways still stop.
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), path, "--config", file) //nolint:gosec // what go.mod pins
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	require.NoError(t, s.cmd.Start())
	name := fmt.Sprintf("%s_%d.ports", filepath.Base(path), s.cmd.Process.Pid)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		content, err := os.ReadFile(filepath.Join(s.dir, name))
		if err == nil && json.Unmarshal(content, &s.ports) == nil {
			s.settings["listen"], s.settings["http"] = hostOf(t, s.ports.Nats), hostOf(t, s.ports.Monitoring)
			return true
		}
	}
	return false
}

// hostOf returns host:port of the first of some URLs.
func hostOf(t T, urls []string) string {
	t.Helper()
	require.NotEmpty(t, urls)
	u, err := url.Parse(urls[0])
	require.NoError(t, err)
	return u.Host
}

// Stop kills the server, as an outage does. Its data stay. It may be called more
// than once.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()         // which says that it was killed
	s.cmd = nil
}

// Copy copies the data of a server that is stopped. restore puts the copy back, as a backup or a disk
// that has lost its newest writes, and needs the server to be stopped again.
func (s *Server) Copy(t T) (restore func()) {
	t.Helper()
	data, older := filepath.Join(s.dir, "data"), filepath.Join(tempDir(t), "copy")
	require.NoError(t, os.CopyFS(older, os.DirFS(data)))
	return func() {
		t.Helper()
		require.NoError(t, os.RemoveAll(data))
		require.NoError(t, os.CopyFS(data, os.DirFS(older)))
	}
}

// URL returns the server's URL, for clients.
func (s *Server) URL() string { return s.ports.Nats[0] }

// Home returns the server as a home.
func (s *Server) Home() *Home { return &Home{config: storage.Config{URL: s.URL()}} }
