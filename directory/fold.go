package directory

import (
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/text/unicode/norm"
)

// appendFold appends the form of s that is compared: lower case and, for text beyond ASCII, composed (NFC, RFC 6532 section 3.1).
// Letters beyond ASCII never become ASCII (the Kelvin sign is no k): nobody can pass for somebody else's address. Bytes that are no
// UTF-8 stay as they are.
func appendFold[S string | []byte](dst []byte, s S) []byte {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := load8(s[i:])
		if x&highBits != 0 {
			break
		}
		dst = binary.LittleEndian.AppendUint64(dst, lower8(x))
	}
	// The rest of a longer text is done as its last eight bytes, of which the first were done before.
	if rest := len(s) - i; 0 < rest && rest < 8 && i > 0 {
		if x := load8(s[len(s)-8:]); x&highBits == 0 {
			return binary.LittleEndian.AppendUint64(dst[:len(dst)-8+rest], lower8(x))
		}
	}
	for ; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return appendFoldUnicode(dst, string(s[i:]))
		}
		dst = append(dst, lower[c])
	}
	return dst
}

// load8 gives the first eight bytes. The compiler makes one load of it.
func load8[S string | []byte](s S) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// loadAt is load8 from a place of which the caller knows that eight bytes are there.
func loadAt(p unsafe.Pointer, at int) uint64 { return load8((*[8]byte)(unsafe.Add(p, at))[:]) }

// differ is 0 when n bytes, eight at least, are the same at two places. It does not stop at the first that are not.
func differ(a, b unsafe.Pointer, n int) uint64 {
	x := loadAt(a, n-8) ^ loadAt(b, n-8)
	for i := 8; i < n; i += 8 {
		x |= loadAt(a, i-8) ^ loadAt(b, i-8)
	}
	return x
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
	i := 0
	for ; i+8 <= len(s); i += 8 {
		if !sameLower8(load8(s[i:]), load8(folded[i:])) {
			return false
		}
	}
	if i > 0 { // as in appendFold
		return i == len(s) || sameLower8(load8(s[len(s)-8:]), load8(folded[len(s)-8:]))
	}
	for ; i < len(s); i++ {
		if lower[s[i]] != folded[i] {
			return false
		}
	}
	return true
}

// sameLower8 tells whether eight ASCII characters fold to these, which they mostly are already.
func sameLower8(x, folded uint64) bool { return x == folded || lower8(x) == folded }

// sameText is sameASCII, and quick with what is the same in case too.
func sameText[S string | []byte](a S, b string) bool {
	if len(a) != len(b) {
		return false
	}
	if 8 <= len(b) && len(b) <= 16 && load8(a) == load8(b) && load8(a[len(b)-8:]) == load8(b[len(b)-8:]) {
		return true
	}
	return string(a) == b || sameASCII(a, b)
}

// sameASCII tells whether two texts are equal but for the case of letters of ASCII.
func sameASCII[S string | []byte](a S, b string) bool {
	if len(a) != len(b) {
		return false
	}
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if x, y := load8(a[i:]), load8(b[i:]); x != y && lower8(x) != lower8(y) {
			return false
		}
	}
	if i > 0 { // as in appendFold
		x, y := load8(a[len(b)-8:]), load8(b[len(b)-8:])
		return x == y || lower8(x) == lower8(y)
	}
	for ; i < len(b); i++ {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// isASCII tells whether s has no byte beyond ASCII.
func isASCII(s string) bool {
	for ; len(s) >= 8; s = s[8:] {
		if load8(s)&highBits != 0 {
			return false
		}
	}
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
