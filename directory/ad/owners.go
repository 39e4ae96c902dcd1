package ad

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/coexist-mail/coexist/directory"
)

// What is read of a directory that goes on changing is never of one moment: an object is seen without an address that was given to another one first, of which nothing has been told yet. In
// the directory the address always had an owner, so the view must have one too, and what it lacks is asked for before it is put in place. The same goes for the members of a group.

// ownerRounds is how often owners are looked for: those found can have lost addresses themselves.
const ownerRounds = 8

// ownersPerSearch is how many addresses, or groups, are asked for in one filter.
const ownersPerSearch = 50

// mostOwners is how many addresses are looked for. Where more have lost their owners at once, somebody has deleted a company, or chosen another base_dn.
const mostOwners = 5000

// lost is what a change took away from everybody.
type lost struct {
	addresses map[string]bool // in lower case
	groups    map[directory.GUID]bool
}

func newLost() lost { return lost{map[string]bool{}, map[directory.GUID]bool{}} }

func (l lost) empty() bool { return len(l.addresses)+len(l.groups) == 0 }

// withOwners gives a changed view together with the owners of the addresses that nobody in it has any more, and the members of groups that have none any more, as far as the directory has them now.
func (c *change) withOwners(v *directory.View) (*directory.View, error) {
	for range ownerRounds {
		l := c.losses(v)
		if l.empty() {
			break
		}
		next, err := c.find(v, l)
		if err != nil || next == v {
			return next, err
		}
		v = next
	}
	return v, nil
}

// losses compares the objects of the last change with what they were before it.
func (c *change) losses(v *directory.View) lost {
	l, groups := newLost(), len(c.d.Deletes)+len(c.d.Members) > 0
	for _, g := range c.d.Deletes {
		if r, ok := c.v.ByGUID(g); ok {
			l.lose(c.v, r, v)
		}
	}
	for i := range c.d.Upserts {
		u := &c.d.Upserts[i]
		groups = groups || u.Members != nil
		if r, ok := c.v.ByGUID(u.GUID); ok {
			l.lose(c.v, r, v)
		}
	}
	if groups {
		l.emptied(c.v, v)
	}
	return l
}

// kept gives a view that was loaded together with the owners that it lacks of addresses in the view that it is to replace.
func (s *Source) kept(old, v *directory.View) (*directory.View, error) {
	if old == nil {
		return v, nil
	}
	c := &change{s: s, v: v, n: newNotice(), next: &s.st}
	l := newLost()
	for r := range old.All() {
		l.lose(old, r, v)
	}
	l.emptied(old, v)
	if l.empty() {
		return v, nil
	}
	if err := c.where(nil); err != nil {
		return nil, err
	}
	next, err := c.find(v, l)
	if err != nil || next == v {
		return next, err
	}
	return c.withOwners(next)
}

// lose notes the addresses of an object that nobody has in another view.
func (l lost) lose(old *directory.View, r directory.Ref, v *directory.View) {
	var space [4]directory.Ref
	o := old.Object(r)
	for address := range smtpAddresses(&o) {
		if len(v.Find(directory.KeyProxy, address, space[:0])) == 0 && len(v.Find(directory.KeyMail, address, space[:0])) == 0 {
			l.addresses[address] = true
		}
	}
}

// smtpAddresses gives the SMTP addresses that mail finds an object by, in lower case; mail can be one of the others again.
func smtpAddresses(o *directory.Object) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range append(slices.Clone(o.ProxyAddresses), "smtp:"+o.Mail) {
			prefix, address, _ := strings.Cut(strings.ToLower(p), ":")
			if prefix == "smtp" && address != "" && !yield(address) {
				return
			}
		}
	}
}

// emptied notes the groups that had members, and have none in another view.
func (l lost) emptied(old, v *directory.View) {
	for r := range v.Groups() {
		if len(v.Members(r, nil)) > 0 {
			continue
		}
		g := v.GUID(r)
		if before, ok := old.ByGUID(g); ok && len(old.Members(before, nil)) > 0 {
			l.groups[g] = true
		}
	}
}

// find reads the owners of lost addresses, lost groups and their members, and gives the view with them.
func (c *change) find(v *directory.View, l lost) (*directory.View, error) {
	var filters, groups []string
	if len(l.addresses) <= mostOwners {
		for a := range l.addresses {
			a = ldap.EscapeFilter(a)
			filters = append(filters, "(proxyAddresses=smtp:"+a+")(mail="+a+")")
		}
	}
	for g := range l.groups {
		if r, ok := v.ByGUID(g); ok {
			groups = append(groups, "(memberOf="+ldap.EscapeFilter(v.Object(r).DN)+")")
			c.n.full[g] = true
		}
	}
	c.found, c.apart = map[directory.GUID]*ldap.Entry{}, map[directory.GUID]*ldap.Entry{}
	// The groups after their members: who is a member when the group is read was one, or is not lost.
	for _, some := range [][]string{filters, groups} {
		for part := range slices.Chunk(some, ownersPerSearch) {
			if err := c.search("(|" + strings.Join(part, "") + ")"); err != nil {
				return nil, fmt.Errorf("looking for the owners of addresses: %w", err)
			}
		}
	}
	if err := c.read(slices.Collect(maps.Keys(l.groups))); err != nil {
		return nil, fmt.Errorf("reading groups again: %w", err)
	}
	guids := slices.SortedFunc(maps.Keys(c.found), compareGUIDs)
	if len(guids) == 0 {
		return v, nil
	}
	c.v, c.d, c.moved, c.newly, c.extra = v, directory.Delta{}, nil, nil, nil
	if err := c.objects(guids); err != nil {
		return nil, fmt.Errorf("reading the owners of addresses: %w", err)
	}
	return c.changed()
}

// search finds objects in all naming contexts.
func (c *change) search(filter string) error {
	for _, p := range c.next.Partitions {
		if err := c.s.link.pages(p.NC, "(&"+filter+noComputers+")", append([]string{"memberOf"}, attributes...), nil, c.sort); err != nil {
			return err
		}
	}
	return nil
}
