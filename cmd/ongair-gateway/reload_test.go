package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// password is the webhook password of the gateway that serveConfig starts.
const password = "the-password-0123456789"

// serveConfig starts a gateway with a config file and a separate file for the webhook secret. The
// configuration has every kind of secret, so that a test fails if the log contains one.
func serveConfig(t *testing.T) (g *gateway, config, secretFile string) {
	t.Helper()
	_, url := silentSandbox(t)
	secretFile = writeFile(t, "secret", "the-first-secret-0123456789\n")
	config = writeFile(t, "gateway.yaml", "api_key: the-api-key-0123456789\n"+
		"channels: {support: {base_url: "+url+", token: "+Token+", webhook_secret_file: "+secretFile+
		", webhook_username: ongair, webhook_password: "+password+", previous_webhook_password: the-password-before-0123456789}}\n")
	return serve(t, nil, "--config", config, "--data-dir", t.TempDir()), config, secretFile
}

// accepts reports whether the gateway accepts a webhook with a secret.
func (g *gateway) accepts(t *testing.T, secret string) bool {
	t.Helper()
	url := "http://ongair:" + password + "@" + g.Webhook + webhook.Path("support", secret)
	return NewRecorder(t).Post(url, "support", Form("notification_type", "TicketStatusUpdated")...) == http.StatusOK
}

func TestAChangedFileIsReloadedWithoutASignal(t *testing.T) {
	g, _, secretFile := serveConfig(t)
	require.True(t, g.accepts(t, "the-first-secret-0123456789"))
	// Replace the file atomically, as Kubernetes does.
	next := filepath.Join(filepath.Dir(secretFile), "next")
	rewriteFile(t, next, "the-second-secret-0123456789")
	require.NoError(t, os.Rename(next, secretFile))
	g.waitFor(t, "the reload", func() bool { return strings.Contains(g.errOut(), "configuration reloaded") })
	assert.Contains(t, g.errOut(), `"changed":"channels.support"`)
	assert.True(t, g.accepts(t, "the-second-secret-0123456789"))
	assert.False(t, g.accepts(t, "the-first-secret-0123456789"))
	assert.NotContains(t, g.errOut(), "-secret-")
}

func TestSIGHUPReloadsAtOnceAndAnInvalidFileChangesNothing(t *testing.T) {
	g, config, _ := serveConfig(t)
	good, err := os.ReadFile(config)
	require.NoError(t, err)
	hangup := func() { require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP)) }

	rewriteFile(t, config, string(good)+"chanels: {}\n")
	hangup()
	g.waitFor(t, "the error", func() bool { return strings.Contains(g.errOut(), "configuration not reloaded") })
	assert.Contains(t, g.errOut(), config+":3: chanels: unknown setting")
	assert.True(t, g.accepts(t, "the-first-secret-0123456789"), "nothing changed")

	rewriteFile(t, config, string(good)+"retention_age: 1h\n")
	hangup()
	g.waitFor(t, "the error", func() bool { return strings.Contains(g.errOut(), "retention_age requires a restart") })

	rewriteFile(t, config, string(good))
	g.waitFor(t, "the recovery", func() bool { return strings.Contains(g.errOut(), "configuration valid again") })
	hangup()
	g.waitFor(t, "the unchanged configuration", func() bool { return strings.Contains(g.errOut(), "configuration unchanged") })
	assert.NotContains(t, g.errOut(), "configuration reloaded")

	rewriteFile(t, config, string(good)+"trusted_proxies: [10.0.0.0/8]\n")
	hangup()
	g.waitFor(t, "the reload", func() bool { return strings.Contains(g.errOut(), "configuration reloaded") })
	assert.Contains(t, g.errOut(), `"changed":"trusted_proxies"`)
	assert.Zero(t, g.stop(t), "SIGHUP does not end the gateway")
}

