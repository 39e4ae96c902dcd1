package audit

import (
	"cmp"
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/directory"
)

// Policy is what the configuration says about addresses.
type Policy struct {
	Domains       []string // the shared namespace: the verified domains of the tenant
	RoutingDomain string   // contoso.mail.onmicrosoft.com
	TenantDomain  string   // contoso.onmicrosoft.com; empty for none
}

// Finding is something to set right.
type Finding struct {
	Rule   string `json:"rule"` // its name, see [Rules]
	Level  Level  `json:"level"`
	Object string `json:"object"` // the DN; for a domain controller its URL
	What   string `json:"what"`   // is wrong
	Fix    string `json:"fix"`    // a command for the Active Directory module of PowerShell, or what to do where there is no single one
}

// Level is how bad a finding is.
type Level string

// The levels.
const (
	Error   Level = "error"   // mail is lost, deferred or goes astray, or the mailbox cannot be synchronized
	Warning Level = "warning" // it works, and something that others do can break it
)

// Rule is one thing that is looked for.
type Rule struct {
	Name  string
	Level Level
	Text  string // what is expected
	Why   string // what breaks otherwise

	check func(*object) []problem // nil for rules about domain controllers
	all   string                  // a command that sets everything right that breaks the rule; empty where each object needs a decision
}

func levelOf(name string) Level {
	for i := range rules {
		if rules[i].Name == name {
			return rules[i].Level
		}
	}
	return Error
}

// problem is a finding about the object at hand.
type problem struct{ what, fix string }

// object is an object under audit with what the rules ask of it.
type object struct {
	directory.Object
	a *auditor

	proxies  []string // addresses of the smtp: proxies
	primary  []string // those with SMTP: in upper case
	target   string   // the address of targetAddress, empty if that is none of SMTP
	isTarget bool     // the object has a targetAddress
}

type auditor struct {
	view   *directory.View
	policy Policy
}

// View looks at every object of a view, and gives the findings in the order of the objects' DNs.
func View(v *directory.View, p Policy) []Finding {
	a := &auditor{view: v, policy: p}
	findings := []Finding{}
	for r := range v.All() {
		o := a.object(v.Object(r))
		for i := range rules {
			if rules[i].check == nil {
				continue
			}
			for _, f := range rules[i].check(o) {
				findings = append(findings, Finding{Rule: rules[i].Name, Level: rules[i].Level, Object: o.DN, What: f.what, Fix: f.fix})
			}
		}
	}
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Object, b.Object), strings.Compare(a.Rule, b.Rule), strings.Compare(a.What, b.What))
	})
	return findings
}

// Rules are all rules, in the order of docs/directory-audit.md.
func Rules() []Rule { return slices.Clone(rules) }

func (a *auditor) object(d directory.Object) *object {
	o := &object{Object: d, a: a}
	for _, p := range d.ProxyAddresses {
		prefix, address, ok := strings.Cut(p, ":")
		if !ok || !strings.EqualFold(prefix, "smtp") {
			continue
		}
		o.proxies = append(o.proxies, address)
		if prefix == "SMTP" {
			o.primary = append(o.primary, address)
		}
	}
	if o.isTarget = d.TargetAddress != ""; o.isTarget {
		prefix, address, ok := strings.Cut(d.TargetAddress, ":")
		switch {
		case !ok:
			o.target = d.TargetAddress
		case strings.EqualFold(prefix, "smtp"):
			o.target = address
		}
	}
	return o
}

// remote tells whether the attributes of Exchange say that the mailbox is in Exchange Online.
func (o *object) remote() bool {
	if t := o.RemoteRecipientType; t.Set {
		return t.Value&5 != 0 && t.Value&8 == 0 // a provisioned or migrated mailbox that was not taken away
	}
	return strings.HasPrefix(directory.RecipientType(o.RecipientTypeDetails.Value), "Remote")
}

// cloud tells whether the mailbox is in Exchange Online, also when only the targetAddress says so.
func (o *object) cloud() bool { return o.remote() || o.toCloud() }

// toCloud tells whether the targetAddress is one of Exchange Online.
func (o *object) toCloud() bool {
	d := domainOf(o.target)
	return d != "" && (strings.EqualFold(d, o.a.policy.RoutingDomain) || strings.EqualFold(d, o.a.policy.TenantDomain))
}

// mailUser tells whether the object is a user whose mailbox is in another system, and who is matched and sent to by addresses.
func (o *object) mailUser() bool {
	return o.Kind == directory.User && o.target != "" && !o.cloud()
}

// shared tells whether a domain is of the shared namespace.
func (p *Policy) shared(domain string) bool {
	return slices.ContainsFunc(p.Domains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// own tells whether a domain is one of the organization's.
func (p *Policy) own(domain string) bool {
	return p.shared(domain) || domain != "" && (strings.EqualFold(domain, p.RoutingDomain) || strings.EqualFold(domain, p.TenantDomain))
}

func domainOf(address string) string {
	_, domain, _ := cutLast(address, '@')
	return domain
}

func localOf(address string) string {
	local, _, _ := cutLast(address, '@')
	return local
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
