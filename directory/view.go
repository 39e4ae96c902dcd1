package directory

import (
	"bytes"
	"encoding/binary"
	"iter"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// View is a picture of the directory at one moment. It is immutable and safe for use by any number of goroutines. Its zero value holds nothing.
//
// The records and the index of a large view are outside of Go's heap (see region): a method that others call holds on to the view until it has read what it wants.
type View struct {
	seed           seed
	dict           *dict
	arena          arena
	index          table            // hash of class and value -> location of a record
	ids            paged[uint32]    // number of an object -> location of its record, 0 when it is gone
	containers     paged[container] // number -> parts of a DN; 0 is the root
	containerIndex table            // hash of parent and RDN -> number
	objects        [kinds]int
	addresses      int
	skipped        int
	waste          int // bytes of records that are not live
	warnings       []Warning
	warned         int
}

// container is a DN that others lie below.
type container struct {
	parent uint32
	rdn    string
}

// phantomBit marks, in View.ids, a number that stands for a DN of which the view has no object.
const phantomBit = 1 << 31

// class separates the values of different attributes within the index.
type class byte

const (
	classAddress class = iota // smtp: proxies and mail
	classLegacyDN
	classX500
	classNotes
	classDN
	classGUID
)

// keyClass says how each Key is stored and found.
var keyClass = [...]struct {
	class  class
	prefix string // of proxyAddresses
}{
	KeyProxy:    {classAddress, "smtp:"},
	KeyMail:     {classAddress, ""},
	KeyLegacyDN: {classLegacyDN, ""},
	KeyX500:     {classX500, "x500:"},
	KeyNotes:    {classNotes, "notes:"},
}

// Find appends to dst every owner of value under key, each once. It does not allocate unless dst must grow.
func (v *View) Find(key Key, value string, dst []Ref) []Ref {
	if key == KeyProxy && len(value) >= 8 {
		return v.findSMTP(value, dst)
	}
	return v.find(key, value, dst)
}

// find is Find for any key and value.
func (v *View) find(key Key, value string, dst []Ref) []Ref {
	if v.index.n == 0 || value == "" || int(key) >= len(keyClass) {
		return dst
	}
	var space [256]byte
	folded := appendFold(space[:0], value)
	hash := v.hash(folded, keyClass[key].class)
	for slots, i := v.index.find(hash); slots[i].hash() == hash; i++ {
		if loc := slots[i].loc(); v.owns(loc, key, folded) {
			dst = append(dst, Ref(loc))
		}
	}
	runtime.KeepAlive(v) // see region
	return dst
}

// findSMTP is Find for what nearly every lookup asks for, smtp: addresses of eight bytes or more.
//
// What it takes is to wait for two lines of memory, one of the index and one of a record. It makes no folded copy of the value, does not take the record apart, and reads nothing
// that would tell it where in the record to read next. That it is short, in one piece, without checks of bounds that hold anyway, lets the processor begin the next lookup while
// this one waits: that is worth a third.
func (v *View) findSMTP(value string, dst []Ref) []Ref {
	// The hash of what the value folds to, as seed.hash has it.
	h, k, all := v.seed.first(len(value), uint64(classAddress)), v.seed[1], uint64(0)
	data := unsafe.Pointer(unsafe.StringData(value))
	for i := 8; i < len(value); i += 8 {
		x := loadAt(data, i-8)
		all |= x
		h = mix(h^(x|bitOfCase), k)
	}
	x := loadAt(data, len(value)-8)
	if (all|x)&highBits != 0 || v.index.n == 0 {
		return v.find(KeyProxy, value, dst) // not of ASCII
	}
	hash := v.seed.last(h, x)
	// As in table.find.
	slots := v.index.shards[hash>>(v.index.shift&31)].slots
	if len(slots) == 0 {
		return dst
	}
	i, lowest := home(hash, v.index.shift, len(slots)), newSlot(hash, 0)
	for slots[i]-1 < lowest-1 {
		i++
	}
	for ; slots[i]>>placeBits == lowest>>placeBits; i++ {
		if s := slots[i]; v.hasSMTP(s, value) || v.ownsSMTP(s.loc(), value) {
			dst = append(dst, Ref(s.loc()))
		}
	}
	runtime.KeepAlive(v)
	return dst
}

// hasSMTP tells whether the proxy that a slot points at is smtp: and this address, with the local part in the record and the rest in the dictionary, as mostly is
// so. False means that the record has to be looked at more closely.
func (v *View) hasSMTP(s slot, value string) bool {
	loc, at := s.loc(), strings.IndexByte(value, '@')
	f := v.arena.chunks[loc/chunkUnits].b[int(loc%chunkUnits)*unit+s.offset():]
	if s.offset() == 0 || at <= 0 || at+4 > len(f) {
		return false
	}
	head, suffix := binary.LittleEndian.Uint32(f), int(f[at+3])
	if head&0xff00ff != tagProxy|uint32(at)<<17 || !v.dict.isSMTP(head>>8&0xff) || suffix >= 0x80 { // which begins a longer number
		return false
	}
	local, domain := f[3:at+3], v.dict.words()[suffix].s
	if at >= 8 && len(domain) >= 8 && len(domain) == len(value)-at {
		p := unsafe.Pointer(unsafe.StringData(value))
		if differ(unsafe.Pointer(unsafe.SliceData(local)), p, at)|differ(unsafe.Pointer(unsafe.StringData(domain)), unsafe.Add(p, at), len(domain)) == 0 {
			return true
		}
	}
	return sameText(local, value[:at]) && sameText(domain, value[at:])
}

// ownsSMTP is owns for KeyProxy.
func (v *View) ownsSMTP(loc uint32, value string) bool {
	var space [256]byte
	return v.owns(loc, KeyProxy, appendFold(space[:0], value))
}

// owns tells whether the object at loc has the folded value under key.
func (v *View) owns(loc uint32, key Key, folded []byte) bool {
	rec := recordAt(v.arena.at(loc))
	switch f := rec.fields(v); key {
	case KeyMail:
		mail, ok := rec.mail(v)
		return ok && equalFold(mail, folded)
	case KeyLegacyDN:
		for f.next() {
			if f.tag == tagLegacyDN {
				return equalFold(f.text, folded)
			}
		}
	default:
		prefix := keyClass[key].prefix
		for f.next() && f.tag == tagProxy {
			if equalFold(f.text.address(), folded) && f.text.prefixed(prefix) {
				return true
			}
		}
	}
	return false
}

// mail is the record's mail attribute.
func (r record) mail(v *View) (text, bool) {
	for f := r.fields(v); f.next() && f.tag <= tagMailProxy; {
		switch f.tag {
		case tagMail:
			return f.text, true
		case tagMailProxy:
			return r.proxyAt(v, f.number)
		}
	}
	return text{}, false
}

// equalFold tells whether t folds to folded.
func equalFold(t text, folded []byte) bool {
	if !t.wide {
		mid, suf := len(t.pre), len(t.pre)+len(t.mid)
		return suf+len(t.suf) == len(folded) &&
			equalLower(t.mid, folded[mid:suf]) && equalLower(t.pre, folded[:mid]) && equalLower(t.suf, folded[suf:])
	}
	var raw, low [256]byte
	b := t.appendTo(raw[:0])
	return string(appendFold(low[:0], b)) == string(folded)
}

// Object decodes an object. The Ref must come from this view.
func (v *View) Object(r Ref) Object {
	rec := recordAt(v.arena.at(uint32(r)))
	o := Object{Ref: r, GUID: rec.guid(), Kind: rec.kind()}
	// All strings are gathered in one buffer, and cut from it in the end: one allocation for all.
	var space [1024]byte
	var endSpace [24]textEnd
	buf := v.appendDN(space[:0], rec)
	ends := append(endSpace[:0], textEnd{&o.DN, len(buf)})
	add := func(to *string, t text) {
		buf = t.appendTo(buf)
		ends = append(ends, textEnd{to, len(buf)})
	}
	for f := rec.fields(v); f.next(); {
		switch f.tag {
		case tagProxy:
			add(nil, f.text)
		case tagMail:
			add(&o.Mail, f.text)
		case tagMailProxy:
			t, _ := rec.proxyAt(v, f.number)
			add(&o.Mail, t)
		case tagUPN:
			add(&o.UserPrincipalName, f.text)
		case tagUPNMail:
			t, _ := rec.mail(v)
			add(&o.UserPrincipalName, t)
		case tagDisplay:
			add(&o.DisplayName, f.text)
		case tagDisplayRDN:
			_, value, _ := bytes.Cut(rec.rdn(v), []byte("="))
			add(&o.DisplayName, text{mid: value})
		case tagTarget:
			add(&o.TargetAddress, f.text)
		case tagTargetProxy:
			t, _ := rec.proxyAt(v, f.number)
			buf = append(buf, f.text.pre...)
			add(&o.TargetAddress, t)
		case tagLegacyDN:
			add(&o.LegacyExchangeDN, f.text)
		case tagChanged:
			o.Changed = f.time()
		case tagRDN, tagAlias, tagMembers:
		default:
			*o.ints()[f.tag-tagInt] = Int{Value: unzigzag(f.number), Set: true}
		}
	}
	o.ProxyAddresses = cutTexts(string(buf), ends)
	runtime.KeepAlive(v)
	return o
}

// textEnd is where a string ends, and whose it is.
type textEnd struct {
	to  *string // nil: a proxy
	end int
}

// cutTexts gives each string to whom it belongs, and returns the proxies.
func cutTexts(all string, ends []textEnd) (proxies []string) {
	n := 0
	for _, e := range ends {
		if e.to == nil {
			n++
		}
	}
	if n > 0 {
		proxies = make([]string, 0, n)
	}
	start := 0
	for _, e := range ends {
		if e.to == nil {
			proxies = append(proxies, all[start:e.end])
		} else {
			*e.to = all[start:e.end]
		}
		start = e.end
	}
	return proxies
}

// appendDN appends the DN of a record.
func (v *View) appendDN(b []byte, rec record) []byte {
	b = append(b, rec.rdn(v)...)
	for id := rec.parent(); id != 0; {
		c := v.containers.at(id)
		b = append(append(b, ','), c.rdn...)
		id = c.parent
	}
	return b
}

// members gives the numbers of a record's members.
func (r record) members(v *View) []uint32 {
	var ids []uint32
	for f := r.fields(v); f.next(); {
		if f.tag == tagMembers {
			ids = make([]uint32, 0, f.number)
			if eachID(f.number, f.ids, func(id uint32) { ids = append(ids, id) }) != nil {
				return nil
			}
		}
	}
	return ids
}

// memberLocs gives the locations of a group's members, phantoms marked as such, each once: two numbers can mean the same object after a rename.
func (v *View) memberLocs(r Ref) []uint32 {
	locs := recordAt(v.arena.at(uint32(r))).members(v)
	for i, id := range locs {
		locs[i] = v.ids.at(id)
	}
	slices.Sort(locs)
	runtime.KeepAlive(v)
	return slices.Compact(locs)
}

// Members appends to dst the direct members of a group that the view holds, each once.
func (v *View) Members(r Ref, dst []Ref) []Ref {
	for _, loc := range v.memberLocs(r) {
		if loc != 0 && loc&phantomBit == 0 {
			dst = append(dst, Ref(loc))
		}
	}
	return dst
}

// MissingMembers gives the DNs of the direct members of a group that the view does not hold: objects elsewhere, or none that could be recipients.
func (v *View) MissingMembers(r Ref) []string {
	var dns []string
	for _, loc := range v.memberLocs(r) {
		if loc&phantomBit != 0 {
			dns = append(dns, string(v.appendDN(nil, recordAt(v.arena.at(loc&^phantomBit)))))
		}
	}
	runtime.KeepAlive(v)
	return dns
}

// ByGUID finds an object by its objectGUID.
func (v *View) ByGUID(g GUID) (Ref, bool) {
	loc, ok := v.locate(g[:], classGUID, func(rec record) bool { return rec.guid() == g && rec.kind() != phantom })
	return Ref(loc), ok
}

// ByDN finds an object by its DN, without regard to case, spaces around the parts, and the way in which characters are escaped.
func (v *View) ByDN(dn string) (Ref, bool) {
	loc, ok := v.locateDN(dn)
	ok = ok && recordAt(v.arena.at(loc)).kind() != phantom
	runtime.KeepAlive(v)
	if !ok {
		return 0, false
	}
	return Ref(loc), true
}

// locateDN finds the object or phantom of a DN. Of two objects with the same DN, as there can be in the middle of renames, it is the one that came last.
func (v *View) locateDN(dn string) (uint32, bool) {
	rdn, rest := splitDN(dn)
	if v.containers.n == 0 {
		return 0, false
	}
	parent, ok := v.findContainer(rest)
	if !ok {
		return 0, false
	}
	return v.locateRDN(parent, rdn)
}

func (v *View) locateRDN(parent uint32, rdn string) (uint32, bool) {
	var space [256]byte
	key := appendKeyDN(space[:0], parent, rdn)
	return v.locate(key, classDN, func(rec record) bool {
		var space [256]byte
		return rec.parent() == parent && string(appendKeyDN(space[:0], parent, string(rec.rdn(v)))) == string(key)
	})
}

// appendKeyDN appends what the DN below a container is indexed by.
func appendKeyDN(b []byte, parent uint32, rdn string) []byte {
	b = append(appendRDN(b, rdn), 0)
	return append(b, byte(parent), byte(parent>>8), byte(parent>>16), byte(parent>>24))
}

// locate finds the record with a key that match accepts; of several, the highest number.
func (v *View) locate(key []byte, c class, match func(record) bool) (uint32, bool) {
	if v.index.n == 0 {
		return 0, false
	}
	hash := v.hash(key, c)
	found, best := uint32(0), uint32(0)
	for slots, i := v.index.find(hash); slots[i].hash() == hash; i++ {
		loc := slots[i].loc()
		if rec := recordAt(v.arena.at(loc)); match(rec) && (found == 0 || rec.id() > best) {
			found, best = loc, rec.id()
		}
	}
	runtime.KeepAlive(v)
	return found, found != 0
}

// findContainer finds the number of a DN that objects lie below.
func (v *View) findContainer(dn string) (uint32, bool) {
	if dn == "" {
		return 0, true
	}
	rdn, rest := splitDN(dn)
	parent, ok := v.findContainer(rest)
	if !ok {
		return 0, false
	}
	return v.findChild(parent, rdn)
}

func (v *View) findChild(parent uint32, rdn string) (uint32, bool) {
	if v.containerIndex.n == 0 {
		return 0, false
	}
	var space [256]byte
	key := appendKeyDN(space[:0], parent, rdn)
	hash := v.hash(key, classDN)
	for slots, i := v.containerIndex.find(hash); slots[i].hash() == hash; i++ {
		var space [256]byte
		id := slots[i].loc()
		if c := v.containers.at(id); c.parent == parent && string(appendKeyDN(space[:0], parent, c.rdn)) == string(key) {
			return id, true
		}
	}
	runtime.KeepAlive(v)
	return 0, false
}

// All yields the objects of the view in no particular order.
func (v *View) All() iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for loc, rec := range v.arena.records() {
			if rec.kind() != phantom && v.isLive(loc, rec) && !yield(Ref(loc)) {
				break
			}
		}
		runtime.KeepAlive(v)
	}
}

