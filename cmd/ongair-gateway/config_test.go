package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/servertest"
)

// fileKeys are the keys at the top of the config file.
func fileKeys() []string {
	var keys []string
	for field := range reflect.TypeFor[configFile]().Fields() {
		keys = append(keys, field.Tag.Get("yaml"))
	}
	return keys
}

func TestAFlagBeatsTheFileWhichBeatsTheDefault(t *testing.T) {
	path := writeFile(t, "gateway.yaml", `
data_dir: from-the-file
grpc_addr: 127.0.0.1:1
retention_age: 24h
retention_bytes: 1GiB
duplicate_window: 30s
request_id_age: 2h
webhook_allow_from: "203.0.113.0/24, 2001:db8::1"
trusted_proxies: 10.1.2.3/8
log_level: warn
api_key: "a key with # and: in it"
channels:
  support: {token: t, webhook_secret: s, auth_form: equals, base_url: "https://${HOST_FOR_TESTS}", max_in_flight: 7, max_rate: 0.5,
    previous_webhook_secret: p, webhook_username: u, webhook_password: w}
`)
	t.Setenv("HOST_FOR_TESTS", "app.ongair.im")
	cfg, level, format, err := serveCmd{Config: path, DataDir: "from-a-flag"}.settings()
	require.NoError(t, err)
	assert.Equal(t, server.Config{
		GRPCAddr:        "127.0.0.1:1",
		DataDir:         "from-a-flag",
		RetentionAge:    24 * time.Hour,
		RetentionBytes:  1 << 30,
		DuplicateWindow: 30 * time.Second,
		RequestIDAge:    2 * time.Hour,
		WebhookAllowFrom: []netip.Prefix{
			netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::1/128"),
		},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		APIKey:         "a key with # and: in it",
		Channels: map[string]server.Channel{
			"support": {
				Token: "t", WebhookSecret: "s", AuthForm: ongair.AuthEquals, BaseURL: "https://app.ongair.im",
				MaxInFlight: 7, MaxRate: 0.5, PreviousWebhookSecret: "p", WebhookUsername: "u", WebhookPassword: "w",
			},
		},
	}, cfg)
	assert.Equal(t, "warn", level)
	assert.Equal(t, "text", format)

	cfg, level, _, err = serveCmd{}.settings()
	require.NoError(t, err)
	assert.Equal(t, server.Config{DataDir: "ongair-data", Channels: map[string]server.Channel{}}, cfg)
	assert.Equal(t, "info", level)
}

func TestTheEnvironmentAddsTheDefaultChannelAndTheKey(t *testing.T) {
	t.Setenv("ONGAIR_TOKEN", "t")
	t.Setenv("ONGAIR_WEBHOOK_SECRET", "s")
	t.Setenv("ONGAIR_BASE_URL", "http://127.0.0.1:1")
	t.Setenv("ONGAIR_GATEWAY_API_KEY", "from-the-environment")
	path := writeFile(t, "gateway.yaml", "channels: {sales: {token: x}}\napi_key: from-the-file\n")
	cfg, _, _, err := serveCmd{Config: path}.settings()
	require.NoError(t, err)
	assert.Equal(t, "from-the-environment", cfg.APIKey)
	assert.Equal(t, map[string]server.Channel{
		"sales":   {Token: "x"},
		"default": {Token: "t", WebhookSecret: "s", BaseURL: "http://127.0.0.1:1"},
	}, cfg.Channels)
}

func TestASandboxNeverSeesTheTokenOfARealAccount(t *testing.T) {
	t.Setenv("ONGAIR_TOKEN", "of a real account")
	t.Setenv("ONGAIR_BASE_URL", "https://ongair.im")
	cfg, _, _, err := serveCmd{Sandbox: true}.settings()
	require.NoError(t, err)
	assert.Equal(t, map[string]server.Channel{"default": {}}, cfg.Channels)
	assert.Empty(t, cfg.DataDir, "a temporary folder is made instead")
}

