package storage

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARemovedFileNeedsNoSync(t *testing.T) {
	const files = 2000
	dir := t.TempDir()
	path := func(i int) string { return filepath.Join(dir, strconv.Itoa(i)) }
	for i := range files {
		require.NoError(t, os.WriteFile(path(i), nil, 0o600))
	}
	begun := make(chan struct{})
	var removing sync.WaitGroup
	removing.Go(func() {
		close(begun)
		for i := range files {
			_ = os.Remove(path(i)) // exists
		}
	})
	<-begun
	require.NoError(t, syncFiles(dir))
	removing.Wait()
}