func TestTheEncryptionKeyIsReplacedByChangingItsFile(t *testing.T) {
	_, url := silentSandbox(t)
	oldKey, newKey := strings.Repeat("old-", 8), strings.Repeat("new-", 8)
	keyFile, dir := writeFile(t, "key", oldKey+"\n"), t.TempDir()
	run := func() *gateway {
		return serve(t, oneChannel(url), "--data-dir", dir, "--encryption-key-file", keyFile)
	}
	g, r := run(), NewRecorder(t)
	post := func() int {
		return r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, Form("notification_type", "TicketStatusUpdated")...)
	}
	require.Equal(t, http.StatusOK, post())

	rewriteFile(t, keyFile, "short")
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	g.waitFor(t, "the error", func() bool {
		return strings.Contains(g.errOut(), "--encryption-key-file ("+keyFile+"): key 1 has 5 characters: use 32 or more")
	})
	rewriteFile(t, keyFile, newKey) // without the previous key
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	g.waitFor(t, "the error", func() bool { return strings.Contains(g.errOut(), "keep the previous key") })
	rewriteFile(t, keyFile, newKey+"\n"+oldKey+"\n")
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	g.waitFor(t, "the reload", func() bool { return strings.Contains(g.errOut(), "configuration reloaded") })
	require.Equal(t, http.StatusOK, post())
	g.kill()
	assert.NotContains(t, g.errOut(), "old-")
	assert.NotContains(t, g.errOut(), "new-")

	rewriteFile(t, keyFile, newKey)
	g = run()
	all := r.Subscribe("all", OverGRPC{}, g.endpoints(), &ongairv1.SubscribeRequest{
		Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
	})
	assert.Len(t, all.Events(2), 2)
	r.Verify(g.endpoints())
}

func TestTheLogLevelIsReloadedAndTheLogFormatIsNot(t *testing.T) {
	_, url := silentSandbox(t)
	base := "channels: {support: {base_url: " + url + ", token: " + Token + ", webhook_secret: " + Secret + "}}\n" +
		"grpc_addr: 127.0.0.1:0\nhttp_addr: 127.0.0.1:0\nwebhook_addr: 127.0.0.1:0\nadmin_addr: 127.0.0.1:0\n"
	config := writeFile(t, "gateway.yaml", base)
	p := start(t, nil, "serve", "--config", config, "--data-dir", t.TempDir())
	waitForLog := func(text string, times int) {
		t.Helper()
		p.waitFor(t, text, func() bool { return strings.Count(p.errOut(), text) == times })
	}
	change := func(settings string) {
		rewriteFile(t, config, base+settings)
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	}
	waitForLog("gateway ready", 1)
	change("log_level: warn\n")
	waitForLog("changed=log_level", 1)
	change("log_level: loud\n")
	waitForLog(config+":6: log_level: invalid log level", 1)
	change("log_level: info\n")
	waitForLog("changed=log_level", 2)
	change("log_level: info\nlog_format: json\n")
	waitForLog(config+":7: log_format: a change of log_format requires a restart", 1)
	change("log_level: warn\n")
	waitForLog("changed=log_level", 3)
	change("log_level: warn\nlog_format: json\n") // fails, and the error is logged at the new level
	waitForLog("log_format requires a restart", 2)
	assert.Zero(t, p.stop(t))
	assert.NotContains(t, p.errOut(), "gateway stopping", "it is logged at a lower level")
}

func TestTwoAPIKeysAreValidDuringARotation(t *testing.T) {
	_, url := silentSandbox(t)
	const first, second = "the-first-key-of-the-tests", "the-second-key-of-the-tests"
	base := "channels: {support: {base_url: " + url + ", token: " + Token + ", webhook_secret: " + Secret + "}}\n"
	config := writeFile(t, "gateway.yaml", base+"api_key: "+first+"\n")
	g := serve(t, nil, "--config", config, "--data-dir", t.TempDir())
	send := func(key string) int {
		return command(t, []string{"ONGAIR_GATEWAY_API_KEY=" + key}, "send", "--addr", g.GRPC, "--external-id", Contact, "--text", "Hello").code
	}
	change := func(settings, changed string) {
		rewriteFile(t, config, base+settings)
		require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
		g.waitFor(t, "the reload", func() bool { return strings.Contains(g.errOut(), `"changed":"`+changed+`"`) })
	}
	change("api_key: "+second+"\nprevious_api_key: "+first+"\n", "api_key, previous_api_key")
	assert.Equal(t, exitOK, send(first))
	assert.Equal(t, exitOK, send(second))
	change("api_key: "+second+"\n", "previous_api_key")
	assert.Equal(t, exitRejected, send(first))
	assert.Equal(t, exitOK, send(second))
	assert.NotContains(t, g.errOut(), "-key-of-the-tests")
}

