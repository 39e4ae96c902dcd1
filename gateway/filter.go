package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
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
	"github.com/coexist-mail/coexist/gateway/trace"
	"github.com/coexist-mail/coexist/routing"
)

// newFilter makes the filter that a configuration asks for. Parts that it does not ask for are off.
func newFilter(cfg *config.Config) (*hygiene.Filter, error) {
	h := &cfg.Hygiene
	o := hygiene.Options{Hostname: cfg.Hostname, Exempt: h.Exempt, MilterStage: hygiene.Stage(h.MilterStage), Tenant: tenantOptions(&cfg.Cloud, cfg.Domains),
		Resolver: lookup.Server(h.Resolver)}
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
	if cfg.OnPrem.SpamHeaders {
		o.Verdict = &verdict.Options{}
	}
	f, err := hygiene.New(o)
	if err != nil {
		return nil, fmt.Errorf("making the filters: %w", err)
	}
	return f, nil
}

// tenantOptions tell the tenant's mail from others'; nil where any tenant's is taken for it.
func tenantOptions(c *config.Cloud, shared []string) *tenant.Options {
	o := &tenant.Options{ID: c.TenantID, TrustUnstated: c.TrustUnstated}
	if !slices.Contains(c.TenantDomains, "*") {
		for _, d := range slices.Concat([]string{c.TenantDomain, c.RoutingDomain}, shared, c.TenantDomains) {
			if d != "" {
				o.Domains = append(o.Domains, d)
			}
		}
	}
	if len(o.Domains) == 0 && o.ID == "" {
		return nil
	}
	return o
}

