package tnef

import (
	"encoding/binary"
	"math"
	"time"
	"unicode/utf16"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/textenc"
)

// readProps reads a property list ([MS-OXTNEF] 2.1.3.4): a count, and that many properties. STRING8 values get only their Raw
// octets: see decodeStrings.
func (d *decoder) readProps(c *cursor, where string) mapi.Props {
	var p mapi.Props
	count := c.u32()
	for range count {
		if c.left() == 0 || c.short {
			d.warn("%s: the list of %d properties ends after %d", where, count, len(p.List))
			break
		}
		if d.properties++; d.properties > d.limits.Properties {
			d.warnOnce("more than %d properties: the rest is left out", d.limits.Properties)
			c.pos = len(c.b)
			break
		}
		x, ok := d.readProperty(c)
		if !ok {
			d.warn("%s: property 0x%04X of type 0x%04X can't be read: %d of %d are", where, uint16(x.ID), uint16(x.Type), len(p.List), count)
			c.pos = len(c.b)
			break
		}
		p.List = append(p.List, x)
	}
	return p
}

// readProperty reads one property. ok is false if it can't be read, and so nothing behind it.
func (d *decoder) readProperty(c *cursor) (x mapi.Property, ok bool) {
	t := mapi.Type(c.u16())
	x.ID = mapi.ID(c.u16())
	x.Type, x.Multi = t&^mapi.MultiFlag, t&mapi.MultiFlag != 0
	if x.ID >= mapi.FirstNamed && !readName(c, &x.Name) {
		return x, false
	}
	if c.short {
		return x, false
	}
	if size, fixed := fixedSizes[x.Type]; fixed {
		return x, d.readFixed(c, &x, size)
	}
	switch x.Type {
	case mapi.TypeString8, mapi.TypeUnicode, mapi.TypeBinary, mapi.TypeObject:
		return x, d.readVariable(c, &x)
	}
	return x, false
}

// readName reads the name of a property with an id from 0x8000.
func readName(c *cursor, n *mapi.Name) bool {
	n.Set = mapi.GUID(c.fixed(16))
	switch kind := c.u32(); kind {
	case 0:
		n.LID = c.u32()
	case 1:
		size := c.u32()
		n.Str = trimNUL(decodeUTF16(c.take(size)))
		c.pad(size)
	default:
		return false
	}
	return !c.short
}

// fixedSizes are the octets of one value in the stream. Those of two octets are padded to four.
var fixedSizes = map[mapi.Type]int{
	mapi.TypeNull: 0, mapi.TypeI2: 4, mapi.TypeBoolean: 4, mapi.TypeLong: 4, mapi.TypeFloat: 4, mapi.TypeError: 4, mapi.TypeDouble: 8,
	mapi.TypeCurrency: 8, mapi.TypeAppTime: 8, mapi.TypeI8: 8, mapi.TypeTime: 8, mapi.TypeGUID: 16,
}

func (d *decoder) readFixed(c *cursor, x *mapi.Property, size int) bool {
	if !x.Multi {
		x.Value = fixedValue(x.Type, c.fixed(uint32(size)))
		return !c.short
	}
	count := c.u32()
	least := uint64(size)
	if isShort(x.Type) {
		least = 2
	}
	if size == 0 || c.short || uint64(count)*least > uint64(c.left()) || !d.spend(count) {
		return false
	}
	if size == 4 && isShort(x.Type) && !isPadded(c.b[c.pos:], count) {
		size = 2
	}
	values := make([]any, count)
	for i := range values {
		values[i] = fixedValue(x.Type, c.take(uint32(size)))
	}
	c.pad(count * uint32(size))
	x.Value = values
	return true
}

func isShort(t mapi.Type) bool { return t == mapi.TypeI2 || t == mapi.TypeBoolean }

// isPadded tells whether values of two octets are padded to four each, as a single one is. The documents can be read both ways, and
// the padding is zero.
func isPadded(b []byte, count uint32) bool {
	if uint64(len(b)) < 4*uint64(count) {
		return false
	}
	for i := range int(count) {
		if b[4*i+2] != 0 || b[4*i+3] != 0 {
			return false
		}
	}
	return true
}

// spend takes n values of the budget for properties.
func (d *decoder) spend(n uint32) bool {
	if uint64(n)+uint64(d.properties) > uint64(d.limits.Properties) {
		d.warnOnce("more than %d property values: the rest is left out", d.limits.Properties)
		return false
	}
	d.properties += int(n)
	return true
}

