package gateway

import (
	"fmt"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
)

// sideHolds are the sides that are not asked at present, since a fault of configuration makes them refuse every message: better to keep a
// thousand messages and raise one alarm than to return them.
type sideHolds struct {
	mu    sync.Mutex
	holds map[routing.Side]*sideHold
}

type sideHold struct {
	rule, alarm string
	since       time.Time
	probe       time.Time // when one message may try again
}

// probeEvery is how long others wait while one message tries whether a held side takes mail again.
const probeEvery = time.Minute

// ask says whether a side may be asked now, or why not.
func (s *sideHolds) ask(side routing.Side, now time.Time) (refusal *smtp.SMTPError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holds[side]
	if h == nil {
		return nil
	}
	if !now.Before(h.probe) {
		h.probe = now.Add(probeEvery)
		return nil
	}
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 5}, Message: fmt.Sprintf("mail to %s is held (%s): %s", side, h.rule, h.alarm)}
}

// probeNow lets the next message of each held side try: an administrator has mended something.
func (s *sideHolds) probeNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.holds {
		h.probe = time.Time{}
	}
}

// get is the alarm of a side; empty when it is not held.
func (s *sideHolds) get(side routing.Side) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holds[side]; h != nil {
		return h.alarm
	}
	return ""
}

// set holds a side, and says whether it was not held before.
func (s *sideHolds) set(side routing.Side, a outbound.Advice, now time.Time) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holds[side]
	if first = h == nil; first {
		h = &sideHold{since: now}
		if s.holds == nil {
			s.holds = map[routing.Side]*sideHold{}
		}
		s.holds[side] = h
	}
	h.rule, h.alarm, h.probe = a.Rule, a.Alarm, now.Add(a.Delay)
	return first
}

// clear ends the hold of a side, and says whether there was one.
func (s *sideHolds) clear(side routing.Side) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, held := s.holds[side]
	delete(s.holds, side)
	return held
}

// heed does what the replies of a side ask for beyond the ordinary treatment of their class (outbound.Rules).
func (g *Gateway) heed(side routing.Side, results []outbound.Result) {
	for i := range results {
		res := &results[i]
		if res.Outcome == outbound.Delivered {
			if g.sideHolds.clear(side) {
				g.log.Info("the side takes mail again", "side", side)
				g.kick(side)
			}
			continue
		}
		advice := outbound.Advise(side, res.Reply)
		switch advice.Action {
		case outbound.HoldSide:
			res.Outcome = outbound.Deferred
			if g.sideHolds.set(side, advice, g.now()) {
				g.log.Error("ALARM: mail to the side is held", "side", side, "rule", advice.Rule, "reply", oneLine(replyText(res.Reply)), "fix", advice.Alarm)
			}
		case outbound.BackOffHop:
			res.Outcome = outbound.Deferred
			g.log.Warn("a next hop throttles us", "side", side, "next_hop", res.Host, "rule", advice.Rule, "reply", oneLine(replyText(res.Reply)), "fix", advice.Alarm)
		case outbound.RetryRecipient:
			res.Outcome = outbound.Deferred
		}
	}
}

// adviceDelay is the least time until the next attempt that a reply asks for.
func adviceDelay(side routing.Side, res *outbound.Result) time.Duration {
	if res.Outcome != outbound.Deferred || res.Local {
		return 0
	}
	return outbound.Advise(side, res.Reply).Delay
}

// kick makes the mail of a side due.
func (g *Gateway) kick(side routing.Side) int {
	return g.scheduler.Kick(func(e spool.Entry) bool { return e.Side() == side })
}
