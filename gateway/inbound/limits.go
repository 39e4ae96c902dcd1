package inbound

import "time"

// Limits bound what clients may use. Zero is without limit, except where the text says otherwise. Those that are about strangers do
// not apply to a client whose session is Trusted.
type Limits struct {
	MessageSize           int64 // octets, advertised as SIZE (RFC 1870)
	Recipients            int   // RCPT commands of one message, advertised as RCPTMAX (RFC 9422)
	Connections           int
	ConnectionsPerClient  int   // from one IPv4 address, or one IPv6 network of 64 bits
	ConnectionsPerNetwork int   // from one IPv4 network of 24 bits, or one IPv6 network of 48; not of Config.Known clients, nor of loopback
	MinDataRate           int64 // octets a second of a message, after a grace of Timeouts.Data; default 500
	Errors                int   // commands that made no sense before the connection is closed; default 20
	AuthFailures          int   // AUTH commands that failed before the connection is closed; default 3

	// For strangers. A negative value turns each off.

	// RefusedRecipients are the RCPT commands refused for good before the connection is closed; default 100.
	RefusedRecipients int
	// RefusalDelay is how much longer the reply to each refused recipient takes than the one before, once there are ten more
	// refused than accepted; a second at most. Default 10 ms.
	RefusalDelay time.Duration
	// ClientScore is what a client, over all its connections, may gather before new ones are refused for a while: a refused
	// recipient and a senseless command count 1, a failed AUTH 10, an accepted recipient -1; half of it is forgotten in five
	// minutes. Default 1,000.
	ClientScore int
	// NetworkScore is the same for all clients of a network, as ConnectionsPerNetwork counts them. Default 4,000.
	NetworkScore int
	// IdleCommands are those that lead to no message (NOOP, RSET, EHLO, VRFY...) since the last one before the connection is
	// closed; default 500.
	IdleCommands int
}

// The slowest reply, and how many refusals cost nothing: everybody mistypes.
const (
	freeRefusals    = 10
	maxRefusalDelay = time.Second
)

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v   *int
		def int
	}{{&l.Errors, 20}, {&l.AuthFailures, 3}, {&l.RefusedRecipients, 100}, {&l.ClientScore, 1000}, {&l.NetworkScore, 4000}, {&l.IdleCommands, 500}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.MinDataRate == 0 {
		l.MinDataRate = 500
	}
	if l.RefusalDelay == 0 {
		l.RefusalDelay = 10 * time.Millisecond
	}
	return l
}

// exceeds says whether n has reached a limit of the strangers' kind.
func exceeds(n, limit int) bool { return limit > 0 && n >= limit }
