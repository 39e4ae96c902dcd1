package directory

import (
	"bytes"
	"fmt"
	"slices"
)

// Rebuild begins a view that takes the place of v: it will hold the entries that are added and nothing else, as with [NewBuilder], but what is the same in both shares its memory. A source
// that is read as a whole again so needs memory for what has changed, and not for a second view. v stays as it is.
//
// The builder should come to an end, with Build or Abandon, before v is changed or rebuilt again: else less is shared.
func (v *View) Rebuild() *Builder {
	if v.dict == nil || v.worn() {
		return NewBuilder()
	}
	e := v.edit()
	e.v.skipped, e.v.warned, e.v.warnings = 0, 0, nil
	e.again = &rereading{spelled: map[uint32]string{}}
	return &Builder{e: e}
}

// worn tells whether a view made from nothing would be much smaller: numbers and containers that nothing has any more are never given back, and records that take the place of others need room
// beside them.
func (v *View) worn() bool {
	const spare = 1 << 16
	objects := v.Stats().Total()
	return v.ids.n > 2*objects+spare || v.containers.n > objects+spare || len(v.arena.chunks) > maxChunks/2
}

// rereading is what an editor that takes a view's place knows of the source.
//
// Numbers, by which groups know their members, stay with the DN: then a group that was read before the entry that now has the DN is right all the same, and its record is the same as long as its
// members have the same DNs.
type rereading struct {
	seen    bitmap            // numbers of the objects that were added
	named   bitmap            // numbers of the members of groups
	spelled map[uint32]string // RDNs of members as the first group has them, where the view has them otherwise
	placed  bitmap            // numbers of the containers that something lies in
	changes int
}

// bitmap is a set of numbers.
type bitmap []uint64

func (b bitmap) has(i uint32) bool { return int(i/64) < len(b) && b[i/64]>>(i%64)&1 != 0 }

