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
