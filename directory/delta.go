package directory

import (
	"fmt"
	"slices"
)

// Delta is a set of changes that are applied together.
type Delta struct {
	Moves   []Move         // containers that got another name or place; applied first
	Deletes []GUID         // objects that are gone; applied next. Unknown ones are ignored
	Upserts []Entry        // objects that are new, or as they are now, by their GUID
	Members []MemberChange // applied last
}

// Move is a container that was renamed or moved, with all that lies below it. Active Directory reports only the container itself.
type Move struct{ From, To string } // DNs

// MemberChange adds members to and removes members from a group that the view holds. Unknown groups are ignored.
type MemberChange struct {
	Group       GUID
	Add, Remove []string // DNs; removal of one that is no member is ignored
}

// Apply makes a view with the changes. It shares the memory of v, which stays as it is. The cost is that of the changes, not
// of the view. An entry that can no longer be a recipient (see [KindOf]) is removed. On an error v is still good, and nothing is applied.
func (v *View) Apply(d Delta) (*View, error) {
	e := v.edit()
	if err := e.apply(&d); err != nil {
		e.abandon()
		return nil, fmt.Errorf("applying changes to the directory view: %w", err)
	}
	return e.finish(), nil
}

func (e *editor) apply(d *Delta) error {
	for _, m := range d.Moves {
		if err := e.move(m); err != nil {
			return fmt.Errorf("moving %q to %q: %w", m.From, m.To, err)
		}
	}
	for _, g := range d.Deletes {
		e.delete(g)
	}
	for i := range d.Upserts {
		if err := e.upsert(&d.Upserts[i]); err != nil {
			return fmt.Errorf("object %q: %w", d.Upserts[i].DN, err)
		}
	}
	for _, m := range d.Members {
		if err := e.changeMembers(m); err != nil {
			return fmt.Errorf("members of group %v: %w", m.Group, err)
		}
	}
	return nil
}

func (e *editor) upsert(ent *Entry) error {
	kind, keep := KindOf(ent)
	if ent.GUID == (GUID{}) {
		g, err := guidOfDN(ent.DN)
		if err != nil {
			return err
		}
		c := *ent
		c.GUID = g
		ent = &c
	}
	if !keep {
		e.delete(ent.GUID)
		return nil
	}
	return e.put(ent, kind)
}

func (e *editor) changeMembers(m MemberChange) error {
	r, ok := e.view().ByGUID(m.Group)
	if !ok {
		return nil
	}
	o := e.v.Object(r)
	ids := recordAt(e.arena.at(uint32(r))).members(&e.v)
	for _, dn := range m.Remove {
		if loc, ok := e.view().locateDN(dn); ok {
			// By location: an object can be known by several numbers.
			ids = slices.DeleteFunc(ids, func(id uint32) bool { return e.ids.at(id)&^phantomBit == loc })
		}
	}
	added, err := e.memberIDs(m.Add)
	if err != nil {
		return err
	}
	ids = append(ids, added...)
	slices.Sort(ids)
	return e.replaceMembers(&o, slices.Compact(ids))
}

// replaceMembers writes a group anew with these members, without those that are gone.
func (e *editor) replaceMembers(o *Object, ids []uint32) error {
	rec := recordAt(e.arena.at(uint32(o.Ref)))
	ids = slices.DeleteFunc(ids, func(id uint32) bool { return e.ids.at(id) == 0 })
	ent := o.entry()
	rdn, _ := splitDN(o.DN)
	aliases := rec.aliases(&e.v)
	e.drop(uint32(o.Ref))
	e.enc.object(&ent, o.Kind, rec.id(), rec.parent(), rdn, aliases, ids)
	loc, err := e.store()
	if err != nil {
		return err
	}
	for _, id := range rec.numbers(&e.v) {
		e.ids.set(id, loc)
	}
	return nil
}

