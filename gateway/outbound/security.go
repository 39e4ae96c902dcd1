package outbound

import (
	"context"
	"errors"
	"fmt"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/outbound/dane"
	"github.com/coexist-mail/coexist/gateway/outbound/mtasts"
)

// tlsDANE is the policy towards a host that TLSA records authenticate. It is never configured.
const tlsDANE config.SideTLS = "dane"

// MTASTS is an Options.Policy that applies the MTA-STS policies of a cache (RFC 8461 5). Mode testing asks for nothing: it is
// about reports, which are not sent.
func MTASTS(cache *mtasts.Cache) func(ctx context.Context, domain string) (Policy, error) {
	return func(ctx context.Context, domain string) (Policy, error) {
		p, ok := cache.Policy(ctx, domain)
		if !ok || p.Mode != mtasts.Enforce {
			return Policy{}, nil
		}
		return Policy{TLS: config.SideTLSVerified, Allow: p.Allows, Source: "MTA-STS"}, nil
	}
}

// security is what a domain that is delivered to by MX asks of each of its hosts.
type security struct {
	domain string // as A-labels
	policy Policy
	secure bool // the host's TLSA records count
	signed bool // that it is a host of the domain is known by DNSSEC
	base   []string
}

// demand is what a host must show, and who demands it; the words stand in replies and logs.
type demand struct {
	tls  config.SideTLS
	dane *dane.Policy
	by   string
}

// policy asks for the policy of a domain. Where the side is told to do no TLS there is none, nor is there for an address, nor where the
// sender does not ask for one.
func (d *delivery) policy(ctx context.Context, domain string) (Policy, error) {
	name, ok := asciiDomain(domain)
	if d.s.Policy == nil || !ok || d.side.TLS == config.SideTLSNone || d.req.TLSOptional {
		return Policy{}, nil
	}
	return d.s.Policy(ctx, name)
}

// require finds what a host must show. DANE decides alone where it authenticates the host; MTA-STS must not override it, nor
// is there anything that it could add (RFC 8461 2, RFC 7672 2.2).
func (d *delivery) require(ctx context.Context, cand *candidate) (demand, *problem) {
	sec := cand.security
	need := demand{tls: d.side.TLS, by: d.configured()}
	switch {
	case d.side.TLS == config.SideTLSNone && d.requiresTLS():
		return demand{}, d.unprotected(cand, encryptionNeeded, "the configuration permits no TLS to %s", cand.key.host)
	case sec == nil:
		return d.raiseForSender(cand, demand{tls: d.side.TLS})
	case d.side.TLS == config.SideTLSNone:
		return demand{tls: d.side.TLS}, nil
	case d.req.TLSOptional: // RFC 8689 4.2.2: what the configuration asks of the side stands
		return need, nil
	}
	records, err := d.tlsa(ctx, sec, cand.key.port)
	if err != nil { // RFC 7672 2.1.2: as if the host could not be reached
		return demand{}, d.stopped(cand, "DANE", smtp.EnhancedCode{4, 7, 5}, "DANE: looking for the TLSA records of %s: %v", cand.key.host, err)
	}
	if p := dane.New(records, append(sec.base, sec.domain)...); p != nil {
		if p.Authenticates() {
			return demand{tls: tlsDANE, dane: p, by: "DANE"}, nil
		}
		need.raise(config.SideTLSRequired, "DANE (TLSA records that cannot be used)")
	}
	if sec.policy.Allow != nil && !sec.policy.Allow(cand.key.host) {
		return demand{}, d.stopped(cand, sec.policy.Source, smtp.EnhancedCode{4, 7, 0}, "the %s policy of %s does not allow host %s",
			sec.policy.Source, sec.domain, cand.key.host)
	}
	need.raise(sec.policy.TLS, "the "+sec.policy.Source+" policy of "+sec.domain)
	return d.raiseForSender(cand, need)
}

// configured names the configuration as what demands TLS, where it does.
func (d *delivery) configured() string {
	if d.side.TLS == config.SideTLSOpportunistic {
		return ""
	}
	return "the configuration"
}

func (n *demand) raise(to config.SideTLS, by string) {
	if stronger(n.tls, to) != n.tls {
		n.tls, n.by = to, by
	}
}

// tlsa are the TLSA records of a host: of what its aliases lead to, or else of its name (RFC 7672 2.2.3).
func (d *delivery) tlsa(ctx context.Context, sec *security, port uint16) ([]dane.Record, error) {
	if !sec.secure {
		return nil, nil
	}
	for _, base := range sec.base {
		found, err := d.s.Resolver.LookupTLSA(ctx, fmt.Sprintf("_%d._tcp.%s", port, base))
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		case found.Secure && len(found.Records) > 0:
			return found.Records, nil
		}
	}
	return nil, nil
}

// stopped is the problem of a host that a policy rules out. It is logged, since another host may have the last word.
func (d *delivery) stopped(cand *candidate, by string, enhanced smtp.EnhancedCode, format string, a ...any) *problem {
	p := &problem{policy: true, result: Result{Local: true, Host: cand.key.host, Stage: StageRoute, Reply: deferral(enhanced, format, a...)}}
	d.logStopped(cand, by, p)
	return p
}

func (d *delivery) logStopped(cand *candidate, by string, p *problem) {
	d.s.Logger.Warn("a policy keeps mail from a host", "id", d.req.ID, "domain", cand.security.domain, "next_hop", cand.key.host,
		"policy", by, "stage", p.result.Stage, "reason", p.result.Reply.Message)
}

// explain says who demands the TLS that a host could not give.
func (d *delivery) explain(cand *candidate, need demand, herr *hopError, p *problem) {
	if cand.security == nil || herr.stage != StageSTARTTLS || need.by == "" {
		return
	}
	p.policy = true
	p.result.Reply = deferral(herr.enhanced, "%s: %v (TLS is demanded by %s)", cand.key, herr.err, need.by)
	d.logStopped(cand, need.by, p)
}
