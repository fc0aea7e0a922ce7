// Package faultfs provides a disk with faults for tests: it can lose its power, reject writes and
// be slow. It is a file system in the test's memory, mounted by FUSE, so that any process can use
// it. It requires Linux and root.
//
// # Power cuts
//
// Each file has its current data, and those of its last successful fsync, fdatasync or write with
// O_SYNC. Operations on names (create, mkdir, rename, unlink, rmdir) are entries of a journal, as
// in ext4 and XFS. PowerOff cuts the power: from then on everything fails, including fsync.
// PowerOn mounts what survived. A function decides how much of the unsynced data survives, such as
// Nothing or Anything.
//
//   - Names: the journal survives up to some entry. An fsync of a file or directory makes all
//     entries safe up to the last one about it. So a new synced file keeps its name even if its
//     directory was not synced, as in ext4 and XFS. An unsynced rename or unlink may be undone.
//     Those file systems commit the whole journal at each fsync, so this one can leave all that
//     they can.
//   - Data: synced data survives. Of the unsynced data a prefix survives, or nothing: an appended
//     file may end within a record, a rewritten one may be cut, an overwritten one may be partly
//     old. Files are independent, so a later write may survive an earlier one.
//
// Not modelled: disks that ignore fsync, torn or damaged sectors, surviving data after a gap, a
// failed fsync after which Linux considers the data written (here they stay unsynced, and the next
// fsync may succeed), links, owners and times.
package faultfs
