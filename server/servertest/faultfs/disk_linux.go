package faultfs

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Disk is a mounted disk. Its methods are safe for concurrent use, except that
// PowerOn is for the goroutine of the test.
type Disk struct {
	t      testing.TB
	dir    string
	server *fuse.Server

	mu   sync.Mutex
	root *node
	// journal is all that happened to names since the disk was mounted; the first
	// synced entries of it are safe.
	journal []entry
	synced  int

	off                   bool
	writeError, syncError syscall.Errno
	dirSyncError          syscall.Errno
	syncDelay             time.Duration
	// released is closed, and replaced, when syncs that are delayed are to go on.
	released chan struct{}
}

// entry is something that happened to names, all of it or nothing.
type entry []naming

// naming gives a name in a directory to a node, or to none.
type naming struct {
	dir  *node
	name string
	to   *node
}

// New mounts an empty disk until the test ends. Where that is not possible the
// test is skipped (Mounted).
func New(t testing.TB) *Disk {
	t.Helper()
	d := &Disk{t: t, dir: t.TempDir(), released: make(chan struct{})}
	d.root = d.newNode(syscall.S_IFDIR | 0o755)
	Mounted(t, d.mount())
	t.Cleanup(func() {
		d.PowerOff() // and so ends what is delayed
		d.unmount()
	})
	return d
}

// Mounted ends a test that cannot mount the file system it needs, err saying why:
// it is skipped, since not everybody is root, unless ONGAIR_GATEWAY_REQUIRE_MOUNTS
// is set, as continuous integration does.
func Mounted(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("ONGAIR_GATEWAY_REQUIRE_MOUNTS") != "" {
		require.FailNow(t, "cannot mount a file system, which ONGAIR_GATEWAY_REQUIRE_MOUNTS demands", "%v", err)
	}
	t.Skipf("cannot mount a file system, which takes root, and /dev/fuse for one that fails: %v", err)
}

// Dir is where the disk is mounted.
func (d *Disk) Dir() string { return d.dir }

// FailWrites lets everything that changes the disk fail with errno, EROFS for
// example; 0 ends that.
func (d *Disk) FailWrites(errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writeError = errno
}

// FailSyncs lets every fsync fail with errno; 0 ends that.
func (d *Disk) FailSyncs(errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncError = errno
}

// FailDirectorySyncs lets every fsync of a directory fail with errno; 0 ends that.
func (d *Disk) FailDirectorySyncs(errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirSyncError = errno
}

// DelaySyncs lets every fsync from now on take that long. Those that are under way
// with another delay end at once.
func (d *Disk) DelaySyncs(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncDelay = delay
	d.release()
}

// PowerOff cuts the power: from now on everything fails, and nothing more becomes
// safe. Who has files open there should be ended before PowerOn: they stay broken.
func (d *Disk) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	d.release()
}

func (d *Disk) release() {
	close(d.released)
	d.released = make(chan struct{})
}

// Nothing lets nothing survive that was not synced.
func Nothing(int) int { return 0 }

// Anything lets anything survive.
func Anything(n int) int { return rand.IntN(n + 1) } //nolint:gosec // which is chance, and no secret

// PowerOn mounts, in the same place and without faults, what the power cut left.
// survive says how many of n things that were not synced are left, 0 to n.
func (d *Disk) PowerOn(survive func(n int) int) {
	d.t.Helper()
	d.unmount()
	d.restore(survive)
	require.NoError(d.t, d.mount())
}

// restore makes a new tree of what the power cut left of the old one.
func (d *Disk) restore(survive func(n int) int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.synced + survive(len(d.journal)-d.synced)
	names := map[*node]map[string]*node{}
	for _, e := range d.journal[:left] {
		for _, n := range e {
			if names[n.dir] == nil {
				names[n.dir] = map[string]*node{}
			}
			names[n.dir][n.name] = n.to
		}
	}
	d.journal = nil
	var revive func(n, old *node)
	revive = func(n, old *node) {
		n.data = old.remains(survive)
		n.sync()
		for name, oldChild := range names[old] {
			if oldChild != nil {
				child := d.newNode(oldChild.mode)
				d.record(naming{n, name, child})
				revive(child, oldChild)
			}
		}
	}
	root := d.newNode(d.root.mode)
	revive(root, d.root)
	d.root = root
	d.synced = len(d.journal)
	d.off, d.writeError, d.syncError, d.dirSyncError, d.syncDelay = false, 0, 0, 0, 0
}

// record adds an entry to the journal.
func (d *Disk) record(e ...naming) {
	d.journal = append(d.journal, e)
	for _, n := range e {
		n.dir.lastEntry = len(d.journal)
		if n.to != nil {
			n.to.lastEntry = len(d.journal)
		}
	}
}

func (d *Disk) mount() error {
	forever := time.Hour // nobody else changes the disk
	server, err := fs.Mount(d.dir, d.root, &fs.Options{
		EntryTimeout: &forever,
		AttrTimeout:  &forever,
		OnAdd:        d.addSurvivors,
		MountOptions: fuse.MountOptions{
			FsName: "faultfs",
			Name:   "faultfs",
			// By the system call: fusermount is not installed everywhere.
			DirectMountStrict: true,
		},
	})
	d.server = server
	return err
}

// addSurvivors tells FUSE the names that are there from the beginning.
func (d *Disk) addSurvivors(ctx context.Context) {
	for _, e := range d.journal {
		for _, n := range e {
			child := n.dir.NewPersistentInode(ctx, n.to, fs.StableAttr{Mode: n.to.mode & syscall.S_IFMT})
			n.dir.AddChild(n.name, child, true)
		}
	}
}

// unmount ends the mount, by force where files are open: nats-server forgets to
// close that of a batch whose sync failed.
func (d *Disk) unmount() {
	if d.server.Unmount() != nil {
		assert.NoError(d.t, syscall.Unmount(d.dir, syscall.MNT_FORCE|syscall.MNT_DETACH))
	}
}

// waitForSync takes as long as an fsync is to take.
func (d *Disk) waitForSync() {
	d.mu.Lock()
	delay, released := d.syncDelay, d.released
	d.mu.Unlock()
	if delay == 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-released:
	}
}

// changing returns why the disk cannot be changed, 0 where it can.
func (d *Disk) changing() syscall.Errno {
	if d.off {
		return syscall.EIO
	}
	return d.writeError
}
