package directory

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
)

// editor makes a view out of another one: it shares what stays the same and owns what it changes. A Builder is an editor that
// began with nothing.
type editor struct {
	v              View // dict, seed and counts; the parts below are put into it in the end
	arena          arena
	index          tableEdit
	ids            pagedEdit[uint32]
	containers     pagedEdit[container]
	containerIndex tableEdit
	parents        map[string]uint32 // DNs of containers as they were written
	enc            encoder
	key            []byte
	bulk           bool // only DNs and GUIDs are indexed yet
	dropped        int  // records that were taken out
	again          *rereading
	from           arena // of the view that it began with
	took           bool  // the room behind the records of from
}

// newEditor begins with nothing.
func newEditor() *editor {
	e := &editor{index: newTable(0), containerIndex: newTable(0)}
	e.v.seed = newSeed()
	e.v.dict = newDict()
	e.begin()
	e.containers.add(container{})
	return e
}

func (e *editor) begin() {
	e.parents = map[string]uint32{"": 0}
	e.enc.dict = e.v.dict
}

// edit begins with the view.
func (v *View) edit() *editor {
	if v.dict == nil {
		return newEditor()
	}
	e := &editor{
		v:              *v,
		arena:          v.arena.edit(),
		index:          v.index.edit(),
		ids:            v.ids.edit(),
		containers:     v.containers.edit(),
		containerIndex: v.containerIndex.edit(),
	}
	e.from, e.took = v.arena, e.arena.tail != nil
	e.begin()
	e.sync()
	return e
}

// abandon gives up the edit. What it wrote behind the records of the view that it began with is written over by the next one.
func (e *editor) abandon() {
	if e.took {
		e.from.release()
	}
}

// sync lets the methods of View see the state of the edit.
func (e *editor) sync() {
	e.v.arena = e.arena
	e.v.index = e.index.table
	e.v.ids = e.ids.paged
	e.v.containers = e.containers.paged
	e.v.containerIndex = e.containerIndex.table
}

// finish gives the view. The editor must not be used after it.
func (e *editor) finish() *View {
	e.evacuate()
	e.index.settle()
	e.arena.release()
	e.sync()
	v := e.v
	return &v
}

// view lets the methods of View look at the edit so far.
func (e *editor) view() *View { e.sync(); return &e.v }

// container gives the number of a DN that an object lies below, new if need be.
func (e *editor) container(dn string) (uint32, error) {
	if id, ok := e.parents[dn]; ok {
		return id, nil
	}
	rdn, rest := splitDN(dn)
	if err := checkRDN(rdn); err != nil {
		return 0, err
	}
	parent, err := e.container(rest)
	if err != nil {
		return 0, err
	}
	id, ok := e.view().findChild(parent, rdn)
	if !ok {
		c := container{parent: parent, rdn: string([]byte(rdn))}
		id = e.containers.add(c)
		e.containerIndex.insert(e.containerHash(c), newPlace(id, 0))
	}
	e.again.place(e, id, rdn)
	if len(e.parents) < 1<<16 {
		e.parents[string([]byte(dn))] = id
	}
	return id, nil
}

func (e *editor) containerHash(c container) uint32 {
	e.key = appendKeyDN(e.key[:0], c.parent, c.rdn)
	return e.v.hash(e.key, classDN)
}

// keys calls f with what a record is found by. While a view is built that is only what is needed for it: the rest is indexed in the end.
func (e *editor) keys(rec record, f func(hash uint32, offset int)) {
	k := keyer{v: &e.v, buf: e.key}
	k.identity(rec, f)
	if !e.bulk {
		k.values(rec, f)
	}
	e.key = k.buf
}

