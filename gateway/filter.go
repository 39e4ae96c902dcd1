package gateway

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/hygiene"
	"github.com/coexist-mail/coexist/gateway/hygiene/auth"
	"github.com/coexist-mail/coexist/gateway/hygiene/dnsbl"
	"github.com/coexist-mail/coexist/gateway/hygiene/greylist"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
	"github.com/coexist-mail/coexist/gateway/hygiene/milter"
	"github.com/coexist-mail/coexist/gateway/hygiene/tenant"
	"github.com/coexist-mail/coexist/gateway/hygiene/verdict"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/loop"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/gateway/spool"
	"github.com/coexist-mail/coexist/routing"
)

// newFilter makes the filter that a configuration asks for. Parts that it does not ask for are off.
func newFilter(cfg *config.Config) (*hygiene.Filter, error) {
	h := &cfg.Hygiene
	o := hygiene.Options{Hostname: cfg.Hostname, Exempt: h.Exempt}
	if h.Resolver != "" {
		o.Resolver = lookup.Server(h.Resolver)
	}
	if h.Authenticate != "off" && h.Authenticate != "" {
		o.Auth = &auth.Options{Hostname: cfg.Hostname, Enforce: auth.Enforcement(h.Authenticate)}
	}
	if len(h.Blocklists) > 0 {
		o.Blocklists = &dnsbl.Options{}
		for _, zone := range h.Blocklists {
			o.Blocklists.Zones = append(o.Blocklists.Zones, dnsbl.Zone{Name: zone, Reason: true})
		}
	}
	if h.Greylist {
		o.Greylist = &greylist.Options{File: filepath.Join(cfg.DataDir, "greylist"), Delay: h.GreylistDelay}
	}
	for _, address := range h.Milters {
		o.Milters = append(o.Milters, hygiene.Milter{Filter: milterFilter(address, h)})
	}
	if cfg.Cloud.CheckTenant {
		o.Tenant = &tenant.Options{ID: cfg.Cloud.TenantID, TrustUnstated: cfg.Cloud.TrustUnstated}
		for _, d := range append([]string{cfg.Cloud.TenantDomain, cfg.Cloud.RoutingDomain}, cfg.Domains...) {
			if d != "" {
				o.Tenant.Domains = append(o.Tenant.Domains, d)
			}
		}
	}
	if cfg.OnPrem.SpamHeaders {
		o.Verdict = &verdict.Options{}
	}
	f, err := hygiene.New(o)
	if err != nil {
		return nil, fmt.Errorf("making the filters: %w", err)
	}
	return f, nil
}

// reloadFilter makes the filter of a new configuration; the old one goes on when nothing about it changed, since it remembers clients.
func (g *Gateway) reloadFilter(cfg *config.Config) (*hygiene.Filter, error) {
	old := g.state.Load()
	type settings struct {
		hygiene config.Hygiene
		cloud   [4]string
		check   [3]bool
		domains []string
	}
	of := func(c *config.Config) settings {
		return settings{c.Hygiene, [4]string{c.Hostname, c.Cloud.TenantDomain, c.Cloud.RoutingDomain, c.Cloud.TenantID},
			[3]bool{c.Cloud.CheckTenant, c.Cloud.TrustUnstated, c.OnPrem.SpamHeaders}, c.Domains}
	}
	if reflect.DeepEqual(of(old.cfg), of(cfg)) {
		return old.filter, nil
	}
	if err := old.filter.Save(); err != nil {
		g.log.Warn("cannot save what the filters remember", "error", err)
	}
	return newFilter(cfg)
}

// maintainFilter keeps on disk what the filter in force has to remember over a restart.
func (g *Gateway) maintainFilter(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		}
		if err := g.state.Load().filter.Save(); err != nil {
			g.log.Warn("cannot save what the filters remember", "error", err)
		}
		if ended {
			return
		}
	}
}

// hygieneClient is a client as the filters see it.
func hygieneClient(c inbound.Client, side routing.Side) hygiene.Client {
	return hygiene.Client{Side: side, Addr: c.Addr, Port: c.Port, Helo: c.Helo, TLS: c.TLS}
}

// checkTimeout bounds what is asked at RCPT.
const checkTimeout = 15 * time.Second

// CheckRecipient asks the filters about a recipient that the router accepts: blocklists, and greylisting. It implements
// inbound.Handler.
func (g *Gateway) CheckRecipient(c inbound.Client, side routing.Side, sender, recipient string) *smtp.SMTPError {
	ctx, cancel := context.WithTimeout(g.deliveries, checkTimeout)
	defer cancel()
	refusal := g.state.Load().filter.Check(ctx, hygieneClient(c, side), sender, recipient)
	if refusal == nil {
		return nil
	}
	g.noteFiltered("", sender, recipient, side, c, refusal)
	return refusal.Reply
}

func (g *Gateway) noteFiltered(id, sender, recipient string, side routing.Side, c inbound.Client, r *hygiene.Refusal) {
	g.metrics.refused(routing.Reason(r.Reason), side)
	g.log.Info("refused", "id", id, "from", sender, "to", recipient, "source", side, "client", c.Addr, "helo", c.Helo,
		"reply", oneLine(replyText(r.Reply)), "reason", r.Reason, "why", r.Detail)
}

// examined is what the filters made of a message.
type examined struct {
	reply      *smtp.SMTPError // not nil: the answer
	quarantine string
}