// Groups yields the groups of the view in no particular order.
func (v *View) Groups() iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for loc, rec := range v.arena.records() {
			if rec.kind() == Group && v.isLive(loc, rec) && !yield(Ref(loc)) {
				break
			}
		}
		runtime.KeepAlive(v)
	}
}

// Stats counts what the view holds.
func (v *View) Stats() Stats {
	bytes := v.arena.bytes() + v.index.bytes() + v.containerIndex.bytes()
	bytes += len(v.ids.pages) * (4*pageSize + 24)
	bytes += len(v.containers.pages) * (24*pageSize + 24)
	for i := range v.containers.n {
		bytes += len(v.containers.at(uint32(i)).rdn)
	}
	if v.dict != nil {
		for _, w := range v.dict.words() {
			bytes += 2*len(w.s) + 72 // in the list and in the map
		}
	}
	return Stats{Objects: v.objects, Addresses: v.addresses, Skipped: v.skipped, Warnings: v.warned, Bytes: bytes}
}

// Warnings tells which attributes could not be understood when the view was built: the first thousand of them. Stats has their number.
func (v *View) Warnings() []Warning { return slices.Clone(v.warnings) }

// GUID is the objectGUID of an object, without decoding the rest of it.
func (v *View) GUID(r Ref) GUID {
	g := recordAt(v.arena.at(uint32(r))).guid()
	runtime.KeepAlive(v)
	return g
}

// WhenChanged is Object.Changed of an object, without decoding the rest of it.
func (v *View) WhenChanged(r Ref) (t time.Time) {
	for f := recordAt(v.arena.at(uint32(r))).fields(v); f.next(); {
		if f.tag == tagChanged {
			t = f.time()
			break
		}
	}
	runtime.KeepAlive(v)
	return t
}
