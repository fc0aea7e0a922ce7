// Package proxytest runs the reverse proxies that stand in front of a gateway: nginx and HAProxy. It
// does not depend on the gateway, so that the tests of any of its packages can use it.
package proxytest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/programs"
)

// patience is the time in which a proxy has to listen.
const patience = 30 * time.Second

// The programs of the proxies.
const (
	Nginx   = "nginx"
	HAProxy = "haproxy"
)

// All returns the programs of all proxies.
func All() []string { return []string{Nginx, HAProxy} }

// HTTP runs a proxy in front of an HTTP address until the end of the test, and returns the proxy's
// address. Without the program, the test is skipped as by programs.Skip. nginxDirectives are added to the location of nginx. Without them, the proxy has its default
// settings.
func HTTP(t *testing.T, proxy, upstream, nginxDirectives string) string {
	t.Helper()
	if proxy == HAProxy {
		return haproxy(t, upstream, "")
	}
	return nginx(t, "", "proxy_pass http://"+upstream+"; "+nginxDirectives)
}

// GRPC runs a proxy in front of a gRPC address, as HTTP does.
func GRPC(t *testing.T, proxy, upstream string) string {
	t.Helper()
	if proxy == HAProxy {
		return haproxy(t, upstream, "proto h2")
	}
	return nginx(t, "http2", "grpc_pass grpc://"+upstream+";")
}

// nginx runs an nginx with one location.
func nginx(t *testing.T, protocol, location string) string {
	t.Helper()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the owner of the directory
	}
	at, dir := programs.FreeAddress(t), t.TempDir()
	config := writeConfig(t, dir, fmt.Sprintf(`
%[1]s
daemon off;
master_process off;
pid %[2]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	server {
		listen %[3]s %[4]s;
		location / { %[5]s }
	}
}
`, user, dir, at, protocol, location))
	run(t, at, Nginx, "-e", "stderr", "-p", dir, "-c", config)
	return at
}

// haproxy runs an HAProxy with one server.
func haproxy(t *testing.T, upstream, protocol string) string {
	t.Helper()
	at := programs.FreeAddress(t)
	config := writeConfig(t, t.TempDir(), fmt.Sprintf(`
defaults
	mode http
	timeout connect 5s
	timeout client 50s
	timeout server 50s
listen proxy
	bind %[1]s %[3]s
	server gateway %[2]s %[3]s
`, at, upstream, protocol))
	run(t, at, HAProxy, "-db", "-f", config)
	return at
}

// run runs a program until the end of the test. It returns once the program listens on an address.
func run(t *testing.T, at, program string, args ...string) {
	t.Helper()
	process := exec.CommandContext(context.WithoutCancel(t.Context()), programs.Require(t, program), args...) //nolint:gosec // the proxy of a test
	process.Stderr = t.Output()
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	require.Eventually(t, func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", at)
		return err == nil && conn.Close() == nil
	}, patience, 10*time.Millisecond, program+" does not listen")
}

func writeConfig(t *testing.T, dir, content string) string {
	t.Helper()
	path := filepath.Join(dir, "proxy.conf")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}
