package gateway

import (
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/bounce"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// newSession makes the SMTP session of a client.
func (g *Gateway) newSession(c inbound.Client) (smtp.Session, error) {
	s := g.state.Load()
	var h inbound.Handler = g
	if c.AuthUser != "" {
		h = submission{g}
	}
	return inbound.NewSessionFor(h, c, s.sideOf(c), s.cfg.Limits.MessageSize), nil
}

// submission handles what a device or an application sends that logged in: no mail system, with no directory that ours could disagree with.
type submission struct{ *Gateway }

// Route lets it write to its own side.
func (s submission) Route(from routing.Side, sender, recipient string) routing.Decision {
	return s.route(routing.Query{From: from, Sender: sender, Recipient: recipient, Submitted: true})
}

// Route decides about one recipient by the view of this moment. It implements inbound.Handler, and is what `coexist route` shows.
func (g *Gateway) Route(from routing.Side, sender, recipient string) routing.Decision {
	return g.route(routing.Query{From: from, Sender: sender, Recipient: recipient})
}

func (g *Gateway) route(q routing.Query) routing.Decision {
	s := g.state.Load()
	view := g.directory.View()
	d := s.router.Route(view, g.directory.Age(g.now()), q)
	if view != nil {
		d = g.holdBack(s, view, q, d)
	}
	if d.Side != "" {
		d.NextHop = s.nextHops(d.Side)
	}
	for i := range d.Members {
		d.Members[i].NextHop = s.nextHops(d.Members[i].Side)
	}
	return d
}

// Refused logs and counts a recipient that was refused: at RCPT, or, which is not counted here, with the message.
func (g *Gateway) Refused(c inbound.Client, from routing.Side, sender string, d routing.Decision) {
	if d.Reason != routing.Message {
		g.metrics.refused(d.Reason, from)
	}
	g.log.Info("refused", "from", sender, "to", d.Recipient, "source", from, "client", c.Addr, "helo", c.Helo,
		"reply", d.Reply.String(), "reason", d.Reason, "why", d.Why)
	g.trace.Append(trace.Event{Time: g.now(), Event: trace.Refused, Sender: sender, Recipient: d.Recipient,
		Reply: d.Reply.String(), Reason: string(d.Reason) + ", from " + string(from)})
}

// Begin names a message and starts its buffer with the Received field, so that the octets that are spooled and converted are those
// that leave.
func (g *Gateway) Begin(sub *inbound.Submission) (*message.Buffer, error) {
	s := g.state.Load()
	sub.Received = g.now()
	sub.ID = spool.NewID(sub.Received)
	received := message.Received{
		Hello: sub.Client.Helo, Remote: sub.Client.Addr, By: s.cfg.Hostname, ID: sub.ID, Envelope: sub.Envelope, Time: sub.Received,
		Session: message.Session{Extended: sub.Client.ESMTP, Authenticated: sub.Client.AuthUser != "", TLS: sub.Client.TLS},
	}
	body := g.buffer()
	if _, err := body.Write(received.Append(nil)); err != nil {
		body.Close()
		return nil, fmt.Errorf("beginning the message: %w", err)
	}
	return body, nil
}

// messageMemory is what all messages on their way may hold in memory together. Past it they go to files, from 16 KiB on: a thousand
// clients that stop in the middle of a message of 1 MiB would hold a gigabyte.
const messageMemory = 64 << 20

// buffer makes room for a message.
func (g *Gateway) buffer() *message.Buffer {
	return message.NewBuffer(g.scratchDir, message.DefaultMemory).Share(g.memory)
}

// Accept is the second half of a message's way in: it is tried at all its next hops, and acknowledged when it is delivered or
// durable, whichever comes first.
func (g *Gateway) Accept(sub *inbound.Submission) *smtp.SMTPError {
	s := g.state.Load()
	header := message.Inspect(sub.Body.Bytes()[sub.Trace:])
	if header.Received > s.cfg.Limits.ReceivedHops {
		reply := &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 6}, Message: fmt.Sprintf("Loop: the message has %d Received fields", header.Received)}
		return g.refuseLoop(sub, reply, reply.Message)
	}
	if l := g.circles(sub, header); l != nil {
		return g.refuseLoop(sub, l.Reply(), l.Systems()+": "+l.Why)
	}
	filtered := g.examine(s, sub)
	if filtered.reply != nil {
		return filtered.reply
	}
	it := newItem(sub, header.MessageID)
	it.Envelope.TLSOptional = header.TLSOptional && !it.Envelope.RequireTLS // RFC 8689 4.1
	g.noteReceived(it, sub)
	g.noteHeld(it, 0)
	var reply *smtp.SMTPError
	if filtered.quarantine != "" {
		reply = g.quarantine(it, sub.Body, filtered.quarantine)
	} else {
		reply = g.deliverThenAcknowledge(s, it, sub.Body)
	}
	if reply.Code == 250 {
		g.passed(it)
	}
	g.metrics.acknowledged(g.now().Sub(sub.Received))
	return reply
}

