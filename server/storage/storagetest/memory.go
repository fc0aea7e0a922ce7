package storagetest

import (
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

// LoseMemory loses the batches that an embedded storage staged in memory, as a power cut
// does. The storage MUST NOT be open.
func LoseMemory(t T, dataDir string) {
	t.Helper()
	links, err := filepath.Glob(filepath.Join(dataDir, "jetstream", "jetstream", "$G", "streams", "*", "batches"))
	require.NoError(t, err)
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil { // else it is a directory
			require.NoError(t, os.RemoveAll(filepath.Dir(target)))
		}
	}
}
