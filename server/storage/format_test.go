package storage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/storage"
)

func TestANewDirectoryIsStampedFirst(t *testing.T) {
	for name, keys := range map[string][]string{"unencrypted": nil, "encrypted": {"0123456789abcdef0123456789abcdef"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			js, err := storage.Open(t.Context(), storage.Config{Dir: dir, EncryptionKeys: keys})
			require.NoError(t, err)
			require.NoError(t, js.Close())
			stamp, err := os.ReadFile(filepath.Join(dir, "format"))
			require.NoError(t, err)
			assert.Equal(t, "1\n", string(stamp))
		})
	}
}

// The directory must not be modified.
func TestADirectoryOfAnotherFormatIsRejected(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"data without a stamp": {
			map[string]string{"jetstream/x": ""},
			`data directory DIR has data and no format stamp: it is not a released gateway's; ` +
				`move it away to start with an empty one, or restore its file "format"`,
		},
		"a key without a stamp": {
			map[string]string{"encryption": "v1 x"},
			`data directory DIR has data and no format stamp: it is not a released gateway's; ` +
				`move it away to start with an empty one, or restore its file "format"`,
		},
		"a newer format": {
			map[string]string{"format": "2\n"},
			"data directory DIR has format 2, and this gateway knows formats up to 1: use the version that wrote it, or a newer one",
		},
		"an empty stamp": {
			map[string]string{"format": ""},
			`data directory DIR has the invalid format stamp "": restore it from a backup`,
		},
		"a stamp other than a number": {
			map[string]string{"format": "one\n"},
			`data directory DIR has the invalid format stamp "one": restore it from a backup`,
		},
		"a stamp of zero": {
			map[string]string{"format": "0\n"},
			`data directory DIR has the invalid format stamp "0": restore it from a backup`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range tt.files {
				path := filepath.Join(dir, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
				require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			}
			_, err := storage.Open(t.Context(), storage.Config{Dir: dir})
			require.Error(t, err)
			assert.Equal(t, tt.want, strings.ReplaceAll(err.Error(), dir, "DIR"))
			left := map[string]string{}
			for file := range tt.files {
				content, err := os.ReadFile(filepath.Join(dir, file))
				require.NoError(t, err)
				left[file] = string(content)
			}
			assert.Equal(t, tt.files, left)
		})
	}
}
