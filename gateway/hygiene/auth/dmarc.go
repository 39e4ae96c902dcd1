package auth

import (
	"context"
	"strconv"
	"strings"
)

// DomainPolicy is what a domain asks receivers to do with mail that fails DMARC (RFC 9989 4.7).
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

// Policy is a domain's DMARC Policy Record.
type Policy struct {
	// Domain, Subdomain and NonExistent are p=, sp= and np=. An sp= that is not there is p=, and an np= is sp= (RFC 9989 4.7).
	Domain, Subdomain, NonExistent DomainPolicy
	// StrictDKIM and StrictSPF are adkim=s and aspf=s.
	StrictDKIM, StrictSPF bool
	// Suffix is psd=.
	Suffix SuffixFlag
	// Testing is t=y: the policy that applies is one level below.
	Testing bool
	// Percent is pct= of RFC 7489 6.3, 0 to 100. RFC 9989 has no such tag any more; who still writes it wants less to be refused, which a
	// receiver may always do.
	Percent int
}

// SuffixFlag says whether a domain is a Public Suffix Domain (RFC 9989 4.7, psd).
type SuffixFlag string

const (
	// SuffixUnknown is the default: the tree walk finds out.
	SuffixUnknown SuffixFlag = "u"
	// IsSuffix: registrations are made below the domain.
	IsSuffix SuffixFlag = "y"
	// NoSuffix: the domain is the Organizational Domain of itself and of what is below.
	NoSuffix SuffixFlag = "n"
)

// DMARC is the result of RFC 9989.
type DMARC struct {
	Result Result
	// Domain is that of the From field.
	Domain string
	// Policy is what the domain asks for: p=, or sp= or np= of the domain above it where the record was found.
	Policy DomainPolicy
	// Disposition is what is left of it after t= and pct=.
	Disposition DomainPolicy
	// Reason says why Result is permerror or temperror.
	Reason string
}

// checkDMARC evaluates each author domain. Of several the strictest that fails counts (RFC 9989 11.5 leaves it to the receiver).
func (c *Checker) checkDMARC(ctx context.Context, a author, spf SPF, signatures []Signature) DMARC {
	worst := DMARC{Result: None, Policy: PolicyNone, Disposition: PolicyNone}
	rec := &records{ctx: ctx, resolver: c.resolver, known: map[string]answer{}}
	for i, domain := range a.domains {
		d := c.checkAuthor(rec, domain, spf, signatures)
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

// checkAuthor evaluates one author domain (RFC 9989 5.3).
func (c *Checker) checkAuthor(rec *records, domain string, spf SPF, signatures []Signature) DMARC {
	d := DMARC{Result: None, Domain: domain, Policy: PolicyNone, Disposition: PolicyNone}
	record, from, err := rec.policy(domain)
	switch {
	case err != nil:
		d.Result, d.Reason = TempError, "policy unavailable"
		return d
	case record == nil:
		return d
	}
	d.Result = rec.align(domain, *record, spf, signatures)
	d.Policy = record.Domain
	if from != domain {
		d.Policy, err = rec.below(domain, *record, d.Result)
	}
	switch {
	case d.Result == TempError:
		d.Reason = "SPF or DKIM undecided"
	case err != nil:
		d.Result, d.Reason = TempError, "existence of the domain undecided"
	case d.Result == Fail:
		d.Disposition = c.applied(d.Policy, *record)
	}
	return d
}

// below is what a record asks for of a domain below its own: np= for one that does not exist, else sp= (RFC 9989 4.10.1). Only where it
// matters is DNS asked.
func (r *records) below(domain string, p Policy, result Result) (DomainPolicy, error) {
	if p.NonExistent == p.Subdomain || result != Fail {
		return p.Subdomain, nil
	}
	there, err := r.exists(domain)
	if err == nil && !there {
		return p.NonExistent, nil
	}
	return p.Subdomain, err
}

// applied is the policy that applies to this message. With t=y it is one level lower (RFC 9989 4.7), and so it is outside the sample of
// pct= (RFC 7489 6.6.4).
func (c *Checker) applied(p DomainPolicy, record Policy) DomainPolicy {
	switch {
	case !record.Testing && (record.Percent >= 100 || c.o.Sample() < record.Percent):
		return p
	case p == PolicyReject:
		return PolicyQuarantine
	}
	return PolicyNone
}

// align says whether SPF or DKIM passed for a domain that belongs to the author's (RFC 9989 4.4). Where neither did and one of
// them could not be decided, neither can DMARC (RFC 9989 5.3.6).
func (r *records) align(domain string, p Policy, spf SPF, signatures []Signature) Result {
	undecided := false
	// consider takes one identifier, and says whether it is the author's and passed.
	consider := func(identifier string, strict bool, result Result) bool {
		if result != PassResult && result != TempError {
			return false
		}
		same, err := r.aligned(domain, identifier, strict)
		undecided = undecided || err != nil || same && result == TempError
		return err == nil && same && result == PassResult
	}
	if consider(spf.Domain, p.StrictSPF, spf.Result) {
		return PassResult
	}
	for _, s := range signatures {
		result := s.Result
		if result == PolicyResult && s.Reason == tooLarge {
			result = TempError // not verified for the size of the message: it may well be good
		}
		if consider(s.Domain, p.StrictDKIM, result) {
			return PassResult
		}
	}
	if undecided {
		return TempError
	}
	return Fail
}

// ParsePolicy reads a DMARC Policy Record (RFC 9989 4.7). ok is false when it is none, or has no usable policy. Tags that are not known, and
// values of tags that have a default, are passed over.
func ParsePolicy(record string) (p Policy, ok bool) {
	p.Percent, p.Suffix = 100, SuffixUnknown
	var reports, bad, stated bool
	policy := func(to *DomainPolicy, value string) {
		*to = domainPolicy(value)
		bad = bad || *to == ""
	}
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
			policy(&p.Domain, value)
			stated = true
		case "sp":
			policy(&p.Subdomain, value)
		case "np":
			policy(&p.NonExistent, value)
		case "adkim":
			p.StrictDKIM = strings.EqualFold(value, "s")
		case "aspf":
			p.StrictSPF = strings.EqualFold(value, "s")
		case "t":
			p.Testing = strings.EqualFold(value, "y")
		case "psd":
			p.Suffix = suffixFlag(value)
		case "pct":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= 100 {
				p.Percent = n
			}
		case "rua":
			reports = strings.Contains(value, ":")
		}
	}
	switch {
	case bad && !reports:
		return Policy{}, false
	case bad, !stated: // RFC 9989 4.10.1, and 4.7 of a record without p=
		p.Domain, p.Subdomain, p.NonExistent = PolicyNone, PolicyNone, PolicyNone
	}
	if p.Subdomain == "" {
		p.Subdomain = p.Domain
	}
	if p.NonExistent == "" {
		p.NonExistent = p.Subdomain
	}
	return p, true
}

func suffixFlag(value string) SuffixFlag {
	switch f := SuffixFlag(strings.ToLower(value)); f {
	case IsSuffix, NoSuffix:
		return f
	}
	return SuffixUnknown
}

func domainPolicy(value string) DomainPolicy {
	switch p := DomainPolicy(strings.ToLower(value)); p {
	case PolicyNone, PolicyQuarantine, PolicyReject:
		return p
	}
	return ""
}
