// Package inbound is the side of the gateway that clients see: listeners, the SMTP dialogue (RFC 5321), and the session that asks
// the router about each recipient and hands a complete message on.
//
// The dialogue serves go-smtp's Session interface with its option and error types, so that a Session runs on go-smtp's own server
// as well; docs/decisions.md says why the loop is not go-smtp's.
package inbound
