package acceptance

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/servertest/faultfs"
)

// smallDisk mounts a file system of size bytes until the test ends. It requires root, which
// continuous integration has.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	faultfs.Mounted(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(size)))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

func TestAFullDiskRejectsWebhooksUntilThereIsRoom(t *testing.T) {
	disk := smallDisk(t, 64<<20)
	g, r := Start(t, func(c *config.Config) { c.DataDir = filepath.Join(disk, "data") }), NewRecorder(t)
	at, url := g.Endpoints(), g.WebhookURL(Channel)
	text := strings.Repeat("x", 100<<10)
	live := r.Subscribe("live", OverGRPC{}, at, earliest())
	id := 0
	post := func() int {
		id++
		return r.Post(url, Channel, received(id, text)...)
	}
	require.Equal(t, http.StatusOK, post())

	filler := filepath.Join(disk, "filler")
	f, err := os.Create(filler)
	require.NoError(t, err)
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())

	require.Eventually(t, func() bool { return post() == http.StatusServiceUnavailable }, 60*time.Second, time.Millisecond)
	for range 10 {
		started := time.Now()
		assert.Equal(t, http.StatusServiceUnavailable, post())
		assert.Less(t, time.Since(started), time.Second, "rejected at once when the disk is known to be full")
	}
	assert.Equal(t, http.StatusServiceUnavailable, getStatus(t, "http://"+g.Admin+"/readyz"))
	assert.Equal(t, http.StatusOK, getStatus(t, "http://"+g.Admin+"/livez"))

	require.NoError(t, os.Remove(filler))
	require.Eventually(t, func() bool { return post() == http.StatusOK }, 60*time.Second, 100*time.Millisecond)
	assert.Equal(t, http.StatusOK, getStatus(t, "http://"+g.Admin+"/readyz"))
	live.Events(2) // the same stream continues
	r.Verify(at)
}
