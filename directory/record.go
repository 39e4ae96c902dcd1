package directory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// record is one object in the arena: its size, fields, and a fixed end. Numbers are little-endian or varints. The proxy addresses come first, so that
// a lookup mostly reads one line of the processor's cache.
//
//	0       size of the record  4 bytes
//	4       kind                1 byte
//	5       fields: a tag, and what the tag says
//	end-24  objectGUID          16 bytes
//	end-8   number              of the object, which groups refer to: it stays when the record moves
//	end-4   container           number of the parent's DN
//
// A text is the number of a prefix in the dictionary, its own length doubled and one more if anything in it is beyond ASCII, the bytes, and the number of a suffix.
type record []byte

const (
	offKind    = 4
	headerSize = 5
	endSize    = 24
	recordSize = headerSize + endSize // at least
)

// The tags of fields, in the order in which they are written.
const (
	tagProxy       = iota + 1 // text
	tagMail                   // text
	tagMailProxy              // index of the proxy of which the address is the mail
	tagRDN                    // bytes; every record has it
	tagUPN                    // text
	tagUPNMail                // nothing: the same as mail
	tagDisplay                // bytes
	tagDisplayRDN             // nothing: the value of the RDN, as it stands
	tagTarget                 // text
	tagTargetProxy            // prefix, and index of the proxy of which the address is the target's
	tagLegacyDN               // text
	tagInt                    // tagInt+i: intFields[i], zigzag varint
	tagChanged     = tagInt + 5
	tagAlias       = tagChanged + 1 // another number that means this object
	tagMembers     = tagAlias + 1   // count, size in bytes, then numbers, ascending, as differences
)

// text is a string of which the ends may be in the dictionary.
type text struct {
	pre, suf string
	mid      []byte
	wide     bool // it has characters beyond ASCII
}

func (t text) appendTo(b []byte) []byte {
	return append(append(append(b, t.pre...), t.mid...), t.suf...)
}

func (t text) size() int { return len(t.pre) + len(t.mid) + len(t.suf) }

// recordAt cuts the record from the bytes that begin with it.
func recordAt(b []byte) record { return b[:binary.LittleEndian.Uint32(b)] }

func (r record) kind() Kind     { return Kind(r[offKind]) }
func (r record) guid() GUID     { return GUID(r[len(r)-endSize:]) }
func (r record) id() uint32     { return binary.LittleEndian.Uint32(r[len(r)-8:]) }
func (r record) parent() uint32 { return binary.LittleEndian.Uint32(r[len(r)-4:]) }

func (r record) fields(v *View) fields {
	return fields{b: r[headerSize : len(r)-endSize], dict: v.dict.words()}
}

// rdn is the RDN as it was written.
func (r record) rdn(v *View) []byte {
	for f := r.fields(v); f.next(); {
		if f.tag == tagRDN {
			return f.text.mid
		}
	}
	return nil
}

// fields reads the fields of a record, one after another. It never reads past the record, and ends early with bad set when the record is damaged.
type fields struct {
	b    []byte
	dict []word
	bad  bool

	tag    uint8
	text   text   // of text and bytes
	number uint64 // of indexes and integers
	ids    []byte // of members
}

func (f *fields) next() bool {
	if len(f.b) == 0 || f.bad {
		return false
	}
	f.tag = f.b[0]
	f.b = f.b[1:]
	switch f.tag {
	case tagProxy, tagMail, tagUPN, tagTarget, tagLegacyDN:
		f.text.pre = f.word()
		size := f.uvarint()
		f.text.wide = size&1 != 0
		f.text.mid = f.bytes(size >> 1)
		f.text.suf = f.word()
	case tagRDN, tagDisplay:
		f.text = text{mid: f.bytes(f.uvarint())}
	case tagTargetProxy:
		f.text = text{pre: f.word()}
		f.number = f.uvarint()
	case tagUPNMail, tagDisplayRDN:
	case tagMembers:
		f.number = f.uvarint()
		f.ids = f.bytes(f.uvarint())
	default:
		if f.tag < tagMailProxy || f.tag > tagAlias {
			f.bad = true
		}
		f.number = f.uvarint()
	}
	return !f.bad
}

