package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/directory"
)

// rules are all rules. The names are part of the output and do not change.
var rules = []Rule{
	{"target-not-primary", Error, "The target address of a mail user is its primary SMTP address on-prem.",
		"Exchange Online matches the user by one address and sends its mail to another, so that replies and delivery part.", targetNotPrimary, ""},
	{"target-domain", Error, "The domain of the target address of a mail user is a verified domain of the tenant (`domains`).",
		"Directory synchronization drops an address in a domain that is not verified; mail to the user then loops (554 5.4.14) or leaves the organization.", targetDomain, ""},
	{"target-upn", Error, "The domain of the target address of a mail user equals the suffix of its userPrincipalName.",
		"The user is synchronized with another sign-in name than mail address, and Exchange Online makes its primary address from the wrong one.", targetUPN, ""},
	{"duplicate-address", Error, "An address belongs to one object.",
		"Nobody can tell who is meant: mail to the address is deferred (451 4.3.5).", duplicateAddress, ""},
	{"duplicate-mail", Warning, "The mail of an object is no address of another one.",
		"Mail goes to the object that has it among proxyAddresses; directory synchronization takes the mail of the other one for an address too, and refuses one of them.", duplicateMail, ""},
	{"no-primary", Error, "An object with SMTP addresses has a primary one (`SMTP:` in upper case).",
		"Exchange Online picks one of the others, and the sender that people see changes.", noPrimary, ""},
	{"several-primaries", Error, "An object has one primary SMTP address.",
		"The object is invalid for Exchange: mail to it fails, or it is not synchronized.", severalPrimaries, ""},
	{"target-prefix", Warning, "targetAddress has the prefix `smtp:` in lower case, unless it is the primary address.",
		"Exchange's own tools write `SMTP:`. An address policy that is applied to the object (by the Hybrid Configuration Wizard too) then makes the targetAddress its primary address.", targetPrefix, lowerAll},
	{"bad-target", Error, "targetAddress is an SMTP address with its prefix.",
		"Another type of address counts as absent, and one without prefix is not understood by every system.", badTarget, ""},
	{"no-routing-address", Error, "A cloud mailbox has an address in the routing domain, as targetAddress or among proxyAddresses.",
		"Mail from on-prem is sent to Exchange Online at an address that both systems own, and can come back.", noRoutingAddress, ""},
	{"contradiction", Error, "The attributes of a mailbox agree on where it is.",
		"The gateway follows msExchRemoteRecipientType before msExchRecipientTypeDetails before targetAddress; Exchange and other tools may follow another one.", contradiction, ""},
	{"foreign-address", Warning, "The addresses of users and groups are in `domains`, the routing domain or the tenant domain.",
		"Directory synchronization drops the address, or replaces the primary one by one in onmicrosoft.com.", foreignAddress, ""},
	{"member-without-address", Warning, "The members of a mail-enabled group can be sent to.",
		"The member gets nothing that is sent to the group.", memberWithoutAddress, ""},
	{"no-target", Error, "A mail contact has a targetAddress, or a mail address outside of the organization.",
		"Mail to the contact is rejected (550 5.1.1).", noTarget, ""},
	{"exchange-schema", Error, "Active Directory has the schema of Exchange 2013 or later (rangeUpper of ms-Exch-Schema-Version-Pt at least 15137).",
		"Without it no object can have a targetAddress, or the attributes of cloud mailboxes.", nil, ""},
	{"account-rights", Warning, "The bind account may replicate directory changes, or see deleted objects.",
		"Deletions are seen only by comparing all objects from time to time.", nil, ""},
	{"domain-controller", Error, "Every domain controller of the configuration answers, takes the account and holds base_dn.",
		"When the others fail, nobody is left to ask.", nil, ""},
}

// lowerAll is the fix of target-prefix for all objects.
const lowerAll = "Get-ADObject -LDAPFilter '(targetAddress=SMTP:*)' -Properties targetAddress | Where-Object { $_.targetAddress -clike 'SMTP:*' } | " +
	"ForEach-Object { Set-ADObject -Identity $_ -Replace @{targetAddress='smtp:' + $_.targetAddress.Substring(5)} }"

func targetNotPrimary(o *object) []problem {
	if !o.mailUser() || !o.a.policy.shared(domainOf(o.target)) || len(o.primary) != 1 || strings.EqualFold(o.primary[0], o.target) {
		return nil
	}
	return []problem{{fmt.Sprintf("the targetAddress is %s, the primary address %s", o.target, o.primary[0]), replace(o, "targetAddress", "smtp:"+o.primary[0])}}
}

func targetDomain(o *object) []problem {
	d := domainOf(o.target)
	if !o.mailUser() || o.a.policy.shared(d) {
		return nil
	}
	fix := "New-MgDomain -Id " + quote(d) + "   # verify it, and add it to domains in coexist.toml; or: " + clear(o, "targetAddress")
	if len(o.primary) == 1 && o.a.policy.shared(domainOf(o.primary[0])) {
		fix = replace(o, "targetAddress", "smtp:"+o.primary[0])
	}
	return []problem{{fmt.Sprintf("the domain of the targetAddress %s is not among domains", o.target), fix}}
}

