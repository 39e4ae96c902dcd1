// Package gateway wires coexist together: listeners, router, directory view, conversion, delivery, spool. It is the only package
// that does; docs/message-path.md follows a message through it.
package gateway
