// Package directory is the gateway's picture of Active Directory: who exists, with which addresses, and what the directory says of
// where each mailbox lives.
//
// A [View] is immutable and compact: a million objects with three addresses each fit in about 260 MB, and a lookup is one hash and two
// memory accesses. It comes from a [Builder], from LDIF ([ReadLDIF]) or from a snapshot on disk ([SnapshotFile]). [View.Apply] makes
// a changed view of it that shares nearly all of its memory, so that one change costs less than a millisecond at any size, and [View.Rebuild] does so when the source is
// read as a whole again.
//
// A [Source] keeps a view up to date. [FileSource] does so from an LDIF file that is watched, and keeps serving the last good view,
// over a restart too, whatever happens to the file.
package directory