func targetUPN(o *object) []problem {
	d, suffix := domainOf(o.target), domainOf(o.UserPrincipalName)
	if !o.mailUser() || !o.a.policy.shared(d) || strings.EqualFold(d, suffix) {
		return nil
	}
	if o.UserPrincipalName == "" {
		return []problem{{"it has no userPrincipalName", setUPN(o, o.target)}}
	}
	return []problem{{fmt.Sprintf("the userPrincipalName %s ends in another domain than the targetAddress %s", o.UserPrincipalName, o.target), setUPN(o, localOf(o.UserPrincipalName)+"@"+d)}}
}

func duplicateAddress(o *object) (ps []problem) {
	for _, address := range distinct(append(slices.Clone(o.proxies), o.Mail)) {
		isProxy := containsFold(o.proxies, address)
		owners := o.a.view.Find(directory.KeyProxy, address, nil)
		if !isProxy && len(owners) > 0 {
			continue // see duplicateMail
		}
		if !isProxy {
			owners = o.a.view.Find(directory.KeyMail, address, nil)
		}
		others := o.a.dns(owners, o.Ref)
		if len(others) == 0 {
			continue
		}
		fix := clear(o, "mail")
		if isProxy {
			fix = removeProxies(o, address)
		}
		ps = append(ps, problem{fmt.Sprintf("%s is an address of %s too", address, strings.Join(others, "; ")), fix + "   # on all but one of them"})
	}
	return ps
}

// duplicateMail finds the mail of one object that is a proxy address of others: the proxy counts.
func duplicateMail(o *object) []problem {
	if o.Mail == "" || containsFold(o.proxies, o.Mail) {
		return nil
	}
	owners := o.a.dns(o.a.view.Find(directory.KeyProxy, o.Mail, nil), o.Ref)
	if len(owners) == 0 {
		return nil
	}
	return []problem{{fmt.Sprintf("its mail %s is an address of %s", o.Mail, strings.Join(owners, "; ")), clear(o, "mail")}}
}

// dns gives the DNs of objects, without one of them.
func (a *auditor) dns(refs []directory.Ref, but directory.Ref) (dns []string) {
	for _, r := range refs {
		if r != but {
			dns = append(dns, a.view.Object(r).DN)
		}
	}
	slices.Sort(dns)
	return dns
}

func noPrimary(o *object) []problem {
	if len(o.proxies) == 0 || len(o.primary) > 0 {
		return nil
	}
	best := o.proxies[0]
	for _, p := range o.proxies {
		if strings.EqualFold(p, o.Mail) {
			best = p
			break
		}
		if o.a.policy.shared(domainOf(p)) && !o.a.policy.shared(domainOf(best)) {
			best = p
		}
	}
	return []problem{{"it has addresses, and none is the primary one", swapProxy(o, "smtp:"+best, "SMTP:"+best)}}
}

func severalPrimaries(o *object) []problem {
	if len(o.primary) < 2 {
		return nil
	}
	keep := o.primary[0]
	for _, p := range o.primary {
		if strings.EqualFold(p, o.Mail) {
			keep = p
		}
	}
	var fixes []string
	for _, p := range o.primary {
		if p != keep {
			fixes = append(fixes, swapProxy(o, "SMTP:"+p, "smtp:"+p))
		}
	}
	return []problem{{fmt.Sprintf("it has %d primary addresses: %s", len(o.primary), strings.Join(o.primary, ", ")), strings.Join(fixes, "; ")}}
}

func targetPrefix(o *object) []problem {
	if o.target == "" || !strings.HasPrefix(o.TargetAddress, "SMTP:") || containsFold(o.primary, o.target) {
		return nil
	}
	return []problem{{fmt.Sprintf("the targetAddress %s has an upper-case prefix and is not the primary address", o.TargetAddress), replace(o, "targetAddress", "smtp:"+o.target)}}
}

func badTarget(o *object) []problem {
	switch {
	case !o.isTarget:
		return nil
	case o.target == "":
		return []problem{{fmt.Sprintf("the targetAddress %s is no SMTP address", o.TargetAddress), clear(o, "targetAddress")}}
	case localOf(o.target) == "" || domainOf(o.target) == "" || strings.ContainsAny(o.target, " <>,;"):
		return []problem{{fmt.Sprintf("the targetAddress %s is no address", o.TargetAddress), clear(o, "targetAddress")}}
	case !strings.Contains(o.TargetAddress, ":"):
		return []problem{{fmt.Sprintf("the targetAddress %s has no prefix", o.TargetAddress), replace(o, "targetAddress", "smtp:"+o.target)}}
	}
	return nil
}

