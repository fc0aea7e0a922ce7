package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
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
grace: 25s
webhook_allow_from: "203.0.113.0/24, 2001:db8::1"
trusted_proxies: 10.1.2.3/8
log_level: warn
api_key: "a key with # and: in it"
previous_api_key: a-key-of-yesterday
channels:
  support: {token: t, webhook_secret: s, auth_form: equals, base_url: "https://${HOST_FOR_TESTS}", max_in_flight: 7, max_rate: 0.5,
    previous_webhook_secret: p, webhook_username: u, webhook_password: w}
`)
	t.Setenv("HOST_FOR_TESTS", "app.ongair.im")
	cfg, _, err := serveCmd{Config: path, DataDir: "from-a-flag"}.read()
	require.NoError(t, err)
	assert.Equal(t, server.Config{
		GRPCAddr:        "127.0.0.1:1",
		DataDir:         "from-a-flag",
		RetentionAge:    24 * time.Hour,
		RetentionBytes:  1 << 30,
		DuplicateWindow: 30 * time.Second,
		RequestIDAge:    2 * time.Hour,
		Grace:           25 * time.Second,
		WebhookAllowFrom: []netip.Prefix{
			netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::1/128"),
		},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		APIKey:         "a key with # and: in it",
		PreviousAPIKey: "a-key-of-yesterday",
		LogLevel:       slog.LevelWarn,
		LogFormat:      "text",
		Channels: map[string]server.Channel{
			"support": {
				Token: "t", WebhookSecret: "s", AuthForm: ongair.AuthEquals, BaseURL: "https://app.ongair.im",
				MaxInFlight: 7, MaxRate: 0.5, PreviousWebhookSecret: "p", WebhookUsername: "u", WebhookPassword: "w",
			},
		},
	}, cfg)

	cfg, _, err = serveCmd{}.read()
	require.NoError(t, err)
	assert.Equal(t, server.Config{DataDir: "ongair-data", Channels: map[string]server.Channel{}, LogFormat: "text"}, cfg)
}

func TestTheEnvironmentAddsTheDefaultChannelAndTheKey(t *testing.T) {
	t.Setenv("ONGAIR_TOKEN", "t")
	t.Setenv("ONGAIR_WEBHOOK_SECRET", "s")
	t.Setenv("ONGAIR_BASE_URL", "http://127.0.0.1:1")
	t.Setenv("ONGAIR_GATEWAY_API_KEY", "from-the-environment")
	path := writeFile(t, "gateway.yaml", "channels: {sales: {token: x}}\napi_key: from-the-file\n")
	cfg, _, err := serveCmd{Config: path}.read()
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
	cfg, _, err := serveCmd{Sandbox: true}.read()
	require.NoError(t, err)
	assert.Equal(t, map[string]server.Channel{"default": {}}, cfg.Channels)
	assert.Empty(t, cfg.DataDir, "a temporary folder is made instead")
}

func TestAConfigFileThatContradictsItselfIsRefused(t *testing.T) {
	secret, empty := writeFile(t, "secret", "s\n"), writeFile(t, "empty", " \n")
	three := writeFile(t, "three", strings.Repeat(strings.Repeat("k", 32)+"\n", 3))
	for _, tt := range []struct{ name, file, says string }{
		{"a secret by value and by file", "channels:\n  a: {token: x, token_file: " + secret + "}", "FILE:2: channels.a.token_file (" + secret + "): channels.a.token is given twice, by value and by file"},
		{"an API key by value and by file", "{api_key: x, api_key_file: " + secret + "}", "FILE:1: api_key_file (" + secret + "): api_key is given twice"},
		{"an empty file of a token", "channels:\n  a:\n    token_file: " + empty, "FILE:3: channels.a.token_file (" + empty + "): it is empty"},
		{"an empty file of an API key", "api_key_file: " + empty, "FILE:1: api_key_file (" + empty + "): it is empty"},
		{"an empty file of an encryption key", "encryption_key_file: " + empty, "FILE:1: encryption_key_file (" + empty + "): it is empty"},
		{"a secret file that is not there", "api_key_file: /no/such/file", "FILE:1: api_key_file (/no/such/file): it cannot be read: no such file"},
		{"a short secret in a file", "channels:\n  a:\n    webhook_secret_file: " + secret, "FILE:3: channels.a.webhook_secret_file (" + secret + "): must be 22 to 256"},
		{"a form of authorization that does not exist", "channels:\n a: {token: x,\n  auth_form: basic}", "FILE:3: channels.a.auth_form: "},
		{"a limit of no calls", "channels: {a: {token: x, max_in_flight: 0}}", "FILE:1: channels.a.max_in_flight: \"0\""},
		{"a limit that is no number", "channels: {a: {token: x, max_rate: fast}}", "FILE:1: channels.a.max_rate"},
		{"a limit without an end", "channels: {a: {token: x, max_rate: inf}}", "FILE:1: channels.a.max_rate"},
		{"a rate that is not a number", "channels: {a: {token: x, max_rate: nan}}", "FILE:1: channels.a.max_rate"},
		{"a base URL without a scheme", "channels: {a: {token: x, base_url: ongair.im:443}}", "FILE:1: channels.a.base_url: wants http:// or https://"},
		{"a channel without a secret", "channels:\n  a:\n    token: x", "FILE:2: channels.a.webhook_secret: channel a has no webhook secret"},
		{"a channel whose name is none", "channels:\n  \"a\\nb\": {token: x}", `FILE:2: channels."a\nb": a name is 1 to 64`},
		{"an age of nothing", "request_id_age: 0s", `FILE:1: request_id_age: "0s": want a duration`},
		{"a caller with a key in place of its hash", "callers:\n  a:\n    key_hashes:\n      - ogk_secret", "FILE:4: callers.a.key_hashes.1: "},
		{"a caller with an action that does not exist", "callers: {a: {actions: [send, read]}}", `FILE:1: callers.a.actions.2: "read" is no action`},
		{"a caller with a certificate that has no such name", "callers: {a: {certificates: [billing]}}", "FILE:1: callers.a.certificates.1: "},
		{"a caller with a limit of nothing", "callers: {a: {max_streams: 0}}", "FILE:1: callers.a.max_streams"},
		{"an unknown key of a caller", "callers:\n  a:\n    channel: x", "FILE:3: callers.a.channel: there is no such setting"},
		{"an insecurity that is neither true nor false", "insecure_no_authentication: perhaps", "FILE:1: insecure_no_authentication: \"perhaps\": want true or false"},
		{"a network that is none", "webhook_allow_from: everywhere", "FILE:1: webhook_allow_from: \"everywhere\" is no network"},
		{"a list with a network that is none", "trusted_proxies:\n  - 10.0.0.0/8\n  - everywhere", "FILE:1: trusted_proxies: \"everywhere\" is no network"},
		{"a list of networks that has a list", "trusted_proxies: [[10.0.0.0/8]]", "FILE:1: trusted_proxies: wants a list of single values"},
		{"no connections", "max_connections: 0", "FILE:1: max_connections: "},
		{"an empty file", " \n", "config file FILE is empty"},
		{"a file that is not text", "\xff\xfe\x00", "config file FILE is not in UTF-8"},
		{"a second document", "data_dir: a\n---\ndata_dir: b", "FILE:3: has a second document"},
		{"a key twice", "data_dir: a\ndata_dir: b\n", "FILE:2:1: "},
		{"a channel twice", "channels: {a: {token: x}, a: {token: y}}", "already defined"},
		{"a number where a map belongs", "\nchannels: 3", "FILE:2: channels: wants settings with their names"},
		{"a text in place of everything", "support", "FILE: wants settings with their names"},
		{"a list where a value belongs", "channels: {a: {token: [x]}}", "FILE:1: channels.a.token: wants one value, and has a list"},
		{"settings where a value belongs", "data_dir: {a: b}", "FILE:1: data_dir: wants one value, and has settings below it"},
		{"a value where a list belongs", "callers: {a: {actions: send}}", "FILE:1: callers.a.actions: wants a list"},
		{"a variable that does not end", "data_dir: \"${HOME\"", "FILE:1: data_dir: has a ${ without its }"},
		{"a variable that is not set", "\ndata_dir: ${NOWHERE}", "FILE:2: data_dir: environment variable NOWHERE is not set"},
		{"a variable without a name", "data_dir: ${}", "FILE:1: data_dir: has a ${…} that is not the name"},
		{"an alias of nothing", "data_dir: *a", "FILE:1: data_dir: a value that begins with *"},
		{"a tag", "data_dir: !a b", "FILE:1: data_dir: a value that begins with !"},
		{"the same secret now and before", "channels: {a: {webhook_secret: &s " + servertest.Secret + ", previous_webhook_secret: *s}}", "FILE:1: channels.a.previous_webhook_secret: is the same"},
		{"the same API key now and before", "api_key: 0123456789abcdef\nprevious_api_key: 0123456789abcdef", "FILE:2: previous_api_key: is the same"},
		{"an API key before, and none now", "previous_api_key: 0123456789abcdef", "FILE:1: previous_api_key: needs a new one"},
		{"one secret for two channels", "channels:\n  a: {webhook_secret: &s " + servertest.Secret + "}\n  b: {webhook_secret: *s}", "FILE:3: channels.b.webhook_secret: is also that of channel a"},
		{"a user name without a password", "channels: {a: {webhook_username: u}}", "FILE:1: channels.a.webhook_username: goes together with webhook_password"},
		{"a password without a user name", "channels: {a: {webhook_password: u}}", "FILE:1: channels.a.webhook_password: goes together with webhook_username"},
		{"a certificate with a wildcard", "tls_client_ca: x\ncallers: {a: {certificates: [\"dns:*.internal\"]}}", "FILE:2: callers.a.certificates: dns:*.internal has a *"},
		{"a certificate twice", "callers: {a: {certificates: [\"dns:a.b\", \"dns:A.b\"]}}", "FILE:1: callers.a.certificates: dns:a.b is there twice"},
		{"a certificate of two callers", "callers:\n  a: {certificates: [\"dns:a.b\"]}\n  b: {certificates: [\"dns:a.b\"]}", "FILE:3: callers.b.certificates: dns:a.b is also one of caller a"},
		{"three encryption keys", "encryption_key_file: " + three, "FILE:1: encryption_key_file (" + three + "): has 3 keys"},
		{"room for no webhook", "retention_bytes: 1", "FILE:1: retention_bytes: is 1: it has to be 4 MiB or more"},
		{"a retention that is too short for JetStream", "retention_age: 50us", "FILE:1: retention_age: is 50µs: it has to be 100ms or more"},
		{"a port alone", "webhook_addr: '8081'", "FILE:1: webhook_addr: \"8081\" is no address: want HOST:PORT"},
		{"a port that is a number", "grpc_addr: 9090", "FILE:1: grpc_addr: \"9090\" is no address"},
		{"two ports with one address", "grpc_addr: 127.0.0.1:7000\nadmin_addr: localhost:7000", "FILE:2: admin_addr: localhost:7000 is taken by grpc_addr"},
		{"a port of every address, and of one", "webhook_addr: :7000\nadmin_addr: 127.0.0.1:7000", "FILE:2: admin_addr: 127.0.0.1:7000 is taken by webhook_addr"},
		{"a NATS server that is a web server", "nats_url: http://nowhere:1", "FILE:1: nats_url: want nats://HOST:PORT"},
		{"a NATS server that is no URL", "nats_url: foo bar", "FILE:1: nats_url: want nats://HOST:PORT"},
		{"TLS files that are none", "tls_cert: " + secret + "\ntls_key: " + secret, "FILE:1: tls_cert: TLS certificate in " + secret + " and " + secret},
		{"a log level that does not exist", "log_level: loud", "FILE:1: log_level: log level \"loud\""},
		{"a log format that does not exist", "log_format: xml", "FILE:1: log_format: log format \"xml\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeFile(t, "gateway.yaml", tt.file)
			_, _, err := serveCmd{Config: path}.settings()
			require.ErrorContains(t, err, strings.ReplaceAll(tt.says, "FILE", path))
		})
	}
}

func TestAllThatIsWrongIsSaidAtOnceInTheOrderOfTheFile(t *testing.T) {
	t.Setenv("ONGAIR_GATEWAY_RETENTION_BYTES", "1")
	path := writeFile(t, "gateway.yaml", `
