package auth

import (
	"context"
	"errors"
	"net"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/coexist-mail/coexist/gateway/hygiene/lookup"
)

// records looks the DMARC Policy Records up that one message needs, each name once.
type records struct {
	ctx      context.Context
	resolver *lookup.Bounded
	known    map[string]answer
}

type answer struct {
	policy *Policy // nil: none
	err    error   // temporary
}

// at is the record of a domain itself; nil when there is none, or more than one (RFC 9989 4.10, steps 2 and 6).
func (r *records) at(domain string) (*Policy, error) {
	if a, ok := r.known[domain]; ok {
		return a.policy, a.err
	}
	var a answer
	texts, err := r.resolver.LookupTXT(r.ctx, "_dmarc."+domain)
	if err != nil && !notFound(err) {
		a.err = err
	}
	count := 0
	for _, text := range texts {
		if !isPolicyRecord(text) {
			continue
		}
		count++
		if p, ok := ParsePolicy(text); ok {
			a.policy = &p
		}
	}
	if count > 1 {
		a.policy = nil
	}
	if a.policy != nil && a.policy.Suffix == SuffixUnknown && listedSuffix(domain) {
		a.policy.Suffix = IsSuffix
	}
	r.known[domain] = a
	return a.policy, a.err
}

// isPolicyRecord says whether a text begins with the version tag.
func isPolicyRecord(text string) bool {
	tag, _, _ := strings.Cut(text, ";")
	name, value, _ := strings.Cut(tag, "=")
	return strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == "DMARC1"
}

// listedSuffix says whether a domain is in the Public Suffix List. RFC 9989 does without it. Here it guards a suffix that has a record and has
// not said psd=y yet: else all who have registered a domain below it would be aligned with each other.
func listedSuffix(domain string) bool {
	suffix, icann := publicsuffix.PublicSuffix(domain)
	return suffix == domain && (icann || strings.Contains(domain, "."))
}

// maxLabels is how long a name a tree walk asks about is, beside the one that it starts with: no more than eight questions (RFC 9989 4.10,
// step 4).
const maxLabels = 7

// shorter is the next name of a tree walk; empty at its end.
func shorter(domain string) string {
	labels := strings.Split(domain, ".")
	return strings.Join(labels[max(1, len(labels)-maxLabels):], ".")
}

// found is a record on the way of a tree walk.
type found struct {
	domain string
	policy *Policy
}

// walk returns the records from a domain up, the longest name first, to the first that says whether it is a suffix (RFC 9989 4.10).
func (r *records) walk(domain string) (all []found, err error) {
	for ; domain != ""; domain = shorter(domain) {
		p, err := r.at(domain)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		all = append(all, found{domain, p})
		if p.Suffix != SuffixUnknown {
			break
		}
	}
	return all, nil
}

// organizational is the Organizational Domain of a domain (RFC 9989 4.10.2).
func (r *records) organizational(domain string) (string, error) {
	all, err := r.walk(domain)
	if err != nil || len(all) == 0 {
		return domain, err
	}
	last := all[len(all)-1] // either it says what it is, or it has the fewest labels
	if last.policy.Suffix == IsSuffix && last.domain != domain {
		return oneBelow(last.domain, domain), nil
	}
	return last.domain, nil
}

// oneBelow is the domain one label below suffix, on the way to domain.
func oneBelow(suffix, domain string) string {
	rest := strings.TrimSuffix(domain, "."+suffix)
	return rest[strings.LastIndexByte(rest, '.')+1:] + "." + suffix
}

// policy finds the record that applies to an author domain: its own, that of its Organizational Domain, or that of the suffix (RFC 9989
// 4.10.1); nil when there is none. from is where it was found. The error is temporary.
func (r *records) policy(domain string) (record *Policy, from string, err error) {
	if record, err = r.at(domain); record != nil || err != nil {
		return record, domain, err
	}
	all, err := r.walk(domain)
	if err != nil || len(all) == 0 {
		return nil, "", err
	}
	last := all[len(all)-1]
	if last.policy.Suffix == IsSuffix && len(all) > 1 {
		// The record of the Organizational Domain has precedence over the suffix's.
		if above := all[len(all)-2]; above.domain == oneBelow(last.domain, domain) {
			last = above
		}
	}
	return last.policy, last.domain, nil
}

// aligned compares two domains: exactly, or by their Organizational Domains (RFC 9989 3.2.10). The error is temporary.
func (r *records) aligned(author, identifier string, strict bool) (bool, error) {
	switch {
	case identifier == "":
		return false, nil
	case author == identifier:
		return true, nil
	case strict:
		return false, nil
	}
	organization, err := r.organizational(author)
	if err != nil || identifier != organization && !strings.HasSuffix(identifier, "."+organization) {
		return false, err
	}
	other, err := r.organizational(identifier)
	return err == nil && other == organization, err
}

// exists says whether there is a domain. RFC 9989 3.2.13 goes by NXDOMAIN, which resolvers do not tell from an empty answer: so it exists when
// it has an address, a mail exchanger or a text (RFC 9091 2.7 goes by the first two). The error is temporary.
func (r *records) exists(domain string) (bool, error) {
	for _, ask := range []func() (int, error){
		func() (int, error) { a, err := r.resolver.LookupIPAddr(r.ctx, domain); return len(a), err },
		func() (int, error) { a, err := r.resolver.LookupMX(r.ctx, domain); return len(a), err },
		func() (int, error) { a, err := r.resolver.LookupTXT(r.ctx, domain); return len(a), err },
	} {
		n, err := ask()
		if err != nil && !notFound(err) {
			return false, err
		}
		if err == nil && n > 0 {
			return true, nil
		}
	}
	return false, nil
}

func notFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}
