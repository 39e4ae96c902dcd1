package gateway

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// The runtime lets the heap grow to twice of what is in use before it collects. That is little for a gateway at work, and much when
// thousands of clients are connected that do nothing: what their handshakes left behind would stay for as long as they do.

// memoryCheck is how often the number of connections is looked at, and crowd how many there must be before memory is looked after.
const (
	memoryCheck = time.Second
	crowd       = 1000
)

// How much the heap may grow before it is collected, in percent of what is in use (GOGC).
const (
	paceAtWork = 100 // the runtime's own
	paceCrowd  = 50
	paceRush   = 10 // thousands of handshakes: each leaves some 40 KB behind, and costs more than to collect that
)

// gcPace is GOGC for a number of connections, of which some were made since the last look.
func gcPace(connections, more int) int {
	switch {
	case connections < 2*crowd:
		return paceAtWork
	case more > connections/100:
		return paceRush
	}
	return paceCrowd
}

// tendMemory makes the collector run more often while there is a crowd of connections, and gives back what it left behind as soon as no
// more come, or go. An operator who set GOGC or GOMEMLIMIT knows better: then it does nothing. It changes the whole process.
func (g *Gateway) tendMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	tick := time.NewTicker(memoryCheck)
	defer tick.Stop()
	pace, before, tended := paceAtWork, 0, 0
	set := func(want int) {
		if want != pace {
			pace = want
			debug.SetGCPercent(pace)
		}
	}
	defer set(paceAtWork)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n := g.server.Connections()
		set(gcPace(n, n-before))
		if distance(n, tended) >= crowd/2 && distance(n, before) <= crowd/20 {
			tended = n
			debug.FreeOSMemory()
			debug.FreeOSMemory() // what was in pools is free after the second collection
		}
		before = n
	}
}

func distance(a, b int) int { return max(a, b) - min(a, b) }