func fixedValue(t mapi.Type, b []byte) any {
	le := binary.LittleEndian
	switch t {
	case mapi.TypeI2:
		return int16(le.Uint16(b))
	case mapi.TypeBoolean:
		return le.Uint16(b) != 0
	case mapi.TypeLong:
		return int32(le.Uint32(b))
	case mapi.TypeError:
		return le.Uint32(b)
	case mapi.TypeFloat:
		return math.Float32frombits(le.Uint32(b))
	case mapi.TypeDouble:
		return math.Float64frombits(le.Uint64(b))
	case mapi.TypeCurrency, mapi.TypeI8:
		return int64(le.Uint64(b))
	case mapi.TypeAppTime:
		return oleDate(math.Float64frombits(le.Uint64(b)))
	case mapi.TypeTime:
		return mapi.Filetime(le.Uint64(b))
	case mapi.TypeGUID:
		return mapi.GUID(b)
	}
	return nil
}

// oleDate converts days since 1899-12-30; the fraction counts forward also in negative numbers ([MS-OXCDATA] 2.11.1, PtypFloatingTime).
// The zone is not said.
func oleDate(v float64) time.Time {
	if math.IsNaN(v) || v <= -657435 || v >= 2958466 || v == 0 {
		return time.Time{}
	}
	day, frac := math.Modf(v)
	return time.Date(1899, 12, 30+int(day), 0, 0, 0, 0, time.UTC).Add(time.Duration(math.Abs(frac)*86400+0.5) * time.Second)
}

// readVariable reads values with a length. Single-valued ones have a count too, of 1.
func (d *decoder) readVariable(c *cursor, x *mapi.Property) bool {
	count := c.u32()
	if c.short || uint64(count)*4 > uint64(c.left()) {
		return false
	}
	if count != 1 && !d.spend(count) {
		return false
	}
	var values []any
	if x.Multi {
		values = make([]any, 0, count)
	}
	for i := range count {
		size := c.u32()
		truncated := uint64(size) > uint64(c.left())
		b := c.take(size)
		c.pad(size)
		switch {
		case x.Multi:
			values = append(values, variableValue(x, b))
		case i == 0:
			x.Value = variableValue(x, b)
		}
		if truncated {
			// What there is of a body or an attachment is worth having.
			d.warn("property 0x%04X: %d of %d octets", uint16(x.ID), len(b), size)
			break
		}
	}
	if x.Multi {
		x.Value = values
	} else if count == 0 {
		x.Value = variableValue(x, nil)
	}
	return true
}

// variableValue interprets the octets of one value.
func variableValue(x *mapi.Property, b []byte) any {
	switch x.Type {
	case mapi.TypeUnicode:
		return trimNUL(decodeUTF16(b))
	case mapi.TypeString8:
		for len(b) > 0 && b[len(b)-1] == 0 {
			b = b[:len(b)-1]
		}
		x.Raw = b
		return b // until decodeStrings
	case mapi.TypeObject:
		if len(b) >= 16 && !IsTNEF(b) { // some writers leave the interface out
			x.IID = mapi.GUID(b[:16])
			b = b[16:]
		}
		return b
	}
	return b
}

// decodeStrings turns the STRING8 values of a list into UTF-8, once the code page is known.
func decodeStrings(p *mapi.Props, codepage int) {
	for i := range p.List {
		x := &p.List[i]
		if x.Type != mapi.TypeString8 {
			continue
		}
		switch v := x.Value.(type) {
		case []byte:
			x.Value = decodeString(codepage, v)
		case []any:
			for k := range v {
				if b, ok := v[k].([]byte); ok {
					v[k] = decodeString(codepage, b)
				}
			}
		}
	}
}

// decodeString reads 8-bit text. Writers that declare one code page and write UTF-8 are common enough to look.
func decodeString(codepage int, b []byte) string {
	return trimNUL(textenc.DecodeGuess(codepage, b))
}

// decodeUTF16 reads UTF-16LE; an odd octet at the end is dropped, lone surrogates become U+FFFD.
func decodeUTF16(b []byte) string {
	ascii := true
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] >= 0x80 || b[i+1] != 0 {
			ascii = false
			break
		}
	}
	n := len(b) / 2
	if ascii {
		out := make([]byte, n)
		for i := range out {
			out[i] = b[2*i]
		}
		return string(out)
	}
	u := make([]uint16, n)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

func trimNUL(s string) string {
	for len(s) > 0 && s[len(s)-1] == 0 {
		s = s[:len(s)-1]
	}
	return s
}
