package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/gateway/spool"
)

// sessionOwner holds the lease of messages that are delivered by an attempt which began before they were spooled.
const sessionOwner = "session"

// running is a delivery attempt that the client waits for, and that may outlast the client's patience.
type running struct {
	done chan []outbound.Result

	mu      sync.Mutex
	partial []outbound.Result // of the sides that are done
	stored  *spool.Item       // once the message is in the spool
	changed changes           // what was applied to stored
}

// startRunning tries all next hops at once.
func (g *Gateway) startRunning(it *spool.Item, body *message.Buffer) *running {
	r := &running{done: make(chan []outbound.Result, 1), partial: make([]outbound.Result, len(it.Recipients))}
	body.Retain()
	go func() {
		defer body.Close()
		r.done <- g.attempt(g.deliveries, it, body.Bytes(), func(side []outbound.Result) { g.sideDone(r, side) })
	}()
	return r
}

// sideDone notes what a side did. If the message is in the spool already, it is recorded at once: another side may hang, and after a crash
// this one would get the message twice.
func (g *Gateway) sideDone(r *running, side []outbound.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stored == nil {
		for i, res := range side {
			if res.Outcome != "" {
				r.partial[i] = res
			}
		}
		return
	}
	r.changed.add(g.apply(r.stored, side))
	if len(waitingAnywhere(r.stored)) == 0 {
		return // finishRunning records the whole
	}
	if err := g.store.Update(context.WithoutCancel(g.deliveries), unfailed(r.stored, nil)); err != nil {
		g.log.Error("cannot record a delivery yet", "id", r.stored.ID, "error", err)
	}
}

// waitingAnywhere are the recipients, by index, that wait for any side.
func waitingAnywhere(it *spool.Item) (which []int) {
	for i := range it.Recipients {
		if it.Recipients[i].State == spool.RecipientWaiting {
			which = append(which, i)
		}
	}
	return which
}

// unfailed is a copy of an item in which what failed still waits. It is what may be recorded as long as the DSN is not durable: after a
// crash the recipient fails once more, and the sender hears of it.
//
// before, unless nil, has the recipients that were settled before the attempt: their senders have heard.
func unfailed(it *spool.Item, before []bool) *spool.Item {
	c := *it
	c.Recipients = append([]spool.Recipient(nil), it.Recipients...)
	for i := range c.Recipients {
		if c.Recipients[i].State == spool.RecipientFailed && (i >= len(before) || !before[i]) {
			c.Recipients[i].State = spool.RecipientWaiting
		}
	}
	return &c
}

// spoolRunning makes a message durable whose delivery takes long. The running attempt settles it, under a lease, so that the
// scheduler does not try it as well; after a crash it is waiting.
func (g *Gateway) spoolRunning(s *state, it *spool.Item, body *message.Buffer, r *running) *smtp.SMTPError {
	if err := g.putRunning(it, body, r); err != nil {
		// The spool is unusable, so only the running attempt can settle it.
		g.log.Error("cannot spool", "id", it.ID, "error", err)
		results := <-r.done
		g.leaveDirect()
		return g.settleDirect(s, it, body, results)
	}
	body.Retain()
	g.background.Add(1)
	go func() {
		defer g.background.Done()
		defer body.Close()
		<-r.done
		g.leaveDirect()
		g.finishRunning(s, r.stored, body.Bytes(), r.changed)
	}()
	return accepted(it)
}

// putRunning spools a message with what is known of its attempt so far.
func (g *Gateway) putRunning(it *spool.Item, body *message.Buffer, r *running) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	stored := *it
	stored.Recipients = append([]spool.Recipient(nil), it.Recipients...)
	stored.Owner, stored.NextAttempt = sessionOwner, g.now()
	changed := g.apply(&stored, r.partial)
	if err := g.store.Put(g.deliveries, unfailed(&stored, nil), spool.Segments{body.Bytes()}); err != nil {
		return err
	}
	r.stored, r.changed = &stored, changed
	return nil
}

// finishRunning records what an attempt did to a spooled message. It tries until the store takes it: else the message would be
// delivered twice.
func (g *Gateway) finishRunning(s *state, it *spool.Item, body []byte, changed changes) {
	it.Attempts = max(it.Attempts, 1)
	it.NextAttempt = g.now().Add(max(g.scheduler.NextDelay(it.Attempts), changed.wait))
	if at, all := g.heldUntil(it); all {
		it.NextAttempt = at
	}
	notified := false
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := g.recordRunning(s, it, body, changed, &notified)
		switch {
		case errors.Is(err, spool.ErrClosed), errors.Is(err, spool.ErrNotFound):
			return
		case err == nil && it.Settled():
			return
		case err == nil:
			g.scheduler.Add(it)
			return
		}
		g.log.Error("outcome of a delivery not recorded, trying again", "id", it.ID, "error", err)
		select {
		case <-time.After(wait):
		case <-g.deliveries.Done():
			return
		}
	}
}

func (g *Gateway) recordRunning(s *state, it *spool.Item, body []byte, changed changes, notified *bool) error {
	if !*notified {
		if err := g.notify(s, it, body, nil, changed); err != nil {
			return err
		}
		*notified = true
	}
	if it.Settled() {
		return g.store.Remove(context.WithoutCancel(g.deliveries), it)
	}
	return g.store.Release(context.WithoutCancel(g.deliveries), it)
}