// reloadFilter makes the filter of a new configuration; the old one goes on when nothing about it changed, since it remembers clients.
func (g *Gateway) reloadFilter(cfg *config.Config) (*hygiene.Filter, error) {
	old := g.state.Load()
	type settings struct {
		hostname    string
		hygiene     config.Hygiene
		tenant      *tenant.Options
		spamHeaders bool
	}
	of := func(c *config.Config) settings {
		return settings{c.Hostname, c.Hygiene, tenantOptions(&c.Cloud, c.Domains), c.OnPrem.SpamHeaders}
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
	return hygiene.Client{Side: side, Addr: c.Addr, Port: c.Port, Helo: c.Helo, TLS: c.TLS, AuthUser: c.AuthUser, Listener: c.Listener}
}

// CheckRecipient asks the filters about a recipient that the router accepts: blocklists, content filters where that is configured, and
// greylisting. It implements inbound.Handler.
func (g *Gateway) CheckRecipient(c inbound.Client, side routing.Side, sender, recipient string) *smtp.SMTPError {
	refusal, problems := g.state.Load().filter.Check(g.deliveries, hygieneClient(c, side), message.Envelope{ReversePath: sender}, message.Recipient{Address: recipient})
	g.noteProblems("", problems)
	if refusal == nil {
		return nil
	}
	g.noteFiltered("", sender, recipient, side, c, refusal)
	return refusal.Reply
}

// noteProblems logs filters that could not be asked. Of one that is dead each message would say so: the metrics do.
func (g *Gateway) noteProblems(id string, problems []error) {
	for _, problem := range problems {
		level := slog.LevelWarn
		if errors.Is(problem, milter.ErrNotAsked) {
			level = slog.LevelDebug
		}
		g.log.Log(context.Background(), level, "a filter cannot be asked", "id", id, "error", problem)
	}
}

// noteFiltered logs and counts a recipient that the filters refused.
func (g *Gateway) noteFiltered(id, sender, recipient string, side routing.Side, c inbound.Client, r *hygiene.Refusal) {
	g.metrics.refused(routing.Reason(r.Reason), side)
	text := oneLine(replyText(r.Reply))
	g.log.Info("refused", "id", id, "from", sender, "to", recipient, "source", side, "client", c.Addr, "helo", c.Helo,
		"reply", text, "reason", r.Reason, "why", r.Detail)
	g.trace.Append(trace.Event{Time: g.now(), ID: id, Event: trace.Refused, Sender: sender, Recipient: recipient,
		Reply: text, Reason: string(r.Reason) + ", from " + string(side)})
}

// refuseMessage logs and counts a message that the filters refused, for each of its recipients.
func (g *Gateway) refuseMessage(sub *inbound.Submission, r *hygiene.Refusal) *smtp.SMTPError {
	for _, to := range sub.Envelope.Recipients {
		g.noteFiltered(sub.ID, sub.Envelope.ReversePath, to.Address, sub.Side, sub.Client, r)
	}
	return r.Reply
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
	g.noteProblems(sub.ID, result.Problems)
	if len(result.Ignored) > 0 {
		g.log.Info("a filter asked for what is not done", "id", sub.ID, "what", strings.Join(result.Ignored, "; "))
	}
	switch {
	case result.Refusal != nil:
		return examined{reply: g.refuseMessage(sub, result.Refusal)}
	case result.Discard:
		done := &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: sub.ID + " accepted"}
		return examined{reply: g.refuseMessage(sub, &hygiene.Refusal{Reply: done, Reason: hygiene.Discarded, Detail: "a filter says that nobody is to get it"})}
	case len(result.Fields) > 0 || result.Message != nil:
		if err := g.rewrite(sub, result); err != nil {
			g.log.Error("cannot store what the filters made of a message", "id", sub.ID, "error", err)
			return examined{reply: &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Cannot store the message now, try again later"}}
		}
	}
	return examined{quarantine: result.Quarantine}
}

// attribute sees whether mail of the cloud side is of our tenant, since all tenants send from the same addresses. Mail of another tenant is
// never relayed to foreign domains. With cloud.check_tenant it is mail from the internet in all else too, and so is mail that names none.
func (g *Gateway) attribute(s *state, sub *inbound.Submission, octets []byte) *smtp.SMTPError {
	if sub.Side != routing.Cloud {
		return nil
	}
	finding, ok := s.filter.Attribute(octets)
	if !ok || finding.Side == routing.Cloud || !s.cfg.Cloud.CheckTenant && finding.Standing != tenant.Foreign {
		return nil
	}
	g.log.Info("mail from Exchange Online is not of the tenant", "id", sub.ID, "from", sub.Envelope.ReversePath, "standing", finding.Standing, "claim", finding.Claim)
	decisions := make([]routing.Decision, len(sub.Decisions))
	for i := range sub.Decisions {
		d := g.Route(routing.Internet, sub.Envelope.ReversePath, sub.Envelope.Recipients[i].Address)
		switch {
		case d.Reason == routing.RelayDenied:
			return g.refuseMessage(sub, &hygiene.Refusal{Reply: finding.Reply(), Reason: hygiene.OtherTenant, Detail: finding.Claim})
		case d.Action == routing.Relay, d.Action == routing.Expand:
			decisions[i] = d
		case s.cfg.Cloud.CheckTenant: // what the cloud may, and the internet may not
			return g.refuseMessage(sub, &hygiene.Refusal{Reply: inbound.Reply(d.Reply), Reason: hygiene.Reason(d.Reason), Detail: d.Why})
		}
	}
	if s.cfg.Cloud.CheckTenant {
		sub.Side, sub.Decisions = routing.Internet, decisions
	}
	return nil
}

// rewrite puts the fields of the filters below our Received field, and what they changed in the place of what came.
func (g *Gateway) rewrite(sub *inbound.Submission, result hygiene.Result) error {
	body := g.buffer()
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
	o := loop.Options{Gateway: cfg.Hostname, Key: key, Clock: now}
	if name := map[string]string{"notes": "Notes", "groupwise": "GroupWise"}[cfg.OnPrem.System]; name != "" {
		o.Names = map[routing.Side]string{routing.OnPrem: name}
	}
	return loop.New(o)
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
