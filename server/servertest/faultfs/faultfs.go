// Package faultfs is a disk that misbehaves when a test wants it to: it can lose
// its power, refuse to be written, and be slow. It is a file system in the memory
// of the test, mounted by FUSE, so that any process can keep its data there. It
// runs on Linux and takes root.
//
// # The power cut
//
// Each file has its data twice: as they are, and as they were at its last
// successful fsync (also fdatasync, or a write with O_SYNC). What happens to names
// (create, mkdir, rename, unlink, rmdir) is an entry of a journal, as in ext4 and
// XFS. PowerOff is the cut: from that moment everything fails, fsync included.
// PowerOn mounts what is left, for which a function decides how much of all that
// was not synced survives; Nothing and Anything are two.
//
//   - Names: the journal survives up to some entry, in order. An fsync of a file or
//     directory makes sure of everything up to the last entry that is about it. So a
//     new file that was synced keeps its name though its directory was not, as ext4
//     and XFS do it, while a rename or an unlink that nobody synced may be undone, or
//     not. Both file systems in fact commit the whole journal at every fsync that has
//     something to commit: what they can leave behind, this one can, too.
//   - Data: what was synced is there. Of what was not, nothing survives, or a
//     beginning of it: a file that was appended to ends within a record, one that was
//     truncated and written anew is cut short, one that was overwritten is partly
//     old. Each file for itself, so that a later write may survive an earlier one.
//
// Not modelled: disks that lie about fsync, sectors that tear or rot, data that
// survive with a gap before them, a failed fsync after which Linux takes the data
// for written (here they stay unsynced, and the next fsync may succeed), links,
// owners and times.
package faultfs
