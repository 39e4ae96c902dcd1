package directory

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// accumulator collects the attributes of one entry.
type accumulator struct {
	note  func(Warning)
	e     Entry
	line  int
	dn    string
	attrs int
	seen  map[string]bool // single-valued attributes
	top   memberRange
}

// memberRange is how far the values of a member attribute in pieces reach ([MS-ADTS] 3.1.1.3.1.3.3).
type memberRange struct {
	line int
	open bool // there are pieces
	all  bool // one of them was the last
}

func newAccumulator(note func(Warning)) *accumulator {
	return &accumulator{note: note, seen: map[string]bool{}}
}

// Attribute is an attribute of an entry with its values, as LDAP delivers it.
type Attribute struct {
	Name   string // with its options, such as member;range=0-*; letter case does not matter
	Values [][]byte
}

// DecodeEntry makes an entry of the attributes that a view knows; others are passed over. An attribute that cannot be understood is treated as absent, and warn is told.
func DecodeEntry(dn string, attributes []Attribute, warn func(Warning)) Entry {
	a := newAccumulator(warn)
	a.reset(0, dn)
	for _, attr := range attributes {
		name := strings.ToLower(attr.Name)
		for _, v := range attr.Values {
			a.attribute(0, name, v)
		}
	}
	return a.entry()
}

// reset begins an entry.
func (a *accumulator) reset(line int, dn string) {
	a.e = Entry{DN: dn}
	a.line, a.dn, a.attrs = line, dn, 0
	a.top = memberRange{}
	clear(a.seen)
}

// entry gives what was collected.
func (a *accumulator) entry() Entry {
	if a.top.open && !a.top.all {
		a.warn(a.top.line, "member", "the list of members is not complete: the piece with range=N-* is missing; expected an export of all ranges")
	}
	return a.e
}

func (a *accumulator) warn(line int, attr, format string, args ...any) {
	a.note(Warning{Line: line, DN: a.dn, Attribute: attr, Text: fmt.Sprintf(format, args...)})
}

// single takes the one value of an attribute that has one.
type single func(e *Entry, value string) error

// singles are the attributes with one value, by their names in lower case.
var singles = map[string]single{
	"objectguid":        func(e *Entry, v string) (err error) { e.GUID, err = parseGUID(v); return },
	"displayname":       func(e *Entry, v string) error { return setText(&e.DisplayName, v) },
	"mail":              func(e *Entry, v string) error { return setText(&e.Mail, v) },
	"userprincipalname": func(e *Entry, v string) error { return setText(&e.UserPrincipalName, v) },
	"targetaddress":     func(e *Entry, v string) error { return setText(&e.TargetAddress, v) },
	"legacyexchangedn":  func(e *Entry, v string) error { return setText(&e.LegacyExchangeDN, v) },
	"whenchanged":       func(e *Entry, v string) (err error) { e.Changed, err = parseTime(v); return },
	"isdeleted":         func(e *Entry, v string) (err error) { e.Deleted, err = parseBool(v); return },

	"msexchremoterecipienttype":  func(e *Entry, v string) error { return setInt(&e.RemoteRecipientType, v) },
	"msexchrecipienttypedetails": func(e *Entry, v string) error { return setInt(&e.RecipientTypeDetails, v) },
	"msexchrecipientdisplaytype": func(e *Entry, v string) error { return setInt(&e.RecipientDisplayType, v) },
	"grouptype":                  func(e *Entry, v string) error { return setInt(&e.GroupType, v) },
	"useraccountcontrol":         func(e *Entry, v string) error { return setInt(&e.AccountControl, v) },
}

// attribute takes one value. name is in lower case and may have options.
func (a *accumulator) attribute(line int, name string, value []byte) {
	a.attrs++
	base, options, _ := strings.Cut(name, ";")
	switch base {
	case "objectclass":
		a.e.ObjectClass = append(a.e.ObjectClass, string(value))
	case "proxyaddresses":
		a.proxy(line, string(value))
	case "member":
		a.member(line, options, string(value))
	default:
		set, ok := singles[base]
		if !ok || len(value) == 0 {
			return
		}
		if a.seen[base] {
			a.warn(line, base, "a second value; expected one: the first is used")
			return
		}
		a.seen[base] = true
		if err := set(&a.e, string(value)); err != nil {
			a.warn(line, base, "%v", err)
		}
	}
}

func (a *accumulator) proxy(line int, value string) {
	var checked string
	if err := setText(&checked, value); err != nil {
		a.warn(line, "proxyAddresses", "%v", err)
		return
	}
	if checked != "" {
		a.e.ProxyAddresses = append(a.e.ProxyAddresses, checked)
	}
}

func (a *accumulator) member(line int, options, value string) {
	for o := range strings.SplitSeq(options, ";") {
		if r, ok := strings.CutPrefix(o, "range="); ok {
			a.top.line, a.top.open = line, true
			a.top.all = a.top.all || strings.HasSuffix(r, "-*")
		}
	}
	if value == "" {
		return // an empty range
	}
	if err := checkDN(value); err != nil {
		a.warn(line, "member", "%q: %v", clip(value), err)
		return
	}
	a.e.Members = append(a.e.Members, value)
}

// setText takes text. Control characters and bytes that are no UTF-8 are in no address and no name.
func setText(to *string, v string) error {
	v = strings.TrimRight(v, " ")
	if !utf8.ValidString(v) {
		return fmt.Errorf("%q is not UTF-8", clip(v))
	}
	if i := strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("%q has a control character", clip(v))
	}
	*to = v
	return nil
}

func setInt(to *Int, v string) error {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil {
		return fmt.Errorf("%q; expected a whole number", clip(v))
	}
	*to = Int{Value: n, Set: true}
	return nil
}

func parseBool(v string) (bool, error) {
	switch strings.ToUpper(strings.TrimSpace(v)) {
	case "TRUE":
		return true, nil
	case "FALSE":
		return false, nil
	}
	return false, fmt.Errorf("%q; expected TRUE or FALSE", clip(v))
}

// parseTime reads generalized time (RFC 4517 section 3.3.13) as Active Directory writes it.
func parseTime(v string) (time.Time, error) {
	for _, layout := range []string{"20060102150405.0Z", "20060102150405Z", "20060102150405.0-0700", "20060102150405-0700"} {
		if t, err := time.Parse(layout, strings.TrimSpace(v)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q; expected a time such as 20260131093000.0Z", clip(v))
}

// parseGUID reads the 16 bytes of the wire, or the text form that some tools export.
func parseGUID(v string) (GUID, error) {
	if len(v) == 16 {
		return GUID([]byte(v)), nil
	}
	text := strings.NewReplacer("-", "", "{", "", "}", "").Replace(strings.TrimSpace(v))
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 16 {
		return GUID{}, fmt.Errorf("%q; expected the 16 bytes of an objectGUID in base64", clip(v))
	}
	// The text form shows the first three fields as numbers, which are little-endian on the wire.
	slices.Reverse(raw[:4])
	slices.Reverse(raw[4:6])
	slices.Reverse(raw[6:8])
	return GUID(raw), nil
}
