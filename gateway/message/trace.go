package message

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// Received is the trace field that the gateway puts on a message that it took (RFC 5321 4.4).
type Received struct {
	// Hello is the argument of EHLO or HELO, as the client gave it.
	Hello string
	// Remote is the client's address.
	Remote netip.Addr
	// By is the gateway's host name, ID the message's.
	By, ID string
	// Session is how the client spoke.
	Session Session
	// Envelope gives the recipient, who is named only when there is exactly one: with more, each would learn of the others
	// (RFC 5321 7.2); and tells whether SMTPUTF8 was used.
	Envelope Envelope
	// Time is when the message was received.
	Time time.Time
}

// Session is how a client spoke to the gateway.
type Session struct {
	// Extended is true after EHLO, false after HELO.
	Extended bool
	// Authenticated is true after a successful AUTH.
	Authenticated bool
	// TLS is nil in clear.
	TLS *tls.ConnectionState
}

// Protocol is the WITH protocol type: RFC 3848, and RFC 6531 4.3 for messages that use SMTPUTF8.
func (s Session) Protocol(smtpUTF8 bool) string {
	if !s.Extended && !smtpUTF8 {
		return "SMTP"
	}
	p := "ESMTP"
	if smtpUTF8 {
		p = "UTF8SMTP"
	}
	if s.TLS != nil {
		p += "S"
	}
	if s.Authenticated {
		p += "A"
	}
	return p
}

// Append appends the field, folded and ended by CRLF, to dst. What the client said cannot break out of it.
func (r Received) Append(dst []byte) []byte {
	f := folder{out: append(dst, "Received:"...), column: len("Received:")}
	f.words("from", r.from())
	if s := r.Session.TLS; s != nil {
		f.line("(using", tlsVersion(s), "with", "cipher", tlsCipher(s)+")")
	}
	f.line("by", atoms(r.By), "with", r.Session.Protocol(r.Envelope.UTF8), "id", atoms(r.ID))
	date := r.Time.Format("Mon, 2 Jan 2006 15:04:05 -0700") // RFC 5322 3.3
	if recipient := r.only(); recipient != "" {
		f.line("for", "<"+recipient+">;")
		f.words(date)
	} else {
		f.out = append(f.out, ';')
		f.column++
		f.line(date)
	}
	return append(f.out, '\r', '\n')
}

// from is the Extended-Domain: what the client said, and its address as the TCP-info (RFC 5321 4.4).
func (r Received) from() string {
	literal := addressLiteral(r.Remote)
	hello := atoms(r.Hello)
	switch {
	case hello == "" && literal == "":
		return "unknown"
	case hello == "":
		return literal
	case literal == "":
		return hello
	}
	return hello + " (" + literal + ")"
}

// addressLiteral writes a in brackets (RFC 5321 4.1.3), or "" when there is none.
func addressLiteral(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return ""
	case a.Is4():
		return "[" + a.String() + "]"
	default:
		return "[IPv6:" + a.String() + "]"
	}
}

// only is the recipient if there is exactly one and its address can be written in the field as it is.
func (r Received) only() string {
	if len(r.Envelope.Recipients) != 1 {
		return ""
	}
	a := r.Envelope.Recipients[0].Address
	if len(a) > 320 || !utf8.ValidString(a) { // RFC 5321 4.5.3.1.1 and .2: 64 + 1 + 255
		return ""
	}
	for i := range len(a) {
		c := a[i]
		if c < ' ' || c == 0x7f || c == '<' || c == '>' || c >= 0x80 && !r.Envelope.UTF8 {
			return ""
		}
	}
	return a
}

func tlsVersion(s *tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(s.Version), " ", "v") // "TLS 1.3" is two words
}

func tlsCipher(s *tls.ConnectionState) string { return atoms(tls.CipherSuiteName(s.CipherSuite)) }

// maxAtoms is the longest domain (RFC 5321 4.5.3.1.2).
const maxAtoms = 255

// atoms makes s fit for a domain, address literal or id: anything but the characters of those becomes "?".
func atoms(s string) string {
	s = s[:min(len(s), maxAtoms)]
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("-._:[]", c):
			return c
		}
		return '?'
	}, s)
}

// AppendField appends "name: value" to dst, folded at spaces and ended by CRLF. Control characters and everything above 127
// in value become "?": it stays one field.
func AppendField(dst []byte, name, value string) []byte {
	value = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f {
			return '?'
		}
		return c
	}, value)
	f := folder{out: append(append(dst, name...), ':'), column: len(name) + 1}
	f.words(strings.Fields(value)...)
	return append(f.out, '\r', '\n')
}

// foldColumn is where lines should end (RFC 5322 2.1.1). A word that is longer is not broken.
const foldColumn = 78

// folder writes words of a field, and starts a new line before one that does not fit.
type folder struct {
	out    []byte
	column int
}

// words appends words, a space before each.
func (f *folder) words(words ...string) {
	for _, w := range words {
		if f.column+1+len(w) > foldColumn && f.column > 1 {
			f.newline()
		} else {
			f.out = append(f.out, ' ')
			f.column++
		}
		f.out = append(f.out, w...)
		f.column += len(w)
	}
}

// line does the same on a new line.
func (f *folder) line(first string, words ...string) {
	f.newline()
	f.out = append(f.out, first...)
	f.column += len(first)
	f.words(words...)
}

func (f *folder) newline() {
	f.out = append(f.out, "\r\n\t"...)
	f.column = 1
}
