package routing

import (
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/directory"
)

// expansion walks a group and the groups in it, breadth first: the members of the group itself come first.
type expansion struct {
	r       *Router
	l       lookup
	seen    map[directory.Ref]bool // objects, groups too: cuts cycles and counts nobody twice
	reached map[string]bool        // side and address: two objects may lead to one mailbox
	d       *Decision
}

// expand decides about a group. Members live wherever they live: the rule of no U-turn is for the address that was asked for.
func (r *Router) expand(l lookup, group *directory.Object, f *found, d *Decision) {
	e := expansion{r: r, l: l, seen: map[directory.Ref]bool{group.Ref: true}, reached: map[string]bool{}, d: d}
	for queue := []directory.Object{*group}; len(queue) > 0; queue = queue[1:] {
		queue = append(queue, e.one(&queue[0])...)
	}
	if len(d.Members) > 0 {
		d.Action, d.Reason = Expand, Group
		d.Why = "a group" + cloudGroup(group)
		return
	}
	// A group without anybody to send to may still be one that is kept elsewhere, such as a Microsoft 365 group that was written
	// back without its members.
	if t := r.target(group); r.located(group, &t, f, d) {
		d.Why = "a group without members to deliver to here; " + d.Why
		return
	}
	d.refuseFor(EmptyGroup, "a group without members that can be delivered to")
}

// cloudGroup is a hint for the admin about a group that Exchange Online has as well.
func cloudGroup(o *directory.Object) string {
	why, ok := remoteMailboxWhy(o)
	if !ok {
		return ""
	}
	return ", expanded here although " + why
}

// one takes the direct members of a group and gives the groups among them that were not seen yet.
func (e *expansion) one(group *directory.Object) (nested []directory.Object) {
	refs := e.l.view.Members(group.Ref, nil)
	missing := e.l.view.MissingMembers(group.Ref)
	if len(refs)+len(missing) == 0 {
		e.leaveOut(group.DN, "a group without members")
	}
	slices.Sort(missing)
	for _, dn := range missing {
		e.leaveOut(dn, "not in the view of the directory")
	}
	for _, o := range e.fresh(refs) {
		if o.Kind == directory.Group {
			nested = append(nested, o)
			continue
		}
		e.member(&o, group.DN)
	}
	return nested
}

// fresh gives the objects that were not seen yet, by DN: neither LDAP nor a view orders members, and an answer that changes with
// every reading of the directory cannot be compared.
func (e *expansion) fresh(refs []directory.Ref) []directory.Object {
	var objects []directory.Object
	for _, ref := range refs {
		if !e.seen[ref] {
			e.seen[ref] = true
			objects = append(objects, e.l.view.Object(ref))
		}
	}
	slices.SortFunc(objects, func(a, b directory.Object) int { return strings.Compare(a.DN, b.DN) })
	return objects
}

func (e *expansion) leaveOut(dn, why string) {
	e.d.LeftOut = append(e.d.LeftOut, LeftOut{DN: dn, Why: why})
}

// member adds a member that is no group.
func (e *expansion) member(o *directory.Object, groupDN string) {
	d := e.r.member(e.l, o)
	if d.Action != Relay {
		e.leaveOut(o.DN, d.Why)
		return
	}
	key := string(d.Side) + " " + strings.ToLower(d.Address)
	if e.reached[key] {
		return
	}
	e.reached[key] = true
	d.Object, d.Matched = o.DN, "member of "+groupDN
	e.d.Members = append(e.d.Members, d)
}

// member decides about the member of a group. It is known by its DN, not by an address: so an address of its own has to be found that
// leads to it alone, for what is asked about it later.
func (r *Router) member(l lookup, o *directory.Object) Decision {
	shared := false // with another object
	ours := func(m mailbox) bool {
		if r.zone(m) == foreignZone {
			return false
		}
		f := find(l.view, m)
		shared = shared || len(f.owners) > 1
		return len(f.owners) == 1 && f.owners[0] == o.Ref
	}
	if own, ok := primary(o, ours); ok {
		d := Decision{Recipient: own.wire, NextHop: noHops}
		r.place(o, &found{asked: own, base: own}, &d)
		return d
	}
	if shared {
		var d Decision
		d.refuseFor(Ambiguous, "another object owns its address as well")
		return d
	}
	return r.memberElsewhere(l, o)
}

// memberElsewhere decides about a member without an address in our domains. It gets what its attributes say, under the address that it
// is sent to, provided that this address leads to the same place when it is asked about.
func (r *Router) memberElsewhere(l lookup, o *directory.Object) Decision {
	own, _ := primary(o, func(mailbox) bool { return true })
	var d Decision
	r.place(o, &found{asked: own, base: own}, &d)
	if d.Action != Relay {
		return d
	}
	sent, err := parseMailbox(d.Address)
	switch {
	case err != nil:
		d.refuseFor(Unknown, "it has no address")
	case r.zone(sent) == foreignZone && d.Side != Internet:
		// A user with a foreign mail address and nothing else: foreign mail goes to the internet, from whoever it is asked.
		d.relay(Internet, sent.wire, Foreign, "its own address "+sent.wire+" is foreign")
	case r.zone(sent) != foreignZone && !r.leadsTo(l, sent, &d):
		d.refuseFor(Unknown, "it has no address that leads to it; "+d.Why)
	}
	d.Recipient, d.NextHop = d.Address, noHops
	return d
}

// leadsTo tells whether asking about an address of our domains gives the same relay as d.
func (r *Router) leadsTo(l lookup, sent mailbox, d *Decision) bool {
	again := Decision{}
	f := find(l.view, sent)
	switch len(f.owners) {
	case 0:
		r.unknown(l, Gateway, r.zone(sent), &f, &again)
	case 1:
		o := l.view.Object(f.owners[0])
		if o.Kind == directory.Group { // not followed: it may hold the member that is asked about
			return false
		}
		r.place(&o, &f, &again)
	}
	return again.Action == Relay && again.Side == d.Side && equalFold(again.Address, d.Address)
}