channels:
  support:
    token_file: /no/such/file
    webhook_secret: short
chanels: {}
retention_age: a week
`)
	_, _, err := serveCmd{Config: path, RetentionBytes: "1", DuplicateWindow: "1ns"}.settings()
	require.Error(t, err)
	assert.Equal(t, []string{
		"ONGAIR_GATEWAY_RETENTION_BYTES: is 1: it has to be 4 MiB or more, to hold a large webhook",
		"--duplicate-window: is 1ns: it has to be 100ms or more",
		path + ":4: channels.support.token_file (/no/such/file): it cannot be read: no such file or directory",
		path + ":5: channels.support.webhook_secret: must be 22 to 256 letters, digits, _ and - (it has 5 characters)",
		path + ":6: chanels: there is no such setting",
		path + `:7: retention_age: "a week": want a duration as in 168h`,
	}, strings.Split(err.Error(), "\n"))
}

func TestAConfigFileMayBeWrittenInAnyWayOfYAML(t *testing.T) {
	for name, file := range map[string]string{
		"plain":                "channels: {a: {token: t, webhook_secret: s}, b: {token: t, max_rate: 0.50}}\ntrusted_proxies: 10.0.0.0/8, 10.1.0.0/16",
		"a byte order mark":    "\ufeffchannels: {a: {token: t, webhook_secret: s}, b: {token: t, max_rate: 0.50}}\ntrusted_proxies: 10.0.0.0/8, 10.1.0.0/16",
		"a list of networks":   "channels: {a: {token: t, webhook_secret: s}, b: {token: t, max_rate: 0.50}}\ntrusted_proxies: [10.0.0.0/8, 10.1.0.0/16]",
		"anchors":              "channels: {a: &a {token: &t t, webhook_secret: s}, b: {<<: *a, token: *t, webhook_secret: , max_rate: 0.50}}\ntrusted_proxies: [10.0.0.0/8, 10.1.0.0/16]",
		"what is merged later": "channels: {a: &a {token: t, webhook_secret: s}, b: {max_rate: 0.50, webhook_secret: '', <<: *a}}\ntrusted_proxies: [10.0.0.0/8, 10.1.0.0/16]",
		"quotes and comments":  "---\n# a\n\"channels\": {'a': {token: \"t\", webhook_secret: 's'}, b: {token: t, max_rate: '0.50'}} # b\ntrusted_proxies:\n  - 10.0.0.0/8 # c\n  - 10.1.0.0/16\n",
		"a block":              "channels:\n  a:\n    token: |-\n      t\n    webhook_secret: >-\n      s\n  b:\n    token: t\n    max_rate: 0.50\n    base_url:\ntrusted_proxies: 10.0.0.0/8 10.1.0.0/16\ncallers:\n",
	} {
		t.Run(name, func(t *testing.T) {
			cfg, r, err := serveCmd{Config: writeFile(t, "gateway.yaml", file)}.read()
			require.NoError(t, err)
			assert.Empty(t, r.problems)
			assert.Equal(t, map[string]server.Channel{"a": {Token: "t", WebhookSecret: "s"}, "b": {Token: "t", MaxRate: 0.5}}, cfg.Channels)
			assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}, cfg.TrustedProxies)
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
		"channels: {a: {" + secret + "}}\n",
		"channels:\n  a:\n    token: " + secret + "\n   webhook_secret: x\n",
		"api_key: \"" + secret + "\nx: y",
		"api_key: !" + secret + "\n",
		"api_key: *" + secret + "\n",
		"api_key: ${" + secret + "\n",
		"api_key: ${" + secret + "}\n",
		"nats_url: http://u:" + secret + "@nowhere:1\n",
		"channels: {a: {base_url: \"u:" + secret + "@ongair.im\", token: \"" + secret + "\\n\"}}\n",
		"channels: {a: {webhook_secret: " + secret + ", previous_webhook_secret: " + secret + "}}\n",
		"callers: {a: {key_hashes: [" + secret + "]}}\n",
	} {
		_, _, err := serveCmd{Config: writeFile(t, "gateway.yaml", file)}.settings()
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
	cfg, _, err := serveCmd{Config: path}.read()
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
		{"what is valid", valid, nil, exitOK, "valid: 1 channel, 0 callers.\nWithout a caller the gateway is open on loopback"},
		{"a caller", valid + "api_key: 0123456789abcdef\n", nil, exitOK, "valid: 1 channel, 1 caller.\n"},
		{"an unknown key", valid + "data_directory: x\n", nil, exitUsage, "gateway.yaml:2: data_directory: there is no such setting\n"},
		{"a caller without rights", valid + "callers: {a: {key_hashes: [\"" + auth.HashKey("k").String() + "\"]}}\n", nil, exitUsage, "gateway.yaml:2: callers.a.actions: caller a may do nothing"},
		{"a channel that a caller has and nobody else", valid + "callers: {a: {key_hashes: [\"" + auth.HashKey("k").String() +
			"\"], actions: [send], channels: [sales]}}\n", nil, exitUsage, `gateway.yaml:2: callers.a.channels: there is no channel "sales"`},
		{"an open gateway for everybody", valid, []string{"--grpc-addr", "0.0.0.0:9090"}, exitUsage, "no caller is configured"},
		{"one that says so", valid, []string{"--grpc-addr", "0.0.0.0:9090", "--insecure-no-authentication=true"}, exitOK, "valid"},
		{"one that says so in short", valid, []string{"--insecure-no-authentication", "--grpc-addr", "0.0.0.0:9090"}, exitOK, "warning: --insecure-no-authentication: 0.0.0.0:9090 can be reached"},
		{"one that says the opposite", valid, []string{"--insecure-no-authentication=false", "--grpc-addr", "0.0.0.0:9090"}, exitUsage, "--grpc-addr: 0.0.0.0:9090 can be reached"},
		{"no channels", "data_dir: x\n", nil, exitUsage, "no channel is configured"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"config", "check", "--config", writeFile(t, "gateway.yaml", tt.file)}, tt.args...)
			r := command(t, nil, args...)
			assert.Equal(t, tt.code, r.code, r.errOut)
			assert.Contains(t, r.out+r.errOut, tt.says)
			assert.NotContains(t, r.errOut, "--help", "the command line is right")
			if tt.code == exitUsage {
				args[0], args = "serve", slices.Delete(args, 1, 2)
				served := command(t, nil, args...)
				assert.Equal(t, r, served, "serve says the same")
			}
		})
	}
}

func TestWhatMayBeAMistakeIsSaidAndTaken(t *testing.T) {
	cert, key := servertest.Certificate(t, t.TempDir())
	expired, expiredKey := expiredCertificate(t)
	open := writeFile(t, "secret", "a-secret-in-a-file-of-its-own\n")
	require.NoError(t, os.Chmod(open, 0o644))
	require.NoError(t, os.Chmod(key, 0o644))
	channel := func(settings string) string {
		return "channels:\n  support: {token: t, webhook_secret: " + servertest.Secret + settings + "}\n"
	}
	for _, tt := range []struct {
		name, file string
		env        []string
		says       string
	}{
		{"an admin port for everybody", channel("") + "admin_addr: :9091", nil, "gateway.yaml:3: admin_addr: :9091 can be reached from other machines"},
		{"a token in clear text", channel(", base_url: http://ongair.im"), nil, "gateway.yaml:2: channels.support.base_url: http:// to another machine"},
		{"an open gateway for everybody", channel("") + "http_addr: :8080\ninsecure_no_authentication: true", nil, "gateway.yaml:4: insecure_no_authentication: :8080 can be reached"},
		{"a secret that everybody can read", channel(", previous_webhook_secret_file: " + open), nil, "gateway.yaml:2: channels.support.previous_webhook_secret_file (" + open + "): everybody on this machine can read it"},
		{"a key that everybody can read", channel("") + "tls_cert: " + cert + "\ntls_key: " + key, nil, "gateway.yaml:4: tls_key (" + key + "): everybody on this machine can read it"},
		{"a certificate of the past", channel("") + "tls_cert: " + expired + "\ntls_key: " + expiredKey, nil, "gateway.yaml:3: tls_cert: " + expired + ": the certificate expired at 2001-"},
		{"a channel of the environment beside others", channel(""), []string{"ONGAIR_TOKEN=t", "ONGAIR_WEBHOOK_SECRET=another-" + servertest.Secret}, "gateway.yaml:1: channels.default: ONGAIR_TOKEN and ONGAIR_WEBHOOK_SECRET make this channel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := command(t, tt.env, "config", "check", "--config", writeFile(t, "gateway.yaml", tt.file))
			assert.Equal(t, exitOK, r.code)
			assert.Contains(t, r.out, "The configuration is valid")
			assert.Contains(t, r.errOut, tt.says)
			assert.Equal(t, 1, strings.Count(r.errOut, "\n"), r.errOut)
		})
	}

	_, url := silentSandbox(t)
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir(), "--admin-addr", ":0")
	assert.Contains(t, g.errOut(), `"level":"WARN","msg":"the configuration is taken, and may be a mistake","warning":"--admin-addr: :0 can be reached`)
	r := command(t, nil, "config", "check", "--config", writeFile(t, "gateway.yaml", channel("")))
	assert.Empty(t, r.errOut, "what is usual is no mistake")
}

// expiredCertificate returns the files of a certificate that was valid once.
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

// Whatever is in a file, it is settings or reasons, which show no secret.
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
		cfg, _, err := serveCmd{Config: path}.settings()
		if err != nil {
			assert.NotContains(t, err.Error(), "\n\n")
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
