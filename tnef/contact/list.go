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

// maxMembers caps the members that are read of a list: Exchange itself has none that long, and each costs memory.
const maxMembers = 50_000

// Members lists who is in a personal distribution list, each once ([MS-OXOCNTC] 2.2.2.2): members without an SMTP address have a name only.
// decode reads 8-bit text; nil means UTF-8. left is how many entries were not looked at, since the list is too long.
func Members(p *mapi.Props, decode func([]byte) string) (list []mapi.Mailbox, left int) {
	if decode == nil {
		decode = func(b []byte) string { return string(b) }
	}
	// The first that has members counts: a great list has only the stream, and those in lidMembers refer to the sender's folders.
	for _, entries := range [][][]byte{
		streamEntries(address(p, lidMemberStream).Bytes()), valuesOf(address(p, lidOneOffMembers)), valuesOf(address(p, lidMembers)),
	} {
		seen := map[mapi.Mailbox]bool{}
		for _, b := range entries[:min(len(entries), maxMembers)] {
			if m, ok := oneOff(b, decode); ok && !seen[m] {
				seen[m] = true
				list = append(list, m)
			}
		}
		if len(list) > 0 {
			return list, max(0, len(entries)-maxMembers)
		}
	}
	return nil, 0
}

// streamEntries finds the one-off entry ids in PidLidDistributionListStream ([MS-OXOCNTC] 2.2.2.2.4), where they stand beside ids that lead
// nowhere outside the sender's mailbox. Each ends with its last string.
func streamEntries(b []byte) [][]byte {
	var list [][]byte
	for {
		i := bytes.Index(b, []byte(oneOffUID))
		if i < 0 {
			break
		}
		end := len(b)
		if next := bytes.Index(b[i+len(oneOffUID):], []byte(oneOffUID)); next >= 0 {
			end = i + len(oneOffUID) + next
		}
		if i >= 4 {
			list = append(list, b[i-4:end:end])
		}
		b = b[i+len(oneOffUID):]
	}
	return list
}

func valuesOf(x *mapi.Property) [][]byte {
	if x == nil {
		return nil
	}
	values, _ := x.Value.([]any)
	var list [][]byte
	for _, v := range values {
		if b, ok := v.([]byte); ok {
			list = append(list, b)
		}
	}
	return list
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

// Text names a contact, its company, its addresses and telephone numbers in a few lines with CRLF; "" when there are none.
func Text(p *mapi.Props) string {
	var b strings.Builder
	line := func(name, value string) {
		if value = oneLine(value); value != "" {
			b.WriteString(name + value + "\r\n")
		}
	}
	line("", Name(p))
	line("", p.Text(tagCompany))
	for _, a := range Addresses(p) {
		line("E-mail: ", a.Address)
	}
	for _, t := range phones {
		line("Telephone: ", p.Text(t.id))
	}
	return b.String()
}

func oneLine(s string) string { return contentline.OneLine(s) }
