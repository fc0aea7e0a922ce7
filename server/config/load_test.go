package config

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// writeFile writes a file of the test's own, which nobody else may read.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
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
	cfg, _, err := read(Source{File: path, Flags: map[string]string{"data_dir": "from-a-flag"}})
	require.NoError(t, err)
	assert.Equal(t, Config{
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
		Channels: map[string]Channel{
			"support": {
				Token: "t", WebhookSecret: "s", AuthForm: ongair.AuthEquals, BaseURL: "https://app.ongair.im",
				MaxInFlight: 7, MaxRate: 0.5, PreviousWebhookSecret: "p", WebhookUsername: "u", WebhookPassword: "w",
			},
		},
	}, cfg)

	cfg, _, err = read(Source{})
	require.NoError(t, err)
	assert.Equal(t, Config{DataDir: "ongair-data", Channels: map[string]Channel{}, LogFormat: "text"}, cfg)
}

func TestTheEnvironmentAddsTheDefaultChannelAndTheKey(t *testing.T) {
	t.Setenv("ONGAIR_TOKEN", "t")
	t.Setenv("ONGAIR_WEBHOOK_SECRET", "s")
	t.Setenv("ONGAIR_BASE_URL", "http://127.0.0.1:1")
	t.Setenv("ONGAIR_GATEWAY_API_KEY", "from-the-environment")
	path := writeFile(t, "gateway.yaml", "channels: {sales: {token: x}}\napi_key: from-the-file\n")
	cfg, _, err := read(Source{File: path})
	require.NoError(t, err)
	assert.Equal(t, "from-the-environment", cfg.APIKey)
	assert.Equal(t, map[string]Channel{
		"sales":   {Token: "x"},
		"default": {Token: "t", WebhookSecret: "s", BaseURL: "http://127.0.0.1:1"},
	}, cfg.Channels)
}

func TestASandboxNeverSeesTheTokenOfARealAccount(t *testing.T) {
	t.Setenv("ONGAIR_TOKEN", "of a real account")
	t.Setenv("ONGAIR_BASE_URL", "https://ongair.im")
	cfg, _, err := read(Source{Sandbox: true})
	require.NoError(t, err)
	assert.Equal(t, map[string]Channel{"default": {}}, cfg.Channels)
	assert.Empty(t, cfg.DataDir, "a temporary folder is made instead")
}

