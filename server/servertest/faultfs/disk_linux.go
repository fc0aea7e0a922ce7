package faultfs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/programs"
)

// Disk is a mounted disk. Its methods are safe for concurrent use, except PowerOn, which MUST
// be called by the goroutine of the test.
type Disk struct {
	t      testing.TB
	dir    string
	server *fuse.Server

	mu   sync.Mutex
	root *node
	// journal has the operations on names since the disk was mounted. The first synced entries
	// are safe.
	journal []entry
	synced  int

	off                   bool
	writeError, syncError syscall.Errno
	dirSyncError          syscall.Errno
	syncDelay             time.Duration
	// released is closed and replaced to end delayed syncs.
	released chan struct{}
}

// entry is an atomic change of names.
type entry []naming

// naming binds a name in a directory to a node, or removes it.
type naming struct {
	dir  *node
	name string
	to   *node
}

// New mounts an empty disk for the duration of the test. It skips the test if that is not
// possible (Mounted).
func New(t testing.TB) *Disk {
	t.Helper()
	d := &Disk{t: t, dir: t.TempDir(), released: make(chan struct{})}
	d.root = d.newNode(syscall.S_IFDIR | 0o755)
	Mounted(t, d.mount())
	t.Cleanup(func() {
		d.PowerOff() // ends delayed syncs
		d.unmount()
	})
	return d
}

// Mounted skips the test if err, the error of a mount, is not nil. If
// ONGAIR_GATEWAY_REQUIRE_MOUNTS is set, it fails the test instead (programs.Skip).
func Mounted(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	programs.Skip(t, "mounts", fmt.Sprint("cannot mount a file system, which needs root, and /dev/fuse for faultfs: ", err))
}

// Dir returns the mount point.
func (d *Disk) Dir() string { return d.dir }

// FailWrites makes all changes of the disk fail with errno, for example EROFS. 0 ends the fault.
func (d *Disk) FailWrites(errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writeError = errno
}

// FailSyncs makes every fsync fail with errno. 0 ends the fault.
func (d *Disk) FailSyncs(errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncError = errno
}

// FailDirectorySyncs makes every fsync of a directory fail with errno. 0 ends the fault.
func (d *Disk) FailDirectorySyncs(errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirSyncError = errno
}

// DelaySyncs sets the duration of every later fsync. It ends the delay of running ones.
func (d *Disk) DelaySyncs(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncDelay = delay
	d.release()
}

// PowerOff cuts the power: every operation fails, and no more data becomes safe. End processes
// with open files before PowerOn, because these files stay broken.
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

// Nothing keeps no unsynced data.
func Nothing(int) int { return 0 }

// Anything keeps a random amount of unsynced data.
func Anything(n int) int { return rand.IntN(n + 1) } //nolint:gosec // not a secret

// PowerOn mounts the data that survived the power cut, in the same place and without faults.
// survive returns how many of n unsynced entries or bytes survive, 0 to n.
func (d *Disk) PowerOn(survive func(n int) int) {
	d.t.Helper()
	d.unmount()
	d.restore(survive)
	require.NoError(d.t, d.mount())
}

// restore creates the tree that survived the power cut.
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
	forever := time.Hour // only the kernel changes the disk
	server, err := fs.Mount(d.dir, d.root, &fs.Options{
		EntryTimeout: &forever,
		AttrTimeout:  &forever,
		OnAdd:        d.addSurvivors,
		MountOptions: fuse.MountOptions{
			FsName: "faultfs",
			Name:   "faultfs",
			// Use the system call, because fusermount may not be installed.
			DirectMountStrict: true,
		},
	})
	d.server = server
	return err
}

// addSurvivors adds the existing names to FUSE.
func (d *Disk) addSurvivors(ctx context.Context) {
	for _, e := range d.journal {
		for _, n := range e {
			child := n.dir.NewPersistentInode(ctx, n.to, fs.StableAttr{Mode: n.to.mode & syscall.S_IFMT})
			n.dir.AddChild(n.name, child, true)
		}
	}
}

// unmount ends the mount, by force if files are open. nats-server leaves the file of a batch open
// if its sync failed.
func (d *Disk) unmount() {
	if d.server.Unmount() != nil {
		assert.NoError(d.t, syscall.Unmount(d.dir, syscall.MNT_FORCE|syscall.MNT_DETACH))
	}
}

// waitForSync waits for the delay of an fsync.
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

// changing returns the error for a change of the disk, or 0.
func (d *Disk) changing() syscall.Errno {
	if d.off {
		return syscall.EIO
	}
	return d.writeError
}
