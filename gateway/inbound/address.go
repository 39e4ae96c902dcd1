package inbound

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits of RFC 5321 4.5.3.1, except for the local part: Exchange's encapsulated addresses (IMCEAEX) take up to 315 octets.
const (
	maxLocalPart = 315
	maxDomain    = 255
)

var (
	errPathSyntax  = errors.New("expected <mailbox@domain>")
	errControl     = errors.New("control character in the address")
	errAddressUTF8 = errors.New("the address is not valid UTF-8")
)

// parsePath takes a reverse-path or forward-path off the front of s and returns it in wire form without angle brackets, and what
// follows. A source route is dropped (RFC 5321 4.1.2, appendix C), missing angle brackets are forgiven.
func parsePath(s string) (address, rest string, err error) {
	s = strings.TrimLeft(s, " \t") // a space after the colon is common and harmless
	if !strings.HasPrefix(s, "<") {
		address, rest, _ = strings.Cut(s, " ")
		if address == "" || strings.ContainsAny(address, "<>\"") {
			return "", "", errPathSyntax
		}
		return address, rest, checkAddress(address)
	}
	s = s[1:]
	if strings.HasPrefix(s, "@") {
		_, after, ok := strings.Cut(s, ":")
		if !ok {
			return "", "", errPathSyntax
		}
		s = after
	}
	end := pathEnd(s)
	if end < 0 {
		return "", "", errPathSyntax
	}
	address, rest = s[:end], s[end+1:]
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", errPathSyntax
	}
	return address, rest, checkAddress(address)
}

// pathEnd is the index of the closing angle bracket, quoted strings skipped; -1 without one.
func pathEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return i
		}
	}
	return -1
}

// checkAddress accepts "" (the null reverse-path), a bare local part, and local@domain, as RFC 5321 4.1.2 and RFC 6531 3.3 write
// them. Nothing with control characters passes: an address ends up in logs, headers and other servers' dialogues.
func checkAddress(address string) error {
	for i := 0; i < len(address); i++ {
		if c := address[i]; c < ' ' || c == 0x7f {
			return errControl
		}
	}
	if !utf8.ValidString(address) {
		return errAddressUTF8
	}
	local, domain, _ := splitAddress(address)
	if len(local) > maxLocalPart || len(domain) > maxDomain {
		return errors.New("the address is too long")
	}
	if !validLocalPart(local) && address != "" {
		return errPathSyntax
	}
	if domain == "" {
		if strings.HasSuffix(address, "@") {
			return errPathSyntax
		}
		return nil
	}
	if !validDomain(domain) {
		return errors.New("the domain of the address is not valid")
	}
	return nil
}

// splitAddress splits at the last @ outside quotes, which is where the domain begins whatever the local part holds.
func splitAddress(address string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 || strings.HasSuffix(address, `"`) {
		return address, "", false
	}
	return address[:i], address[i+1:], true
}

func validLocalPart(local string) bool {
	if len(local) >= 2 && local[0] == '"' {
		return validQuoted(local)
	}
	return local != "" && !strings.ContainsAny(local, " \t\"(),:;<>[\\]@")
}

// validQuoted checks a quoted-string: every inner quote and backslash escaped, and the last octet its end.
func validQuoted(local string) bool {
	for i := 1; i < len(local)-1; i++ {
		switch local[i] {
		case '\\':
			if i++; i == len(local)-1 {
				return false
			}
		case '"':
			return false
		}
	}
	return local[len(local)-1] == '"'
}

func validDomain(domain string) bool {
	if strings.HasPrefix(domain, "[") {
		return strings.HasSuffix(domain, "]") && len(domain) > 2 && !strings.ContainsAny(domain[1:len(domain)-1], "[]\\ ")
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if !(c == '-' || c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z') {
				return false
			}
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
