// Package tneftest builds TNEF streams ([MS-OXTNEF]) from a description, and messages around them, for tests: sound ones of every kind, and
// ones that are broken in ways that real senders and attackers break them.
package tneftest
