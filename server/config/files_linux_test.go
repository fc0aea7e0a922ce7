package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEndlessFilesAreNotRead(t *testing.T) {
	dir := t.TempDir()
	pipe, growing, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "growing"), filepath.Join(dir, "large")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.WriteFile(large, make([]byte, maxSecret+1), 0o600))
	require.NoError(t, os.WriteFile(growing, nil, 0o600))
	require.NoError(t, os.Truncate(growing, 1<<40)) // which takes no room
	for name, tt := range map[string]struct{ file, says string }{
		"a pipe":            {pipe, "not a regular file"},
		"a device":          {"/dev/zero", "not a regular file"},
		"a directory":       {dir, "not a regular file"},
		"a terabyte":        {growing, "larger than"},
		"a link to a pipe":  {link(t, pipe), "not a regular file"},
		"a link to nothing": {link(t, filepath.Join(dir, "nothing")), "no such file"},
	} {
		for setting, form := range map[string]string{
			"token_file":          "channels: {a: {token_file: %s, webhook_secret: a-secret-for-tests-only}}",
			"api_key_file":        "api_key_file: %s",
			"encryption_key_file": "encryption_key_file: %s",
			"nats_token_file":     "nats_url: a\nnats_token_file: %s",
			"nats_tls_ca":         "nats_url: a\nnats_tls_ca: %s",
			"tls_cert":            "tls_cert: %[1]s\ntls_key: %[1]s",
		} {
			_, err := Load(Source{File: writeFile(t, "gateway.yaml", fmt.Sprintf(form, tt.file)), Running: true})
			require.ErrorContains(t, err, setting, name)
			assert.ErrorContains(t, err, tt.says, "%s as %s", name, setting)
		}
		_, err := Load(Source{File: tt.file, Running: true})
		assert.ErrorContains(t, err, tt.says, name)
	}
	_, err := Load(Source{File: "/dev/zero"})
	assert.ErrorContains(t, err, "larger than 1.0 MiB", "nor at a start")
	_, err = Load(Source{File: writeFile(t, "gateway.yaml", "api_key_file: "+large)})
	assert.ErrorContains(t, err, "larger than 16 KiB")
	require.NoError(t, os.Truncate(large, maxSecret))
	_, err = Load(Source{File: writeFile(t, "gateway.yaml", "api_key_file: "+large)})
	assert.NotContains(t, err.Error(), "it is larger")

	// Its size is said to be 0, as is that of everything there.
	content, err := readFile("/proc/self/environ", maxSecret)
	require.NoError(t, err)
	assert.True(t, strings.Contains(string(content), "PATH="))
}

// link returns a link to a path.
func link(t *testing.T, to string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(to, path))
	return path
}
