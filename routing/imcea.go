package routing

import (
	"strings"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/directory"
)

// An encapsulated address carries an address of another type in its local part: IMCEA, the type, a hyphen, and the encoded
// address ([MS-OXCMAIL] 2.1.3.1.8). Outlook makes them of the legacyExchangeDN that its nickname cache and old messages hold.

// capsule is one type of encapsulated address that is resolved, and where.
type capsule struct {
	prefix string
	keys   []attribute // in the order of the lookups
}

// attribute is a key of the view and what it indexes.
type attribute struct {
	key  directory.Key
	name string // with the prefix of its values, for Decision.Matched
}

// capsules are the types that have a key in the directory. Others (SMTP and X500 among them, which Exchange refuses too) are
// names like any other.
var capsules = []capsule{
	{"IMCEAEX-", []attribute{{directory.KeyLegacyDN, "legacyExchangeDN "}, {directory.KeyX500, "proxyAddresses X500:"}}},
	{"IMCEANOTES-", []attribute{{directory.KeyNotes, "proxyAddresses NOTES:"}}},
}

// decapsulate gives the address inside an encapsulated local part, and its type; nil when there is none.
func decapsulate(local string) (value string, c *capsule) {
	for i := range capsules {
		p := capsules[i].prefix
		if len(local) > len(p) && strings.EqualFold(local[:len(p)], p) {
			return decodeIMCEA(local[len(p):]), &capsules[i]
		}
	}
	return "", nil
}

// decodeIMCEA undoes the encoding: `_` is a slash, `+` and two hexadecimal digits are an octet, all else stands for itself. A `+`
// without digits stands for itself too: what was never encoded finds nobody, which is the right answer.
// Octets beyond ASCII are UTF-8, or else ISO 8859-1 ([MS-OXCMAIL] 2.1.3.1.8 leaves the charset open).
func decodeIMCEA(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			b = append(b, '/')
		case c == '+' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	if utf8.Valid(b) {
		return string(b)
	}
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
