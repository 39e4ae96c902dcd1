// Package trace keeps what happened to each message, for as long as configured, and finds it again by recipient, sender,
// Message-ID, ID and time.
//
// A [Log] writes; there is one a folder. A [Reader] searches and follows, in the same process or another, while the log is
// being written. Events are lines of JSON in segment files, so grep and jq work on them too; a segment that is complete has
// an index beside it.
//
// Events are written within a fraction of a second and not synced: a loss of power can cost the last ones. The trace is for
// people; what must not be lost is in the spool.
package trace
