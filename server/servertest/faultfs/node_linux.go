package faultfs

import (
	"context"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file, directory or symbolic link. FUSE keeps the current names in its tree, and the
// disk's journal has their changes. The kernel serialises the operations on one directory. The
// disk's mutex guards everything else.
type node struct {
	fs.Inode
	disk *Disk
	// mode is the type and the permissions.
	mode uint32
	// lastEntry is the number, from 1, of the last journal entry about this node or a name in
	// this directory.
	lastEntry int

	// data is the current data of a file, and synced its data at the last fsync. They are equal
	// before the offset same. Since that fsync the file had at least shortest bytes.
	data, synced   []byte
	same, shortest int
}

var (
	_ fs.NodeCreater    = (*node)(nil)
	_ fs.NodeMkdirer    = (*node)(nil)
	_ fs.NodeSymlinker  = (*node)(nil)
	_ fs.NodeReadlinker = (*node)(nil)
	_ fs.NodeUnlinker   = (*node)(nil)
	_ fs.NodeRmdirer    = (*node)(nil)
	_ fs.NodeRenamer    = (*node)(nil)
	_ fs.NodeOpener     = (*node)(nil)
	_ fs.NodeReader     = (*node)(nil)
	_ fs.NodeWriter     = (*node)(nil)
	_ fs.NodeFsyncer    = (*node)(nil)
	_ fs.NodeFlusher    = (*node)(nil)
	_ fs.NodeGetattrer  = (*node)(nil)
	_ fs.NodeSetattrer  = (*node)(nil)
)

func (d *Disk) newNode(mode uint32) *node { return &node{disk: d, mode: mode} }

// sync marks the data as synced.
func (n *node) sync() {
	n.synced = append(n.synced[:n.same], n.data[n.same:]...)
	n.same, n.shortest = len(n.data), len(n.data)
}

// resize truncates the data, or extends it with zeros.
func (n *node) resize(size int) {
	if size > len(n.data) {
		n.data = append(n.data, make([]byte, size-len(n.data))...)
		return
	}
	n.data = n.data[:size]
	n.same, n.shortest = min(n.same, size), min(n.shortest, size)
}

// remains returns the data that survives a power cut.
func (n *node) remains(survive func(n int) int) []byte {
	if survive(1) == 0 {
		return slices.Clone(n.synced)
	}
	written := n.same + survive(len(n.data)-n.same)
	return slices.Concat(n.data[:written], n.synced[min(written, n.shortest):n.shortest])
}

// add adds a node under a name to a directory.
func (n *node) add(ctx context.Context, name string, child *node, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if errno := n.disk.changing(); errno != 0 {
		return nil, errno
	}
	n.disk.record(naming{n, name, child})
	child.attributes(&out.Attr)
	return n.NewPersistentInode(ctx, child, fs.StableAttr{Mode: child.mode & syscall.S_IFMT}), 0
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, errno := n.add(ctx, name, n.disk.newNode(syscall.S_IFREG|mode), out)
	return child, nil, 0, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.add(ctx, name, n.disk.newNode(syscall.S_IFDIR|mode), out)
}

// Symlink creates a link. Its target survives if its name does.
func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	link := n.disk.newNode(syscall.S_IFLNK | 0o777)
	link.data = []byte(target)
	link.sync()
	return n.add(ctx, name, link, out)
}

func (n *node) Readlink(context.Context) ([]byte, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return slices.Clone(n.data), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if errno := n.disk.changing(); errno != 0 {
		return errno
	}
	n.disk.record(naming{n, name, nil})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if len(n.GetChild(name).Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return n.Unlink(ctx, name)
}

func (n *node) Rename(_ context.Context, name string, newDir fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newDir.(*node)
	if !ok || flags != 0 {
		return syscall.EINVAL
	}
	moved, ok := n.GetChild(name).Operations().(*node)
	if !ok {
		return syscall.EIO
	}
	if there := to.GetChild(newName); there != nil && len(there.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if errno := n.disk.changing(); errno != 0 {
		return errno
	}
	n.disk.record(naming{n, name, nil}, naming{to, newName, moved})
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.disk.off {
		return nil, syscall.EIO
	}
	if off >= int64(len(n.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.data[off:])]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if errno := n.disk.changing(); errno != 0 {
		return 0, errno
	}
	start := int(off)
	n.same = min(n.same, start)
	n.resize(max(len(n.data), start+len(data)))
	return uint32(copy(n.data[start:], data)), 0
}

// Fsync syncs a file or a directory.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.waitForSync()
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.disk.off {
		return syscall.EIO
	}
	if n.disk.syncError != 0 {
		return n.disk.syncError
	}
	if n.disk.dirSyncError != 0 && n.mode&syscall.S_IFMT == syscall.S_IFDIR {
		return n.disk.dirSyncError
	}
	n.sync()
	n.disk.synced = max(n.disk.synced, n.lastEntry)
	return 0
}

// Flush returns ENOSYS, so that the kernel sends no request when a file is closed. A process that
// ends with open files on its own disk would wait for its own answer for ever.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return syscall.ENOSYS }

func (n *node) attributes(out *fuse.Attr) {
	out.Mode = n.mode
	out.Size = uint64(len(n.data))
	out.Nlink = 1
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.attributes(&out.Attr)
	return 0
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if errno := n.disk.changing(); errno != 0 {
		return errno
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode&^syscall.S_IFMT
	}
	if size, ok := in.GetSize(); ok {
		n.resize(int(size))
	}
	n.attributes(&out.Attr)
	return 0
}
