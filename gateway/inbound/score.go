package inbound

import (
	"math"
	"net/netip"
	"sync"
	"time"
)

// scores remember, over connections, how much of what a client asked for was refused. What is remembered fades.
type scores struct {
	now func() time.Time

	mu sync.Mutex
	m  map[netip.Addr]score
}

type score struct {
	points float64
	at     time.Time
}

const (
	scoreHalfLife = 5 * time.Minute
	maxScores     = 1 << 16 // clients remembered: some 8 MB
)

func newScores(now func() time.Time) *scores { return &scores{now: now, m: map[netip.Addr]score{}} }

func (s score) after(now time.Time) float64 {
	return s.points * math.Exp2(-float64(now.Sub(s.at))/float64(scoreHalfLife))
}

// add changes a client's score and returns what it is then; add(a, 0) asks.
func (s *scores) add(client netip.Addr, points float64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	old, known := s.m[client]
	sum := max(old.after(now)+points, 0)
	switch {
	case sum < 0.5:
		delete(s.m, client)
	case points != 0:
		if !known && len(s.m) >= maxScores {
			s.forget(now)
		}
		s.m[client] = score{sum, now}
	}
	return int(math.Round(sum))
}

// forget makes room: the clients with little go first, and if there are only bad ones, all.
func (s *scores) forget(now time.Time) {
	for a, sc := range s.m {
		if sc.after(now) < freeRefusals {
			delete(s.m, a)
		}
	}
	if len(s.m) >= maxScores {
		clear(s.m)
	}
}

// clientKey is what is counted as one client: an IPv4 address, or the IPv6 network that one customer has (RFC 6177 2).
func clientKey(a netip.Addr) netip.Addr {
	if a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a.Unmap()
}

// networkKey is what is counted as one network: what one customer of a provider may have many addresses in, the smallest IPv4 network that
// is routed, and the IPv6 network of a site (RFC 6177 2). The zero Prefix is not counted: loopback addresses are this machine's.
func networkKey(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits) // fits both kinds
	return p
}

// gather adds to the scores of a client and of its network, and returns the client's; over says that one of them is too much.
func (c *conn) gather(points float64) (score int, over bool) {
	score = c.server.scores.add(clientKey(c.client.Addr), points)
	over = exceeds(score, c.limits.ClientScore)
	if c.network.IsValid() {
		over = exceeds(c.server.networkScores.add(c.network.Addr(), points), c.limits.NetworkScore) || over
	}
	return score, over
}
