package textenc

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// Code pages that this package or its users name in code.
const (
	UTF16LE     = 1200
	UTF16BE     = 1201
	Windows1252 = 1252
	Johab       = 1361
	UTF32LE     = 12000
	UTF32BE     = 12001
	ASCII       = 20127
	UTF7        = 65000
	UTF8        = 65001
)

// form is the shape of an encoding: what a reader may assume of its bytes.
type form int

const (
	single   form = iota // one byte a character, the low half is ASCII
	double               // lead and trail bytes; bytes below 0x80 outside a pair are ASCII
	stateful             // shifts or escapes: ASCII bytes do not always mean themselves
)

// codec describes one code page. Exactly one of sbcs, enc, fn is set, except
// that a single-byte page without any lives in upperHalf.
type codec struct {
	form form
	sbcs *charmap.Charmap
	enc  encoding.Encoding
	fn   func([]byte) string
	name string // preferred MIME name, "" when IANA has none
}

// lookup returns the codec of a code page.
func lookup(codepage int) (codec, bool) {
	c, ok := codecs[codepage]
	return c, ok
}

// Known reports whether Decode has a table for the code page.
func Known(codepage int) bool {
	_, ok := lookup(codepage)
	return ok
}

// Name returns the preferred MIME name of a code page (the IANA charset
// registry), or "" when it has none.
func Name(codepage int) string {
	c, _ := lookup(codepage)
	return c.name
}

// ASCIISuperset reports whether bytes 0x00 to 0x7F of the code page mean ASCII
// when they do not follow a lead byte (see IsLeadByte).
func ASCIISuperset(codepage int) bool {
	c, ok := lookup(codepage)
	return !ok || c.form != stateful
}

// IsLeadByte reports whether b begins a character of two bytes in the code
// page, as Windows' IsDBCSLeadByteEx does. It is false for every byte of a
// code page that is not a double-byte one.
func IsLeadByte(codepage int, b byte) bool {
	if b < 0x81 || b == 0xFF {
		return false
	}
	switch codepage {
	case 932, 10001:
		return b <= 0x9F || b >= 0xE0 && b <= 0xFC
	case Johab:
		return isJohabLead(b)
	}
	c, _ := lookup(codepage)
	return c.form == double
}

// Decode returns b, text in the given Windows code page, as UTF-8.
//
// It never fails: bytes that mean nothing in the code page become U+FFFD. An
// unknown code page (0 included) is read as UTF-8 when b is valid UTF-8, else
// as windows-1252. A byte order mark at the beginning of UTF-8, UTF-16 or
// UTF-32 is taken off, and for UTF-16 and UTF-32 it wins over the byte order
// that the code page names. ISO-8859-1, -9 and -11 and US-ASCII are read as the
// Windows pages that contain them, as the Encoding Standard and every mail
// reader do.
func Decode(codepage int, b []byte) string {
	c, ok := lookup(codepage)
	if (!ok || c.form != stateful) && isASCII(b) {
		return string(b)
	}
	switch {
	case !ok:
		return decodeUnknown(b)
	case c.fn != nil:
		return c.fn(b)
	case c.sbcs != nil:
		return decodeCharmap(c.sbcs, b)
	case c.enc != nil:
		return decodeDouble(codepage, c.enc, b)
	}
	return decodeUpperHalf(upperHalf[codepage], b)
}