// refuseLoop ends a message that runs in circles. why names the systems, for the log.
func (g *Gateway) refuseLoop(sub *inbound.Submission, reply *smtp.SMTPError, why string) *smtp.SMTPError {
	for _, r := range sub.Envelope.Recipients {
		g.Refused(sub.Client, sub.Side, sub.Envelope.ReversePath, routing.Decision{Recipient: r.Address, Reason: routing.Loop, Why: why,
			Reply: routing.Reply{Code: 554, Enhanced: "5.4.6", Text: reply.Message}})
	}
	return reply
}

// quarantine keeps a message in the spool until an administrator releases it (coexist queue release).
func (g *Gateway) quarantine(it *spool.Item, body *message.Buffer, why string) *smtp.SMTPError {
	it.State, it.Why, it.NextAttempt = spool.Held, "quarantined: "+why, g.now()
	if err := g.store.Put(g.deliveries, it, spool.Segments{body.Bytes()}); err != nil {
		return g.cannotSpool(it, err)
	}
	g.scheduler.Add(it)
	g.log.Warn("quarantined", "id", it.ID, "from", it.Envelope.ReversePath, "recipients", len(it.Recipients), "why", why)
	return accepted(it)
}

// Room refuses a message that is too big for memory when the disk has no room for it (RFC 1870 6.1). Smaller ones are let in: the next hops
// may take them at once, and then they never touch the disk.
func (g *Gateway) Room(size int64) *smtp.SMTPError {
	if size <= message.DefaultMemory {
		return nil
	}
	if err := g.store.Room(size); err != nil {
		g.metrics.spoolErrors.Inc()
		g.log.Error("no room for a message", "size", size, "error", err)
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "There is no room for a message of this size now, try again later"}
	}
	return nil
}

// newItem is a message with one recipient for each address that it must reach: groups are replaced by their members, and nobody
// gets it twice.
func newItem(sub *inbound.Submission, messageID string) *spool.Item {
	it := &spool.Item{
		ID: sub.ID, Kind: spool.Mail, Received: sub.Received, Source: sub.Side, Envelope: sub.Envelope, MessageID: messageID,
		Size: sub.Body.Size(), Client: fmt.Sprintf("%s:%d", sub.Client.Addr, sub.Client.Port), HELO: sub.Client.Helo, State: spool.Waiting,
	}
	it.Envelope.Recipients = nil
	if sub.Findings.EightBit && it.Envelope.Body == "" {
		it.Envelope.Body = "8BITMIME" // the client did not say so, but it is (RFC 6152)
	}
	seen := make(map[string]bool, len(sub.Decisions))
	for i, d := range sub.Decisions {
		addRecipients(it, seen, sub.Envelope.Recipients[i], d)
	}
	return it
}

// addRecipients adds what one RCPT leads to.
func addRecipients(it *spool.Item, seen map[string]bool, asked message.Recipient, d routing.Decision) {
	leaves := d.Members
	if d.Action == routing.Relay {
		leaves = []routing.Decision{d}
	} else if bounce.Wanted(it.Envelope, asked, bounce.Expanded) {
		// RFC 3461 5.2.7: the sender hears that it went to the members, and nothing more of success.
		it.Recipients = append(it.Recipients, spool.Recipient{Asked: asked.Address, State: spool.RecipientExpanded,
			Notify: asked.Notify, ORcptType: asked.ORcptType, ORcpt: asked.ORcpt})
		asked.Notify = withoutSuccess(asked.Notify)
	}
	for _, leaf := range leaves {
		key := leafKey(leaf.Side, leaf.Address)
		if seen[key] {
			continue
		}
		seen[key] = true
		r := spool.Recipient{
			Asked: asked.Address, Query: leaf.Recipient, Address: leaf.Address, Side: leaf.Side, State: spool.RecipientWaiting,
			Notify: asked.Notify, ORcptType: asked.ORcptType, ORcpt: asked.ORcpt,
		}
		if leaf.Reason == routing.Held {
			r.State, r.LastReply, r.LocalReply = spool.RecipientHeld, leaf.Why, true
		}
		it.Recipients = append(it.Recipients, r)
	}
}

// withoutSuccess is what the members of a group inherit of NOTIFY.
func withoutSuccess(notify []string) []string {
	var rest []string
	for _, n := range notify {
		if !strings.EqualFold(n, "SUCCESS") {
			rest = append(rest, n)
		}
	}
	if len(rest) == 0 {
		return []string{"NEVER"}
	}
	return rest
}

// expanded are the groups, by index, whose sender asked to hear of success.
func expanded(it *spool.Item) (which []int) {
	for i := range it.Recipients {
		if it.Recipients[i].State == spool.RecipientExpanded {
			which = append(which, i)
		}
	}
	return which
}

