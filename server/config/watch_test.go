package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// old makes a file look as if it had been written long ago.
func old(t *testing.T, path string) {
	t.Helper()
	long := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, long, long))
}

func TestAChangedFileIsNoticedWithoutReadingIt(t *testing.T) {
	write := func(path, content string) {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		old(t, path)
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   bool
	}{
		{"nothing", func(*testing.T, string) {}, false},
		{"another file", func(t *testing.T, dir string) { write(dir+"/other", "x") }, false},
		{"the config file", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(dir+"/gateway.yaml", []byte("data_dir: x"), 0o600))
		}, true},
		{"the same content at another time", func(t *testing.T, dir string) {
			require.NoError(t, os.Chtimes(dir+"/secret", time.Time{}, time.Now().Add(-time.Minute)))
		}, true},
		{"another size at the same time", func(t *testing.T, dir string) { write(dir+"/secret", "another-secret-of-the-tests") }, true},
		{"another file at the same time and of the same size", func(t *testing.T, dir string) {
			write(dir+"/next", "a-secret-for-tests-0n1y")
			require.NoError(t, os.Rename(dir+"/next", dir+"/secret"))
		}, true},
		{"a link in the path, as Kubernetes replaces it", func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(dir+"/v2", 0o700))
			write(dir+"/v2/token", "t2")
			require.NoError(t, os.Symlink("v2", dir+"/data_tmp"))
			require.NoError(t, os.Rename(dir+"/data_tmp", dir+"/data"))
		}, true},
		{"a file that is gone", func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir+"/secret")) }, true},
		{"who may read it", func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir+"/secret", 0o644)) }, true},
		{"the TLS certificate", func(t *testing.T, dir string) { write(dir+"/cert.pem", "another") }, true},
		{"the key of the certificate", func(t *testing.T, dir string) { write(dir+"/key.pem", "another") }, true},
		{"the authorities of client certificates", func(t *testing.T, dir string) { write(dir+"/ca.pem", "another") }, true},
		{"the encryption key", func(t *testing.T, dir string) { write(dir+"/encryption", strings.Repeat("k", 33)) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "v1"), 0o700))
			require.NoError(t, os.Symlink("v1", filepath.Join(dir, "data")))
			for name, content := range map[string]string{
				"v1/token": "t1", "secret": "a-secret-for-tests-only", "encryption": strings.Repeat("k", 32),
				"cert.pem": "none", "key.pem": "none", "ca.pem": "none",
				"gateway.yaml": strings.ReplaceAll("tls_cert: \"DIR/cert.pem\"\ntls_key: \"DIR/key.pem\"\ntls_client_ca: \"DIR/ca.pem\"\n"+
					"encryption_key_file: \"DIR/encryption\"\nchannels: {a: {token_file: \"DIR/data/token\", webhook_secret_file: \"DIR/secret\"}}", "DIR", dir),
			} {
				write(filepath.Join(dir, name), content)
			}
			loaded, err := Load(Source{File: filepath.Join(dir, "gateway.yaml")})
			require.ErrorContains(t, err, "TLS certificate in", "whose file is watched all the same")
			tt.change(t, dir)
			assert.Equal(t, tt.want, loaded.FilesChanged())
		})
	}
}

func TestAFileThatMayHaveChangedAgainCountsAsChanged(t *testing.T) {
	path := writeFile(t, "gateway.yaml", "channels: {a: {token: t, webhook_secret: a-secret-for-tests-only}}\n")
	load := func() Loaded {
		loaded, _ := Load(Source{File: path})
		return loaded
	}
	assert.True(t, load().FilesChanged(), "it has just been written")
	old(t, path)
	assert.False(t, load().FilesChanged())
	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(path, later, later))
	assert.True(t, load().FilesChanged(), "it was written in the future")
	old(t, path)
	before := load()
	require.NoError(t, os.WriteFile(path, []byte("channels: {a: {token_file: "+path+"-none, webhook_secret: a-secret-for-tests-only}}\n"), 0o600))
	assert.True(t, before.FilesChanged())
	old(t, path)
	assert.True(t, load().FilesChanged(), "a file that could not be read")
}

func TestAFileThatChangesWhileItIsReadCountsAsChanged(t *testing.T) {
	path := writeFile(t, "secret", "before")
	old(t, path)
	r := newReading(Source{})
	r.watch(path)
	require.NoError(t, os.WriteFile(path, []byte("during"), 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)))
	content, err := r.contentOf(path, maxSecret)
	require.NoError(t, err)
	assert.Equal(t, "during", string(content))
	assert.True(t, Loaded{reading: r}.FilesChanged(), "what was read may be half of it")
}
