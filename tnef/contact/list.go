package contact

import (
	"bytes"
	"encoding/hex"
	"strings"
	"unicode/utf16"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

func hexID(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// maxMembers caps the members that are read of a list.
const maxMembers = 5000

// Members lists who is in a personal distribution list, each once ([MS-OXOCNTC] 2.2.2.2): members without an SMTP address have a name only.
// decode reads 8-bit text; nil means UTF-8.
func Members(p *mapi.Props, decode func([]byte) string) []mapi.Mailbox {
	if decode == nil {
		decode = func(b []byte) string { return string(b) }
	}
	var list []mapi.Mailbox
	seen := map[mapi.Mailbox]bool{}
	for _, lid := range []uint32{lidOneOffMembers, lidMembers} {
		values, _ := valuesOf(address(p, lid))
		for _, v := range values[:min(len(values), maxMembers)] {
			b, _ := v.([]byte)
			m, ok := oneOff(b, decode)
			if ok && !seen[m] {
				seen[m] = true
				list = append(list, m)
			}
		}
		if len(list) > 0 { // the second list has the same members, as references into the sender's folders
			break
		}
	}
	return list
}

func valuesOf(x *mapi.Property) ([]any, bool) {
	if x == nil {
		return nil, false
	}
	list, ok := x.Value.([]any)
	return list, ok
}

// oneOffUID marks a one-off entry id ([MS-OXCDATA] 2.2.5.1).
const oneOffUID = "\x81\x2b\x1f\xa4\xbe\xa3\x10\x19\x9d\x6e\x00\xdd\x01\x0f\x54\x02"

// oneOff reads a one-off entry id: 4 octets of flags, the UID, 2 of version, 2 of flags, and three strings: name, type of address, address.
func oneOff(b []byte, decode func([]byte) string) (mapi.Mailbox, bool) {
	if len(b) < 24 || string(b[4:20]) != oneOffUID {
		return mapi.Mailbox{}, false
	}
	wide := b[23]&0x80 != 0
	rest := b[24:]
	var s [3]string
	for i := range s {
		s[i], rest = nextString(rest, wide, decode)
	}
	m := mapi.Mailbox{Name: strings.TrimSpace(s[0])}
	if strings.EqualFold(s[1], "SMTP") && strings.Count(s[2], "@") == 1 {
		m.Address = strings.TrimSpace(s[2])
	}
	return m, m.Name != "" || m.Address != ""
}

func nextString(b []byte, wide bool, decode func([]byte) string) (string, []byte) {
	if !wide {
		s, rest, _ := bytes.Cut(b, []byte{0})
		return decode(s), rest
	}
	var u []uint16
	for len(b) >= 2 {
		c := uint16(b[0]) | uint16(b[1])<<8
		b = b[2:]
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u)), b
}

// GroupVCard writes a distribution list as a vCard 4.0 group (RFC 6350 6.1.4 and 6.6.5), with those members that have an address.
func GroupVCard(p *mapi.Props, members []mapi.Mailbox, text string) []byte {
	w := &writer{props: p}
	w.Begin("VCARD")
	w.Raw("VERSION", "4.0")
	w.Raw("KIND", "group")
	name := Name(p)
	if name == "" {
		name = "Unknown"
	}
	w.Text("FN", name)
	for _, m := range members {
		if m.Address != "" && !strings.ContainsAny(m.Address, " \r\n\t<>\"") {
			w.Raw("MEMBER", "mailto:"+m.Address)
		}
	}
	if strings.TrimSpace(text) != "" {
		w.Text("NOTE", strings.TrimRight(text, "\r\n"))
	}
	w.Texts("CATEGORIES", p.FindString(mapi.SetPublicStrings, "Keywords").Texts())
	w.identity()
	w.End("VCARD")
	return w.Bytes()
}

// ListText lists the members as text, one a line, for people whose program does not read vCards. Lines end with CRLF.
func ListText(p *mapi.Props, members []mapi.Mailbox) string {
	var b strings.Builder
	if name := Name(p); name != "" {
		b.WriteString(oneLine(name) + ":\r\n")
	}
	for _, m := range members {
		switch {
		case m.Address == "":
			b.WriteString("- " + oneLine(m.Name) + "\r\n")
		case m.Name == "" || strings.EqualFold(m.Name, m.Address):
			b.WriteString("- " + oneLine(m.Address) + "\r\n")
		default:
			b.WriteString("- " + oneLine(m.Name) + " <" + oneLine(m.Address) + ">\r\n")
		}
	}
	return b.String()
}

func oneLine(s string) string { return contentline.OneLine(s) }
