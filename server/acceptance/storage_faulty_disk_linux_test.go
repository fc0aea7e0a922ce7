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

// faultyDisk is a gateway whose log is on a disk that misbehaves, and a subscriber
// that is there all the time.
type faultyDisk struct {
	*Gateway
	t        *testing.T
	disk     *faultfs.Disk
	recorder *Recorder
	live     *Subscription
	posted   int
}

// startOnFaultyDisk starts the gateway while the disk still behaves, and stores one
// event.
func startOnFaultyDisk(t *testing.T) *faultyDisk {
	t.Helper()
	f := &faultyDisk{t: t, disk: faultfs.New(t), recorder: NewRecorder(t)}
	f.Gateway = Start(t, func(c *config.Config) { c.DataDir = filepath.Join(f.disk.Dir(), "data") })
	f.live = f.recorder.Subscribe("live", OverGRPC{}, f.Endpoints(), earliest())
	require.Equal(t, []int{http.StatusOK}, f.post(1))
	return f
}

// post posts n webhooks at once, and returns what was answered.
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

// refuses posts n webhooks at once, none of which the gateway can store, and says
// how long it took to be told so.
func (f *faultyDisk) refuses(n int) (took time.Duration) {
	f.t.Helper()
	started := time.Now()
	for _, status := range f.post(n) {
		assert.Equal(f.t, http.StatusServiceUnavailable, status)
	}
	return time.Since(started)
}

// saysSo asks what else tells that the gateway cannot store anything, and that it
// lives.
func (f *faultyDisk) saysSo() {
	f.t.Helper()
	// The recorder does not need to know of it: it is stored already.
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

// recovers waits until the gateway takes webhooks again, by itself, and the
// subscriber's stream goes on.
func (f *faultyDisk) recovers() {
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

func TestADiskThatFailsRejectsWebhooksUntilItWorksAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*faultfs.Disk, syscall.Errno)
		with syscall.Errno
		// first is how many webhooks find out: one, or those that are a batch.
		first int
	}{
		{"read-only, found by a webhook", (*faultfs.Disk).FailWrites, syscall.EROFS, 1},
		{"read-only, found by many", (*faultfs.Disk).FailWrites, syscall.EROFS, 64},
		{"not writing, found by a webhook", (*faultfs.Disk).FailWrites, syscall.EIO, 1},
		{"not writing, found by many", (*faultfs.Disk).FailWrites, syscall.EIO, 64},
		{"not syncing, found by a webhook", (*faultfs.Disk).FailSyncs, syscall.EIO, 1},
		{"not syncing, found by many", (*faultfs.Disk).FailSyncs, syscall.EIO, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := startOnFaultyDisk(t)
			tt.fail(f.disk, tt.with)
			for _, n := range []int{tt.first, 1, 64} {
				assert.Less(t, f.refuses(n), time.Second, "refused at once")
			}
			f.saysSo()
			// What can be read is served as before.
			f.recorder.Subscribe("newcomer", OverGRPC{}, f.Endpoints(), earliest()).Events(1)
			tt.fail(f.disk, 0)
			f.recovers()
		})
	}
}

func TestASlowDiskMakesWebhooksWait(t *testing.T) {
	t.Parallel()
	f := startOnFaultyDisk(t)
	f.disk.DelaySyncs(300 * time.Millisecond)
	for _, n := range []int{1, 19, 64} {
		for _, status := range f.post(n) {
			assert.Equal(t, http.StatusOK, status, "of %d at once", n)
		}
	}
	assert.Equal(t, http.StatusOK, getStatus(t, "http://"+f.Admin+"/readyz"))
	f.disk.DelaySyncs(0)
	f.recovers()
}

func TestAHangingDiskRejectsWebhooksUntilItRecovers(t *testing.T) {
	t.Parallel()
	f := startOnFaultyDisk(t)
	f.disk.DelaySyncs(time.Hour)
	// It may go on at any moment, so a webhook waits, but not for long.
	assert.Less(t, f.refuses(1), 8*time.Second)
	f.saysSo()
	f.disk.DelaySyncs(0) // and those under way end
	f.recovers()
}
