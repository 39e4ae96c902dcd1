package directory

import (
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// appendFold appends the form of s that is compared: lower case and, for text beyond ASCII, composed (NFC, RFC 6532 section 3.1).
// Letters beyond ASCII never become ASCII (the Kelvin sign is no k): nobody can pass for somebody else's address. Bytes that are no
// UTF-8 stay as they are.
func appendFold[S string | []byte](dst []byte, s S) []byte {
	for len(s) >= 8 {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56 // the compiler makes one load of it
		if x&highBits != 0 {
			break
		}
		dst = binary.LittleEndian.AppendUint64(dst, lower8(x))
		s = s[8:]
	}
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			return appendFoldUnicode(dst, string(s[i:]))
		}
		dst = append(dst, lower[c])
	}
	return dst
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

// lower8 puts eight ASCII characters into lower case.
func lower8(x uint64) uint64 {
	low := x &^ highBits
	fromA := low + (0x80-'A')*everyByte       // high bit: A or above
	aboveZ := low + (0x80-'Z'-1)*everyByte    // high bit: above Z
	return x | (fromA&^aboveZ&^x&highBits)>>2 // 0x80>>2 is the bit of lower case
}

// lower is ASCII in lower case; other bytes are as they are.
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return
}()

// equalLower tells whether s, which is ASCII and as long as folded, folds to it.
func equalLower[S string | []byte](s S, folded []byte) bool {
	if len(s) != len(folded) {
		return false
	}
	for i := range len(s) {
		if lower[s[i]] != folded[i] {
			return false
		}
	}
	return true
}

// isASCII tells whether s has no byte beyond ASCII.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// becomeASCII are the characters that NFC makes ASCII: the Kelvin sign, the Greek question mark, and the Greek varia.
const becomeASCII = "\u212a\u037e\u1fef"

// appendFoldUnicode is appendFold for text of which the first character is beyond ASCII.
func appendFoldUnicode(dst []byte, s string) []byte {
	// A combining mark belongs to the ASCII letter before it.
	if n := len(dst); n > 0 && dst[n-1] >= ' ' && dst[n-1] < utf8.RuneSelf {
		s = string(dst[n-1]) + s
		dst = dst[:n-1]
	}
	if !utf8.ValidString(s) {
		for i := range len(s) {
			dst = append(dst, lower[s[i]])
		}
		return dst
	}
	for s != "" {
		i, n := strings.IndexAny(s, becomeASCII), 0
		if i < 0 {
			i = len(s)
		} else {
			_, n = utf8.DecodeRuneInString(s[i:])
		}
		dst = appendLower(dst, norm.NFC.String(s[:i]))
		dst = append(dst, s[i:i+n]...)
		s = s[i+n:]
	}
	return dst
}

func appendLower(dst []byte, s string) []byte {
	for _, r := range s {
		if l := unicode.ToLower(r); l >= utf8.RuneSelf || r < utf8.RuneSelf {
			r = l
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
