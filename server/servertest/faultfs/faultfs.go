// Package faultfs provides a disk with faults for tests. It can lose its power, reject writes and
// be slow. It is a file system in the test's memory, mounted by FUSE, so that any process can use
// it. It requires Linux and root.
//
// # Power cuts
//
// Each file has its current data, and the data of its last successful fsync, fdatasync or write
// with O_SYNC. Operations on names (create, mkdir, rename, unlink, rmdir) are entries of a journal,
// as in ext4 and XFS. PowerOff cuts the power: every later operation fails, including fsync.
// PowerOn mounts the data that survived. A function, such as Nothing or Anything, decides how much
// unsynced data survives.
//
//   - Names: the journal survives up to some entry. An fsync of a file or directory makes all
//     entries safe up to the last one about it. Thus a new synced file keeps its name even if its
//     directory was not synced, as in ext4 and XFS. An unsynced rename or unlink may be undone.
//     Those file systems commit the whole journal at each fsync, so every state that they can
//     leave is possible here.
//   - Data: synced data survives. Of the unsynced data a prefix survives, or nothing. An appended
//     file may end within a record, a rewritten one may be truncated, and an overwritten one may be
//     partly old. Files are independent, so a later write may survive an earlier one.
//
// Not modelled: disks that ignore fsync, torn or damaged sectors, surviving data after a gap, a
// failed fsync after which Linux considers the data written (here it stays unsynced, and the next
// fsync may succeed), links, owners and times.
package faultfs
