package routing

import (
	"strings"
	"time"
)

// Policy is what the configuration says about addresses.
type Policy struct {
	// Domains is the shared namespace: the domains in which both systems have mailboxes. Subdomains are not in it.
	Domains []string
	// TenantDomain is the tenant's initial domain (contoso.onmicrosoft.com); empty for none.
	TenantDomain string
	// RoutingDomain is the domain of addresses that only Exchange Online owns (contoso.mail.onmicrosoft.com).
	RoutingDomain string
	// Postmaster is who gets mail for <Postmaster> (RFC 5321 4.5.1). Empty, or no address: postmaster@ the first of Domains.
	Postmaster string
	// MaxAge is how old a view may be and still reject unknown recipients. 0 is no limit.
	MaxAge time.Duration
}

// zone is whose a domain is.
type zone uint8

const (
	foreignZone zone = iota
	sharedZone
	tenantZone
	routingZone
)

// Router answers queries by one policy. It never changes and may be used by many goroutines.
type Router struct {
	zones      map[string]zone // by domain in its ASCII form
	postmaster mailbox
	maxAge     time.Duration
}

// New makes a Router. It checks nothing: a domain that is none owns no address.
func New(p Policy) *Router {
	r := &Router{zones: make(map[string]zone), maxAge: p.MaxAge}
	r.own(p.TenantDomain, tenantZone)
	r.own(p.RoutingDomain, routingZone)
	for _, d := range p.Domains {
		r.own(d, sharedZone)
	}
	var err error
	if r.postmaster, err = parseMailbox(p.Postmaster); err != nil && len(p.Domains) > 0 {
		r.postmaster, _ = parseMailbox("postmaster@" + strings.TrimSuffix(p.Domains[0], "."))
	}
	return r
}

func (r *Router) own(domain string, z zone) {
	if ascii, literal, err := parseDomain(strings.TrimSuffix(domain, ".")); err == nil && !literal {
		r.zones[ascii] = z
	}
}

func (r *Router) zone(m mailbox) zone {
	if m.literal {
		return foreignZone
	}
	return r.zones[m.ascii]
}