func (b *bitmap) add(i uint32) {
	if int(i/64) >= len(*b) {
		*b = append(*b, make(bitmap, int(i/64)+1-len(*b))...)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

// name notes that a group has a record as a member, by this RDN.
func (a *rereading) name(e *editor, rec record, rdn string) {
	if a == nil || a.named.has(rec.id()) {
		return
	}
	a.named.add(rec.id())
	if !a.seen.has(rec.id()) && string(rec.rdn(&e.v)) != rdn {
		a.spelled[rec.id()] = string([]byte(rdn))
	}
}

// place notes that something lies in a container. The first that does decides how the DN is spelled.
func (a *rereading) place(e *editor, id uint32, rdn string) {
	if a == nil || a.placed.has(id) {
		return
	}
	a.placed.add(id)
	if c := e.containers.at(id); c.rdn != rdn {
		e.containers.set(id, container{parent: c.parent, rdn: string([]byte(rdn))})
	}
}

// replace is Add for a builder that began with a view.
func (e *editor) replace(ent *Entry, kind Kind) error {
	parent, rdn, err := e.place(ent)
	if err != nil {
		return err
	}
	if err := e.vacate(ent, parent, rdn); err != nil {
		return err
	}
	r, known := e.view().ByGUID(ent.GUID)
	if !known {
		if err := e.put(ent, kind); err != nil {
			return err
		}
		r, _ = e.view().ByGUID(ent.GUID)
		e.again.seen.add(recordAt(e.arena.at(uint32(r))).id())
		e.relieve()
		return nil
	}
	members, err := e.memberIDs(ent.Members)
	if err != nil {
		return err
	}
	rec := recordAt(e.arena.at(uint32(r)))
	e.again.seen.add(rec.id())
	e.enc.object(ent, kind, rec.id(), parent, rdn, rec.aliases(&e.v), members)
	if bytes.Equal(rec, e.enc.b) {
		return nil
	}
	return e.supersede(uint32(r), rec)
}

// supersede stores the record in e.enc in place of another with the same numbers.
func (e *editor) supersede(old uint32, rec record) error {
	e.drop(old)
	loc, err := e.store()
	if err != nil {
		return err
	}
	if recordAt(e.arena.at(loc)).kind() == phantom {
		loc |= phantomBit
	}
	for _, id := range rec.numbers(&e.v) {
		e.ids.set(id, loc)
	}
	e.relieve()
	return nil
}

// relieveAfter is after how many changes the index is looked after: each can leave as many shards of it on Go's heap as its records have keys.
const relieveAfter = 64

// relieve notes a change, and keeps Go's heap small while there are many.
func (e *editor) relieve() {
	if e.again.changes++; e.again.changes%relieveAfter == 0 {
		e.index.settle()
	}
}

// vacate makes room for an entry: an object that has its DN but is another one, or is the same one but had another DN, is gone from where it was. If that object
// was in the source too, the entry is a duplicate.
func (e *editor) vacate(ent *Entry, parent uint32, rdn string) error {
	at, taken := e.view().locateRDN(parent, rdn)
	for ; taken; at, taken = e.view().locateRDN(parent, rdn) {
		rec := recordAt(e.arena.at(at))
		if e.again.seen.has(rec.id()) {
			return fmt.Errorf("the DN %q %w", ent.DN, ErrDuplicate)
		}
		if rec.kind() == phantom || rec.guid() == ent.GUID {
			break
		}
		if err := e.demote(at); err != nil {
			return err
		}
	}
	r, ok := e.v.ByGUID(ent.GUID)
	if !ok || taken && at == uint32(r) {
		return nil
	}
	rec := recordAt(e.arena.at(uint32(r)))
	if e.again.seen.has(rec.id()) {
		return fmt.Errorf("the objectGUID %v %w: %q has it, and %q", ent.GUID, ErrDuplicate, e.v.appendDN(nil, rec), ent.DN)
	}
	return e.demote(uint32(r))
}

// demote takes an object out, and leaves a phantom for those groups that know it.
func (e *editor) demote(loc uint32) error {
	rec := recordAt(e.arena.at(loc))
	rdn := string(rec.rdn(&e.v))
	e.drop(loc)
	if other, ok := e.view().locateRDN(rec.parent(), rdn); ok { // another with the same DN, as there can be in the middle of renames
		e.drop(other)
		otherRec := recordAt(e.arena.at(other))
		return e.rewrite(otherRec, otherRec.parent(), rec.numbers(&e.v))
	}
	return e.haunt(rec, rdn)
}

// haunt stores a phantom in place of a record that was dropped.
func (e *editor) haunt(rec record, rdn string) error {
	e.enc.begin(phantom)
	e.enc.tag(tagRDN)
	e.enc.string(rdn)
	e.enc.aliases(rec.aliases(&e.v))
	e.enc.end(GUID{}, rec.id(), rec.parent())
	loc, err := e.store()
	if err != nil {
		return err
	}
	for _, id := range rec.numbers(&e.v) {
		e.ids.set(id, loc|phantomBit)
	}
	e.relieve()
	return nil
}

// sweep takes out the objects that were not seen, and phantoms that no group has as a member.
func (e *editor) sweep() {
	var gone []uint32
	for loc, rec := range e.view().arena.records() {
		if e.v.isLive(loc, rec) && !e.again.seen.has(rec.id()) {
			gone = append(gone, loc)
		}
	}
	for _, loc := range gone {
		rec := recordAt(e.arena.at(loc))
		if !e.view().isLive(loc, rec) {
			continue // it was merged with another
		}
		if e.sweepOut(loc, rec) != nil {
			for _, id := range rec.numbers(&e.v) {
				e.ids.set(id, 0) // the view has no room for a phantom: groups lack one whom it does not hold anyway
			}
		}
	}
}

func (e *editor) sweepOut(loc uint32, rec record) error {
	numbers := rec.numbers(&e.v)
	if !slices.ContainsFunc(numbers, e.again.named.has) {
		for _, id := range numbers {
			e.ids.set(id, 0)
		}
		e.drop(loc)
		e.relieve()
		return nil
	}
	if rec.kind() != phantom {
		if err := e.demote(loc); err != nil {
			return err
		}
		marked := e.ids.at(rec.id())
		if marked&phantomBit == 0 {
			return nil // it was merged with an object
		}
		loc = marked &^ phantomBit
		rec = recordAt(e.arena.at(loc))
	}
	if rdn, ok := e.again.spelled[rec.id()]; ok {
		e.drop(loc)
		return e.haunt(rec, rdn)
	}
	return nil
}

// Abandon gives up a view that is not wanted any more, say since the source cannot be read to its end. The view that the builder began with is as if nothing had been. After
// Build it does nothing.
func (b *Builder) Abandon() {
	if b.e != nil {
		b.e.abandon()
		b.e = nil
	}
}