func TestAConfigFileThatContradictsItselfIsRejected(t *testing.T) {
	secret, empty := writeFile(t, "secret", "s\n"), writeFile(t, "empty", " \n")
	three := writeFile(t, "three", strings.Repeat(strings.Repeat("k", 32)+"\n", 3))
	for _, tt := range []struct{ name, file, says string }{
		{"a secret by value and by file", "channels:\n  a: {token: x, token_file: " + secret + "}", "FILE:2: channels.a.token_file (" + secret + "): channels.a.token is set twice, by value and by file"},
		{"an API key by value and by file", "{api_key: x, api_key_file: " + secret + "}", "FILE:1: api_key_file (" + secret + "): api_key is set twice"},
		{"an empty file of a token", "channels:\n  a:\n    token_file: " + empty, "FILE:3: channels.a.token_file (" + empty + "): is empty"},
		{"an empty file of an API key", "api_key_file: " + empty, "FILE:1: api_key_file (" + empty + "): is empty"},
		{"an empty file of an encryption key", "encryption_key_file: " + empty, "FILE:1: encryption_key_file (" + empty + "): is empty"},
		{"a secret file that is not there", "api_key_file: /no/such/file", "FILE:1: api_key_file (/no/such/file): cannot be read: no such file"},
		{"a short secret in a file", "channels:\n  a:\n    webhook_secret_file: " + secret, "FILE:3: channels.a.webhook_secret_file (" + secret + "): must be 22 to 256"},
		{"a form of authorization that does not exist", "channels:\n a: {token: x,\n  auth_form: basic}", "FILE:3: channels.a.auth_form: "},
		{"a limit of no calls", "channels: {a: {token: x, max_in_flight: 0}}", "FILE:1: channels.a.max_in_flight: invalid number \"0\""},
		{"a limit that is no number", "channels: {a: {token: x, max_rate: fast}}", "FILE:1: channels.a.max_rate"},
		{"a limit without an end", "channels: {a: {token: x, max_rate: inf}}", "FILE:1: channels.a.max_rate"},
		{"a rate that is not a number", "channels: {a: {token: x, max_rate: nan}}", "FILE:1: channels.a.max_rate"},
		{"a base URL without a scheme", "channels: {a: {token: x, base_url: ongair.im:443}}", "FILE:1: channels.a.base_url: must begin with http:// or https://"},
		{"a channel without a secret", "channels:\n  a:\n    token: x", "FILE:2: channels.a.webhook_secret: channel a has no webhook secret"},
		{"a channel whose name is none", "channels:\n  \"a\\nb\": {token: x}", `FILE:2: channels."a\nb": invalid name: use 1 to 64`},
		{"an age of nothing", "request_id_age: 0s", `FILE:1: request_id_age: invalid duration "0s"`},
		{"a caller with a key in place of its hash", "callers:\n  a:\n    key_hashes:\n      - ogk_secret", "FILE:4: callers.a.key_hashes.1: "},
		{"a caller with an action that does not exist", "callers: {a: {actions: [send, read]}}", `FILE:1: callers.a.actions.2: unknown action "read"`},
		{"a caller with a certificate that has no such name", "callers: {a: {certificates: [billing]}}", "FILE:1: callers.a.certificates.1: "},
		{"a caller with a limit of nothing", "callers: {a: {max_streams: 0}}", "FILE:1: callers.a.max_streams"},
		{"an unknown key of a caller", "callers:\n  a:\n    channel: x", "FILE:3: callers.a.channel: unknown setting"},
		{"an insecurity that is neither true nor false", "insecure_no_authentication: perhaps", "FILE:1: insecure_no_authentication: invalid value \"perhaps\": use true or false"},
		{"a network that is none", "webhook_allow_from: everywhere", "FILE:1: webhook_allow_from: invalid network \"everywhere\""},
		{"a list with a network that is none", "trusted_proxies:\n  - 10.0.0.0/8\n  - everywhere", "FILE:1: trusted_proxies: invalid network \"everywhere\""},
		{"an origin with a path", "cors_origins: [https://app.example.com, https://app.example.com/page]", "FILE:1: cors_origins: invalid origin \"https://app.example.com/page\": use a scheme and a host"},
		{"every origin", "cors_origins: '*'", "FILE:1: cors_origins: invalid origin \"*\""},
		{"a list of networks that has a list", "trusted_proxies: [[10.0.0.0/8]]", "FILE:1: trusted_proxies: must be a list of single values"},
		{"no connections", "max_connections: 0", "FILE:1: max_connections: "},
		{"an empty file", " \n", "config file FILE is empty"},
		{"a file that is not text", "\xff\xfe\x00", "config file FILE is not valid UTF-8"},
		{"a second document", "data_dir: a\n---\ndata_dir: b", "FILE:3: a second YAML document"},
		{"a key twice", "data_dir: a\ndata_dir: b\n", "FILE:2: data_dir: is already defined in line 1"},
		{"a channel twice", "channels: {a: {token: x}, a: {token: y}}", "FILE:1: channels.a: is already defined in line 1"},
		{"a number where a map belongs", "\nchannels: 3", "FILE:2: channels: must be a map"},
		{"a text in place of everything", "support", "FILE: must be a map"},
		{"a list where a value belongs", "channels: {a: {token: [x]}}", "FILE:1: channels.a.token: must be a single value, not a list"},
		{"settings where a value belongs", "data_dir: {a: b}", "FILE:1: data_dir: must be a single value, not a map"},
		{"a value where a list belongs", "callers: {a: {actions: send}}", "FILE:1: callers.a.actions: must be a list"},
		{"a variable that does not end", "data_dir: \"${HOME\"", "FILE:1: data_dir: has a ${ without a }"},
		{"a variable that is not set", "\ndata_dir: ${NOWHERE}", "FILE:2: data_dir: environment variable NOWHERE is not set"},
		{"a variable without a name", "data_dir: ${}", "FILE:1: data_dir: has a ${…} without a valid variable name"},
		{"an alias of nothing", "data_dir: *a", "FILE:1: data_dir: a value that begins with *"},
		{"a tag", "data_dir: !a b", "FILE:1: data_dir: a value that begins with !"},
		{"the same secret now and before", "channels: {a: {webhook_secret: &s a-secret-for-tests-only, previous_webhook_secret: *s}}", "FILE:1: channels.a.previous_webhook_secret: must differ"},
		{"the same API key now and before", "api_key: 0123456789abcdef\nprevious_api_key: 0123456789abcdef", "FILE:2: previous_api_key: must differ"},
		{"an API key before, and none now", "previous_api_key: 0123456789abcdef", "FILE:1: previous_api_key: requires api_key"},
		{"one secret for two channels", "channels:\n  a: {webhook_secret: &s a-secret-for-tests-only}\n  b: {webhook_secret: *s}", "FILE:3: channels.b.webhook_secret: is also used by channel a"},
		{"a user name without a password", "channels: {a: {webhook_username: u}}", "FILE:1: channels.a.webhook_username: requires webhook_password"},
		{"a password without a user name", "channels: {a: {webhook_password: u}}", "FILE:1: channels.a.webhook_password: requires webhook_username"},
		{"a certificate with a wildcard", "tls_client_ca: x\ncallers: {a: {certificates: [\"dns:*.internal\"]}}", "FILE:2: callers.a.certificates: dns:*.internal has a wildcard"},
		{"a certificate twice", "callers: {a: {certificates: [\"dns:a.b\", \"dns:A.b\"]}}", "FILE:1: callers.a.certificates: dns:a.b is a duplicate"},
		{"a certificate of two callers", "callers:\n  a: {certificates: [\"dns:a.b\"]}\n  b: {certificates: [\"dns:a.b\"]}", "FILE:3: callers.b.certificates: dns:a.b is already used by caller a"},
		{"three encryption keys", "encryption_key_file: " + three, "FILE:1: encryption_key_file (" + three + "): has 3 keys"},
		{"room for no webhook", "retention_bytes: 1", "FILE:1: retention_bytes: 1 is too small: use 4 MiB or more"},
		{"a retention that is too short for JetStream", "retention_age: 50us", "FILE:1: retention_age: 50µs is too short: use 100ms or more"},
		{"a port alone", "webhook_addr: '8081'", "FILE:1: webhook_addr: invalid address \"8081\": use HOST:PORT"},
		{"a port that is a number", "grpc_addr: 9090", "FILE:1: grpc_addr: invalid address \"9090\""},
		{"two ports with one address", "grpc_addr: 127.0.0.1:7000\nadmin_addr: localhost:7000", "FILE:2: admin_addr: localhost:7000 is taken by grpc_addr"},
		{"a port of every address, and of one", "webhook_addr: :7000\nadmin_addr: 127.0.0.1:7000", "FILE:2: admin_addr: 127.0.0.1:7000 is taken by webhook_addr"},
		{"a NATS server that is a web server", "nats_url: http://nowhere:1", "FILE:1: nats_url: invalid URL: use nats://HOST:PORT"},
		{"a NATS server that is no URL", "nats_url: foo bar", "FILE:1: nats_url: invalid URL: use nats://HOST:PORT"},
		{"a setting of NATS without a server", "nats_replicas: 3", "FILE:1: nats_replicas: requires nats_url"},
		{"two identities for NATS", "nats_url: a\nnats_nkey_file: " + secret + "\nnats_credentials_file: " + secret, "FILE:2: nats_nkey_file (" + secret + "): nats_credentials_file already has the credentials for NATS: use one of them"},
		{"an identity for NATS in the URL and in a file", "nats_url: u:p@a\nnats_token_file: " + secret, "FILE:2: nats_token_file (" + secret + "): nats_url already has the credentials"},
		{"a user name for NATS without a password", "nats_url: a\nnats_username: u", "FILE:2: nats_username: requires nats_password_file"},
		{"a password for NATS without a user name", "nats_url: a\nnats_password_file: " + secret, "FILE:2: nats_password_file (" + secret + "): requires nats_username"},
		{"a file for NATS that is missing", "nats_url: a\nnats_credentials_file: /nowhere", "FILE:2: nats_credentials_file (/nowhere): cannot be read: no such file"},
		{"a file for NATS that is empty", "nats_url: a\nnats_token_file: " + empty, "FILE:2: nats_token_file (" + empty + "): is empty"},
		{"a certificate for NATS without a key", "nats_url: a\nnats_tls_cert: x", "FILE:2: nats_tls_cert: nats_tls_cert and nats_tls_key require each other"},
		{"a key for NATS without a certificate", "nats_url: a\nnats_tls_key: x", "FILE:2: nats_tls_key: nats_tls_cert and nats_tls_key require each other"},
		{"a certificate for NATS that is none", "nats_url: a\nnats_tls_cert: " + secret + "\nnats_tls_key: " + secret, "FILE:2: nats_tls_cert: TLS certificate in " + secret},
		{"authorities for NATS that are none", "nats_url: a\nnats_tls_ca: " + secret, "FILE:2: nats_tls_ca: authorities of the NATS server's certificate: "},
		{"too many replicas", "nats_url: a\nnats_replicas: 6", "FILE:2: nats_replicas: must be 1 to 5"},
		{"no replicas", "nats_url: a\nnats_replicas: 0", "FILE:2: nats_replicas: invalid number \"0\": use 1 or more"},
		{"a prefix with a dot", "nats_url: a\nnats_prefix: a.b", "FILE:2: nats_prefix: invalid name \"a.b\": use 1 to 32 letters, digits, _ or -"},
		{"a domain with a wildcard", "nats_url: a\nnats_domain: '*'", "FILE:2: nats_domain: invalid name \"*\""},
		{"TLS files that are none", "tls_cert: " + secret + "\ntls_key: " + secret, "FILE:1: tls_cert: TLS certificate in " + secret + " and " + secret},
		{"a log level that does not exist", "log_level: loud", "FILE:1: log_level: invalid log level \"loud\""},
		{"a log format that does not exist", "log_format: xml", "FILE:1: log_format: invalid log format \"xml\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeFile(t, "gateway.yaml", tt.file)
			_, err := Load(Source{File: path})
			require.ErrorContains(t, err, strings.ReplaceAll(tt.says, "FILE", path))
		})
	}
}

