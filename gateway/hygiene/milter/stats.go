package milter

import (
	"sync"
	"time"
)

// Outcome is how a filter answered, for the metrics.
type Outcome string

// The outcomes.
const (
	Accepted    Outcome = "accept"
	Refused     Outcome = "reject"
	PutOff      Outcome = "tempfail"
	Discarded   Outcome = "discard"
	Quarantined Outcome = "quarantine"
	Broken      Outcome = "error"   // it could not be asked
	NotAsked    Outcome = "skipped" // it was not asked, since it is dead (ErrNotAsked)
)

// Outcomes are all of them.
var Outcomes = []Outcome{Accepted, Refused, PutOff, Discarded, Quarantined, Broken, NotAsked}

// Stats is what became of the questions to a filter so far.
type Stats struct {
	Address string
	// Up is false while the filter is not asked because it is dead.
	Up    bool
	Count map[Outcome]uint64
	// Asked is how often it was asked, Seconds how long its answers took in all.
	Asked   uint64
	Seconds float64
}

// counters count for Stats.
type counters struct {
	mu      sync.Mutex
	count   map[Outcome]uint64
	asked   uint64
	seconds float64
}

func (c *counters) add(o Outcome, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = make(map[Outcome]uint64)
	}
	if c.count[o]++; o != NotAsked {
		c.asked++
		c.seconds += took.Seconds()
	}
}

// Stats describes the filters, in their order.
func (c *Chain) Stats() []Stats {
	all := make([]Stats, 0, len(c.filters))
	for _, f := range c.filters {
		s := Stats{Address: f.Address, Up: f.breaker.up(), Count: make(map[Outcome]uint64, len(Outcomes))}
		f.counters.mu.Lock()
		for _, o := range Outcomes {
			s.Count[o] = f.counters.count[o]
		}
		s.Asked, s.Seconds = f.counters.asked, f.counters.seconds
		f.counters.mu.Unlock()
		all = append(all, s)
	}
	return all
}

// outcome is how what a filter said is counted.
func (o outcome) word() Outcome {
	switch {
	case o.reply != nil && o.reply.Code/100 == 4:
		return PutOff
	case o.reply != nil:
		return Refused
	case o.discard:
		return Discarded
	case o.quarantine != "":
		return Quarantined
	}
	return Accepted
}
