package outbound

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// maxHosts is how many hosts of a domain are tried in one attempt.
const maxHosts = 10

// host is a host that takes mail for a domain.
type host struct {
	name      string
	canonical string // what aliases lead to
	addrs     []netip.Addr
	// secure: DNSSEC authenticated both its addresses and the record that named it, so that its TLSA records count (RFC 7672 2.2).
	secure bool
	// signed: DNSSEC authenticated the record that named it (RFC 8689 4.2.1).
	signed bool
}

func newHost(name string, a Addresses, signed bool) host {
	return host{name: name, canonical: a.Canonical, addrs: ipv4First(a.Addrs), secure: signed && a.Secure, signed: signed}
}

// route finds the hosts of a domain in the order in which they are to be tried, or the reply when there is none.
func (s *settings) route(ctx context.Context, domain string) ([]host, *smtp.SMTPError) {
	if literal, ok := addressLiteral(domain); ok {
		return s.withoutSelf([]host{{name: literal.String(), addrs: []netip.Addr{literal}}}, domain)
	}
	name, ok := asciiDomain(domain)
	if !ok {
		return nil, refusal(550, smtp.EnhancedCode{5, 1, 2}, "%q is not a domain name", domain)
	}
	records, err := s.Resolver.LookupMX(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, refusal(550, smtp.EnhancedCode{5, 1, 2}, "domain %s does not exist", domain)
	case err != nil:
		return nil, deferral(smtp.EnhancedCode{4, 4, 3}, "looking for the MX of %s: %v", domain, err)
	case isNullMX(records): // RFC 7505 4.1
		return nil, refusal(556, smtp.EnhancedCode{5, 1, 10}, "domain %s does not accept mail (null MX)", domain)
	case len(records) == 0: // RFC 5321 5.1: the domain itself, with preference 0
		return s.implicitMX(ctx, name, domain)
	}
	return s.explicitMX(ctx, records, domain)
}

// asciiDomain is a domain name with its labels as A-labels (RFC 5890 2.3.2.1), in lower case; false when it is none.
func asciiDomain(domain string) (string, bool) {
	name, err := idna.Lookup.ToASCII(domain)
	_, ok := dns.IsDomainName(name)
	return canonicalName(name), err == nil && ok && name != ""
}

// addressLiteral parses "[192.0.2.1]" and "[IPv6:2001:db8::1]" (RFC 5321 4.1.3).
func addressLiteral(domain string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(domain, "[")
	inner, end := strings.CutSuffix(inner, "]")
	if !ok || !end {
		return netip.Addr{}, false
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner = inner[5:]
	}
	a, err := netip.ParseAddr(inner)
	return a, err == nil
}

func isNullMX(records []MX) bool {
	return len(records) == 1 && (records[0].Host == "." || records[0].Host == "")
}

func (s *settings) implicitMX(ctx context.Context, name, domain string) ([]host, *smtp.SMTPError) {
	a, err := s.Resolver.LookupHost(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && len(a.Addrs) == 0:
		return nil, refusal(550, smtp.EnhancedCode{5, 1, 2}, "domain %s has neither MX nor address", domain)
	case err != nil:
		return nil, deferral(smtp.EnhancedCode{4, 4, 3}, "looking for the address of %s: %v", domain, err)
	}
	// That there is no MX is as well known as the addresses are: both are statements about one name (RFC 7672 2.2.2).
	return s.withoutSelf([]host{newHost(name, a, a.Secure)}, domain)
}

// explicitMX orders the records, leaves out what may not be used, and finds addresses.
func (s *settings) explicitMX(ctx context.Context, records []MX, domain string) ([]host, *smtp.SMTPError) {
	ordered := order(records)
	if i := slices.IndexFunc(ordered, func(m MX) bool { return s.self.hasName(m.Host) }); i >= 0 {
		// RFC 5321 5.1: we are one of them, so only better ones may be used.
		ordered = slices.DeleteFunc(ordered, func(m MX) bool { return m.Preference >= ordered[i].Preference })
		if len(ordered) == 0 {
			return nil, refusal(554, smtp.EnhancedCode{5, 4, 6}, "loop: mail for %s is directed to this gateway", domain)
		}
	}
	f := finder{s: s, domain: domain}
	for _, m := range ordered {
		if f.add(ctx, m); len(f.hosts) == maxHosts {
			break
		}
	}
	if len(f.hosts) == 0 {
		return nil, f.reply()
	}
	return s.withoutSelf(f.hosts, domain)
}

// finder collects the hosts that can be used, and why others can't.
type finder struct {
	s      *settings
	domain string
	hosts  []host

	failed error // a temporary failure of DNS
	alias  string
}

func (f *finder) add(ctx context.Context, m MX) {
	name := canonicalName(m.Host)
	a, err := f.s.Resolver.LookupHost(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		f.failed = err
	case a.Alias && !f.s.FollowMXAlias: // RFC 2181 10.3, RFC 5321 5.1
		f.alias = name
		f.s.Logger.Debug("MX record points at an alias", "domain", f.domain, "host", name)
	case len(a.Addrs) > 0:
		f.hosts = append(f.hosts, newHost(name, a, m.Secure))
	}
}

// reply says why no host is left. A record whose host has no address may be mended while the message waits.
func (f *finder) reply() *smtp.SMTPError {
	switch {
	case f.failed != nil:
		return deferral(smtp.EnhancedCode{4, 4, 3}, "looking for the addresses of the MX of %s: %v", f.domain, f.failed)
	case f.alias != "":
		return refusal(550, smtp.EnhancedCode{5, 4, 4}, "the MX of %s is an alias (%s), which RFC 2181 10.3 forbids", f.domain, f.alias)
	}
	return deferral(smtp.EnhancedCode{4, 4, 4}, "no MX of %s has an address", f.domain)
}

// order sorts by preference, at random among equals (RFC 5321 5.1).
func order(records []MX) []MX {
	out := slices.Clone(records)
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	slices.SortStableFunc(out, func(a, b MX) int { return cmp.Compare(a.Preference, b.Preference) })
	return out
}

// ipv4First shuffles the addresses of a host and puts IPv4 first: receivers ask more of mail over IPv6 (Exchange Online's
// 5.7.25 and 4.7.26).
func ipv4First(addrs []netip.Addr) []netip.Addr {
	out := slices.Clone(addrs)
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return cmp.Compare(a.Unmap().BitLen(), b.Unmap().BitLen()) })
	return out
}

// withoutSelf ends the list before the first host that is this gateway by its address: what follows is no better.
func (s *settings) withoutSelf(hosts []host, domain string) ([]host, *smtp.SMTPError) {
	for i, h := range hosts {
		if slices.ContainsFunc(h.addrs, func(a netip.Addr) bool { return s.self.hasAddr(a, s.MXPort) }) {
			hosts = hosts[:i]
			break
		}
	}
	if len(hosts) == 0 {
		return nil, refusal(554, smtp.EnhancedCode{5, 4, 6}, "loop: mail for %s is directed to this gateway", domain)
	}
	return hosts, nil
}
