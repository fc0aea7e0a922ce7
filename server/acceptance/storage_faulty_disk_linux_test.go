package acceptance

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/servertest/faultfs"
)

// faultyDisk is a gateway with its log on a faultfs.Disk, and a subscriber during the whole test.
type faultyDisk struct {
	*Gateway
	t        *testing.T
	disk     *faultfs.Disk
	recorder *Recorder
	live     *Subscription
	posted   int
}

// startOnFaultyDisk starts the gateway while the disk works, and stores one event.
func startOnFaultyDisk(t *testing.T) *faultyDisk {
	t.Helper()
	f := &faultyDisk{t: t, disk: faultfs.New(t), recorder: NewRecorder(t)}
	f.Gateway = Start(t, func(c *config.Config) { c.DataDir = filepath.Join(f.disk.Dir(), "data") })
	f.live = f.recorder.Subscribe("live", OverGRPC{}, f.Endpoints(), earliest())
	require.Equal(t, []int{http.StatusOK}, f.post(1))
	return f
}

// post posts n webhooks concurrently, and returns their statuses.
func (f *faultyDisk) post(n int) []int {
	statuses := make([]int, n)
	var senders sync.WaitGroup
	for i := range n {
		f.posted++
		fields := received(f.posted, "Hi")
		senders.Go(func() { statuses[i] = f.recorder.Post(f.WebhookURL(Channel), Channel, fields...) })
	}
	senders.Wait()
	return statuses
}

// postRejected posts n webhooks concurrently, asserts that all are rejected, and returns the
// duration.
func (f *faultyDisk) postRejected(n int) (took time.Duration) {
	f.t.Helper()
	started := time.Now()
	for _, status := range f.post(n) {
		assert.Equal(f.t, http.StatusServiceUnavailable, status)
	}
	return time.Since(started)
}

// assertNotReady asserts that the gateway is live, not ready, and rejects a webhook with
// Retry-After.
func (f *faultyDisk) assertNotReady() {
	f.t.Helper()
	// Not recorded, because it is a duplicate of a stored event.
	form := url.Values{}
	for _, field := range received(1, "Hi") {
		form.Set(field.Name, field.Value)
	}
	response, err := http.PostForm(f.WebhookURL(Channel), form)
	require.NoError(f.t, err)
	require.NoError(f.t, response.Body.Close())
	assert.Equal(f.t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Equal(f.t, "2", response.Header.Get("Retry-After"))
	assert.Equal(f.t, http.StatusServiceUnavailable, getStatus(f.t, "http://"+f.Admin+"/readyz"))
	assert.Equal(f.t, http.StatusOK, getStatus(f.t, "http://"+f.Admin+"/livez"))
}

// waitForRecovery waits until the gateway accepts webhooks again and the subscriber's stream
// continues. Then it verifies the guarantees.
func (f *faultyDisk) waitForRecovery() {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.post(1)[0] == http.StatusOK }, 30*time.Second, 10*time.Millisecond)
	assert.Equal(f.t, http.StatusOK, getStatus(f.t, "http://"+f.Admin+"/readyz"))
	last := strconv.Itoa(f.posted)
	for n := 1; ; n++ {
		events := f.live.Events(n)
		if n = len(events); events[n-1].GetMessageReceived().GetId() == last {
			break
		}
	}
	f.recorder.Verify(f.Endpoints())
}

func TestAFailingDiskRejectsWebhooksUntilItRecovers(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*faultfs.Disk, syscall.Errno)
		with syscall.Errno
		// first is the number of webhooks that are first to fail: one, or a batch.
		first int
	}{
		{"writes fail with EROFS, one webhook", (*faultfs.Disk).FailWrites, syscall.EROFS, 1},
		{"writes fail with EROFS, a batch", (*faultfs.Disk).FailWrites, syscall.EROFS, 64},
		{"writes fail with EIO, one webhook", (*faultfs.Disk).FailWrites, syscall.EIO, 1},
		{"writes fail with EIO, a batch", (*faultfs.Disk).FailWrites, syscall.EIO, 64},
		{"syncs fail with EIO, one webhook", (*faultfs.Disk).FailSyncs, syscall.EIO, 1},
		{"syncs fail with EIO, a batch", (*faultfs.Disk).FailSyncs, syscall.EIO, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := startOnFaultyDisk(t)
			tt.fail(f.disk, tt.with)
			for _, n := range []int{tt.first, 1, 64} {
				assert.Less(t, f.postRejected(n), time.Second, "rejected at once")
			}
			f.assertNotReady()
			// Stored events are still served.
			f.recorder.Subscribe("newcomer", OverGRPC{}, f.Endpoints(), earliest()).Events(1)
			tt.fail(f.disk, 0)
			f.waitForRecovery()
		})
	}
}

func TestASlowDiskMakesWebhooksWait(t *testing.T) {
	t.Parallel()
	f := startOnFaultyDisk(t)
	f.disk.DelaySyncs(300 * time.Millisecond)
	for _, n := range []int{1, 19, 64} {
		for _, status := range f.post(n) {
			assert.Equal(t, http.StatusOK, status, "of %d concurrent ones", n)
		}
	}
	assert.Equal(t, http.StatusOK, getStatus(t, "http://"+f.Admin+"/readyz"))
	f.disk.DelaySyncs(0)
	f.waitForRecovery()
}

func TestAHangingDiskRejectsWebhooksUntilItRecovers(t *testing.T) {
	t.Parallel()
	f := startOnFaultyDisk(t)
	f.disk.DelaySyncs(time.Hour)
	// The sync may end at any moment, so a webhook waits, but not for long.
	assert.Less(t, f.postRejected(1), 8*time.Second)
	f.assertNotReady()
	f.disk.DelaySyncs(0) // ends the delay of running ones, too
	f.waitForRecovery()
}