// entry gives the attributes of an object as a source would deliver them, without members and object classes.
func (o *Object) entry() Entry {
	return Entry{
		DN: o.DN, GUID: o.GUID, DisplayName: o.DisplayName, Mail: o.Mail, UserPrincipalName: o.UserPrincipalName,
		ProxyAddresses: o.ProxyAddresses, TargetAddress: o.TargetAddress, LegacyExchangeDN: o.LegacyExchangeDN,
		RemoteRecipientType: o.RemoteRecipientType, RecipientTypeDetails: o.RecipientTypeDetails,
		RecipientDisplayType: o.RecipientDisplayType, GroupType: o.GroupType, AccountControl: o.AccountControl, Changed: o.Changed,
	}
}

// move gives a container another name and place. What lies below it knows it by number, and so moves with it.
func (e *editor) move(m Move) error {
	id, ok := e.view().findContainer(m.From)
	if !ok || id == 0 {
		return nil // nothing lies below it
	}
	if err := checkDN(m.To); err != nil {
		return err
	}
	rdn, rest := splitDN(m.To)
	parent, err := e.container(rest)
	if err != nil {
		return err
	}
	for up := parent; up != 0; up = e.containers.at(up).parent {
		if up == id {
			return fmt.Errorf("the new place lies below the old one")
		}
	}
	clear(e.parents)
	e.parents[""] = 0
	if taken, ok := e.view().findChild(parent, rdn); ok && taken != id {
		return e.merge(id, taken)
	}
	e.containerIndex.remove(e.containerHash(e.containers.at(id)), id)
	c := container{parent: parent, rdn: string([]byte(rdn))}
	e.containers.set(id, c)
	e.containerIndex.insert(e.containerHash(c), newPlace(id, 0))
	return nil
}

// merge moves everything in one container into another that exists already, for instance since a container of that name was there before.
// It reads the whole view, which is rare enough.
func (e *editor) merge(from, to uint32) error {
	var locs []uint32
	for loc, rec := range e.view().arena.records() {
		if rec.parent() == from && e.ids.at(rec.id())&^phantomBit == loc {
			locs = append(locs, loc)
		}
	}
	for _, loc := range locs {
		if err := e.reparent(loc, to); err != nil {
			return err
		}
	}
	for id := range uint32(e.containers.n) {
		c := e.containers.at(id)
		if c.parent != from || id == 0 {
			continue
		}
		if taken, ok := e.view().findChild(to, c.rdn); ok {
			if err := e.merge(id, taken); err != nil {
				return err
			}
			continue
		}
		e.containerIndex.remove(e.containerHash(c), id)
		c.parent = to
		e.containers.set(id, c)
		e.containerIndex.insert(e.containerHash(c), newPlace(id, 0))
	}
	return nil
}

// reparent writes a record anew, below another container. If the DN that it gets has a phantom, or it is a phantom of a DN that is there, the two become one.
func (e *editor) reparent(loc, parent uint32) error {
	rec := recordAt(e.arena.at(loc))
	other, met := e.view().locateRDN(parent, string(rec.rdn(&e.v)))
	e.drop(loc)
	if !met {
		return e.rewrite(rec, parent, nil)
	}
	otherRec := recordAt(e.arena.at(other))
	switch {
	case otherRec.kind() == phantom:
		e.drop(other)
		return e.rewrite(rec, parent, otherRec.numbers(&e.v))
	case rec.kind() == phantom:
		e.drop(other)
		return e.rewrite(otherRec, parent, rec.numbers(&e.v))
	}
	return e.rewrite(rec, parent, nil)
}

// rewrite stores a copy of a record that was dropped, below a container, and with more numbers that mean it.
func (e *editor) rewrite(rec record, parent uint32, aliases []uint32) error {
	e.enc.copy(rec, parent, aliases)
	loc, err := e.store()
	if err != nil {
		return err
	}
	if rec.kind() == phantom {
		loc |= phantomBit
	}
	for _, id := range append(rec.numbers(&e.v), aliases...) {
		e.ids.set(id, loc)
	}
	return nil
}