func TestAConfigFileThatContradictsItselfIsRefused(t *testing.T) {
	secret, empty := writeFile(t, "secret", "s\n"), writeFile(t, "empty", " \n")
	for _, tt := range []struct{ name, file, says string }{
		{"a secret by value and by file", "channels: {a: {token: x, token_file: " + secret + "}}", "channel a: token is given twice"},
		{"an API key by value and by file", "{api_key: x, api_key_file: " + secret + "}", "api_key is given twice"},
		{"an empty file of a token", "channels: {a: {token_file: " + empty + "}}", "channel a: token: " + empty + " is empty"},
		{"an empty file of an API key", "api_key_file: " + empty, "is empty"},
		{"an empty file of an encryption key", "encryption_key_file: " + empty, "is empty"},
		{"a form of authorization that does not exist", "channels: {a: {token: x, auth_form: basic}}", "channel a: auth_form"},
		{"a limit of no calls", "channels: {a: {token: x, max_in_flight: 0}}", "channel a: max_in_flight"},
		{"a limit that is no number", "channels: {a: {token: x, max_rate: fast}}", "channel a: max_rate"},
		{"a limit without an end", "channels: {a: {token: x, max_rate: inf}}", "channel a: max_rate"},
		{"a rate that is not a number", "channels: {a: {token: x, max_rate: nan}}", "channel a: max_rate"},
		{"an age of nothing", "request_id_age: 0s", "request ID age"},
		{"a caller with a key in place of its hash", "callers: {a: {key_hashes: [ogk_secret]}}", "caller a: key_hashes, number 1"},
		{"a caller with an action that does not exist", "callers: {a: {actions: [read]}}", "caller a: actions: \"read\""},
		{"a caller with a certificate that has no such name", "callers: {a: {certificates: [billing]}}", "caller a: certificates"},
		{"a caller with a limit of nothing", "callers: {a: {max_streams: 0}}", "caller a: max_streams"},
		{"an unknown key of a caller", "callers: {a: {channel: x}}", "channel"},
		{"an insecurity that is neither true nor false", "insecure_no_authentication: perhaps", "want true or false"},
		{"a network that is none", "webhook_allow_from: everywhere", "\"everywhere\" is no network"},
		{"no connections", "max_connections: 0", "max connections"},
		{"an empty file", " \n", "is empty"},
		{"a key twice", "data_dir: a\ndata_dir: b\n", "[2:1]"},
		{"a channel twice", "channels: {a: {token: x}, a: {token: y}}", "already defined"},
		{"a number where a map belongs", "channels: 3", "[1:11]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, _, err := serveCmd{Config: writeFile(t, "gateway.yaml", tt.file)}.settings()
			require.ErrorContains(t, err, tt.says)
		})
	}
}

func TestAnErrorInAConfigFileShowsNoSecret(t *testing.T) {
	const secret = "a-secret-that-nobody-may-see"
	for _, file := range []string{
		"channels:\n  a:\n    token: " + secret + "\n    webhook_secret: [" + secret + "]\n",
		"channels:\n  a: {token: " + secret + "\n",
		"api_key: " + secret + "\nunknown: " + secret + "\n",
		"channels: {a: {token: *" + secret + "}}",
		"channels: {a: {token: x," + secret + "}}",
		"api_key: |" + secret,
	} {
		_, err := readConfigFile(writeFile(t, "gateway.yaml", file))
		require.Error(t, err)
		assert.NotContains(t, err.Error(), secret[:len(secret)-1], "not all but its end either")
	}
}

func TestCallersOfAFile(t *testing.T) {
	first, second := auth.HashKey("first"), auth.HashKey("second")
	t.Setenv("HASH_FOR_TESTS", second.String())
	path := writeFile(t, "gateway.yaml", `
callers:
  billing: {key_hashes: ["`+first.String()+`", "${HASH_FOR_TESTS}"], actions: [send, subscribe], channels: [support],
    max_rate: 0.5, max_in_flight: 3, max_streams: 4, max_connections: 5}
  auditor: {certificates: ["spiffe://mesh/auditor", "dns:Auditor.internal"], actions: [subscribe], channels: ["*"]}
tls_client_ca: clients.pem
insecure_no_authentication: true
`)
	cfg, _, _, err := serveCmd{Config: path}.settings()
	require.NoError(t, err)
	assert.True(t, cfg.InsecureNoAuthentication)
	assert.Equal(t, "clients.pem", cfg.TLSClientCAFile)
	assert.Equal(t, map[string]auth.Caller{
		"billing": {
			KeyHashes: []auth.KeyHash{first, second},
			Actions:   []auth.Action{auth.ActionSend, auth.ActionSubscribe},
			Channels:  []string{"support"},
			Limits:    auth.Limits{MaxRate: 0.5, MaxInFlight: 3, MaxStreams: 4, MaxConnections: 5},
		},
		"auditor": {
			Certificates: []string{"spiffe://mesh/auditor", "dns:auditor.internal"},
			Actions:      []auth.Action{auth.ActionSubscribe},
			Channels:     []string{auth.AllChannels},
		},
	}, cfg.Callers)
}

