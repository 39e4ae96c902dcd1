package gateway

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coexist-mail/coexist/directory"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// holds are the people in transit between the two systems: their mail waits in the spool.
type holds struct {
	mu       sync.Mutex
	byAddr   map[string]spool.Hold // by address in lower case
	resolved atomic.Pointer[heldObjects]
}

// heldObjects are the holds as one view knows the people: whichever of their addresses is asked for, it is them.
type heldObjects struct {
	view   *directory.View
	byAddr map[string]spool.Hold
	byDN   map[string]spool.Hold
}

// loadHolds reads the holds from the store.
func (g *Gateway) loadHolds(ctx context.Context) error {
	list, err := g.store.Holds(ctx)
	if err != nil {
		return fmt.Errorf("reading the holds: %w", err)
	}
	g.holds.mu.Lock()
	defer g.holds.mu.Unlock()
	g.holds.byAddr = make(map[string]spool.Hold, len(list))
	for _, h := range list {
		g.holds.byAddr[h.Address] = h
	}
	g.holds.resolved.Store(nil)
	return nil
}

// resolve finds the people of all holds in a view, once for each view and change of the holds.
func (g *Gateway) resolveHolds(view *directory.View) *heldObjects {
	if r := g.holds.resolved.Load(); r != nil && r.view == view {
		return r
	}
	g.holds.mu.Lock()
	defer g.holds.mu.Unlock()
	r := &heldObjects{view: view, byAddr: make(map[string]spool.Hold, len(g.holds.byAddr)), byDN: map[string]spool.Hold{}}
	router := g.state.Load().router
	for address, h := range g.holds.byAddr {
		r.byAddr[address] = h
		if d := router.Route(view, 0, routing.Query{From: routing.Gateway, Recipient: address}); d.Object != "" {
			r.byDN[d.Object] = h
		}
	}
	g.holds.resolved.Store(r)
	return r
}

// held is the hold that is in force for a recipient.
func (r *heldObjects) held(d *routing.Decision, now time.Time) (spool.Hold, bool) {
	h, ok := r.byDN[d.Object]
	if !ok {
		h, ok = r.byAddr[strings.ToLower(d.Recipient)]
	}
	return h, ok && h.Active(now)
}

// holdBack marks what is held in a decision: it is accepted and waits. A person in transit may seem to live where the mail comes from, so
// that no U-turn is seen in it.
func (g *Gateway) holdBack(s *state, view *directory.View, q routing.Query, d routing.Decision) routing.Decision {
	r := g.resolveHolds(view)
	if len(r.byAddr) == 0 {
		return d
	}
	now := g.now()
	if h, ok := r.held(&d, now); ok && d.Reason == routing.UTurn {
		q.From = routing.Gateway
		d = s.router.Route(view, g.directory.Age(now), q)
		markHeld(&d, h)
	} else if ok && d.Action == routing.Relay {
		markHeld(&d, h)
	}
	for i := range d.Members {
		if h, ok := r.held(&d.Members[i], now); ok {
			markHeld(&d.Members[i], h)
		}
	}
	return d
}

func markHeld(d *routing.Decision, h spool.Hold) {
	until := "until it is released"
	if !h.Until.IsZero() {
		until = "until " + h.Until.Format(time.RFC3339)
	}
	d.Reason = routing.Held
	d.Why = strings.TrimSuffix(fmt.Sprintf("waits in the spool %s (%s)", until, h.Why), " ()") + "; would go there now: " + d.Why
}

// noteHeld tells of each recipient from an index on that waits for a person in transit.
func (g *Gateway) noteHeld(it *spool.Item, from int) {
	for i := from; i < len(it.Recipients); i++ {
		if r := &it.Recipients[i]; r.State == spool.RecipientHeld {
			g.noteTransit(it, r, trace.Held, r.LastReply)
		}
	}
}

// noteTransit tells that a recipient waits for a person in transit, or does so no longer.
func (g *Gateway) noteTransit(it *spool.Item, r *spool.Recipient, event trace.Kind, why string) {
	g.log.Info(string(event), "id", it.ID, "from", it.Envelope.ReversePath, "to", r.Asked, "address", r.Address, "side", r.Side, "why", why,
		"message_id", it.MessageID)
	g.trace.Append(trace.Event{Time: g.now(), ID: it.ID, Event: event, Sender: it.Envelope.ReversePath, Recipient: r.Asked, Side: string(r.Side),
		MessageID: it.MessageID, Reason: why})
}

// Holds lists the holds.
func (g *Gateway) Holds(ctx context.Context) ([]spool.Hold, error) { return g.store.Holds(ctx) }

// AddHold makes mail for an address wait, or changes how long.
func (g *Gateway) AddHold(ctx context.Context, h spool.Hold) error {
	h.Address, h.Since = strings.ToLower(h.Address), g.now()
	if err := g.store.PutHold(ctx, h); err != nil {
		return err
	}
	g.log.Info("hold added", "address", h.Address, "until", h.Until, "why", h.Why)
	return g.loadHolds(ctx)
}

// ReleaseHold ends a hold, and makes the mail that waited for it due.
func (g *Gateway) ReleaseHold(ctx context.Context, address string) error {
	if err := g.store.RemoveHold(ctx, address); err != nil {
		return err
	}
	g.log.Info("hold released", "address", address)
	if err := g.loadHolds(ctx); err != nil {
		return err
	}
	var ids []string
	err := g.store.List(ctx, spool.Filter{}, func(it *spool.Item) bool {
		if g.freed(it) {
			ids = append(ids, it.ID)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("looking for the mail that waited: %w", err)
	}
	for _, id := range ids {
		if err := g.scheduler.Retry(ctx, id); err != nil {
			g.log.Warn("released mail waits for its next attempt", "id", id, "error", err)
		}
	}
	return nil
}

// freed tells whether a message has a recipient that waited for a hold and need not any more. Without a directory, as where no gateway
// runs, the next attempt sees.
func (g *Gateway) freed(it *spool.Item) bool {
	for i := range it.Recipients {
		r := &it.Recipients[i]
		if r.State != spool.RecipientHeld {
			continue
		}
		if g.directory == nil || g.Route(routing.Gateway, it.Envelope.ReversePath, cmp.Or(r.Query, r.Asked)).Reason != routing.Held {
			return true
		}
	}
	return false
}

// holdCheck is how often mail that only waits for holds is looked at; a hold that ends by itself ends at its time.
const holdCheck = time.Hour

// heldUntil is when a message whose open recipients are all held is looked at next; false when some are not.
func (g *Gateway) heldUntil(it *spool.Item) (at time.Time, all bool) {
	at = g.now().Add(holdCheck)
	g.holds.mu.Lock()
	defer g.holds.mu.Unlock()
	for _, h := range g.holds.byAddr {
		if !h.Until.IsZero() && h.Until.Before(at) {
			at = h.Until
		}
	}
	if at.Before(g.now()) {
		at = g.now()
	}
	for i := range it.Recipients {
		if r := &it.Recipients[i]; !r.Settled() && r.State != spool.RecipientHeld {
			return at, false
		}
	}
	return at, true
}
