package textenc

import (
	"strconv"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// fcharsets maps the character sets of Windows' LOGFONT (wingdi.h), which RTF
// writes as \fcharset, to code pages. 77 to 89 are the Macintosh ones.
var fcharsets = map[int]int{
	0: 1252, 77: 10000, 78: 10001, 79: 10003, 80: 10008, 81: 10002,
	83: 10005, 84: 10004, 85: 10006, 86: 10081, 87: 10021, 88: 10029, 89: 10007,
	128: 932, 129: 949, 130: 1361, 134: 936, 136: 950,
	161: 1253, 162: 1254, 163: 1258, 177: 1255, 178: 1256, 179: 1256,
	180: 1256, 181: 1255, 186: 1257, 204: 1251, 222: 874, 238: 1250,
	254: 437, 255: 850,
}

// FCharsetSymbol is the \fcharset of fonts whose bytes are pictures: see Symbol.
const FCharsetSymbol = 2

// FromFCharset returns the code page of an RTF \fcharset value (LOGFONT
// lfCharSet), or 0 where the value says nothing: 1 (default), 2 (symbol) and
// the ones nobody assigned.
func FromFCharset(fcharset int) int {
	cp := fcharsets[fcharset]
	if !Known(cp) {
		return 0
	}
	return cp
}

// charsets maps canonical names to code pages: those of the Encoding Standard
// (which x/text's htmlindex resolves aliases to), and the names that it lacks.
var charsets = map[string]int{
	"utf-8": UTF8, "utf-16le": UTF16LE, "utf-16": UTF16LE, "utf-16be": UTF16BE,
	"utf-7": UTF7, "unicode-1-1-utf-7": UTF7, "x-unicode-2-0-utf-7": UTF7,
	"utf-32": UTF32LE, "utf-32le": UTF32LE, "utf-32be": UTF32BE,
	"us-ascii": ASCII, "ascii": ASCII, "ansi_x3.4-1968": ASCII, "iso646-us": ASCII,
	"iso-8859-1": 28591, "iso8859-1": 28591, "latin1": 28591, "l1": 28591,
	"iso-8859-2": 28592, "iso-8859-3": 28593, "iso-8859-4": 28594, "iso-8859-5": 28595,
	"iso-8859-6": 28596, "iso-8859-7": 28597, "iso-8859-8": 28598, "iso-8859-9": 28599,
	"iso8859-9": 28599, "latin5": 28599,
	"iso-8859-10": 28600, "iso-8859-11": 28601, "tis-620": 28601, "iso-8859-13": 28603,
	"iso-8859-14": 28604, "iso-8859-15": 28605, "iso-8859-16": 28606,
	"iso-8859-6-i": 38596, "iso-8859-8-i": 38598,
	"ibm866": 866, "macintosh": 10000, "x-mac-cyrillic": 10007,
	"koi8-r": 20866, "koi8-u": 21866,
	"gbk": 936, "gb2312": 936, "gb18030": 54936, "hz-gb-2312": 52936, "big5": 950,
	"euc-jp": 51932, "shift_jis": 932, "iso-2022-jp": 50220, "csiso2022jp": 50221,
	"euc-kr": 949, "ks_c_5601-1987": 949, "iso-2022-kr": 50225, "csiso2022kr": 50225,
	"johab": Johab, "iso-2022-cn": 50227,
	"dos-720": 720, "asmo-708": 720, "dos-862": 862, "cp866": 866,
	"x-mac-arabic": 10004, "x-mac-greek": 10006, "x-mac-romanian": 10010, "x-mac-ce": 10029,
	"x-mac-icelandic": 10079, "x-mac-turkish": 10081, "x-mac-croatian": 10082,
	"x-mac-japanese": 10001, "x-mac-korean": 10003, "x-mac-chinesetrad": 10002,
	"x-mac-chinesesimp": 10008, "ibm00858": 858, "ibm01140": 1140,
	"ansi": Windows1252, "windows-31j": 932, "ms_kanji": 932, "uhc": 949,
}

// Charset returns the code page of a charset name as MIME, HTML and Windows
// write it (any case, white space and quotes around it ignored), or 0 for a
// name that nobody knows.
func Charset(name string) int {
	name = strings.ToLower(strings.Trim(name, " \t\r\n\"'"))
	if cp, ok := charsets[name]; ok {
		return cp
	}
	if cp := numbered(name); cp != 0 {
		return cp
	}
	enc, err := htmlindex.Get(name)
	if err != nil {
		return 0
	}
	canonical, err := htmlindex.Name(enc)
	if err != nil {
		return 0
	}
	if cp, ok := charsets[canonical]; ok {
		return cp
	}
	return numbered(canonical)
}

// prefixes come before the number of a code page in charset names.
var prefixes = []string{"windows-", "cp-", "cp", "ibm-", "ibm", "x-cp", "ms", "dos-"}

// numbered returns the code page of names such as windows-1252, cp850 or IBM852.
func numbered(name string) int {
	for _, p := range prefixes {
		digits, ok := strings.CutPrefix(name, p)
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil && Known(int(n)) {
			return int(n)
		}
	}
	return 0
}
