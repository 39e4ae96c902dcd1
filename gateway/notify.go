package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coexist-mail/coexist/gateway/bounce"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
)

// notify sends the DSNs that are due after an attempt: failures, delays, and relays to hosts that send none. before has the
// recipients that were settled before it. An error means that a failure DSN is not durable.
func (g *Gateway) notify(s *state, it *spool.Item, body []byte, before []bool, changed changes) error {
	var failed []int
	for i := range it.Recipients {
		if it.Recipients[i].State == spool.RecipientFailed && (i >= len(before) || !before[i]) {
			failed = append(failed, i)
		}
	}
	failure := notice{kind: bounce.Failure, which: failed, expired: changed.expired}
	if err := g.sendDSN(s, it, body, failure); err != nil {
		return err
	}
	if before == nil { // the first attempt
		g.tryDSN(s, it, body, notice{kind: bounce.Expanded, which: expanded(it)})
	}
	g.tryDSN(s, it, body, notice{kind: bounce.Relayed, which: changed.relayed})
	due := it.DelayNoticeDue(g.now(), s.cfg.Delivery.DelayNotice)
	if len(due) > 0 && !message.Inspect(body).Automatic { // nobody waits for news of what no person sent
		g.tryDSN(s, it, body, notice{kind: bounce.Delay, which: due})
	}
	for _, i := range due {
		it.Recipients[i].DelayNoticeSent = true
	}
	return nil
}

// notice is what a DSN tells about which recipients, by index.
type notice struct {
	kind    bounce.Kind
	which   []int
	expired []int // those of which that were given up
}

// tryDSN is for notices that may be lost: of success and of delay.
func (g *Gateway) tryDSN(s *state, it *spool.Item, body []byte, n notice) {
	if err := g.sendDSN(s, it, body, n); err != nil {
		g.log.Error("cannot spool a DSN", "id", it.ID, "kind", n.kind, "error", err)
	}
}

// sendDSN tells the sender about some recipients, where RFC 3461 lets it: as a message of its own that is durable on return.
func (g *Gateway) sendDSN(s *state, it *spool.Item, body []byte, n notice) error {
	if len(n.which) == 0 {
		return nil
	}
	p := bounce.Params{
		Kind: n.kind, Hostname: s.cfg.Hostname, Postmaster: s.cfg.Postmaster, Time: g.now(), ID: spool.NewID(g.now()), Reference: it.ID,
		Envelope: it.Envelope, Arrival: it.Received,
		Original: s.firewall.Apply(message.Boundary{From: it.Source, To: it.Source}, nil, body),
	}
	for _, i := range n.which {
		r := &it.Recipients[i]
		if asked := envelopeRecipientAsked(r); bounce.Wanted(it.Envelope, asked, n.kind) {
			p.Recipients = append(p.Recipients, dsnRecipient(s, it, r, n, i))
		}
	}
	if len(p.Recipients) == 0 {
		if n.kind == bounce.Failure {
			g.log.Warn("failure without a DSN", "id", it.ID, "from", it.Envelope.ReversePath, "recipients", len(n.which))
		}
		return nil
	}
	p.Recipients = slices.CompactFunc(p.Recipients, func(a, b bounce.Recipient) bool { return a.Address == b.Address && a.Reply == b.Reply })
	text, envelope, err := bounce.Compose(p)
	if err != nil {
		// A DSN that cannot be written must not keep the message in the queue for ever.
		g.log.Error("cannot compose a DSN", "id", it.ID, "error", err)
		return nil
	}
	return g.putDSN(it, p, text, envelope)
}

// dsnRecipient is a recipient as its sender knows it.
func dsnRecipient(s *state, it *spool.Item, r *spool.Recipient, n notice, i int) bounce.Recipient {
	d := bounce.Recipient{Recipient: envelopeRecipientAsked(r), Reply: r.LastReply, Local: r.LocalReply, RemoteMTA: r.NextHop, LastAttempt: r.LastAttempt}
	if n.kind == bounce.Delay {
		d.RetryUntil = it.Received.Add(s.cfg.Delivery.ExpireAfter)
	}
	if slices.Contains(n.expired, i) {
		d.Status, d.GivenUpAfter = "4.4.7", duration(s.cfg.Delivery.ExpireAfter) // RFC 3463 3.5: delivery time expired
	}
	return d
}

// envelopeRecipientAsked is the RCPT that the client gave.
func envelopeRecipientAsked(r *spool.Recipient) message.Recipient {
	return message.Recipient{Address: r.Asked, Notify: r.Notify, ORcptType: r.ORcptType, ORcpt: r.ORcpt}
}

func (g *Gateway) putDSN(it *spool.Item, p bounce.Params, text []byte, envelope message.Envelope) error {
	sender := envelope.Recipients[0]
	envelope.Recipients = nil
	dsn := &spool.Item{
		ID: p.ID, Kind: spool.DSN, Received: p.Time, Source: "", Envelope: envelope, MessageID: p.MessageID(), Size: int64(len(text)),
		State: spool.Waiting, NextAttempt: p.Time,
		Recipients: []spool.Recipient{{Asked: sender.Address, Query: sender.Address, Notify: sender.Notify, State: spool.RecipientWaiting}},
	}
	if err := g.store.Put(context.WithoutCancel(g.deliveries), dsn, spool.Segments{text}); err != nil {
		return fmt.Errorf("storing the DSN: %w", err)
	}
	g.scheduler.Add(dsn)
	g.metrics.dsn(p.Kind)
	for _, r := range p.Recipients {
		g.log.Info("notified", "id", it.ID, "dsn", dsn.ID, "kind", p.Kind, "from", it.Envelope.ReversePath, "to", r.Address, "reply", oneLine(r.Reply))
		g.trace.Append(trace.Event{Time: p.Time, ID: it.ID, Event: dsnEvents[p.Kind], Sender: it.Envelope.ReversePath, Recipient: r.Address,
			Reply: oneLine(r.Reply), MessageID: it.MessageID, Reason: "dsn " + dsn.ID})
	}
	return nil
}

// dsnEvents are the words of the trace.
var dsnEvents = map[bounce.Kind]trace.Kind{
	bounce.Failure: trace.Bounced, bounce.Delay: trace.Delayed, bounce.Success: trace.Delivered, bounce.Relayed: trace.Delivered, bounce.Expanded: trace.Expanded,
}

func duration(d time.Duration) string {
	if d%time.Hour == 0 && d > 0 {
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return d.String()
}
