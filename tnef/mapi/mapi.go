// Package mapi holds MAPI messages and their properties as TNEF carries them ([MS-OXTNEF], [MS-OXCDATA] 2.11, [MS-OXPROPS]): the model
// that a reader fills in and that converters of the message classes read.
package mapi

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// GUID is in the byte order of the wire: the first three groups little-endian ([MS-DTYP] 2.3.4.2).
type GUID [16]byte

// String gives the usual form: 00062002-0000-0000-c000-000000000046.
func (g GUID) String() string {
	b := [16]byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6]}
	copy(b[8:], g[8:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ParseGUID reads the form that String writes. It is the zero GUID when s is none.
func ParseGUID(s string) GUID {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return GUID{}
	}
	g := GUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}
	copy(g[8:], b[8:])
	return g
}

// Type is a property type ([MS-OXCDATA] 2.11.1).
type Type uint16

// The property types of a TNEF stream ([MS-OXTNEF] 2.1.3.4).
const (
	TypeNull     Type = 0x0001
	TypeI2       Type = 0x0002
	TypeLong     Type = 0x0003
	TypeFloat    Type = 0x0004
	TypeDouble   Type = 0x0005
	TypeCurrency Type = 0x0006
	TypeAppTime  Type = 0x0007
	TypeError    Type = 0x000A
	TypeBoolean  Type = 0x000B
	TypeObject   Type = 0x000D
	TypeI8       Type = 0x0014
	TypeString8  Type = 0x001E
	TypeUnicode  Type = 0x001F
	TypeTime     Type = 0x0040
	TypeGUID     Type = 0x0048
	TypeBinary   Type = 0x0102

	// MultiFlag marks a multi-valued type on the wire. Property.Type is without it.
	MultiFlag Type = 0x1000
)

var typeNames = map[Type]string{
	TypeNull: "PT_NULL", TypeI2: "PT_I2", TypeLong: "PT_LONG", TypeFloat: "PT_R4", TypeDouble: "PT_DOUBLE", TypeCurrency: "PT_CURRENCY",
	TypeAppTime: "PT_APPTIME", TypeError: "PT_ERROR", TypeBoolean: "PT_BOOLEAN", TypeObject: "PT_OBJECT", TypeI8: "PT_I8",
	TypeString8: "PT_STRING8", TypeUnicode: "PT_UNICODE", TypeTime: "PT_SYSTIME", TypeGUID: "PT_CLSID", TypeBinary: "PT_BINARY",
}

// String is the name in MAPI's headers: PT_LONG.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("0x%04X", uint16(t))
}

// ID is a property id. Ids from 0x8000 are local to a stream: such a property is known by its Name only.
type ID uint16

// FirstNamed is the first id that only its Name gives a meaning.
const FirstNamed ID = 0x8000

// Name names a property with an id from 0x8000: a set and either a number (LID) or a string.
type Name struct {
	Set GUID
	LID uint32 // when Str is empty
	Str string
}

// IsZero tells whether the property has no name.
func (n Name) IsZero() bool { return n == Name{} }

// Property is one property with its value.
type Property struct {
	ID    ID
	Type  Type // without the multi-value flag 0x1000
	Multi bool
	Name  Name // zero for ids below 0x8000
	// Value is, by Type: int16, int32, float32, float64, int64 (PT_I8 and PT_CURRENCY), bool, string (decoded to UTF-8), time.Time
	// (UTC, zero when out of range), GUID, []byte (PT_BINARY; PT_OBJECT without its IID), uint32 (PT_ERROR); when Multi a []any of those.
	// It is nil for PT_NULL.
	Value any
	// Raw holds the undecoded octets of a STRING8 value, for texts whose code page is known only later.
	Raw []byte
	// IID is the interface of a PT_OBJECT value.
	IID GUID
	// Attribute is the id of the TNEF attribute that the property was made from, because the stream has no such property; else 0.
	// A time made from an attribute is the sender's local time, with its zone unknown, and is given as if it were UTC.
	Attribute uint32
}

// Props is a property list with lookups. The zero value is empty and ready.
type Props struct {
	List []Property
}

// Find returns the first property with this id, nil when there is none. PT_ERROR and PT_NULL values count as absent.
func (p *Props) Find(id ID) *Property {
	for i := range p.List {
		if x := &p.List[i]; x.ID == id && x.Type != TypeError && x.Type != TypeNull {
			return x
		}
	}
	return nil
}

