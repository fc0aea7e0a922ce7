package servertest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Proxies returns the names of the reverse proxies that tests run: nginx and HAProxy.
func Proxies() []string { return []string{"nginx", "haproxy"} }

// Behind returns a transport whose subscriptions pass through a reverse proxy with its default
// settings. Each gateway gets a proxy until the end of the test. Without the program, the test is
// skipped unless ONGAIR_GATEWAY_REQUIRE_NGINX or ONGAIR_GATEWAY_REQUIRE_HAPROXY is set.
func Behind(t *testing.T, proxy string, transport Transport) Transport {
	t.Helper()
	program, err := exec.LookPath(proxy)
	if err != nil {
		if variable := "ONGAIR_GATEWAY_REQUIRE_" + strings.ToUpper(proxy); os.Getenv(variable) != "" {
			require.FailNow(t, variable+" is set, but "+proxy+" is missing")
		}
		t.Skip("needs " + proxy)
	}
	return &behind{Transport: transport, t: t, proxy: proxy, program: program, of: map[string]Endpoints{}}
}

// behind is a transport through a proxy.
type behind struct {
	Transport
	t              *testing.T
	proxy, program string

	mu sync.Mutex
	of map[string]Endpoints // the proxy of each gateway, by the gateway's HTTP address
}

func (b *behind) String() string { return b.Transport.String() + " behind " + b.proxy }

// Subscribe implements Transport.
func (b *behind) Subscribe(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	return b.Transport.Subscribe(ctx, b.endpoints(e), req, handle)
}

// endpoints returns the addresses of the proxy of a gateway, and starts it if necessary.
func (b *behind) endpoints(e Endpoints) Endpoints {
	b.mu.Lock()
	defer b.mu.Unlock()
	if proxied, ok := b.of[e.HTTP]; ok {
		return proxied
	}
	proxied := e
	proxied.HTTP, proxied.GRPC = freeAddress(b.t), freeAddress(b.t)
	b.of[e.HTTP] = proxied
	start := map[string]func(*testing.T, string, Endpoints, Endpoints) *exec.Cmd{"nginx": nginx, "haproxy": haproxy}[b.proxy]
	process := start(b.t, b.program, proxied, e)
	process.Stderr = b.t.Output()
	require.NoError(b.t, process.Start())
	b.t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	for _, addr := range []string{proxied.HTTP, proxied.GRPC} {
		require.Eventually(b.t, func() bool {
			conn, err := new(net.Dialer).DialContext(b.t.Context(), "tcp", addr)
			return err == nil && conn.Close() == nil
		}, patience, 10*time.Millisecond, b.proxy+" does not listen")
	}
	return proxied
}

// freeAddress returns an address on loopback on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }() // the proxy listens there
	return listener.Addr().String()
}

// nginx returns the command of an nginx in front of a gateway.
func nginx(t *testing.T, program string, at, gateway Endpoints) *exec.Cmd {
	t.Helper()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the owner of the directory
	}
	dir, config := writeProxyConfig(t, `
%[2]s
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[3]s;
		location / { proxy_pass http://%[4]s; }
	}
	server {
		listen %[5]s http2;
		location / { grpc_pass grpc://%[6]s; }
	}
}
`, user, at.HTTP, gateway.HTTP, at.GRPC, gateway.GRPC)
	return exec.CommandContext(context.WithoutCancel(t.Context()), program, "-e", "stderr", "-p", dir, "-c", config) //nolint:gosec // the proxy of a test
}

// haproxy returns the command of an HAProxy in front of a gateway.
func haproxy(t *testing.T, program string, at, gateway Endpoints) *exec.Cmd {
	t.Helper()
	_, config := writeProxyConfig(t, `
# %[1]s
defaults
	mode http
	timeout connect 5s
	timeout client 50s
	timeout server 50s
listen http
	bind %[2]s
	server gateway %[3]s
listen grpc
	bind %[4]s proto h2
	server gateway %[5]s proto h2
`, at.HTTP, gateway.HTTP, at.GRPC, gateway.GRPC)
	return exec.CommandContext(context.WithoutCancel(t.Context()), program, "-db", "-f", config) //nolint:gosec // the proxy of a test
}

// writeProxyConfig writes a configuration to a new directory. %[1]s in format is the directory.
func writeProxyConfig(t *testing.T, format string, args ...any) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "proxy.conf")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, format, append([]any{dir}, args...)...), 0o600))
	return dir, path
}
