package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/servertest"
)

func TestConfigCheckReportsTheErrorsOfServe(t *testing.T) {
	valid := "channels: {support: {token: t, webhook_secret: " + servertest.Secret + "}}\n"
	for _, tt := range []struct {
		name, file string
		args       []string
		code       int
		want       string
	}{
		{"a valid file", valid, nil, exitOK, "valid: 1 channel, 0 callers.\nNo caller is configured: every program on this machine"},
		{"a caller", valid + "api_key: 0123456789abcdef\n", nil, exitOK, "valid: 1 channel, 1 caller.\n"},
		{"an unknown key", valid + "data_directory: x\n", nil, exitUsage, "gateway.yaml:2: data_directory: unknown setting\n"},
		{"a caller without rights", valid + "callers: {a: {key_hashes: [\"" + auth.HashKey("k").String() + "\"]}}\n", nil, exitUsage, "gateway.yaml:2: callers.a.actions: caller a has no actions"},
		{"a caller with an unknown channel", valid + "callers: {a: {key_hashes: [\"" + auth.HashKey("k").String() +
			"\"], actions: [send], channels: [sales]}}\n", nil, exitUsage, `gateway.yaml:2: callers.a.channels: unknown channel "sales"`},
		{"an exposed gateway without callers", valid, []string{"--grpc-addr", "0.0.0.0:9090"}, exitUsage, "no caller is configured"},
		{"an exposed gateway with the flag", valid, []string{"--grpc-addr", "0.0.0.0:9090", "--insecure-no-authentication=true"}, exitOK, "valid"},
		{"an exposed gateway with the short flag", valid, []string{"--insecure-no-authentication", "--grpc-addr", "0.0.0.0:9090"}, exitOK, "warning: --insecure-no-authentication: 0.0.0.0:9090 is reachable"},
		{"an exposed gateway with the flag set to false", valid, []string{"--insecure-no-authentication=false", "--grpc-addr", "0.0.0.0:9090"}, exitUsage, "--grpc-addr: 0.0.0.0:9090 is reachable"},
		{"no channels", "data_dir: x\n", nil, exitUsage, "no channel is configured"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"config", "check", "--config", writeFile(t, "gateway.yaml", tt.file)}, tt.args...)
			r := command(t, nil, args...)
			assert.Equal(t, tt.code, r.code, r.errOut)
			assert.Contains(t, r.out+r.errOut, tt.want)
			assert.NotContains(t, r.errOut, "--help", "the command line is valid")
			if tt.code == exitUsage {
				args[0], args = "serve", slices.Delete(args, 1, 2)
				served := command(t, nil, args...)
				assert.Equal(t, r, served, "serve prints the same")
			}
		})
	}
}

func TestAConfigurationWithWarningsIsUsed(t *testing.T) {
	cert, key := servertest.Certificate(t, t.TempDir())
	expired, expiredKey := expiredCertificate(t)
	open := writeFile(t, "secret", "the-previous-secret-in-a-file\n")
	require.NoError(t, os.Chmod(open, 0o644))
	require.NoError(t, os.Chmod(key, 0o644))
	channel := func(settings string) string {
		return "channels:\n  support: {token: t, webhook_secret: " + servertest.Secret + settings + "}\n"
	}
	for _, tt := range []struct {
		name, file string
		env        []string
		want       string
	}{
		{"an exposed admin port", channel("") + "admin_addr: :9091", nil, "gateway.yaml:3: admin_addr: :9091 is reachable from other machines"},
		{"a token in clear text", channel(", base_url: http://ongair.im"), nil, "gateway.yaml:2: channels.support.base_url: http:// exposes"},
		{"an exposed gateway without callers", channel("") + "http_addr: :8080\ninsecure_no_authentication: true", nil, "gateway.yaml:4: insecure_no_authentication: :8080 is reachable"},
		{"a secret that all users can read", channel(", previous_webhook_secret_file: " + open), nil, "gateway.yaml:2: channels.support.previous_webhook_secret_file (" + open + "): readable by all users of this machine"},
		{"a secret for NATS that all users can read", channel("") + "nats_url: nats://127.0.0.1\nnats_token_file: " + open, nil, "gateway.yaml:4: nats_token_file (" + open + "): readable by all users of this machine"},
		{"a key that all users can read", channel("") + "tls_cert: " + cert + "\ntls_key: " + key, nil, "gateway.yaml:4: tls_key (" + key + "): readable by all users of this machine"},
		{"an expired certificate", channel("") + "tls_cert: " + expired + "\ntls_key: " + expiredKey, nil, "gateway.yaml:3: tls_cert: " + expired + ": the certificate expired at 2001-"},
		{"a channel from the environment and one from the file", channel(""), []string{"ONGAIR_TOKEN=t", "ONGAIR_WEBHOOK_SECRET=another-" + servertest.Secret}, "gateway.yaml:1: channels.default: ONGAIR_TOKEN and ONGAIR_WEBHOOK_SECRET add this channel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := command(t, tt.env, "config", "check", "--config", writeFile(t, "gateway.yaml", tt.file))
			assert.Equal(t, exitOK, r.code)
			assert.Contains(t, r.out, "The configuration is valid")
			assert.Contains(t, r.errOut, tt.want)
			assert.Equal(t, 1, strings.Count(r.errOut, "\n"), r.errOut)
		})
	}

	_, url := silentSandbox(t)
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir(), "--admin-addr", ":0")
	assert.Contains(t, g.errOut(), `"level":"WARN","msg":"configuration warning","warning":"--admin-addr: :0 is reachable`)
	r := command(t, nil, "config", "check", "--config", writeFile(t, "gateway.yaml", channel("")))
	assert.Empty(t, r.errOut, "a usual configuration has no warnings")
}

// expiredCertificate returns the files of an expired certificate.
func expiredCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert = writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return cert, writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

func TestANewKeyIsAccepted(t *testing.T) {
	r := command(t, nil, "keys", "new", "--output", "json")
	require.Zero(t, r.code, r.errOut)
	var made struct{ Key, Hash string }
	require.NoError(t, json.Unmarshal([]byte(r.out), &made))
	_, url := silentSandbox(t)
	config := writeFile(t, "gateway.yaml", `
channels: {support: {base_url: "`+url+`", token: `+servertest.Token+`, webhook_secret: `+servertest.Secret+`}}
callers: {billing: {key_hashes: ["`+made.Hash+`"], actions: [send], channels: [support]}}
`)
	g := serve(t, nil, "--config", config, "--data-dir", t.TempDir())
	send := []string{"send", "--addr", g.GRPC, "--external-id", servertest.Contact, "--text", "Hello"}
	assert.Equal(t, exitOK, command(t, []string{"ONGAIR_GATEWAY_API_KEY=" + made.Key}, send...).code)
	rejected := command(t, nil, send...)
	assert.Equal(t, exitRejected, rejected.code)
	assert.Contains(t, rejected.errOut, "CREDENTIALS_MISSING")
	rejected = command(t, []string{"ONGAIR_GATEWAY_API_KEY=" + made.Key}, "create-ticket", "--addr", g.GRPC,
		"--external-id", servertest.Contact, "--message-id", "1")
	assert.Equal(t, exitRejected, rejected.code)
	assert.Contains(t, rejected.errOut, "FORBIDDEN")
	assert.NotContains(t, g.errOut(), made.Key)

	text := command(t, nil, "keys", "new")
	assert.Contains(t, text.out, "ogk_")
	assert.Contains(t, text.out, "sha256:")
}