// FindNamed returns the property that set and LID name, nil when there is none.
func (p *Props) FindNamed(set GUID, lid uint32) *Property {
	return p.findName(Name{Set: set, LID: lid})
}

// FindString returns the property that set and a string name, nil when there is none. Letter case matters not
// ([MS-OXCPRPT] 2.2.12.1 leaves it to the server; header names in PS_INTERNET_HEADERS come in both).
func (p *Props) FindString(set GUID, name string) *Property {
	for i := range p.List {
		if x := &p.List[i]; x.ID >= FirstNamed && x.Name.Set == set && x.Name.Str != "" && strings.EqualFold(x.Name.Str, name) && x.Type != TypeError {
			return x
		}
	}
	return nil
}

func (p *Props) findName(n Name) *Property {
	for i := range p.List {
		if x := &p.List[i]; x.ID >= FirstNamed && x.Name == n && x.Type != TypeError && x.Type != TypeNull {
			return x
		}
	}
	return nil
}

// Has tells whether there is a property with this id.
func (p *Props) Has(id ID) bool { return p.Find(id) != nil }

// Text returns a string property, without NULs at its end, or "".
func (p *Props) Text(id ID) string { return p.Find(id).Text() }

// Int returns an integer or boolean property, ok being false when there is none.
func (p *Props) Int(id ID) (v int64, ok bool) { return p.Find(id).Int() }

// Bool returns a boolean property; false when there is none.
func (p *Props) Bool(id ID) bool { return p.Find(id).Bool() }

// Bytes returns a binary property (or the octets of a PT_OBJECT); nil when there is none. They are part of the stream: don't change them.
func (p *Props) Bytes(id ID) []byte { return p.Find(id).Bytes() }

// Time returns a time property; ok is false when there is none, or it has no value that a calendar knows.
func (p *Props) Time(id ID) (t time.Time, ok bool) { return p.Find(id).Time() }

// Text is the value of a string property without NULs at its end; "" for other types and a nil property.
func (x *Property) Text() string {
	if x == nil {
		return ""
	}
	s, _ := x.Value.(string)
	return strings.TrimRight(s, "\x00")
}

// Texts is a multi-valued string property, or the one value of a single one.
func (x *Property) Texts() []string {
	if x == nil {
		return nil
	}
	list, ok := x.Value.([]any)
	if !ok {
		if s := x.Text(); s != "" {
			return []string{s}
		}
		return nil
	}
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, strings.TrimRight(s, "\x00"))
		}
	}
	return out
}

// Int is the value of an integer or boolean property.
func (x *Property) Int() (int64, bool) {
	if x == nil {
		return 0, false
	}
	switch v := x.Value.(type) {
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// Bool is true for a true boolean, and for an integer that is not zero.
func (x *Property) Bool() bool {
	v, _ := x.Int()
	return v != 0
}

// Bytes is the value of a binary or object property.
func (x *Property) Bytes() []byte {
	if x == nil {
		return nil
	}
	b, _ := x.Value.([]byte)
	return b
}

// Time is the value of a time property.
func (x *Property) Time() (time.Time, bool) {
	if x == nil {
		return time.Time{}, false
	}
	t, ok := x.Value.(time.Time)
	return t, ok && !t.IsZero()
}

// filetimeEpoch is 1601-01-01 in seconds of Unix time; filetimeMax is the end of year 9999 in 100 ns since then.
const (
	filetimeEpoch = -11644473600
	filetimeMax   = 2650467744000000000
)

// Filetime converts 100 ns since 1601-01-01 UTC ([MS-DTYP] 2.3.3). It is the zero time when out of range: 0, before, after year 9999.
func Filetime(v uint64) time.Time {
	if v == 0 || v >= filetimeMax {
		return time.Time{}
	}
	return time.Unix(filetimeEpoch+int64(v/1e7), int64(v%1e7)*100).UTC()
}

// ToFiletime is the reverse of Filetime; 0 for times before 1601.
func ToFiletime(t time.Time) uint64 {
	s := t.Unix() - filetimeEpoch
	if t.IsZero() || s < 0 {
		return 0
	}
	return uint64(s)*1e7 + uint64(t.Nanosecond()/100)
}