func TestAllProblemsAreReportedInTheOrderOfTheFile(t *testing.T) {
	t.Setenv("ONGAIR_GATEWAY_RETENTION_BYTES", "1")
	path := writeFile(t, "gateway.yaml", `
channels:
  support:
    token_file: /no/such/file
    webhook_secret: short
chanels: {}
retention_age: a week
`)
	_, err := Load(Source{File: path, Flags: map[string]string{"retention_bytes": "1", "duplicate_window": "1ns"}})
	require.Error(t, err)
	assert.Equal(t, []string{
		"ONGAIR_GATEWAY_RETENTION_BYTES: 1 is too small: use 4 MiB or more, the size of the largest webhook",
		"--duplicate-window: 1ns is too short: use 100ms or more",
		path + ":4: channels.support.token_file (/no/such/file): cannot be read: no such file or directory",
		path + ":5: channels.support.webhook_secret: must be 22 to 256 letters, digits, _ and - (it has 5 characters)",
		path + ":6: chanels: unknown setting",
		path + `:7: retention_age: invalid duration "a week": use a positive one such as 168h`,
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
			cfg, r, err := read(Source{File: writeFile(t, "gateway.yaml", file)})
			require.NoError(t, err)
			assert.Empty(t, r.problems)
			assert.Equal(t, map[string]Channel{"a": {Token: "t", WebhookSecret: "s"}, "b": {Token: "t", MaxRate: 0.5}}, cfg.Channels)
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
		_, err := Load(Source{File: writeFile(t, "gateway.yaml", file)})
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
	cfg, _, err := read(Source{File: path})
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
		loaded, err := Load(Source{File: path})
		if err != nil {
			assert.NotContains(t, err.Error(), "\n\n")
			// Keys may be named, and variables.
			rest := regexp.MustCompile(`\b(?:`+strings.Join(SecretKeys(), "|")+`)\s*:[ \t]*([^,}\n]*)`).ReplaceAll(content, nil)
			if !bytes.Contains(rest, []byte("canary")) && !bytes.Contains(content, []byte("${")) {
				assert.NotContains(t, err.Error(), "canary")
			}
			return
		}
		assert.NotNil(t, loaded.Config.Channels)
	})
}

// What a key of the file says is in a field of the configuration, which says by its tag
// what a reload makes of it.
func TestEveryKeyOfTheFileIsReloadedOrNeedsARestart(t *testing.T) {
	tags := map[string]bool{}
	for field := range reflect.TypeFor[Config]().Fields() {
		tags[field.Tag.Get("reload")+field.Tag.Get("restart")] = true
	}
	for key := range reflect.TypeFor[configFile]().Fields() {
		key := key.Tag.Get("yaml")
		assert.True(t, tags[key] || tags[strings.TrimSuffix(key, "_file")], key)
	}
}