func (f *fields) uvarint() uint64 {
	if len(f.b) > 0 && f.b[0] < 0x80 {
		n := f.b[0]
		f.b = f.b[1:]
		return uint64(n)
	}
	n, k := binary.Uvarint(f.b)
	if k <= 0 {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[k:]
	return n
}

func (f *fields) word() string {
	if n := f.uvarint(); n < uint64(len(f.dict)) {
		return f.dict[n].s
	}
	f.bad = true
	return ""
}

func (f *fields) bytes(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
func zigzag(i int64) uint64   { return uint64(i<<1) ^ uint64(i>>63) }

// eachID calls f with the numbers of the members of a tagMembers field.
func eachID(count uint64, b []byte, f func(uint32)) error {
	id := uint64(0)
	for range count {
		d, k := binary.Uvarint(b)
		if k <= 0 || d > 1<<32 {
			return errRecord
		}
		b = b[k:]
		if id += d; id > 1<<32-1 {
			return errRecord
		}
		f(uint32(id))
	}
	if len(b) > 0 {
		return errRecord
	}
	return nil
}

var errRecord = errors.New("damaged record")

// ints gives the integer attributes in the order of their tags.
func (e *Entry) ints() [5]*Int {
	return [5]*Int{&e.RemoteRecipientType, &e.RecipientTypeDetails, &e.RecipientDisplayType, &e.GroupType, &e.AccountControl}
}

func (o *Object) ints() [5]*Int {
	return [5]*Int{&o.RemoteRecipientType, &o.RecipientTypeDetails, &o.RecipientDisplayType, &o.GroupType, &o.AccountControl}
}

// splitText cuts a value into a prefix and a suffix that other values are likely to have too, and what is between.
func splitText(s string) (pre, suf int) {
	pre, suf = 0, len(s)
	if i := strings.IndexByte(s, ':'); i >= 0 && i < 16 {
		pre = i + 1
	}
	// /o=Contoso/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=...: all but the last.
	if i := lastIndexCN(s); i >= pre {
		return i + len("/cn="), suf
	}
	if i := strings.LastIndexByte(s, '@'); i >= pre {
		suf = i
	}
	return pre, suf
}

func lastIndexCN(s string) int {
	for i := len(s) - len("/cn="); i >= 0; i-- {
		if s[i] == '/' && strings.EqualFold(s[i:i+4], "/cn=") {
			return i
		}
	}
	return -1
}

// encoder writes a record.
type encoder struct {
	b    []byte
	dict *dict
}

func (w *encoder) tag(t int)        { w.b = append(w.b, byte(t)) }
func (w *encoder) uvarint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

func (w *encoder) string(s string) {
	w.uvarint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *encoder) text(s string) {
	pre, suf := splitText(s)
	p, ok := w.dict.id(s[:pre])
	if !ok {
		pre = 0
	}
	q, ok := w.dict.id(s[suf:])
	if !ok {
		suf = len(s)
	}
	size := uint64(suf-pre) << 1
	if !isASCII(s) {
		size |= 1
	}
	w.uvarint(uint64(p))
	w.uvarint(size)
	w.b = append(w.b, s[pre:suf]...)
	w.uvarint(uint64(q))
}

// object writes the record of an entry. members are ascending and distinct.
func (w *encoder) object(e *Entry, kind Kind, id, parent uint32, rdn string, aliases, members []uint32) {
	w.begin(kind)
	for _, p := range e.ProxyAddresses {
		w.tag(tagProxy)
		w.text(p)
	}
	w.mail(e)
	w.tag(tagRDN)
	w.string(rdn)
	w.upn(e)
	if e.DisplayName != "" {
		if _, value, _ := strings.Cut(rdn, "="); value == e.DisplayName {
			w.tag(tagDisplayRDN)
		} else {
			w.tag(tagDisplay)
			w.string(e.DisplayName)
		}
	}
	w.target(e)
	if e.LegacyExchangeDN != "" {
		w.tag(tagLegacyDN)
		w.text(e.LegacyExchangeDN)
	}
	for i, n := range e.ints() {
		if n.Set {
			w.tag(tagInt + i)
			w.uvarint(zigzag(n.Value))
		}
	}
	if !e.Changed.IsZero() {
		w.tag(tagChanged)
		w.uvarint(zigzag(e.Changed.Unix()))
	}
	w.aliases(aliases)
	w.members(members)
	w.end(e.GUID, id, parent)
}

// phantom writes the record of a DN that has no object.
func (w *encoder) phantom(id, parent uint32, rdn string) {
	w.begin(phantom)
	w.tag(tagRDN)
	w.string(rdn)
	w.end(GUID{}, id, parent)
}

func (w *encoder) begin(kind Kind) { w.b = append(w.b[:0], 0, 0, 0, 0, byte(kind)) }

func (w *encoder) end(g GUID, id, parent uint32) {
	w.b = append(w.b, g[:]...)
	w.b = binary.LittleEndian.AppendUint32(w.b, id)
	w.b = binary.LittleEndian.AppendUint32(w.b, parent)
	binary.LittleEndian.PutUint32(w.b, uint32(len(w.b)))
}

// copy writes a record again, with another container and more aliases.
func (w *encoder) copy(rec record, parent uint32, aliases []uint32) {
	w.b = append(w.b[:0], rec[:len(rec)-endSize]...)
	w.aliases(aliases)
	w.end(rec.guid(), rec.id(), parent)
}

func (w *encoder) aliases(ids []uint32) {
	for _, id := range ids {
		w.tag(tagAlias)
		w.uvarint(uint64(id))
	}
}

// mail writes mail, which mostly is the address of one of the proxies.
func (w *encoder) mail(e *Entry) {
	if e.Mail == "" {
		return
	}
	if i := proxyWith(e.ProxyAddresses, e.Mail); i >= 0 {
		w.tag(tagMailProxy)
		w.uvarint(uint64(i))
		return
	}
	w.tag(tagMail)
	w.text(e.Mail)
}

// upn writes userPrincipalName, which mostly repeats mail.
func (w *encoder) upn(e *Entry) {
	switch {
	case e.UserPrincipalName == "":
	case e.UserPrincipalName == e.Mail:
		w.tag(tagUPNMail)
	default:
		w.tag(tagUPN)
		w.text(e.UserPrincipalName)
	}
}

// target writes targetAddress, which mostly is one of the proxy addresses with a prefix in another case.
func (w *encoder) target(e *Entry) {
	if e.TargetAddress == "" {
		return
	}
	prefix, address := cutPrefix(e.TargetAddress)
	if i := proxyWith(e.ProxyAddresses, address); i >= 0 {
		if p, ok := w.dict.id(prefix); ok {
			w.tag(tagTargetProxy)
			w.uvarint(uint64(p))
			w.uvarint(uint64(i))
			return
		}
	}
	w.tag(tagTarget)
	w.text(e.TargetAddress)
}

func (w *encoder) members(ids []uint32) {
	if len(ids) == 0 {
		return
	}
	size := 0
	var space [binary.MaxVarintLen32]byte
	diffs := func(f func(d []byte)) {
		last := uint32(0)
		for _, id := range ids {
			f(binary.AppendUvarint(space[:0], uint64(id-last)))
			last = id
		}
	}
	diffs(func(d []byte) { size += len(d) })
	w.tag(tagMembers)
	w.uvarint(uint64(len(ids)))
	w.uvarint(uint64(size))
	diffs(func(d []byte) { w.b = append(w.b, d...) })
}

// cutPrefix cuts SMTP:adele@contoso.com behind the colon. A value without a prefix is all address.
func cutPrefix(s string) (prefix, address string) {
	i := strings.IndexByte(s, ':')
	return s[:i+1], s[i+1:]
}

// proxyWith finds the proxy whose address is s, exactly, in the first 128.
func proxyWith(proxies []string, s string) int {
	for i, p := range proxies[:min(len(proxies), 128)] {
		if _, address := cutPrefix(p); address == s {
			return i
		}
	}
	return -1
}

// proxyAt finds the address of a record's proxy by its index, as tagMailProxy and tagTargetProxy refer to it.
func (r record) proxyAt(v *View, index uint64) (text, bool) {
	f := r.fields(v)
	for i := uint64(0); f.next() && f.tag == tagProxy; i++ {
		if i == index {
			return f.text.address(), true
		}
	}
	return text{}, false
}

// address is the text of a proxy behind its first colon, as cutPrefix cuts it.
func (t text) address() text {
	if i := strings.IndexByte(t.pre, ':'); i >= 0 {
		t.pre = t.pre[i+1:]
	} else if i := bytes.IndexByte(t.mid, ':'); i >= 0 {
		t.pre, t.mid = "", t.mid[i+1:]
	} else if i := strings.IndexByte(t.suf, ':'); i >= 0 {
		t = text{suf: t.suf[i+1:], wide: t.wide}
	}
	return t
}

// prefixed tells whether the text begins with prefix, which ends with a colon, without regard to case.
func (t text) prefixed(prefix string) bool {
	if len(t.pre) >= len(prefix) {
		return strings.EqualFold(t.pre[:len(prefix)], prefix)
	}
	if t.size() < len(prefix) {
		return false
	}
	var a [64]byte
	return strings.EqualFold(string(t.appendTo(a[:0])[:len(prefix)]), prefix)
}

func (f *fields) time() time.Time { return time.Unix(unzigzag(f.number), 0).UTC() }
