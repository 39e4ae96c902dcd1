// Package outbound makes one attempt to deliver a message: it chooses the next hop (a configured list, or MX), connects
// with the TLS that the side asks for, speaks SMTP over kept connections, and reports one result per recipient.
//
// It never queues and never retries later; that is the caller's spool. What it does at once is what RFC 5321 wants of one
// attempt: the next address and the next host when a host cannot be talked to, a new connection when a kept one turns out
// to be dead or is closed with 421, a further transaction for recipients that did not fit into the first.
//
// On a kept connection a message costs two round trips with PIPELINING (RFC 2920) and one with CHUNKING (RFC 3030) as well.
// The first message of a connection sends its envelope before its content, so that a host that accepts connections and
// then hangs can still be given up for another without the risk of a duplicate.
package outbound