// Each of these files once crashed the gateway or exhausted its memory or CPU.
func TestAMaliciousFileDoesNotHarmARunningGateway(t *testing.T) {
	g, config, _ := serveConfig(t)
	good, err := os.ReadFile(config)
	require.NoError(t, err)
	var aliases strings.Builder
	aliases.WriteString(string(good) + "callers:\n c: &c {key_hashes: [\"sha256:" + strings.Repeat("0", 64) + "\"], actions: [send], channels: [support]}\n")
	for i := 0; aliases.Len() < 1<<20-16; i++ {
		aliases.WriteString(" c" + strconv.FormatInt(int64(i), 36) + ": *c\n")
	}
	for _, tt := range []struct{ name, file, want string }{
		{"a map that merges itself", string(good) + "callers:\n  a: &a\n    <<: *a\n", "gateway.yaml:5: an alias refers to a value that contains it"},
		{"200 kB of brackets", strings.Repeat("[", 200_000), "gateway.yaml:1:33: lists and maps are nested more than 32 levels deep"},
		{"lists in lists", strings.Repeat("- ", 100_000), "gateway.yaml:1:65: lists and maps are nested more than 32 levels deep"},
		{"90,000 callers", string(good) + "callers:\n" + strings.Repeat("  c: {actions: [send]}\n", 90_000), "larger than 1.0 MiB"},
		{"as many callers as fit, by one alias", aliases.String(), "is larger than 8.0 MiB after its aliases and variables are expanded"},
		{"1 MiB of commas", "{" + strings.Repeat("a,", 1<<19-1) + "}", "has more than 100,000 commas and closing brackets"},
	} {
		rewriteFile(t, config, tt.file)
		require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
		g.waitFor(t, "the rejection of "+tt.name, func() bool { return strings.Contains(g.errOut(), tt.want) })
		assert.True(t, g.accepts(t, "the-first-secret-0123456789"), tt.name)
	}
	assert.Zero(t, g.stop(t))
}

// newReloader returns a reloader of an old config file, and its log.
func newReloader(t *testing.T, settings string) (r *reloader, path string, log *strings.Builder) {
	t.Helper()
	path = writeFile(t, "gateway.yaml", "channels: {support: {token: "+Token+", webhook_secret: "+Secret+"}}\n"+settings+
		"grpc_addr: 127.0.0.1:0\nhttp_addr: 127.0.0.1:0\nwebhook_addr: 127.0.0.1:0\nadmin_addr: 127.0.0.1:0\ndata_dir: "+t.TempDir()+"\n")
	makeOld(t, path)
	log = &strings.Builder{}
	r = &reloader{source: config.Source{File: path}, level: &slog.LevelVar{}, log: slog.New(slog.NewTextHandler(log, nil))}
	var err error
	r.current, err = config.Load(r.source)
	require.NoError(t, err)
	r.current.Config.Logger = slog.New(slog.DiscardHandler)
	r.last = r.current
	return r, path, log
}

// makeOld sets the modification time of a file to 2020.
func makeOld(t *testing.T, path string) {
	t.Helper()
	long := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, long, long))
}

func TestFilesAreReadOnlyAfterAChangeOrOnRequest(t *testing.T) {
	r, path, log := newReloader(t, "log_level: info\n")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	// The file is now invalid, so reading it logs an error.
	rewriteFile(t, path, strings.Replace(string(content), "log_level: info", "log_level: loud", 1))
	makeOld(t, path)
	r.reload(false)
	assert.Empty(t, log.String())
	r.reload(true)
	assert.Contains(t, log.String(), `invalid log level \"loud\"`)
	log.Reset()
	r.reload(false)
	assert.Empty(t, log.String(), "an error is logged once")
}

func TestARejectedConfigurationIsRetried(t *testing.T) {
	r, path, log := newReloader(t, "")
	gateway, err := server.New(r.current.Config)
	require.NoError(t, err)
	r.gateway = gateway
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	rewriteFile(t, path, string(content)+"trusted_proxies: 10.0.0.0/8\n")
	makeOld(t, path)
	r.reload(false)
	assert.Contains(t, log.String(), "the gateway is not ready yet")
	log.Reset()
	r.reload(false)
	assert.Empty(t, log.String(), "an error is logged once")

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- gateway.Run(ctx) }()
	<-gateway.Ready()
	r.reload(false)
	assert.Contains(t, log.String(), "configuration reloaded")
	assert.Contains(t, log.String(), "changed=trusted_proxies")
	log.Reset()
	r.reload(false)
	assert.Empty(t, log.String())
	stop()
	require.NoError(t, <-ended)
}