// examine asks the filters about a message that was read whole. What they put on top, and what they changed, is in sub.Body after it.
func (g *Gateway) examine(s *state, sub *inbound.Submission) examined {
	octets := sub.Body.Bytes()[sub.Trace:]
	if reply := g.attribute(s, sub, octets); reply != nil {
		return examined{reply: reply}
	}
	result := s.filter.Examine(g.deliveries, hygieneClient(sub.Client, sub.Side), hygiene.Mail{ID: sub.ID, Envelope: sub.Envelope, Octets: octets})
	for _, problem := range result.Problems {
		g.log.Warn("a filter cannot be asked", "id", sub.ID, "error", problem)
	}
	if len(result.Ignored) > 0 {
		g.log.Info("a filter asked for what is not done", "id", sub.ID, "what", strings.Join(result.Ignored, "; "))
	}
	switch {
	case result.Refusal != nil:
		for _, r := range sub.Envelope.Recipients {
			g.noteFiltered(sub.ID, sub.Envelope.ReversePath, r.Address, sub.Side, sub.Client, result.Refusal)
		}
		return examined{reply: result.Refusal.Reply}
	case result.Discard:
		g.log.Info("discarded", "id", sub.ID, "from", sub.Envelope.ReversePath, "recipients", len(sub.Envelope.Recipients), "why", "a filter says so")
		return examined{reply: &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: sub.ID + " accepted"}}
	case len(result.Fields) > 0 || result.Message != nil:
		if err := g.rewrite(sub, result); err != nil {
			g.log.Error("cannot store what the filters made of a message", "id", sub.ID, "error", err)
			return examined{reply: &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Cannot store the message now, try again later"}}
		}
	}
	return examined{quarantine: result.Quarantine}
}

// attribute sees whether mail of the cloud side is of our tenant, since all tenants send from the same addresses. What is not is mail from
// the internet, which may not be relayed.
func (g *Gateway) attribute(s *state, sub *inbound.Submission, octets []byte) *smtp.SMTPError {
	if sub.Side != routing.Cloud {
		return nil
	}
	finding, ok := s.filter.Attribute(octets)
	if !ok || finding.Side == routing.Cloud {
		return nil
	}
	g.log.Info("mail from Exchange Online is not of the tenant", "id", sub.ID, "from", sub.Envelope.ReversePath, "standing", finding.Standing, "claim", finding.Claim)
	sub.Side = finding.Side
	for i := range sub.Decisions {
		d := g.Route(sub.Side, sub.Envelope.ReversePath, sub.Envelope.Recipients[i].Address)
		if d.Reason == routing.RelayDenied {
			g.Refused(sub.Client, sub.Side, sub.Envelope.ReversePath, d)
			return finding.Reply()
		}
		if d.Action == routing.Relay || d.Action == routing.Expand {
			sub.Decisions[i] = d
		}
	}
	return nil
}

// rewrite puts the fields of the filters below our Received field, and what they changed in the place of what came.
func (g *Gateway) rewrite(sub *inbound.Submission, result hygiene.Result) error {
	body := message.NewBuffer(g.scratchDir, message.DefaultMemory)
	old := sub.Body.Bytes()
	content := message.Content{old[:sub.Trace], result.Fields}
	if result.Message != nil {
		content = append(content, result.Message...)
	} else {
		content = append(content, old[sub.Trace:])
	}
	// The trace fields end with Received when nothing else is put on top; a message that starts with a space must not continue another one.
	content[0], content[1] = content[1], content[0]
	if _, err := content.WriteTo(body); err != nil {
		return errors.Join(err, body.Close())
	}
	sub.Trace += len(result.Fields)
	previous := sub.Body
	sub.Body = body
	return previous.Close()
}

// openLoops makes the detector of this gateway's own trace field.
func openLoops(cfg *config.Config, now func() time.Time) (*loop.Detector, error) {
	key, err := loop.LoadKey(filepath.Join(cfg.DataDir, "trace.key"))
	if err != nil {
		return nil, err
	}
	return loop.New(loop.Options{Gateway: cfg.Hostname, Key: key, Clock: now})
}

// circles says whether a message runs in circles between two systems, by its trace and by what is remembered of it.
func (g *Gateway) circles(sub *inbound.Submission, header message.Header) *loop.Loop {
	if l := g.loops.Check(g.loops.Inspect(sub.Body.Bytes()[sub.Trace:]), sub.Side); l != nil {
		return l
	}
	for i := range sub.Decisions {
		if l := g.loops.CheckRecipient(header.MessageID, sub.Envelope.Recipients[i].Address, sub.Side); l != nil {
			return l
		}
	}
	return nil
}

// passed remembers where a message went.
func (g *Gateway) passed(it *spool.Item) {
	if it.MessageID == "" {
		return
	}
	for i := range it.Recipients {
		if r := &it.Recipients[i]; r.Side != "" {
			g.loops.Passed(it.MessageID, r.Asked, loop.Passage{From: it.Source, To: r.Side})
		}
	}
}

func milterFilter(address string, h *config.Hygiene) milter.Filter {
	return milter.Filter{Address: strings.TrimPrefix(address, "unix:"), Fallback: milter.Fallback(h.MilterDown), Answer: h.MilterTimeout, Total: 2 * h.MilterTimeout}
}
