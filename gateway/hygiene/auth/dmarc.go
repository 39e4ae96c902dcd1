package auth

import (
	"context"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// DomainPolicy is what a domain asks receivers to do with mail that fails DMARC (RFC 7489 6.3).
type DomainPolicy string

const (
	// PolicyNone asks for nothing.
	PolicyNone DomainPolicy = "none"
	// PolicyQuarantine asks to treat it as suspicious.
	PolicyQuarantine DomainPolicy = "quarantine"
	// PolicyReject asks to refuse it.
	PolicyReject DomainPolicy = "reject"
)

// strictness orders policies.
func strictness(p DomainPolicy) int {
	switch p {
	case PolicyQuarantine:
		return 1
	case PolicyReject:
		return 2
	}
	return 0
}

// Policy is a domain's DMARC record.
type Policy struct {
	// Domain and Subdomain are p= and sp=; sp= defaults to p=.
	Domain, Subdomain DomainPolicy
	// StrictDKIM and StrictSPF are adkim=s and aspf=s.
	StrictDKIM, StrictSPF bool
	// Percent is pct=, 0 to 100.
	Percent int
}

// DMARC is the result of RFC 7489.
type DMARC struct {
	Result Result
	// Domain is that of the From field.
	Domain string
	// Policy is what the domain asks for: p=, or sp= for a subdomain of where the record was found.
	Policy DomainPolicy
	// Disposition is what is left of it after pct= (RFC 7489 6.6.4).
	Disposition DomainPolicy
	// Reason says why Result is permerror or temperror.
	Reason string
}

// checkDMARC evaluates each author domain. Of several the strictest that fails counts (RFC 7489 6.6.1).
func (c *Checker) checkDMARC(ctx context.Context, a author, spf SPF, signatures []Signature) DMARC {
	worst := DMARC{Result: None, Policy: PolicyNone, Disposition: PolicyNone}
	for i, domain := range a.domains {
		d := c.checkAuthor(ctx, domain, spf, signatures)
		if i == 0 || worse(d, worst) {
			worst = d
		}
	}
	switch {
	case a.bad == tooMany && worst.Result != Fail:
		// Nobody writes such mail but to get past this check.
		worst.Result, worst.Policy, worst.Disposition, worst.Reason = Fail, PolicyReject, PolicyReject, a.bad
	case a.bad != "" && worst.Result != Fail:
		worst.Result, worst.Reason = PermError, a.bad
	}
	return worst
}

// worse orders results of several authors: a failure counts more than trouble, and that more than a pass.
func worse(a, b DMARC) bool {
	rank := map[Result]int{Fail: 4, TempError: 3, PermError: 2, None: 1}
	if rank[a.Result] != rank[b.Result] {
		return rank[a.Result] > rank[b.Result]
	}
	return strictness(a.Disposition) > strictness(b.Disposition)
}

// checkAuthor evaluates one author domain (RFC 7489 6.6.2).
func (c *Checker) checkAuthor(ctx context.Context, domain string, spf SPF, signatures []Signature) DMARC {
	d := DMARC{Result: None, Domain: domain, Policy: PolicyNone, Disposition: PolicyNone}
	record, organizational, err := c.findPolicy(ctx, domain)
	switch {
	case err != nil:
		d.Result, d.Reason = TempError, "policy unavailable"
		return d
	case record == nil:
		return d
	}
	if d.Policy = record.Domain; organizational {
		d.Policy = record.Subdomain
	}
	d.Result = align(domain, *record, spf, signatures)
	if d.Result == TempError {
		d.Reason = "SPF or DKIM undecided"
	}
	if d.Result == Fail {
		d.Disposition = c.sampled(d.Policy, record.Percent)
	}
	return d
}

// sampled is the policy that applies to this message: outside the sample the next lower one does (RFC 7489 6.6.4).
func (c *Checker) sampled(p DomainPolicy, percent int) DomainPolicy {
	switch {
	case percent >= 100 || c.o.Sample() < percent:
		return p
	case p == PolicyReject:
		return PolicyQuarantine
	}
	return PolicyNone
}

// align says whether SPF or DKIM passed for a domain that belongs to the author's (RFC 7489 3.1). Where neither did and one of
// them could not be decided, neither can DMARC.
func align(domain string, p Policy, spf SPF, signatures []Signature) Result {
	if spf.Result == PassResult && aligned(domain, spf.Domain, p.StrictSPF) {
		return PassResult
	}
	undecided := spf.Result == TempError && aligned(domain, spf.Domain, p.StrictSPF)
	for _, s := range signatures {
		if !aligned(domain, s.Domain, p.StrictDKIM) {
			continue
		}
		switch s.Result {
		case PassResult:
			return PassResult
		case TempError:
			undecided = true
		case PolicyResult: // not verified for its size
			undecided = undecided || s.Reason == "message too large to verify"
		}
	}
	if undecided {
		return TempError
	}
	return Fail
}

// aligned compares two domains: exactly, or by their organizational domains (RFC 7489 3.1.1).
func aligned(author, domain string, strict bool) bool {
	if domain == "" {
		return false
	}
	if strict {
		return author == domain
	}
	return organizationalDomain(author) == organizationalDomain(domain)
}

// organizationalDomain is the registered domain (RFC 7489 3.2), by the Public Suffix List. A public suffix is its own.
func organizationalDomain(domain string) string {
	organizational, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return organizational
}

// findPolicy looks for the record of the domain, then of its organizational domain (RFC 7489 6.6.3). organizational is true when
// it is from there. The error is temporary.
func (c *Checker) findPolicy(ctx context.Context, domain string) (record *Policy, organizational bool, err error) {
	if record, err = c.policyAt(ctx, domain); record != nil || err != nil {
		return record, false, err
	}
	parent := organizationalDomain(domain)
	if parent == domain {
		return nil, false, nil
	}
	record, err = c.policyAt(ctx, parent)
	return record, true, err
}

func (c *Checker) policyAt(ctx context.Context, domain string) (*Policy, error) {
	records, err := c.resolver.LookupTXT(ctx, "_dmarc."+domain)
	if d, ok := err.(*net.DNSError); ok && d.IsNotFound {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var found *Policy
	for _, r := range records {
		p, ok := ParsePolicy(r)
		if !ok {
			continue
		}
		if found != nil {
			return nil, nil // RFC 7489 6.6.3, 5: more than one is as good as none
		}
		found = &p
	}
	return found, nil
}

// ParsePolicy reads a DMARC record (RFC 7489 6.4). ok is false when it is none, or has no usable policy. A tag that is malformed
// has its default.
func ParsePolicy(record string) (p Policy, ok bool) {
	p.Percent = 100
	var reports bool
	for i, tag := range strings.Split(record, ";") {
		name, value, _ := strings.Cut(tag, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if i == 0 {
			if name != "v" || value != "DMARC1" {
				return Policy{}, false
			}
			continue
		}
		switch strings.ToLower(name) {
		case "p":
			p.Domain = domainPolicy(value)
		case "sp":
			p.Subdomain = domainPolicy(value)
		case "adkim":
			p.StrictDKIM = strings.EqualFold(value, "s")
		case "aspf":
			p.StrictSPF = strings.EqualFold(value, "s")
		case "pct":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= 100 {
				p.Percent = n
			}
		case "rua":
			reports = strings.Contains(value, ":")
		}
	}
	if p.Domain == "" {
		if !reports {
			return Policy{}, false
		}
		p.Domain, p.Subdomain = PolicyNone, PolicyNone // RFC 7489 6.6.3, 6
	}
	if p.Subdomain == "" {
		p.Subdomain = p.Domain
	}
	return p, true
}

func domainPolicy(value string) DomainPolicy {
	switch p := DomainPolicy(strings.ToLower(value)); p {
	case PolicyNone, PolicyQuarantine, PolicyReject:
		return p
	}
	return ""
}
