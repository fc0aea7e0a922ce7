package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// fileKeys are the keys at the top of the config file.
func fileKeys() []string {
	var keys []string
	for field := range reflect.TypeFor[configFile]().Fields() {
		keys = append(keys, field.Tag.Get("yaml"))
	}
	return keys
}

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
log_level: warn
api_key: "a key with # and: in it"
channels:
  support: {token: t, webhook_secret: s, auth_form: equals, base_url: "https://${HOST_FOR_TESTS}", max_in_flight: 7, max_rate: 0.5}
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
		APIKey:          "a key with # and: in it",
		Channels: map[string]server.Channel{
			"support": {
				Token: "t", WebhookSecret: "s", AuthForm: ongair.AuthEquals, BaseURL: "https://app.ongair.im",
				MaxInFlight: 7, MaxRate: 0.5,
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
	secret := writeFile(t, "secret", "s\n")
	for _, tt := range []struct{ name, file, says string }{
		{"a secret by value and by file", "channels: {a: {token: x, token_file: " + secret + "}}", "channel a: token is given twice"},
		{"an API key by value and by file", "{api_key: x, api_key_file: " + secret + "}", "api_key is given twice"},
		{"a form of authorization that does not exist", "channels: {a: {token: x, auth_form: basic}}", "channel a: auth_form"},
		{"a limit of no calls", "channels: {a: {token: x, max_in_flight: 0}}", "channel a: max_in_flight"},
		{"a limit that is no number", "channels: {a: {token: x, max_rate: fast}}", "channel a: max_rate"},
		{"a limit without an end", "channels: {a: {token: x, max_rate: inf}}", "channel a: max_rate"},
		{"a rate that is not a number", "channels: {a: {token: x, max_rate: nan}}", "channel a: max_rate"},
		{"an age of nothing", "request_id_age: 0s", "request ID age"},
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
	} {
		_, err := readConfigFile(writeFile(t, "gateway.yaml", file))
		require.Error(t, err)
		assert.NotContains(t, err.Error(), secret)
	}
}