// addressesOf counts the addresses of a record: smtp: proxies, and mail where it is not one of them.
func (v *View) addressesOf(rec record) int {
	n := 0
	var mail text
	has := false
	for f := rec.fields(v); f.next() && f.tag <= tagMailProxy; {
		switch f.tag {
		case tagProxy:
			if f.text.prefixed("smtp:") {
				n++
			}
		case tagMail:
			mail, has = f.text, true
		}
	}
	if !has {
		return n
	}
	folded := appendFold(nil, mail.appendTo(nil))
	for f := rec.fields(v); f.next() && f.tag == tagProxy; {
		if f.text.prefixed("smtp:") && equalFold(f.text.address(), folded) {
			return n
		}
	}
	return n + 1
}

// store puts the record in e.enc into the arena and the index, and gives its location.
func (e *editor) store() (uint32, error) {
	loc, room, err := e.arena.alloc(len(e.enc.b))
	if err != nil {
		return 0, err
	}
	copy(room, e.enc.b)
	rec := recordAt(room)
	e.keys(rec, func(h uint32, offset int) { e.index.insert(h, newPlace(loc, offset)) })
	if k := rec.kind(); k != phantom {
		e.v.objects[k]++
		e.v.addresses += e.v.addressesOf(rec)
	}
	return loc, nil
}

// drop takes a record out of the index and the counts. Its bytes stay for older views.
func (e *editor) drop(loc uint32) {
	rec := recordAt(e.arena.at(loc))
	e.keys(rec, func(h uint32, _ int) { e.index.remove(h, loc) })
	if k := rec.kind(); k != phantom {
		e.v.objects[k]--
		e.v.addresses -= e.v.addressesOf(rec)
	}
	e.arena.spoil(loc, rec)
	e.dropped++
	e.v.waste += padded(len(rec))
}

