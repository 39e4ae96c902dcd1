package tnef

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

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
	if isPlain(s) && !strings.Contains(s, "=?") && longestWord(s) < maxPlainWord {
		return foldWords(s, col)
	}
	return foldWords(encodeWords(s), col)
}

// maxPlainWord is how long a word may be that can't be folded: a line has 998 octets at most (RFC 5322 2.1.1).
const maxPlainWord = 900

func longestWord(s string) int {
	longest := 0
	for len(s) > 0 {
		w, rest, _ := strings.Cut(s, " ")
		longest = max(longest, len(w))
		s = rest
	}
	return longest
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// maxWord is the longest encoded word made. RFC 2047 2 allows 75, and 76 for the line it stands on, which has a field name too.
const maxWord = 64

// encodeWords encodes text in RFC 2047 words, separated by spaces, which decoding drops: in the Q encoding what stays readable in it.
func encodeWords(s string) string {
	high := 0
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			high++
		}
	}
	if high*3 < len(s) {
		return joinWords(s, "Q", func(s string) string { return qEncode(s) })
	}
	return encodeWordsB(s)
}

// encodeWordsB uses the B encoding, whose words have nothing in them that means something in a phrase or a quoted string.
func encodeWordsB(s string) string {
	return joinWords(s, "B", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })
}

// joinWords encodes as many characters in each word as fit: a character is never divided (RFC 2047 5).
func joinWords(s, kind string, encode func(string) string) string {
	room := maxWord - len("=?utf-8?Q??=")
	var words []string
	start, end := 0, 0
	add := func() {
		words = append(words, "=?utf-8?"+kind+"?"+encode(s[start:end])+"?=")
		start = end
	}
	for i, r := range s {
		next := i + utf8.RuneLen(r)
		if len(encode(s[start:next])) > room {
			add()
		}
		end = next
	}
	if end > start || len(words) == 0 {
		add()
	}
	return strings.Join(words, " ")
}

// qEncode is RFC 2047 4.2.
func qEncode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('_')
		case c > ' ' && c < 0x7f && c != '=' && c != '?' && c != '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
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
// A token with one of the characters that RFC 2231 gives a meaning to is quoted: there are programs that see that form everywhere.
func writeParam(b *bytes.Buffer, name, value string) {
	switch {
	case isToken(value) && !strings.ContainsAny(value, "*'%"):
		b.WriteString("; " + name + "=" + value)
	case isPlain(value) && len(value) <= 255:
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
	return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
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
	addr := cleanAddress(m.Address)
	phrase := formatPhrase(m.Name)
	switch {
	case addr == "" && phrase == "":
		return formatPhrase(m.Address) + ":;"
	case addr == "" && m.Address != "" && !strings.Contains(m.Name, m.Address): // it can still be read
		return formatPhrase(m.Name+" ("+m.Address+")") + ":;"
	case addr == "":
		return phrase + ":;"
	case phrase == "":
		return addr
	}
	return phrase + " <" + addr + ">"
}

// cleanAddress returns an address as it can stand in the header of a message that is not internationalized (RFC 5322 3.4.1): the local part quoted where it must be, the domain in
// US-ASCII (RFC 5890). It is "" where that can't be.
func cleanAddress(a string) string {
	at := strings.LastIndexByte(a, '@')
	if at <= 0 || at == len(a)-1 || strings.ContainsAny(a, "\r\n\x00") {
		return ""
	}
	local, domain := a[:at], a[at+1:]
	if !isPlain(domain) {
		ascii, err := idna.Lookup.ToASCII(domain)
		if err != nil {
			return ""
		}
		domain = ascii
	}
	literal := strings.HasPrefix(domain, "[") && strings.HasSuffix(domain, "]") && !strings.ContainsAny(domain[1:], "[ \\") // [192.0.2.1]
	switch {
	case !literal && !isDotAtom(domain), !isPlain(local):
		return ""
	case isDotAtom(local), isQuoted(local):
		return local + "@" + domain
	}
	return quoteString(local) + "@" + domain
}

// isDotAtom: atoms with a dot between each two (RFC 5322 3.2.3).
func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || !isPlain(atom) || strings.ContainsAny(atom, ` ()<>[]:;@\,"`) {
			return false
		}
	}
	return true
}

// isQuoted: a quoted string (RFC 5322 3.2.4).
func isQuoted(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	s = s[1 : len(s)-1]
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return false
		case '\\':
			if i++; i == len(s) {
				return false
			}
		}
	}
	return true
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
