package outbound

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxPath is the longest address sent. RFC 5321 4.5.3.1.3 has 256, Exchange takes 571; the next hop decides between.
const maxPath = 900

// specials may not stand in an unquoted local part (RFC 5321 4.1.2). Dots are tolerated wherever they are: addresses as
// "a..b@docomo.example" exist, and their owners want their mail.
const specials = `()<>[]:;@\,"`

// checkPath checks an address in wire form, so that nothing but an address goes into a command: no control characters, no
// spaces or angle brackets outside quotes.
func checkPath(addr string) error {
	if len(addr) > maxPath {
		return fmt.Errorf("longer than %d octets", maxPath)
	}
	if !utf8.ValidString(addr) {
		return errors.New("not UTF-8")
	}
	if i := strings.IndexFunc(addr, isControl); i >= 0 {
		return fmt.Errorf("control character at octet %d", i)
	}
	local, domain := splitPath(addr)
	if domain == "" && !strings.EqualFold(local, "postmaster") { // RFC 5321 4.5.1
		return errors.New("no domain")
	}
	if err := checkLocal(local); err != nil {
		return err
	}
	if strings.ContainsAny(domain, " <>\"\\(),;@") {
		return errors.New("the domain holds a character that no domain has")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }

// splitPath splits at the last "@", which no domain can hold.
func splitPath(addr string) (local, domain string) {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return addr, ""
	}
	return addr[:i], addr[i+1:]
}

func checkLocal(local string) error {
	switch {
	case local == "":
		return errors.New("no local part")
	case local[0] == '"':
		return checkQuoted(local)
	case strings.ContainsAny(local, specials+" "):
		return errors.New("the local part needs quotes")
	}
	return nil
}

// checkQuoted checks a Quoted-string: it ends with its second unescaped quote.
func checkQuoted(local string) error {
	for i := 1; i < len(local); i++ {
		switch local[i] {
		case '\\':
			i++
		case '"':
			if i == len(local)-1 {
				return nil
			}
			return errors.New("characters after the quoted local part")
		}
	}
	return errors.New("the quoted local part has no end")
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// asciiPath is the address for a host without SMTPUTF8: its domain as A-labels (RFC 5890 2.3.2.1). False when the local
// part, which has no other form, is not ASCII.
func asciiPath(addr string) (string, bool) {
	if isASCII(addr) {
		return addr, true
	}
	local, domain := splitPath(addr)
	if !isASCII(local) {
		return "", false
	}
	a, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", false
	}
	return local + "@" + a, true
}

// xtext encodes a parameter value (RFC 3461 4).
func xtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// utf8AddrXtext encodes an ORCPT of type utf-8 so that any host with DSN can take it (RFC 6533 3).
func utf8AddrXtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// orcpt is the value of an ORCPT parameter; a non-ASCII address can only be of type utf-8.
func orcpt(addrType, addr string) string {
	if strings.EqualFold(addrType, "utf-8") || !isASCII(addr) {
		return "utf-8;" + utf8AddrXtext(addr)
	}
	return addrType + ";" + xtext(addr)
}
