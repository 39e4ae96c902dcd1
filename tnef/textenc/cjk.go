package textenc

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

const (
	esc = 0x1B
	so  = 0x0E // shift out
	si  = 0x0F // shift in
)

// charset94 is a character set that ISO 2022 text can designate.
type charset94 int

const (
	setASCII  charset94 = iota
	setKana             // JIS X 0201 katakana
	setDouble           // the double-byte set of the language
	setExtra            // JIS X 0212
)

// escapes are the designations of ISO-2022-JP (RFC 1468, RFC 2237) and of the
// extensions that code pages 50221 and 50222 and Outlook write.
var escapes = []struct {
	seq string
	set charset94
}{
	{"(B", setASCII},
	{"(J", setASCII}, // JIS X 0201 Roman: ASCII but for yen and overline
	{"(H", setASCII}, // a common mistake for (J
	{"(I", setKana},
	{"$@", setDouble},
	{"$B", setDouble},
	{"$(@", setDouble},
	{"$(B", setDouble},
	{"$(D", setExtra},
}

// decodeISO2022JP decodes ISO-2022-JP in all of Windows' three forms (50220,
// 50221 with ESC ( I, 50222 with SO and SI for katakana) by rewriting it as
// EUC-JP, which names the same sets by bytes instead of by state.
func decodeISO2022JP(b []byte) string {
	euc := make([]byte, 0, len(b)+len(b)/4)
	set, shifted := setASCII, false
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c == esc:
			n, to, ok := designation(b[i+1:])
			if ok {
				set = to
				i += 1 + n
				continue
			}
			i++ // an unknown escape is dropped, its letters stay readable
		case c == so || c == si:
			shifted = c == so
			i++
		case c == '\r' || c == '\n':
			// RFC 1468: a line ends in ASCII; who forgets it loses one line only.
			set, shifted = setASCII, false
			euc = append(euc, c)
			i++
		default:
			n := 0
			euc, n = appendEUC(euc, b[i:], set, shifted)
			i += n
		}
	}
	return decodeEncoding(japanese.EUCJP, euc)
}

// designation matches what follows ESC.
func designation(b []byte) (n int, set charset94, ok bool) {
	for _, e := range escapes {
		if bytes.HasPrefix(b, []byte(e.seq)) {
			return len(e.seq), e.set, true
		}
	}
	return 0, setASCII, false
}

// appendEUC appends the character at the beginning of b in EUC-JP and returns
// how many bytes it took.
func appendEUC(euc, b []byte, set charset94, shifted bool) ([]byte, int) {
	c := b[0]
	graphic := func(c byte) bool { return c > 0x20 && c < 0x7F }
	switch {
	case !graphic(c & 0x7F):
		return append(euc, c), 1
	case c >= 0x80: // 8-bit JIS: katakana
		return append(euc, 0x8E, c), 1
	case shifted || set == setKana:
		return append(euc, 0x8E, c|0x80), 1
	case set == setASCII:
		return append(euc, c), 1
	case len(b) < 2 || !graphic(b[1]):
		return append(euc, c|0x80), 1 // half a character: becomes U+FFFD
	case set == setExtra:
		return append(euc, 0x8F, c|0x80, b[1]|0x80), 2
	}
	return append(euc, c|0x80, b[1]|0x80), 2
}

// decodeISO2022KR decodes ISO-2022-KR (RFC 1557): KS X 1001 between SO and SI.
func decodeISO2022KR(b []byte) string {
	return decodeEncoding(korean.EUCKR, shiftedToEUC(b))
}

// decodeISO2022CN decodes the GB 2312 part of ISO-2022-CN (RFC 1922).
func decodeISO2022CN(b []byte) string {
	return decodeEncoding(simplifiedchinese.GBK, shiftedToEUC(b))
}

// shiftedToEUC sets the high bit of what stands between SO and SI, and takes
// out the designations (ESC $ ) X).
func shiftedToEUC(b []byte) []byte {
	euc := make([]byte, 0, len(b))
	shifted := false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == so || c == si:
			shifted = c == so
		case c == esc && len(b)-i >= 4 && b[i+1] == '$' && (b[i+2] == ')' || b[i+2] == '*'):
			i += 3
		case c == '\n':
			shifted = false // RFC 1557: each line begins in ASCII
			euc = append(euc, c)
		case shifted && c > 0x20 && c < 0x7F:
			euc = append(euc, c|0x80)
		default:
			euc = append(euc, c)
		}
	}
	return euc
}

// Johab (KS X 1001 annex 3) packs a syllable as 1 iiiii mmmmm fffff. The
// tables give the index of the initial consonant, vowel and final consonant of
// each five-bit value; filler is the position for "none", invalid no letter.
const (
	filler  = -1
	invalid = -2
)

var (
	johabInitial = [32]int8{invalid, filler, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
		invalid, invalid, invalid, invalid, invalid, invalid, invalid, invalid, invalid, invalid, invalid}
	johabVowel = [32]int8{invalid, invalid, filler, 0, 1, 2, 3, 4, invalid, invalid, 5, 6, 7, 8, 9, 10,
		invalid, invalid, 11, 12, 13, 14, 15, 16, invalid, invalid, 17, 18, 19, 20, invalid, invalid}
	johabFinal = [32]int8{invalid, filler, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
		invalid, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, invalid, invalid}
	// The compatibility jamo (U+3131 to U+3163) of lone consonants.
	jamoInitial = []rune("ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ")
	jamoFinal   = []rune("ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
)

// decodeJohab decodes code page 1361.
func decodeJohab(b []byte) string {
	out := make([]byte, 0, len(b)*3/2)
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c < 0x80 {
			out = append(out, c)
			continue
		}
		r := utf8.RuneError
		if isJohabLead(c) && i+1 < len(b) {
			i++
			r = johabPair(c, b[i])
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

func isJohabLead(b byte) bool {
	return b >= 0x84 && b <= 0xD3 || b >= 0xD9 && b <= 0xDE || b >= 0xE0 && b <= 0xF9
}

func johabPair(lead, trail byte) rune {
	if lead <= 0xD3 {
		return johabSyllable(uint16(lead)<<8 | uint16(trail))
	}
	if trail < 0x31 || trail == 0x7F || trail > 0x7E && trail < 0x91 || trail == 0xFF {
		return utf8.RuneError
	}
	// Symbols and Hanja: each lead byte holds two rows of KS X 1001.
	row := 2 * (int(lead) - 0xD9)
	if lead >= 0xE0 {
		row = 2*int(lead) - 0x197
	}
	cell := int(trail) - 0x31
	if trail >= 0x91 {
		cell = int(trail) - 0x43
	}
	row, cell = row+cell/94, cell%94
	pair := []byte{byte(row + 0xA1), byte(cell + 0xA1)}
	r, _ := utf8.DecodeRuneInString(decodeEncoding(korean.EUCKR, pair))
	return r
}

func johabSyllable(v uint16) rune {
	i, m, f := johabInitial[v>>10&31], johabVowel[v>>5&31], johabFinal[v&31]
	switch {
	case i == invalid || m == invalid || f == invalid:
		return utf8.RuneError
	case i >= 0 && m >= 0:
		return 0xAC00 + (rune(i)*21+rune(m))*28 + max(rune(f), 0)
	case i >= 0 && m == filler && f == filler:
		return jamoInitial[i]
	case i == filler && m >= 0 && f == filler:
		return 0x314F + rune(m)
	case i == filler && m == filler && f > 0:
		return jamoFinal[f-1]
	}
	return utf8.RuneError
}