func TestConfigCheckSaysWhatServeWouldSay(t *testing.T) {
	valid := "channels: {support: {token: t, webhook_secret: " + servertest.Secret + "}}\n"
	for _, tt := range []struct {
		name, file string
		args       []string
		code       int
		says       string
	}{
		{"what is valid", valid, nil, exitOK, "valid: 1 channels, 0 callers"},
		{"an unknown key", valid + "data_directory: x\n", nil, exitUsage, "[2:1]"},
		{"a caller without rights", valid + "callers: {a: {key_hashes: [\"" + auth.HashKey("k").String() + "\"]}}\n", nil, exitUsage, "caller a: it may do nothing"},
		{"a channel that a caller has and nobody else", valid + "callers: {a: {key_hashes: [\"" + auth.HashKey("k").String() +
			"\"], actions: [send], channels: [sales]}}\n", nil, exitUsage, `caller a: there is no channel "sales"`},
		{"an open gateway for everybody", valid, []string{"--grpc-addr", "0.0.0.0:9090"}, exitUsage, "no caller is configured"},
		{"one that says so", valid, []string{"--grpc-addr", "0.0.0.0:9090", "--insecure-no-authentication=true"}, exitOK, "valid"},
		{"no channels", "data_dir: x\n", nil, exitUsage, "no channel is configured"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"config", "check", "--config", writeFile(t, "gateway.yaml", tt.file)}, tt.args...)
			r := command(t, nil, args...)
			assert.Equal(t, tt.code, r.code, r.errOut)
			assert.Contains(t, r.out+r.errOut, tt.says)
		})
	}
}

func TestANewKeyGetsItsCallerIn(t *testing.T) {
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
	refused := command(t, nil, send...)
	assert.Equal(t, exitRefused, refused.code)
	assert.Contains(t, refused.errOut, "CREDENTIALS_MISSING")
	refused = command(t, []string{"ONGAIR_GATEWAY_API_KEY=" + made.Key}, "create-ticket", "--addr", g.GRPC,
		"--external-id", servertest.Contact, "--message-id", "1")
	assert.Equal(t, exitRefused, refused.code)
	assert.Contains(t, refused.errOut, "FORBIDDEN")
	assert.NotContains(t, g.errOut(), made.Key)

	text := command(t, nil, "keys", "new")
	assert.Contains(t, text.out, "ogk_")
	assert.Contains(t, text.out, "sha256:")
}

// Whatever is in a file, it is settings or a reason in one line, which shows no secret.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{
		"", "channels: {a: {token: canary-canary, webhook_secret: x}}", "api_key: canary-canary\n  x", "callers: {a: {key_hashes: [canary-canary]}}",
		"channels:\n  a:\n    token: canary-canary\n    webhook_secret: [canary-canary]\n", "channels:\n  a: {token: canary-canary\n",
		"unknown: 1\napi_key: canary-canary\n", "channels: {a: {webhook_password: canary-canary, max_rate: fast}}",
		"api_key: *canary-canary", "api_key: |canary-canary",
		"trusted_proxies: ::/0", "data_dir: ${HOME}", "&a [*a]", "channels: *x", "? {a: b}\n: c", "\xff", "request_id_age: 1e9h",
	} {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "gateway.yaml")
	f.Fuzz(func(t *testing.T, content []byte) {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		cfg, _, _, err := serveCmd{Config: path}.settings()
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			// Keys may be named, and variables.
			rest := secretValue.ReplaceAll(content, nil)
			if !bytes.Contains(rest, []byte("canary")) && !bytes.Contains(content, []byte("${")) {
				assert.NotContains(t, err.Error(), "canary")
			}
			return
		}
		assert.NotNil(t, cfg.Channels)
	})
}