// memberIDs gives the numbers of the objects with these DNs, ascending and distinct. A DN that the view does not hold gets a phantom.
func (e *editor) memberIDs(dns []string) ([]uint32, error) {
	ids := make([]uint32, 0, len(dns))
	for _, dn := range dns {
		id, err := e.memberID(dn)
		if err != nil {
			return nil, fmt.Errorf("member %q: %w", dn, err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

func (e *editor) memberID(dn string) (uint32, error) {
	if err := checkDN(dn); err != nil {
		return 0, err
	}
	rdn, rest := splitDN(dn)
	parent, err := e.container(rest)
	if err != nil {
		return 0, err
	}
	if loc, ok := e.view().locateRDN(parent, rdn); ok {
		rec := recordAt(e.arena.at(loc))
		e.again.name(e, rec, rdn)
		return rec.id(), nil
	}
	id := e.ids.add(0)
	e.enc.phantom(id, parent, rdn)
	loc, err := e.store()
	if err != nil {
		return 0, err
	}
	e.ids.set(id, loc|phantomBit)
	e.again.name(e, recordAt(e.arena.at(loc)), rdn)
	return id, nil
}

// place gives the number of the container of an entry, which is made if it is not there, and the name in it. The error is that of a DN that is none, or of a view that is full.
func (e *editor) place(ent *Entry) (parent uint32, rdn string, err error) {
	if err := checkDN(ent.DN); err != nil {
		return 0, "", fmt.Errorf("%q: %w", clip(ent.DN), err)
	}
	rdn, rest := splitDN(ent.DN)
	parent, err = e.container(rest)
	return parent, rdn, err
}

// put stores an entry as an object of a kind: a new one, or in place of the one with the same GUID.
func (e *editor) put(ent *Entry, kind Kind) error {
	parent, rdn, err := e.place(ent)
	if err != nil {
		return err
	}
	members, err := e.memberIDs(ent.Members)
	if err != nil {
		return err
	}
	old, exists := e.view().ByGUID(ent.GUID)
	id, aliases, isNew := uint32(0), []uint32(nil), true
	if exists {
		rec := recordAt(e.arena.at(uint32(old)))
		id, aliases, isNew = rec.id(), rec.aliases(&e.v), false
		if ent.Members == nil {
			members = rec.members(&e.v)
		}
	}
	// Groups may have named this DN before the object came: what they know it by becomes this object.
	if loc, ok := e.v.locateRDN(parent, rdn); ok {
		if rec := recordAt(e.arena.at(loc)); rec.kind() == phantom {
			e.drop(loc)
			known := rec.numbers(&e.v)
			if isNew {
				id, known, isNew = known[0], known[1:], false
			}
			aliases = append(aliases, known...)
		}
	}
	if isNew {
		id = e.ids.add(0)
	}
	if exists {
		e.drop(uint32(old))
	}
	e.enc.object(ent, kind, id, parent, rdn, aliases, members)
	loc, err := e.store()
	if err != nil {
		return err
	}
	e.ids.set(id, loc)
	for _, a := range aliases {
		e.ids.set(a, loc)
	}
	return nil
}

// numbers gives all numbers that mean the object, its own first.
func (r record) numbers(v *View) []uint32 { return append([]uint32{r.id()}, r.aliases(v)...) }

// aliases gives the other numbers that mean the object.
func (r record) aliases(v *View) (ids []uint32) {
	for f := r.fields(v); f.next(); {
		if f.tag == tagAlias {
			ids = append(ids, uint32(f.number))
		}
	}
	return ids
}

// delete removes the object with a GUID, if there is one. Groups that have it as a member lose it: Active Directory sends no change of the group.
func (e *editor) delete(g GUID) {
	r, ok := e.view().ByGUID(g)
	if !ok {
		return
	}
	rec := recordAt(e.arena.at(uint32(r)))
	for _, id := range rec.numbers(&e.v) {
		e.ids.set(id, 0)
	}
	e.drop(uint32(r))
}

// ErrDuplicate is wrapped by the error of [Builder.Add] for an entry whose DN or GUID another one has.
var ErrDuplicate = errors.New("appears twice")

// Builder collects entries into a view.
type Builder struct {
	e    *editor
	kept int // entries that were not left out
}

// NewBuilder begins an empty view.
func NewBuilder() *Builder {
	e := newEditor()
	e.bulk = true
	return &Builder{e: e}
}

// Add takes an entry. One that cannot be a mail recipient (see [KindOf]) is left out without an error. An error is a DN that is none, or one that is
// there already, or a GUID that is ([ErrDuplicate]); the builder is good for other entries after it.
func (b *Builder) Add(ent Entry) error {
	kind, ok := KindOf(&ent)
	if !ok {
		b.e.v.skipped++
		return nil
	}
	if ent.GUID == (GUID{}) {
		g, err := guidOfDN(ent.DN)
		if err != nil {
			return err
		}
		ent.GUID = g
	}
	b.kept++
	if b.e.again != nil {
		return b.e.replace(&ent, kind)
	}
	v := b.e.view()
	if _, ok := v.ByDN(ent.DN); ok {
		return fmt.Errorf("the DN %q %w", ent.DN, ErrDuplicate)
	}
	if r, ok := v.ByGUID(ent.GUID); ok {
		return fmt.Errorf("the objectGUID %v %w: %q has it, and %q", ent.GUID, ErrDuplicate, v.Object(r).DN, ent.DN)
	}
	return b.e.put(&ent, kind)
}

// Warn notes an attribute that was treated as absent, see [View.Warnings].
func (b *Builder) Warn(w Warning) {
	const keep = 1000
	b.e.v.warned++
	if len(b.e.v.warnings) < keep {
		b.e.v.warnings = append(b.e.v.warnings, w)
	}
}

// Build gives the view. The builder must not be used after it.
func (b *Builder) Build() *View {
	e := b.e
	b.e = nil
	switch {
	case e.again != nil:
		e.sweep()
	case e.v.waste > 0:
		e.forget()
		e.compact()
	default:
		e.forget()
		e.index = bulkIndex(e.view(), &e.arena).edit()
	}
	e.containerIndex.trim()
	return e.finish()
}

// forget gives back what was only needed while entries were added, before more is asked for.
func (e *editor) forget() {
	e.index = tableEdit{}
	e.parents = nil
	e.sync()
	if e.arena.bytes() > largeView {
		debug.FreeOSMemory()
	}
}