// isASCII reports whether all of b is below 0x80.
func isASCII(b []byte) bool {
	for len(b) >= 8 {
		if (b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7])&0x80 != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

func decodeUnknown(b []byte) string {
	if utf8.Valid(b) {
		return decodeUTF8(b)
	}
	return decodeCharmap(charmap.Windows1252, b)
}

func decodeUTF8(b []byte) string {
	s := strings.TrimPrefix(string(b), "\uFEFF")
	return strings.ToValidUTF8(s, "\uFFFD")
}

func decodeCharmap(m *charmap.Charmap, b []byte) string {
	return decodeBytes(b, m.DecodeByte)
}

// decodeUpperHalf decodes a page of upperHalf.
func decodeUpperHalf(table string, b []byte) string {
	runes := []rune(table)
	return decodeBytes(b, func(c byte) rune {
		if c < 0x80 {
			return rune(c)
		}
		return runes[c-0x80]
	})
}

// decodeBytes decodes text of a single-byte page, of which char knows the
// characters. It counts first: text of such pages grows to between once and
// three times its size, and a buffer that grows with it would cost as much again.
func decodeBytes(b []byte, char func(byte) rune) string {
	size := 0
	for _, c := range b {
		size += utf8.RuneLen(char(c))
	}
	var s strings.Builder
	s.Grow(size)
	for _, c := range b {
		s.WriteRune(char(c))
	}
	return s.String()
}

func decodeEncoding(e encoding.Encoding, b []byte) string {
	out, err := e.NewDecoder().Bytes(b)
	if err != nil {
		// x/text decoders replace what they cannot read; an error can only
		// come from a cut sequence at the end.
		return string(out) + "\uFFFD"
	}
	return string(out)
}

// IsUTF8MultiByte reports whether b has bytes above 0x7F and all of them
// belong to valid UTF-8 sequences.
func IsUTF8MultiByte(b []byte) bool {
	return !isASCII(b) && utf8.Valid(b)
}

// sequencesNeeded says how many UTF-8 sequences in text that was declared to
// be in a code page make it likely that it is UTF-8 all the same. In pages of
// Latin letters one is enough, since such a pair ("Ã¤") is no word of any
// language; in the others short words can look like UTF-8 by chance.
func sequencesNeeded(codepage int) int {
	switch codepage {
	case 0, 437, 850, 858, 1250, 1252, 1254, 1257, ASCII, 28591, 28592, 28599, 28605:
		return 1
	case 874, 28601:
		return 3
	}
	return 2
}

// DecodeGuess is Decode for writers that declare one code page and write
// UTF-8: it reads b as UTF-8 when all its bytes above 0x7F form valid UTF-8 and
// there are enough of them that this is hardly chance.
func DecodeGuess(codepage int, b []byte) string {
	if codepage == UTF8 || !ASCIISuperset(codepage) || !IsUTF8MultiByte(b) {
		return Decode(codepage, b)
	}
	sequences, long := countSequences(b)
	c, _ := lookup(codepage)
	if c.form == double {
		declared := Decode(codepage, b)
		if strings.ContainsRune(declared, utf8.RuneError) || long >= 2 {
			return decodeUTF8(b)
		}
		return declared
	}
	if sequences >= sequencesNeeded(codepage) {
		return decodeUTF8(b)
	}
	return Decode(codepage, b)
}

// Plausible tells whether b, of which is known that it is text in some code
// page, is likely in this multi-byte one: all of it can be decoded and, unless
// that says enough, bytes above 0x7F stand together as the accented letters of
// a single-byte code page hardly do. Of ISO 2022, the escapes tell.
func Plausible(codepage int, b []byte) bool {
	if bytes.IndexByte(b, 0x1b) >= 0 {
		return !ASCIISuperset(codepage)
	}
	if strings.ContainsRune(Decode(codepage, b), utf8.RuneError) {
		return false
	}
	high, beside, longest, run := 0, 0, 0, 0
	for _, c := range b {
		if c < 0x80 {
			run = 0
			continue
		}
		high++
		run++
		longest = max(longest, run)
		switch run {
		case 1:
		case 2:
			beside += 2
		default:
			beside++
		}
	}
	if codepage == UTF8 {
		return high > 0
	}
	return longest >= 4 && 2*beside > high
}

// countSequences counts the multi-byte sequences of valid UTF-8, and those of
// three bytes or more among them.
func countSequences(b []byte) (sequences, long int) {
	for _, c := range b {
		switch {
		case c >= 0xE0:
			long++
			sequences++
		case c >= 0xC0:
			sequences++
		}
	}
	return sequences, long
}

// codecs lists the code pages by their Windows identifier
// (https://learn.microsoft.com/windows/win32/intl/code-page-identifiers).
var codecs = map[int]codec{
	37:    {form: stateful, sbcs: charmap.CodePage037, name: "IBM037"},
	437:   {sbcs: charmap.CodePage437, name: "IBM437"},
	720:   {},
	737:   {},
	775:   {name: "IBM775"},
	850:   {sbcs: charmap.CodePage850, name: "IBM850"},
	852:   {sbcs: charmap.CodePage852, name: "IBM852"},
	855:   {sbcs: charmap.CodePage855, name: "IBM855"},
	857:   {name: "IBM857"},
	858:   {sbcs: charmap.CodePage858, name: "IBM00858"},
	860:   {sbcs: charmap.CodePage860, name: "IBM860"},
	861:   {name: "IBM861"},
	862:   {sbcs: charmap.CodePage862, name: "IBM862"},
	863:   {sbcs: charmap.CodePage863, name: "IBM863"},
	864:   {name: "IBM864"},
	865:   {sbcs: charmap.CodePage865, name: "IBM865"},
	866:   {sbcs: charmap.CodePage866, name: "IBM866"},
	869:   {name: "IBM869"},
	874:   {sbcs: charmap.Windows874, name: "windows-874"},
	932:   {form: double, enc: japanese.ShiftJIS, name: "Shift_JIS"},
	936:   {form: double, enc: simplifiedchinese.GBK, name: "GBK"},
	949:   {form: double, enc: korean.EUCKR, name: "ks_c_5601-1987"},
	950:   {form: double, enc: traditionalchinese.Big5, name: "Big5"},
	1047:  {form: stateful, sbcs: charmap.CodePage1047, name: "IBM1047"},
	1125:  {},
	1140:  {form: stateful, sbcs: charmap.CodePage1140, name: "IBM01140"},
	1200:  {form: stateful, fn: decodeUTF16LE, name: "UTF-16LE"},
	1201:  {form: stateful, fn: decodeUTF16BE, name: "UTF-16BE"},
	1250:  {sbcs: charmap.Windows1250, name: "windows-1250"},
	1251:  {sbcs: charmap.Windows1251, name: "windows-1251"},
	1252:  {sbcs: charmap.Windows1252, name: "windows-1252"},
	1253:  {sbcs: charmap.Windows1253, name: "windows-1253"},
	1254:  {sbcs: charmap.Windows1254, name: "windows-1254"},
	1255:  {sbcs: charmap.Windows1255, name: "windows-1255"},
	1256:  {sbcs: charmap.Windows1256, name: "windows-1256"},
	1257:  {sbcs: charmap.Windows1257, name: "windows-1257"},
	1258:  {sbcs: charmap.Windows1258, name: "windows-1258"},
	1361:  {form: double, fn: decodeJohab},
	10000: {sbcs: charmap.Macintosh, name: "macintosh"},
	10001: {form: double, enc: japanese.ShiftJIS},
	10002: {form: double, enc: traditionalchinese.Big5},
	10003: {form: double, enc: korean.EUCKR},
	10004: {},
	10006: {},
	10007: {sbcs: charmap.MacintoshCyrillic},
	10008: {form: double, enc: simplifiedchinese.GBK},
	10010: {},
	10029: {},
	10079: {},
	10081: {},
	10082: {},
	12000: {form: stateful, fn: decodeUTF32LE, name: "UTF-32LE"},
	12001: {form: stateful, fn: decodeUTF32BE, name: "UTF-32BE"},
	20127: {fn: decodeUnknown, name: "us-ascii"},
	20866: {sbcs: charmap.KOI8R, name: "KOI8-R"},
	20932: {form: double, enc: japanese.EUCJP, name: "EUC-JP"},
	20936: {form: double, enc: simplifiedchinese.GBK, name: "GB2312"},
	20949: {form: double, enc: korean.EUCKR, name: "EUC-KR"},
	21866: {sbcs: charmap.KOI8U, name: "KOI8-U"},
	28591: {sbcs: charmap.Windows1252, name: "iso-8859-1"},
	28592: {sbcs: charmap.ISO8859_2, name: "iso-8859-2"},
	28593: {sbcs: charmap.ISO8859_3, name: "iso-8859-3"},
	28594: {sbcs: charmap.ISO8859_4, name: "iso-8859-4"},
	28595: {sbcs: charmap.ISO8859_5, name: "iso-8859-5"},
	28596: {sbcs: charmap.ISO8859_6, name: "iso-8859-6"},
	28597: {sbcs: charmap.ISO8859_7, name: "iso-8859-7"},
	28598: {sbcs: charmap.ISO8859_8, name: "iso-8859-8"},
	28599: {sbcs: charmap.Windows1254, name: "iso-8859-9"},
	28600: {sbcs: charmap.ISO8859_10, name: "iso-8859-10"},
	28601: {sbcs: charmap.Windows874, name: "iso-8859-11"},
	28603: {sbcs: charmap.ISO8859_13, name: "iso-8859-13"},
	28604: {sbcs: charmap.ISO8859_14, name: "iso-8859-14"},
	28605: {sbcs: charmap.ISO8859_15, name: "iso-8859-15"},
	28606: {sbcs: charmap.ISO8859_16, name: "iso-8859-16"},
	38596: {sbcs: charmap.ISO8859_6, name: "iso-8859-6-i"},
	38598: {sbcs: charmap.ISO8859_8, name: "iso-8859-8-i"},
	50220: {form: stateful, fn: decodeISO2022JP, name: "iso-2022-jp"},
	50221: {form: stateful, fn: decodeISO2022JP, name: "iso-2022-jp"},
	50222: {form: stateful, fn: decodeISO2022JP, name: "iso-2022-jp"},
	50225: {form: stateful, fn: decodeISO2022KR, name: "iso-2022-kr"},
	50227: {form: stateful, fn: decodeISO2022CN, name: "iso-2022-cn"},
	51932: {form: double, enc: japanese.EUCJP, name: "euc-jp"},
	51936: {form: double, enc: simplifiedchinese.GBK, name: "GB2312"},
	51949: {form: double, enc: korean.EUCKR, name: "euc-kr"},
	52936: {form: stateful, enc: simplifiedchinese.HZGB2312, name: "hz-gb-2312"},
	54936: {form: double, enc: simplifiedchinese.GB18030, name: "GB18030"},
	65000: {form: stateful, fn: decodeUTF7, name: "utf-7"},
	65001: {fn: decodeUTF8, name: "utf-8"},
}
