package tnef

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// foldAt is where lines of generated header fields are folded (RFC 5322 2.1.1: should not exceed 78).
const foldAt = 76

// cleanText makes a value fit for one header line: controls and line breaks become spaces.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.TrimSpace(s)
}

// encodeText gives unstructured text (RFC 5322 2.2.1) as it stands behind a field name of col octets: plain where possible, else in RFC 2047
// words; folded.
func encodeText(s string, col int) string {
	s = cleanText(s)
	if isPlain(s) && !strings.Contains(s, "=?") {
		return foldWords(s, col)
	}
	return foldWords(encodeWords(s), col)
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// encodeWords encodes text in RFC 2047 words of at most 75 characters, separated by spaces, which decoding drops.
func encodeWords(s string) string {
	high := 0
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			high++
		}
	}
	if high*3 < len(s) && !strings.Contains(s, "=?") {
		return mime.QEncoding.Encode("utf-8", s)
	}
	return encodeWordsB(s)
}

// encodeWordsB uses the B encoding, whose words have nothing in them that means something in a phrase or a quoted string.
func encodeWordsB(s string) string {
	const maxOctets = 45 // 60 characters, and 12 of =?utf-8?B??=
	var words []string
	for len(s) > 0 {
		n := min(len(s), maxOctets)
		for n < len(s) && n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		if n == 0 {
			n = min(len(s), maxOctets)
		}
		words = append(words, "=?utf-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

// foldWords folds at spaces (RFC 5322 2.2.3). Only a space with text on both sides is used, and it stays.
func foldWords(s string, col int) string {
	if col+len(s) <= foldAt {
		return s
	}
	var b strings.Builder
	for i, w := range strings.Split(s, " ") {
		if i > 0 {
			if w != "" && col+1+len(w) > foldAt {
				b.WriteString("\r\n")
				col = 0
			}
			b.WriteByte(' ')
			col++
		}
		b.WriteString(w)
		col += len(w)
	}
	return b.String()
}

// writeParam writes ; and a parameter on a line of its own: bare where RFC 2045 allows a token, quoted for US-ASCII, else in the RFC 2231 form.
func writeParam(b *bytes.Buffer, name, value string) {
	switch {
	case isToken(value):
		b.WriteString("; " + name + "=" + value)
	case isPlain(value) && len(value) < 200:
		b.WriteString(";\r\n\t" + name + "=" + quoteString(value))
	default:
		writeExtParam(b, name, value)
	}
}

// writeExtParam writes name*=utf-8”..., in sections where a line would be too long (RFC 2231 3 and 4).
func writeExtParam(b *bytes.Buffer, name, value string) {
	var sections []string
	var cur strings.Builder
	for _, r := range strings.ToValidUTF8(value, "\uFFFD") {
		enc := percentEncode(string(r))
		if cur.Len()+len(enc) > 50 {
			sections = append(sections, cur.String())
			cur.Reset()
		}
		cur.WriteString(enc)
	}
	sections = append(sections, cur.String())
	if len(sections) == 1 {
		b.WriteString(";\r\n\t" + name + "*=utf-8''" + sections[0])
		return
	}
	for i, s := range sections {
		charset := ""
		if i == 0 {
			charset = "utf-8''"
		}
		fmt.Fprintf(b, ";\r\n\t%s*%d*=%s%s", name, i, charset, s)
	}
}

// writeNameParam writes the name parameter of Content-Type, which RFC 2046 no longer has and many programs read: non-ASCII names as RFC 2047
// words, against RFC 2047 5 (3) but as everybody does it.
func writeNameParam(b *bytes.Buffer, name string) {
	if isPlain(name) {
		writeParam(b, "name", name)
		return
	}
	b.WriteString(";\r\n\tname=\"" + strings.ReplaceAll(encodeWordsB(name), " ", "\r\n\t ") + "\"")
}

func percentEncode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; isAttrChar(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// isAttrChar is attribute-char of RFC 2231 7.
func isAttrChar(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`*'%()<>@,;:\"/[]?=`, rune(c))
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func quoteString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// addressList formats mailboxes for a field (RFC 5322 3.4). Somebody without an address is written as a group without members: a name, and
// nothing a reply could go to.
func addressList(list []mapi.Mailbox, col int) string {
	var b strings.Builder
	for i, m := range list {
		s := formatMailbox(m)
		if i > 0 {
			b.WriteByte(',')
			col++
			if col+1+len(s) > foldAt {
				b.WriteString("\r\n")
				col = 0
			}
			b.WriteByte(' ')
			col++
		}
		b.WriteString(s)
		col += len(s)
	}
	return b.String()
}

func formatMailbox(m mapi.Mailbox) string {
	phrase := formatPhrase(m.Name)
	addr := cleanAddress(m.Address)
	switch {
	case addr == "":
		return phrase + ":;"
	case phrase == "":
		return addr
	}
	return phrase + " <" + addr + ">"
}

// cleanAddress returns an address that can stand in a header, or "".
func cleanAddress(a string) string {
	for _, r := range a {
		if r <= ' ' || r == 0x7f || strings.ContainsRune("<>,;", r) {
			return ""
		}
	}
	return a
}

// formatPhrase is a display name as a phrase: atoms, a quoted string, or encoded words.
func formatPhrase(name string) string {
	name = cleanText(name)
	switch {
	case name == "":
		return ""
	case !isPlain(name) || strings.Contains(name, "=?"):
		return strings.ReplaceAll(encodeWordsB(name), "?= =?", "?=\r\n =?")
	case strings.ContainsAny(name, `()<>[]:;@\,."`):
		return quoteString(name)
	}
	return name
}

// formatDate is RFC 5322 3.3; a time whose zone is not known gets -0000.
func formatDate(t time.Time, zoneKnown bool) string {
	s := t.UTC().Format("Mon, 2 Jan 2006 15:04:05 ")
	if !zoneKnown {
		return s + "-0000"
	}
	return s + "+0000"
}