func noRoutingAddress(o *object) []problem {
	routing := o.a.policy.RoutingDomain
	in := func(a string) bool { return strings.EqualFold(domainOf(a), routing) }
	if routing == "" || !o.cloud() || o.Kind == directory.Group || in(o.target) || slices.ContainsFunc(o.proxies, in) {
		return nil
	}
	local := ""
	for _, a := range append(append(slices.Clone(o.primary), o.Mail), o.proxies...) {
		if local = localOf(a); local != "" {
			break
		}
	}
	if local == "" {
		return []problem{{"the cloud mailbox has no address at all", addProxy(o, "smtp:NAME@"+routing) + "   # NAME as in Exchange Online: Get-Mailbox"}}
	}
	return []problem{{"the cloud mailbox has no address in " + routing, addProxy(o, "smtp:"+local+"@"+routing)}}
}

const compare = "   # after a look at Get-Mailbox in Exchange Online: if the mailbox is there, it is the other attribute that is wrong"

// contradiction compares where the attributes say that the mailbox is.
func contradiction(o *object) (ps []problem) {
	details := directory.RecipientType(o.RecipientTypeDetails.Value)
	remoteDetails := strings.HasPrefix(details, "Remote")
	remote := o.remote()
	if t := o.RemoteRecipientType; t.Set && o.RecipientTypeDetails.Set && remote != remoteDetails {
		ps = append(ps, problem{fmt.Sprintf("msExchRemoteRecipientType %d says that %s, msExchRecipientTypeDetails says %s", t.Value, directory.RemoteRecipientType(t.Value), details),
			clear(o, "msExchRemoteRecipientType") + compare})
	}
	d := domainOf(o.target)
	switch {
	case remote && d != "" && !o.toCloud():
		ps = append(ps, problem{fmt.Sprintf("it is a cloud mailbox, and its targetAddress %s is elsewhere", o.target), clear(o, "targetAddress") + compare})
	case !remote && o.toCloud() && o.RemoteRecipientType.Set:
		ps = append(ps, problem{fmt.Sprintf("msExchRemoteRecipientType %d says that %s, and its targetAddress %s is in Exchange Online", o.RemoteRecipientType.Value,
			directory.RemoteRecipientType(o.RemoteRecipientType.Value), o.target), clear(o, "targetAddress") + compare})
	case !remote && o.toCloud() && isLocalMailbox(o.RecipientTypeDetails.Value):
		ps = append(ps, problem{fmt.Sprintf("it is an on-prem mailbox (%s), and its targetAddress %s is in Exchange Online", details, o.target), clear(o, "targetAddress")})
	}
	return ps
}

// isLocalMailbox tells whether a value of msExchRecipientTypeDetails is that of a mailbox of Exchange on-prem.
func isLocalMailbox(details int64) bool {
	const user, linked, shared, legacy, room, equipment = 1, 2, 4, 8, 16, 32
	switch details {
	case user, linked, shared, legacy, room, equipment:
		return true
	}
	return false
}

func foreignAddress(o *object) (ps []problem) {
	if o.Kind == directory.Contact || o.Kind == directory.Other {
		return nil // contacts are elsewhere
	}
	for _, p := range o.proxies {
		if !o.a.policy.own(domainOf(p)) {
			ps = append(ps, problem{"the domain of " + p + " is not among domains", removeProxies(o, p)})
		}
	}
	if o.Mail != "" && !containsFold(o.proxies, o.Mail) && !o.a.policy.own(domainOf(o.Mail)) {
		ps = append(ps, problem{"the domain of its mail " + o.Mail + " is not among domains", clear(o, "mail")})
	}
	return ps
}

func memberWithoutAddress(o *object) (ps []problem) {
	if o.Kind != directory.Group || len(o.proxies) == 0 && o.Mail == "" {
		return nil
	}
	report := func(dn string) {
		ps = append(ps, problem{"its member " + dn + " has no address", "Remove-ADGroupMember -Identity " + quote(o.DN) + " -Members " + quote(dn) + " -Confirm:$false   # or give the member an address"})
	}
	for _, r := range o.a.view.Members(o.Ref, nil) {
		m := o.a.object(o.a.view.Object(r))
		if m.Kind != directory.Group && len(m.proxies) == 0 && m.Mail == "" && m.target == "" {
			report(m.DN)
		}
	}
	for _, dn := range o.a.view.MissingMembers(o.Ref) {
		report(dn)
	}
	return ps
}

func noTarget(o *object) []problem {
	if o.Kind != directory.Contact || o.target != "" || len(o.proxies) == 0 && o.Mail == "" {
		return nil
	}
	if o.Mail != "" && !o.a.policy.own(domainOf(o.Mail)) {
		return nil
	}
	return []problem{{"the contact has no targetAddress", replace(o, "targetAddress", "smtp:NAME@DOMAIN") + "   # where it is to be sent"}}
}

// distinct leaves each value once, without regard to case, and no empty ones.
func distinct(values []string) (out []string) {
	for _, v := range values {
		if v != "" && !containsFold(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func containsFold(values []string, v string) bool {
	return slices.ContainsFunc(values, func(s string) bool { return strings.EqualFold(s, v) })
}
