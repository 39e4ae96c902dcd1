package directory

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// kindClasses are the object classes that stand for a kind in what WriteLDIF writes: [KindOf] of them gives the kind.
var kindClasses = [kinds][]string{
	Other:        {"top"},
	User:         {"top", "person", "organizationalPerson", "user"},
	Contact:      {"top", "person", "organizationalPerson", "contact"},
	Group:        {"top", "group"},
	DynamicGroup: {"top", "msExchDynamicDistributionList"},
	PublicFolder: {"top", "publicFolder"},
}

// WriteLDIF writes a view as LDIF content records (RFC 2849), in the order of their DNs, such that [ReadLDIF] makes an equal view of it. It is an error if the view has no
// objects: ReadLDIF takes such a file for one that was cut off.
func WriteLDIF(w io.Writer, v *View) error {
	type named struct {
		dn  string
		ref Ref
	}
	var order []named
	for r := range v.All() {
		order = append(order, named{string(v.appendDN(nil, recordAt(v.arena.at(uint32(r))))), r})
	}
	if len(order) == 0 {
		return ErrEmpty
	}
	slices.SortFunc(order, func(a, b named) int { return strings.Compare(a.dn, b.dn) })
	out := &ldifWriter{w: bufio.NewWriterSize(w, 1<<16)}
	out.w.WriteString("version: 1\n") // errors stay until Flush
	for _, n := range order {
		out.object(v, v.Object(n.ref))
	}
	if err := out.w.Flush(); err != nil {
		return fmt.Errorf("writing LDIF: %w", err)
	}
	return nil
}

// ldifWriter writes records.
type ldifWriter struct {
	w    *bufio.Writer
	line []byte
}

// object writes one object with its members.
func (l *ldifWriter) object(v *View, o Object) {
	l.w.WriteByte('\n')
	l.value("dn", o.DN)
	for _, c := range kindClasses[o.Kind] {
		l.value("objectClass", c)
	}
	l.encoded("objectGUID", o.GUID[:])
	for _, a := range []struct{ name, value string }{
		{"displayName", o.DisplayName}, {"mail", o.Mail}, {"userPrincipalName", o.UserPrincipalName},
		{"targetAddress", o.TargetAddress}, {"legacyExchangeDN", o.LegacyExchangeDN},
	} {
		if a.value != "" {
			l.value(a.name, a.value)
		}
	}
	for _, p := range o.ProxyAddresses {
		l.value("proxyAddresses", p)
	}
	for i, n := range o.ints() {
		if n.Set {
			l.value(intNames[i], strconv.FormatInt(n.Value, 10))
		}
	}
	if !o.Changed.IsZero() {
		l.value("whenChanged", o.Changed.UTC().Format("20060102150405.0Z"))
	}
	members := v.MissingMembers(o.Ref)
	for _, m := range v.Members(o.Ref, nil) {
		members = append(members, string(v.appendDN(nil, recordAt(v.arena.at(uint32(m))))))
	}
	slices.Sort(members)
	for _, m := range members {
		l.value("member", m)
	}
}

// intNames are the attributes of Object.ints.
var intNames = [5]string{"msExchRemoteRecipientType", "msExchRecipientTypeDetails", "msExchRecipientDisplayType", "groupType", "userAccountControl"}

// value writes a value as it is if it is a SAFE-STRING (RFC 2849), else in base64.
func (l *ldifWriter) value(name, value string) {
	if !safeString(value) {
		l.encoded(name, []byte(value))
		return
	}
	l.fold(append(append(append(l.line[:0], name...), ": "...), value...))
}

func (l *ldifWriter) encoded(name string, value []byte) {
	l.fold(base64.StdEncoding.AppendEncode(append(append(l.line[:0], name...), ":: "...), value))
}

// fold writes a line, continued after 76 characters as ldapsearch does.
func (l *ldifWriter) fold(line []byte) {
	l.line = line
	for width := 76; len(line) > width; width = 75 {
		l.w.Write(line[:width])
		l.w.WriteString("\n ")
		line = line[width:]
	}
	l.w.Write(line)
	l.w.WriteByte('\n')
}

// safeString follows SAFE-STRING of RFC 2849, and note 8: a value that ends with a space is encoded too.
func safeString(s string) bool {
	if s == "" {
		return true
	}
	if s[0] == ' ' || s[0] == ':' || s[0] == '<' || s[len(s)-1] == ' ' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c == 0 || c == '\n' || c == '\r' || c >= 0x80 {
			return false
		}
	}
	return true
}
