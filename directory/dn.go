package directory

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var errDN = errors.New("not a distinguished name (RFC 4514), such as CN=Adele Vance,OU=Sales,DC=contoso,DC=com")

// maxDN is the longest DN that is taken, in bytes. Active Directory's own limit is far below (a name has 255 characters).
const maxDN = 1 << 14

// checkDN tells whether dn can name an object.
func checkDN(dn string) error {
	if len(dn) > maxDN {
		return fmt.Errorf("a DN of %d bytes; expected at most %d", len(dn), maxDN)
	}
	for rest := dn; ; {
		var rdn string
		if rdn, rest = splitDN(rest); checkRDN(rdn) != nil {
			return errDN
		}
		if rest == "" {
			return nil
		}
	}
}

// splitDN cuts a DN into its first RDN and the rest, both without the spaces around them. Quoted values (RFC 2253 section 4) are
// honoured. The RDN is as it was written.
func splitDN(dn string) (rdn, parent string) {
	quoted := false
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ',', ';':
			if !quoted {
				return trimRDN(dn[:i]), strings.TrimLeft(dn[i+1:], " ")
			}
		}
	}
	return trimRDN(dn), ""
}

// trimRDN takes the spaces off both ends, but leaves a space that is escaped.
func trimRDN(s string) string {
	s = strings.TrimLeft(s, " ")
	t := strings.TrimRight(s, " ")
	if len(t) < len(s) && trailingBackslashes(t)%2 == 1 {
		t = s[:len(t)+1]
	}
	return t
}

func trailingBackslashes(s string) int {
	return len(s) - len(strings.TrimRight(s, `\`))
}

// checkRDN tells whether rdn can name an object.
func checkRDN(rdn string) error {
	typ, _, ok := strings.Cut(rdn, "=")
	if !ok || strings.Trim(typ, " ") == "" {
		return errDN
	}
	return nil
}

// appendRDN appends the form of an RDN that is compared: types and values folded, escapes and quotes undone, spaces around them gone,
// the parts of a multi-valued RDN in order (RFC 4514 sections 2 and 3).
func appendRDN(dst []byte, rdn string) []byte {
	if !strings.ContainsAny(rdn, `\"+#`) && !strings.Contains(rdn, " =") && !strings.Contains(rdn, "= ") {
		return appendFold(dst, rdn)
	}
	var parts [][]byte
	start := 0
	quoted := false
	for i := 0; i <= len(rdn); i++ {
		switch {
		case i < len(rdn) && rdn[i] == '\\':
			i++
		case i < len(rdn) && rdn[i] == '"':
			quoted = !quoted
		case i >= len(rdn) || rdn[i] == '+' && !quoted:
			parts = append(parts, normalAVA(rdn[start:min(i, len(rdn))]))
			start = i + 1
		}
	}
	slices.SortFunc(parts, bytes.Compare)
	return append(dst, bytes.Join(parts, []byte{0})...)
}

// normalAVA is one attribute type and value in the form that is compared.
func normalAVA(ava string) []byte {
	typ, value, _ := strings.Cut(ava, "=")
	out := appendFold(nil, strings.Trim(typ, " "))
	return appendFold(append(out, '='), unescapeValue(trimRDN(value)))
}

// unescapeValue undoes quotes, escaped characters, hex pairs and the #hexstring form of RFC 4514 section 2.4.
func unescapeValue(s string) []byte {
	if b, ok := hexString(s); ok {
		return b
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 == len(s) {
			out = append(out, c)
			continue
		}
		i++
		if hi, lo := unhex(s[i]), byte(0xff); hi < 16 && i+1 < len(s) {
			if lo = unhex(s[i+1]); lo < 16 {
				out = append(out, hi<<4|lo)
				i++
				continue
			}
		}
		out = append(out, s[i])
	}
	return out
}

// hexString decodes #04024869: the BER encoding of a string shorter than 128 bytes, of which the contents count.
func hexString(s string) ([]byte, bool) {
	if len(s) < 5 || s[0] != '#' || len(s)%2 == 0 {
		return nil, false
	}
	out := make([]byte, 0, len(s)/2)
	for i := 1; i < len(s); i += 2 {
		hi, lo := unhex(s[i]), unhex(s[i+1])
		if hi > 15 || lo > 15 {
			return nil, false
		}
		out = append(out, hi<<4|lo)
	}
	if int(out[1]) != len(out)-2 {
		return nil, false
	}
	return out[2:], true
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// appendNormalDN appends a whole DN in the form that is compared: each RDN behind its length.
func appendNormalDN(dst []byte, dn string) ([]byte, error) {
	for rest := dn; rest != ""; {
		var rdn string
		if rdn, rest = splitDN(rest); checkRDN(rdn) != nil {
			return nil, fmt.Errorf("%q: %w", dn, errDN)
		}
		one := appendRDN(nil, rdn)
		dst = append(binary.AppendUvarint(dst, uint64(len(one))), one...)
	}
	return dst, nil
}

// guidOfDN is a stable GUID for an object whose source gave none: a UUID of version 8 (RFC 9562 section 5.8) from the DN.
func guidOfDN(dn string) (GUID, error) {
	normal, err := appendNormalDN(nil, dn)
	if err != nil {
		return GUID{}, err
	}
	sum := sha256.Sum256(normal)
	g := GUID(sum[:16])
	g[7] = g[7]&0x0f | 0x80 // the version is the high half of the third field, which is little-endian
	g[8] = g[8]&0x3f | 0x80
	return g, nil
}

// inDeletedObjects tells whether a DN lies in the container of tombstones, or is named as one ([MS-ADTS] 3.1.1.5.5).
func inDeletedObjects(dn string) bool {
	const container = ",cn=deleted objects,"
	if strings.Contains(dn, `\0ADEL:`) || strings.Contains(dn, "\nDEL:") {
		return true
	}
	return len(dn) >= len(container) && strings.Contains(strings.ToLower(dn), container)
}

// WithinDN tells whether a DN is base or lies below it, by the rules of [View.ByDN].
func WithinDN(dn, base string) bool {
	b, err := appendNormalDN(nil, base)
	if err != nil {
		return false
	}
	for rest := dn; rest != ""; _, rest = splitDN(rest) {
		if n, err := appendNormalDN(nil, rest); err == nil && bytes.Equal(n, b) {
			return true
		}
	}
	return len(b) == 0
}
