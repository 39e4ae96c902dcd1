package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/outbound"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// attempt tries every recipient that waits, all sides at once, and returns a result for each recipient of the item, in the same order;
// those that were not tried have the zero Result. It does not change the item. sideDone, unless nil, is called with the results of
// each side, in the same form, when they are there; the calls may overlap.
func (g *Gateway) attempt(ctx context.Context, it *spool.Item, body []byte, sideDone func([]outbound.Result)) []outbound.Result {
	results := make([]outbound.Result, len(it.Recipients))
	bySide := map[routing.Side][]int{} // all of it before the first attempt ends, since sideDone may change the item
	for _, side := range routing.Sides {
		if which := waiting(it, side); len(which) > 0 {
			bySide[side] = which
		}
	}
	var wg sync.WaitGroup
	for side, which := range bySide {
		wg.Go(func() {
			g.attemptSide(ctx, it, body, side, which, results)
			if sideDone != nil {
				own := make([]outbound.Result, len(results))
				for _, i := range which {
					own[i] = results[i]
				}
				sideDone(own)
			}
		})
	}
	wg.Wait()
	return results
}

// waiting are the recipients, by index, that wait for a side.
func waiting(it *spool.Item, side routing.Side) (which []int) {
	for i := range it.Recipients {
		if r := &it.Recipients[i]; r.State == spool.RecipientWaiting && r.Side == side {
			which = append(which, i)
		}
	}
	return which
}

// attemptSide tries the recipients of one side.
func (g *Gateway) attemptSide(ctx context.Context, it *spool.Item, body []byte, side routing.Side, which []int, results []outbound.Result) {
	defer func() {
		if r := recover(); r != nil { // our bug is our trouble: the message waits
			g.log.Error("bug in a delivery", "id", it.ID, "side", side, "panic", r, "stack", stack())
			for _, i := range which {
				results[i] = outbound.Result{Outcome: outbound.Deferred, Local: true, Stage: outbound.StageCheck,
					Reply: &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Internal error"}}
			}
		}
	}()
	if refusal := g.sideHolds.ask(side, g.now()); refusal != nil {
		for _, i := range which {
			results[i] = outbound.Result{Outcome: outbound.Deferred, Local: true, Stage: outbound.StageRoute, Reply: refusal}
			g.noteAttempt(it, &it.Recipients[i], results[i], g.now())
		}
		return
	}
	req := outbound.Request{ID: it.ID, Side: side, Envelope: it.Envelope}
	for _, i := range which {
		req.Recipients = append(req.Recipients, envelopeRecipient(&it.Recipients[i]))
	}
	variant := g.transform(it, body, side)
	defer variant.close()
	req.Content = variant.content
	if variant.eightBit && !req.IsBinary() {
		req.Body = "8BITMIME"
	}
	started := g.now()
	answers := g.transport.Deliver(ctx, req)
	g.heed(side, answers)
	for n, result := range answers {
		results[which[n]] = result
		g.noteAttempt(it, &it.Recipients[which[n]], result, started)
	}
}

// envelopeRecipient is a recipient as it is given to the next hop. When a DSN was asked for about an address that is rewritten, the
// one that the client gave goes along as ORCPT, so that the DSN names an address that the sender knows (RFC 3461 5.2.1).
func envelopeRecipient(r *spool.Recipient) message.Recipient {
	e := message.Recipient{Address: r.Address, Notify: r.Notify, ORcptType: r.ORcptType, ORcpt: r.ORcpt}
	if e.ORcpt == "" && len(e.Notify) > 0 && e.Address != r.Asked && ascii(r.Asked) {
		e.ORcptType, e.ORcpt = "rfc822", r.Asked
	}
	return e
}

// changes are the recipients, by index, that an attempt settled.
type changes struct {
	delivered, failed []int
	expired           []int         // given up: they failed as well
	relayed           []int         // delivered to a host without DSN although the sender asked to hear of success
	wait              time.Duration // the least time until the next attempt that a reply asked for
}

func (c *changes) add(o changes) {
	c.delivered = append(c.delivered, o.delivered...)
	c.failed = append(c.failed, o.failed...)
	c.relayed = append(c.relayed, o.relayed...)
	c.wait = max(c.wait, o.wait)
}

// apply writes the results into the item.
func (g *Gateway) apply(it *spool.Item, results []outbound.Result) (c changes) {
	now := g.now()
	for i := range it.Recipients {
		r, res := &it.Recipients[i], &results[i]
		if res.Outcome == "" {
			continue
		}
		r.Attempts++
		r.LastAttempt = now
		r.LastReply, r.LocalReply = replyText(res.Reply), res.Local
		r.NextHop = res.Host
		c.wait = max(c.wait, adviceDelay(r.Side, res))
		switch res.Outcome {
		case outbound.Delivered:
			r.State = spool.RecipientDelivered
			c.delivered = append(c.delivered, i)
			if res.Relayed {
				c.relayed = append(c.relayed, i)
			}
		case outbound.Refused:
			r.State = spool.RecipientFailed
			c.failed = append(c.failed, i)
		}
	}
	return c
}

func replyText(r *smtp.SMTPError) string {
	if r == nil {
		return ""
	}
	e := r.EnhancedCode
	if e == smtp.EnhancedCodeNotSet || e == smtp.NoEnhancedCode {
		return fmt.Sprintf("%d %s", r.Code, r.Message)
	}
	return fmt.Sprintf("%d %d.%d.%d %s", r.Code, e[0], e[1], e[2], r.Message)
}

// words are the first words of the log lines of an attempt, and its event in the trace.
var words = map[outbound.Outcome]trace.Kind{outbound.Delivered: trace.Delivered, outbound.Deferred: trace.Deferred, outbound.Refused: trace.Refused}

// noteAttempt writes the one line that an admin greps for: one for each message, recipient and attempt.
func (g *Gateway) noteAttempt(it *spool.Item, r *spool.Recipient, res outbound.Result, started time.Time) {
	now := g.now()
	reply, hop := oneLine(replyText(res.Reply)), res.Host
	if res.Addr != "" {
		hop += " [" + res.Addr + "]"
	}
	g.log.Info(string(words[res.Outcome]), "id", it.ID, "from", it.Envelope.ReversePath, "to", r.Asked, "address", r.Address, "side", r.Side,
		"next_hop", hop, "tls", res.TLS, "reply", reply, "delay", now.Sub(it.Received).Round(time.Millisecond), "size", it.Size,
		"message_id", it.MessageID)
	g.metrics.attempted(r.Side, res.Outcome, now.Sub(started))
	g.trace.Append(trace.Event{Time: now, ID: it.ID, Event: words[res.Outcome], Sender: it.Envelope.ReversePath, Recipient: r.Asked,
		Side: string(r.Side), NextHop: hop, Reply: reply, MessageID: it.MessageID, Reason: sentAs(r), DelayMS: now.Sub(it.Received).Milliseconds()})
}

// sentAs tells the address that the next hop was given, where it is another than the one asked for.
func sentAs(r *spool.Recipient) string {
	if r.Address == r.Asked {
		return ""
	}
	return "as " + r.Address
}
