package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// runQueued is one attempt to deliver a message of the spool. The router is asked again, since people move while mail waits.
func (g *Gateway) runQueued(ctx context.Context, it *spool.Item) spool.Outcome {
	s := g.state.Load()
	stored, err := g.store.Open(ctx, it.ID)
	switch {
	case errors.Is(err, spool.ErrDamaged):
		g.log.Error("a stored message is damaged, put aside", "id", it.ID, "error", err)
		return spool.Outcome{Action: spool.Quarantine, Why: err.Error()}
	case err != nil:
		return spool.Outcome{NotTried: true, Why: fmt.Sprintf("opening the message: %v", err)}
	}
	defer stored.Close()
	before := settled(it)
	g.routeAgain(it)
	changed := g.attemptQueued(ctx, it, stored.Bytes(), before)
	if ctx.Err() != nil && !it.Settled() && len(changed.failed)+len(changed.delivered) == 0 {
		return spool.Outcome{NotTried: true, At: g.now()} // we are shutting down: nothing was learnt
	}
	changed.expired = g.expire(s, it)
	if err := g.notify(s, it, stored.Bytes(), before, changed); err != nil {
		// Without the DSN the failure is not settled, so the recipients wait for another round.
		g.log.Error("cannot spool a DSN, trying again", "id", it.ID, "error", err)
		*it = *unfailed(it, before)
		return spool.Outcome{Why: err.Error(), At: g.now().Add(time.Minute)}
	}
	if it.Settled() {
		return spool.Outcome{Action: spool.Done}
	}
	if at, all := g.heldUntil(it); all {
		return spool.Outcome{NotTried: true, At: at}
	}
	return spool.Outcome{At: g.now().Add(max(g.scheduler.NextDelay(it.Attempts+1), changed.wait))}
}

// attemptQueued is attempt, recording what each side did as soon as it is known: a side that hangs must not keep what another took from
// being on record, or a crash would deliver it twice.
func (g *Gateway) attemptQueued(ctx context.Context, it *spool.Item, body []byte, before []bool) (all changes) {
	var mu sync.Mutex
	sides := 0
	for _, side := range routing.Sides {
		if len(waiting(it, side)) > 0 {
			sides++
		}
	}
	g.attempt(ctx, it, body, func(results []outbound.Result) {
		mu.Lock()
		defer mu.Unlock()
		all.add(g.apply(it, results))
		if sides--; sides == 0 || it.Settled() {
			return // the scheduler records the whole
		}
		if err := g.store.Update(context.WithoutCancel(ctx), unfailed(it, before)); err != nil {
			g.log.Error("cannot record a delivery yet", "id", it.ID, "error", err)
		}
	})
	return all
}

// settled tells which recipients were settled before an attempt.
func settled(it *spool.Item) []bool {
	done := make([]bool, len(it.Recipients))
	for i := range it.Recipients {
		done[i] = it.Recipients[i].Settled()
	}
	return done
}

// routeAgain asks the router about each recipient that waits.
func (g *Gateway) routeAgain(it *spool.Item) {
	for i := range len(it.Recipients) { // members that are added meanwhile were routed just now
		r := &it.Recipients[i]
		if r.Settled() {
			continue
		}
		query := r.Query
		if query == "" {
			query = r.Asked
		}
		d := g.Route(routing.Gateway, it.Envelope.ReversePath, query)
		switch d.Action {
		case routing.Relay:
			r.Side, r.Address = d.Side, d.Address
			g.holdAgain(it, r, d)
		case routing.Expand:
			g.expandAgain(it, i, d)
		default:
			g.refusedAgain(it, r, d)
		}
	}
}

// holdAgain follows the holds: who is in transit waits, and who arrived does not any more. The time of waiting does not count towards
// expiry.
func (g *Gateway) holdAgain(it *spool.Item, r *spool.Recipient, d routing.Decision) {
	switch {
	case d.Reason == routing.Held:
		if r.State != spool.RecipientHeld {
			g.noteTransit(it, r, trace.Held, d.Why)
		}
		r.State, r.LastReply, r.LocalReply, r.NextHop = spool.RecipientHeld, d.Why, true, ""
	case r.State == spool.RecipientHeld:
		r.State, it.ExpireFrom = spool.RecipientWaiting, g.now()
		g.noteTransit(it, r, trace.Released, "the hold is over")
	}
}

// expandAgain replaces a recipient that became a group, or was deferred as one, by the members.
func (g *Gateway) expandAgain(it *spool.Item, i int, d routing.Decision) {
	seen := map[string]bool{}
	for j := range it.Recipients {
		if r := &it.Recipients[j]; j != i && r.State != spool.RecipientExpanded {
			seen[leafKey(r.Side, r.Address)] = true
		}
	}
	r := it.Recipients[i]
	it.Recipients[i].State = spool.RecipientExpanded
	known := len(it.Recipients)
	addRecipients(it, seen, envelopeRecipientAsked(&r), d)
	g.noteHeld(it, known)
}

// refusedAgain notes that the router would not take the recipient any more.
func (g *Gateway) refusedAgain(it *spool.Item, r *spool.Recipient, d routing.Decision) {
	r.Side, r.Address, r.NextHop = "", "", ""
	r.LastReply, r.LocalReply, r.LastAttempt = d.Reply.String(), true, g.now()
	word := trace.Deferred
	if d.Action == routing.Reject {
		r.State = spool.RecipientFailed
		word = trace.Refused
	}
	g.log.Info(string(word), "id", it.ID, "from", it.Envelope.ReversePath, "to", r.Asked, "address", cmp.Or(r.Query, r.Asked), "reply", d.Reply.String(), "reason", d.Reason, "why", d.Why,
		"delay", g.now().Sub(it.Received).Round(time.Millisecond))
	g.trace.Append(trace.Event{Time: g.now(), ID: it.ID, Event: word, Sender: it.Envelope.ReversePath, Recipient: r.Asked,
		Reply: d.Reply.String(), MessageID: it.MessageID, Reason: string(d.Reason)})
}

// expire gives up what has waited for too long (delivery.expire_after).
func (g *Gateway) expire(s *state, it *spool.Item) (expired []int) {
	if !it.Expired(g.now(), s.cfg.Delivery.ExpireAfter) {
		return nil
	}
	for i := range it.Recipients {
		r := &it.Recipients[i]
		if r.State != spool.RecipientWaiting || g.sideHolds.get(r.Side) != "" { // a fault of configuration is not the sender's trouble
			continue
		}
		r.State = spool.RecipientFailed
		expired = append(expired, i)
		sent := cmp.Or(r.Address, r.Query) // the router may have had no address at last
		g.log.Warn("expired", "id", it.ID, "from", it.Envelope.ReversePath, "to", r.Asked, "address", sent,
			"side", r.Side, "next_hop", r.NextHop, "reply", oneLine(r.LastReply), "delay", g.now().Sub(it.Received).Round(time.Second), "message_id", it.MessageID)
		g.trace.Append(trace.Event{Time: g.now(), ID: it.ID, Event: trace.Expired, Sender: it.Envelope.ReversePath, Recipient: r.Asked,
			Side: string(r.Side), Reply: oneLine(r.LastReply), MessageID: it.MessageID, Reason: sentAs(r)})
	}
	return expired
}
