package routing

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxAddress is the longest address in octets that is looked at: rangeUpper of proxyAddresses and targetAddress in Exchange's
// schema, so that nothing longer can be in the directory. RFC 5321 4.5.3.1.3 asks for 256, encapsulated addresses need more.
const maxAddress = 1123

// mailbox is a parsed RFC 5321 4.1.2 Mailbox.
type mailbox struct {
	wire    string // as it was given
	local   string // local part without quotes and quoted-pairs
	domain  string // as it was given
	ascii   string // domain for comparison: lower case, A-labels (RFC 5890 2.3.2.1)
	quoted  bool   // local part was given as a quoted string
	literal bool   // domain is an address literal
}

// parseMailbox reads a wire-form address. It is lenient where real directories are (dots anywhere in a local part, underscores in
// domains, any length of local part up to maxAddress) and strict where leniency is dangerous: control characters, spaces
// and specials outside quotes, an unquoted second @, source routes. `%` and `!` mean nothing: they are part of the name.
func parseMailbox(s string) (mailbox, error) {
	switch {
	case s == "":
		return mailbox{}, errors.New("empty address")
	case len(s) > maxAddress:
		return mailbox{}, fmt.Errorf("address of %d octets, at most %d are possible", len(s), maxAddress)
	case !utf8.ValidString(s):
		return mailbox{}, errors.New("address is not UTF-8")
	}
	m := mailbox{wire: s, quoted: s[0] == '"'}
	at, err := 0, error(nil)
	if m.quoted {
		m.local, at, err = quotedLocal(s)
	} else {
		m.local, at, err = dotLocal(s)
	}
	if err != nil {
		return mailbox{}, err
	}
	m.domain = s[at+1:]
	m.ascii, m.literal, err = parseDomain(m.domain)
	return m, err
}

// quotedLocal reads a quoted string (RFC 5321 4.1.2 Quoted-string, RFC 6531 3.3) and gives its content and the place of the @.
func quotedLocal(s string) (local string, at int, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			if i+1 == len(s) || s[i+1] != '@' {
				return "", 0, errors.New("quoted local part is not followed by @")
			}
			if b.Len() == 0 {
				return "", 0, errors.New("empty local part")
			}
			return b.String(), i + 1, nil
		case c == '\\' && i+1 < len(s):
			i++
			c = s[i]
		}
		if c < ' ' || c == 0x7f {
			return "", 0, errors.New("control character in address")
		}
		b.WriteByte(c)
	}
	return "", 0, errors.New("quoted local part does not end")
}

// dotLocal reads a local part without quotes and gives it and the place of the @.
func dotLocal(s string) (local string, at int, err error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '@' && i == 0:
			return "", 0, errors.New("empty local part")
		case c == '@':
			return s[:i], i, nil
		case !isAtext(c) && c != '.':
			return "", 0, fmt.Errorf("%q in the local part without quotes", c)
		}
	}
	return "", 0, errors.New("address without a domain")
}

// isAtext tells RFC 5322 3.2.3 atext, with the octets of UTF-8 beyond ASCII (RFC 6531 3.3).
func isAtext(c byte) bool {
	return c >= 0x80 || isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}

// parseDomain checks a domain or address literal and gives the form that is compared.
func parseDomain(s string) (ascii string, literal bool, err error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	if len(s) > 255 { // RFC 5321 4.5.3.1.2
		return "", false, errors.New("domain of more than 255 octets")
	}
	international, label := false, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == '.':
			if label == 0 {
				return "", false, errors.New("empty label in the domain")
			}
			label = 0
			continue
		case s[i] >= 0x80:
			international = true
		case !isAlnum(s[i]) && s[i] != '-' && s[i] != '_':
			return "", false, fmt.Errorf("%q in the domain", s[i])
		}
		if label++; label > 63 && !international { // RFC 1035 2.3.4
			return "", false, errors.New("label of more than 63 octets in the domain")
		}
	}
	if !international {
		return strings.ToLower(s), false, nil
	}
	ascii, err = idna.Lookup.ToASCII(s)
	if err != nil {
		return "", false, fmt.Errorf("internationalized domain: %w", err)
	}
	for label := range strings.SplitSeq(ascii, ".") { // characters that the mapping drops, such as U+200B, may leave nothing
		if label == "" {
			return "", false, errors.New("empty label in the domain")
		}
	}
	return ascii, false, nil
}

// parseLiteral checks an address literal (RFC 5321 4.1.3).
func parseLiteral(s string) (ascii string, literal bool, err error) {
	inner, closed := strings.CutSuffix(s[1:], "]")
	v6 := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if v6 {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if !closed || err != nil || ip.Is4() == v6 || ip.Zone() != "" {
		return "", false, errors.New("address literal is no IP address")
	}
	return strings.ToLower(s), true, nil
}

// same tells whether two addresses name the same mailbox: without regard to case, quoting and the form of the domain.
func (m mailbox) same(o mailbox) bool {
	return m.ascii == o.ascii && equalFold(m.local, o.local)
}

// equalFold is strings.EqualFold for which a letter beyond ASCII never equals one of ASCII, as for the view: the long s is no s.
func equalFold(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// withLocal is the address with another local part.
func (m mailbox) withLocal(local string) mailbox {
	m.local, m.quoted = local, needsQuotes(local)
	m.wire = quoteLocal(local) + "@" + m.domain
	return m
}

func needsQuotes(local string) bool {
	for i := 0; i < len(local); i++ {
		if !isAtext(local[i]) && local[i] != '.' {
			return true
		}
	}
	return local == ""
}

// quoteLocal gives a local part its wire form.
func quoteLocal(local string) string {
	if !needsQuotes(local) {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// keys appends the forms under which the directory may hold the address; nearly always that is the address itself. A quoted local
// part may stand there without its quotes, an internationalized domain in either of its forms. Case and composition are the view's.
func (m mailbox) keys(dst []string) []string {
	forms := len(dst)
	if !m.quoted {
		dst = append(dst, m.wire)
	} else {
		dst = append(dst, quoteLocal(m.local)+"@"+m.domain)
		if needsQuotes(m.local) {
			dst = append(dst, m.local+"@"+m.domain)
		}
	}
	if other := m.otherDomain(); other != "" {
		for _, k := range dst[forms:] {
			dst = append(dst, k[:len(k)-len(m.domain)]+other)
		}
	}
	return dst
}

// otherDomain is the domain in U-labels when it was given in A-labels, and the other way round; empty for other domains.
func (m mailbox) otherDomain() string {
	if !strings.EqualFold(m.domain, m.ascii) {
		return m.ascii
	}
	if !strings.Contains(m.ascii, "xn--") {
		return ""
	}
	u, err := idna.Lookup.ToUnicode(m.ascii)
	if err != nil || u == m.ascii {
		return ""
	}
	return u
}