// leafKey names a place that a message must reach once.
func leafKey(side routing.Side, address string) string {
	return string(side) + " " + strings.ToLower(address)
}

// deliverThenAcknowledge returns the client's reply. "5s" of ack_after is the time that the next hops have to answer before the
// message is spooled.
func (g *Gateway) deliverThenAcknowledge(s *state, it *spool.Item, body *message.Buffer) *smtp.SMTPError {
	if s.cfg.Delivery.AckAfter == 0 || !g.enterDirect() {
		return g.spoolFirst(it, body)
	}
	r := g.startRunning(it, body)
	timer := time.NewTimer(s.cfg.Delivery.AckAfter)
	defer timer.Stop()
	select {
	case results := <-r.done:
		g.leaveDirect()
		return g.settleDirect(s, it, body, results)
	case <-timer.C:
	}
	return g.spoolRunning(s, it, body, r)
}

// settleDirect answers by what the next hops said.
func (g *Gateway) settleDirect(s *state, it *spool.Item, body *message.Buffer, results []outbound.Result) *smtp.SMTPError {
	changed := g.apply(it, results)
	if len(changed.failed) == len(it.Recipients)-len(expanded(it)) {
		// Nothing was accepted and nothing bounces: the sender hears what the next hop said.
		return passOn(results[changed.failed[0]].Reply)
	}
	if it.Settled() {
		if err := g.notify(s, it, body.Bytes(), nil, changed); err != nil {
			return g.cannotSpool(it, err)
		}
		return accepted(it)
	}
	it.Attempts = 1
	if at, all := g.heldUntil(it); all {
		it.NextAttempt = at
	} else {
		it.NextAttempt = g.now().Add(max(g.scheduler.NextDelay(1), changed.wait))
	}
	return g.spoolRest(s, it, body, changed)
}

// spoolRest makes durable what waits, and then sends the DSNs about what failed: in this order, so that a 452 has sent none. What failed
// is on record as waiting until its DSN is durable.
func (g *Gateway) spoolRest(s *state, it *spool.Item, body *message.Buffer, changed changes) *smtp.SMTPError {
	stored := unfailed(it, nil)
	if len(changed.failed) > 0 {
		stored.Owner = sessionOwner // until the DSN is durable
	}
	if err := g.store.Put(g.deliveries, stored, spool.Segments{body.Bytes()}); err != nil {
		return g.cannotSpool(it, err)
	}
	if it.Owner = stored.Owner; it.Owner != "" {
		g.finishRunning(s, it, body.Bytes(), changed)
		return accepted(it)
	}
	g.scheduler.Add(it)
	// What is left to tell are notices that may be lost.
	g.tryDSN(s, it, body.Bytes(), notice{kind: bounce.Expanded, which: expanded(it)})
	g.tryDSN(s, it, body.Bytes(), notice{kind: bounce.Relayed, which: changed.relayed})
	return accepted(it)
}

// spoolFirst makes the message durable and leaves its delivery to the scheduler.
func (g *Gateway) spoolFirst(it *spool.Item, body *message.Buffer) *smtp.SMTPError {
	it.NextAttempt = g.now()
	if err := g.store.Put(g.deliveries, it, spool.Segments{body.Bytes()}); err != nil {
		return g.cannotSpool(it, err)
	}
	g.tryDSN(g.state.Load(), it, body.Bytes(), notice{kind: bounce.Expanded, which: expanded(it)})
	g.scheduler.Add(it)
	return accepted(it)
}

// cannotSpool is the reply when a message can neither be settled at once nor kept: our trouble, so the client tries again.
func (g *Gateway) cannotSpool(it *spool.Item, err error) *smtp.SMTPError {
	g.metrics.spoolErrors.Inc()
	g.log.Error("cannot spool: the client keeps the message", "id", it.ID, "error", err, "recipients", len(it.Recipients))
	return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: it.ID + " cannot be stored now, try again later"}
}

func accepted(it *spool.Item) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: it.ID + " accepted"}
}

// passOn is a next hop's refusal as the client hears it.
func passOn(r *smtp.SMTPError) *smtp.SMTPError {
	reply := *r
	if reply.Code < 500 || reply.Code > 599 || reply.Code == 521 { // 521 would claim that this host takes no mail (RFC 7504)
		reply.Code = 550
	}
	return &reply
}

// maxDirect bounds the messages that are tried before they are spooled, those included that were acknowledged meanwhile: each
// holds its octets in memory. What comes beyond is spooled first.
const maxDirect = 2000

func (g *Gateway) enterDirect() bool {
	if g.direct.Add(1) > maxDirect {
		g.direct.Add(-1)
		return false
	}
	return true
}

func (g *Gateway) leaveDirect() { g.direct.Add(-1) }
