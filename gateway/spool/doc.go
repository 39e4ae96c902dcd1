// Package spool keeps the messages that the gateway has accepted and not yet delivered, and decides when each is tried again.
//
// A [Store] is the durable part: [Open] gives the one that lives in a folder of this machine. The interface has leases
// ([Store.Claim]) instead of locks, so that a database shared by several gateways fits behind it. A [Scheduler] is the part that
// runs deliveries: one heap, one goroutine that looks at it, and a bounded number of deliveries at a time.
//
// # What is promised
//
// When [Store.Put] returns nil, message and envelope survive a crash of the process and a loss of power, whole or not at all
// (RFC 5321 4.2.5: who answers 250 has taken responsibility). A message whose Put failed may still turn up after a crash, when
// the crash fell between the write and its report: mail is duplicated before it is lost (RFC 1047).
//
// # On disk
//
//	queue.db   bbolt: bucket items (ID to record), bodies (ID to octets), holds (address to hold)
//	bodies/    a file for each body over 64 KiB
//	damaged/   what could not be read, for a person to look at
//	reserve    space set aside, so that deliveries can be recorded on a full disk
//	lock       held by the process that has the spool open
//
// A body file is written under a temporary name, synced, renamed and its folder synced before the record that names it is
// committed; it is unlinked after the record is gone. So a file without a record is left over from a crash, and removed at start;
// a record without its file is damage, and quarantined.
package spool
