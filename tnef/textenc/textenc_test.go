package textenc

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// decodeCases hold text in every family of code pages. The bytes were made by
// an implementation that shares no table with this package.
var decodeCases = []struct {
	codepage int
	in, want string
}{
	{437, "\x80\x81\xe1\xab \xe4\xf0", "Çüß½ Σ≡"},
	{850, "\xa5and\xa3 \xa8Qu\x82? \x9c", "Ñandú ¿Qué? £"},
	{852, "P\xfd\xa1li\xe7 \xa7lu\x9cou\x9fk\xec", "Příliš žluťoučký"},
	{855, "\xdd\xe1\xb7\xeb\xa8\xe5", "Привет"},
	{857, "\x98stanbul \xa7\x81\x9f", "İstanbul ğüş"},
	{858, "10 \xd5", "10 €"},
	{860, "cora\x87\x84o", "coração"},
	{861, "\x8d\xa2r\x8cur \x92", "Þórður Æ"},
	{862, "\x99\x8c\x85\x8d", "\u05e9\u05dc\u05d5\u05dd"},
	{863, "No\x89l \x8e", "Noël À"},
	{864, "\xa9\xaa \xb1\xb2", "\ufe8f\ufe95 \u0661\u0662"},
	{865, "bl\x86b\x91rgr\x9bd", "blåbærgrød"},
	{866, "\x8f\xe0\xa8\xa2\xa5\xe2", "Привет"},
	{869, "\xb5\xd6\xe5\xe1\xe6\x9d\xeb\xd6", "Καλημέρα"},
	{720, "\xea\xa9\xa5\xa0\x9f", "\u0645\u0631\u062d\u0628\u0627"},
	{737, "\x84\xa2\xa2\xe1\x9b\x98", "Ελλάδα"},
	{775, "\xcf\xd0sis", "Žąsis"},
	{1125, "\xf8\xa6\xa0\xaa", "Їжак"},
	{874, "\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"},
	{932, "\x93\xfa\x96{\x8c\xea\x87@\x87\x8a\xee\xe0\x81`", "日本語①㈱髙～"},
	{932, "\xb1\xb2\xb3\x95\x5c\x83\x5c", "ｱｲｳ表ソ"},
	{936, "\xd6\xd0\xce\xc4\x9cy\xd4\x87", "中文測試"},
	{949, "\xc7\xd1\xb1\xdb \x94\xee\x8cc", "한글 뷁똠"},
	{949, "\xf9\xd3\xed\xae", "漢字"},
	{950, "\xc1c\xc5\xe9\xa4\xa4\xa4\xe5\xf9\xd6\xf9\xd7", "繁體中文碁銹"},
	{1250, "\xa3\xf3d\x9f \x8ei\x9ekov", "Łódź Žižkov"},
	{1251, "\xd1\xfa\xe5\xf8\xfc \xe5\xf9\xb8", "Съешь ещё"},
	{1252, "Gr\xfc\xdfe \x80 \x96 \x93x\x94", "Grüße € – “x”"},
	{1253, "\xc1\xe8\xde\xed\xe1", "Αθήνα"},
	{1254, "I\xfe\xfdk \xf0", "Işık ğ"},
	{1255, "\xf9\xc8\xd1\xec\xe5\xc9\xed", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd"},
	{1256, "\xd3\xe1\xc7\xe3 \x8d", "\u0633\u0644\u0627\u0645 \u0686"},
	{1257, "\xcd\xeena \xe0\xe8", "Ķīna ąč"},
	{1258, "\xf0\xf4\xccng", "đồng"},
	{1361, "\x88a\x88b\xd3\xbd \xf7\xd3\xf1\xae \xa6\xca\x88A\x84a\x84D\xd92", "가각힣 漢字 뷁ㄱㅏㄳ、"},
	{10000, "Cr\x8fme br\x9el\x8ee \xaa", "Crème brûlée ™"},
	{10001, "\x93\xfa\x96{", "日本"},
	{10002, "\xa4\xa4\xa4\xe5", "中文"},
	{10003, "\xc7\xd1\xb1\xdb", "한글"},
	{10008, "\xd6\xd0\xce\xc4", "中文"},
	{10004, "\xd3\xe4\xc7\xe5", "\u0633\u0644\u0627\u0645"},
	{10006, "\xb0\xf5\xdc\xee\xe1", "Αθήνα"},
	{10007, "\x8f\xf0\xe8\xe2\xe5\xf2", "Привет"},
	{10029, "\xfc\x97d\x90", "Łódź"},
	{10079, "\xde\x97rr", "Þórr"},
	{10081, "\xdb\xdd\xdf", "ğış"},
	{10010, "\xbf", "ș"},
	{10082, "\xd0\xbe", "Đž"},
	{20866, "\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"},
	{20932, "\xc6\xfc\xcb\xdc", "日本"},
	{20936, "\xd6\xd0\xce\xc4", "中文"},
	{20949, "\xc7\xd1\xb1\xdb", "한글"},
	{21866, "\xb7\xd6\xc1\xcb", "Їжак"},
	{28591, "Gr\xfc\xdfe", "Grüße"},
	{28592, "\xa3\xf3d\xbc", "Łódź"},
	{28593, "\xd8is", "Ĝis"},
	{28594, "\xc0\xf3", "Āķ"},
	{28595, "\xbf\xe0\xd8\xd2\xd5\xe2", "Привет"},
	{28596, "\xd3\xe4\xc7\xe5", "\u0633\u0644\u0627\u0645"},
	{38596, "\xd3\xe4\xc7\xe5", "\u0633\u0644\u0627\u0645"},
	{28597, "\xc1\xe8\xde\xed\xe1", "Αθήνα"},
	{28598, "\xf9\xec\xe5\xed", "\u05e9\u05dc\u05d5\u05dd"},
	{38598, "\xf9\xec\xe5\xed", "\u05e9\u05dc\u05d5\u05dd"},
	{28599, "\xf0\xfd\xfe", "ğış"},
	{28600, "\xc0\xb6", "Āķ"},
	{28601, "\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"},
	{28603, "\xe0\xe8", "ąč"},
	{28604, "\xf0\xfe", "ŵŷ"},
	{28605, "\xbd\xa4", "œ€"},
	{28606, "\xba\xfe", "șț"},
	{50220, "\x1b$BF|K\x5c8l\x1b(B test \x1b$B4A;z\x1b(B", "日本語 test 漢字"},
	{50221, "\x1b(I123\x1b$BF|K\x5c\x1b(B", "ｱｲｳ日本"},
	{50225, "\x1b$)C\x0eGQ1[\x0f test", "한글 test"},
	{51932, "\xc6\xfc\xcb\xdc\xb8\xec\x8e\xb1", "日本語ｱ"},
	{51936, "\xd6\xd0\xce\xc4", "中文"},
	{51949, "\xc7\xd1\xb1\xdb", "한글"},
	{52936, "~{VPND~} test", "中文 test"},
	{54936, "\xd6\xd0\xce\xc4\x949\xfc6\xa2\xe3\x819\xee9", "中文😀€㐀"},
	{65000, "Gru+AN8 +IKw +ZeVnLA-", "Gruß € 日本"},
	{65001, "\xe6\x97\xa5\xe6\x9c\xac\xf0\x9f\x98\x80", "日本😀"},
	{1200, "\xe5e,g=\xd8\x00\xde", "日本😀"},
	{1201, "e\xe5g,\xd8=\xde\x00", "日本😀"},
	{12000, "\xe5e\x00\x00\x00\xf6\x01\x00", "日😀"},
	{12001, "\x00\x00e\xe5\x00\x01\xf6\x00", "日😀"},
	{37, "\xc8\x85\x93\x93\x96@Q", "Hello é"},
	{1140, "\x9f", "€"},
}

func TestDecode(t *testing.T) {
	covered := make(map[int]bool)
	for _, c := range decodeCases {
		covered[c.codepage] = true
		if !Known(c.codepage) {
			t.Errorf("%d is not known", c.codepage)
		}
		if got := Decode(c.codepage, []byte(c.in)); got != c.want {
			t.Errorf("Decode(%d, %q) = %q, want %q", c.codepage, c.in, got, c.want)
		}
	}
	// 1047 is 37 with other brackets; 50222 and 50227 have cases of their own.
	for cp := range codecs {
		switch cp {
		case 1047, 50222, 50227, 20127:
		default:
			if !covered[cp] {
				t.Errorf("code page %d has no case", cp)
			}
		}
	}
}

func TestDecodeDetails(t *testing.T) {
	for _, c := range []struct {
		name     string
		codepage int
		in, want string
	}{
		{"unknown page, UTF-8", 4711, "\xc3\xa4", "ä"},
		{"unknown page, not UTF-8", 4711, "\xe4", "ä"},
		{"page 0", 0, "\xe4b", "äb"},
		{"no bytes", 1252, "", ""},
		{"ASCII with a high byte", 20127, "\x96", "–"},
		{"ISO-8859-1 is windows-1252", 28591, "\x80 \x93x\x94", "€ “x”"},
		{"ISO-8859-9 is windows-1254", 28599, "\x80", "€"},
		{"UTF-8 mark", 65001, "\xef\xbb\xbfx", "x"},
		{"UTF-8 invalid", 65001, "a\xffb\xc3", "a\uFFFDb\uFFFD"},
		{"UTF-16 mark", 1200, "\xff\xfea\x00", "a"},
		{"UTF-16 the other mark", 1200, "\xfe\xff\x00a", "a"},
		{"UTF-16 BE with a little-endian mark", 1201, "\xff\xfea\x00", "a"},
		{"UTF-16 odd", 1200, "a\x00b", "a\uFFFD"},
		{"UTF-16 half a terminator", 1200, "a\x00\x00", "a"},
		{"UTF-16 lone high surrogate", 1200, "\x3d\xd8a\x00", "\uFFFDa"},
		{"UTF-16 lone low surrogate", 1200, "\x00\xdea\x00", "\uFFFDa"},
		{"UTF-16 high surrogate at the end", 1200, "\x3d\xd8", "\uFFFD"},
		{"UTF-32 mark", 12000, "\xff\xfe\x00\x00a\x00\x00\x00", "a"},
		{"UTF-32 the other mark", 12000, "\x00\x00\xfe\xff\x00\x00\x00a", "a"},
		{"UTF-32 too large", 12000, "\xff\xff\xff\xffa\x00\x00\x00", "\uFFFDa"},
		{"UTF-32 surrogate", 12000, "\x00\xd8\x00\x00", "\uFFFD"},
		{"UTF-32 cut", 12000, "a\x00\x00\x00b", "a\uFFFD"},
		{"UTF-7 plus", 65000, "1 +- 1", "1 + 1"},
		{"UTF-7 lone plus", 65000, "a + b", "a + b"},
		{"UTF-7 plus at the end", 65000, "a+", "a+"},
		{"UTF-7 ended by a character", 65000, "+AOQ!", "ä!"},
		{"UTF-7 minus kept after text", 65000, "x-+AOQ--", "x-ä-"},
		{"UTF-7 pair", 65000, "+2D3eAA-", "😀"},
		{"UTF-7 cut unit", 65000, "+AO", ""},
		{"UTF-7 eight bit", 65000, "\xc3\xa4+AOQ-", "ää"},
		{"932 backslash as trail byte", 932, "\x83\\", "ソ"},
		{"932 half a character", 932, "a\x83", "a\uFFFD"},
		{"932 user-defined", 932, "\xf0\x40\xf0\x80x", "\uE000\uE03Fx"},
		{"932 last user-defined", 932, "\xf9\xfc", "\uE757"},
		{"936 euro", 936, "\x80", "€"},
		{"936 user-defined", 936, "x\xaa\xa1\xf8\xa1", "x\uE000\uE234"},
		{"949 user-defined", 949, "\xc9\xa1\xfe\xa1", "\uE000\uE05E"},
		{"950 user-defined", 950, "\x84\x68x", "\uF0B7x"},
		{"950 Hong Kong's characters", 950, "\xfa\x40", "𠕇"},
		{"950 kana", 950, "\xc6\xe7", "ぁ"},
		{"950 euro and box", 950, "\xa3\xe1\xf9\xfe", "€▓"},
		{"1361 filler and symbols", 1361, "\\\x84\x41\xd9\x31", "\\\uFFFD\u3000"},
		{"1361 bad trail", 1361, "\xe0\x30\xd9\x7f", "\uFFFD\uFFFD"},
		{"1361 half", 1361, "a\x88", "a\uFFFD"},
		{"50220 kanji shift with 1978 set", 50220, "\x1b$@F|\x1b(J.", "日."},
		{"50220 long form", 50220, "\x1b$(BF|\x1b(B", "日"},
		{"50220 forgotten escape back", 50220, "\x1b$BF|\r\nabc", "日\r\nabc"},
		{"50220 half", 50220, "\x1b$BF\x1b(Ba", "\uFFFDa"},
		{"50220 JIS X 0212", 50220, "\x1b$(D0!\x1b(B", "丂"},
		{"50220 unknown escape", 50220, "\x1b(Zx", "(Zx"},
		{"50220 eight-bit katakana", 50220, "\xb1", "ｱ"},
		{"50220 NEC row 13", 50220, "\x1b$B-!\x1b(B", "①"},
		{"50222 katakana by shift", 50222, "\x0e12\x0fa", "ｱｲa"},
		{"50225 line ends shift", 50225, "\x1b$)C\x0eGQ\nab", "한\nab"},
		{"50227", 50227, "\x1b$)A\x0eVPND\x0fx", "中文x"},
		{"1047 brackets", 1047, "\xad\xbd", "[]"},
	} {
		if got := Decode(c.codepage, []byte(c.in)); got != c.want {
			t.Errorf("%s: Decode(%d, %q) = %q, want %q", c.name, c.codepage, c.in, got, c.want)
		}
	}
}

func TestDecodeGuess(t *testing.T) {
	for _, c := range []struct {
		name     string
		codepage int
		in, want string
	}{
		{"UTF-8 declared as 1252", 1252, "Grüße", "Grüße"},
		{"real 1252", 1252, "Gr\xfc\xdfe", "Grüße"},
		{"UTF-8 declared as 1251", 1251, "Привет", "Привет"},
		{"two letters of 1251 that look like UTF-8", 1251, "\xd0\xb0", "Р°"},
		{"UTF-8 declared as 932", 932, "日本語", "日本語"},
		{"real 932", 932, "\x93\xfa\x96\x7b", "日本"},
		{"katakana of 932 that look like UTF-8", 932, "\xc3\xb0", "ﾃｰ"},
		{"a Thai word that looks like UTF-8", 874, "\xe2\xa1\xa7", "โกง"},
		{"UTF-8 declared as 874", 874, "สวัสดี", "สวัสดี"},
		{"UTF-16 is never guessed", 1200, "\xc3\xa4", "\ua4c3"},
		{"ASCII", 1252, "plain", "plain"},
		{"declared as nothing", 0, "\xc3\xa4", "ä"},
		{"UTF-8 that 949 cannot read", 949, "caf\xc3\xa9 \xe2\x82\xac", "café €"},
	} {
		if got := DecodeGuess(c.codepage, []byte(c.in)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestIsUTF8MultiByte(t *testing.T) {
	for in, want := range map[string]bool{
		"": false, "ascii only": false, "ä": true, "a\xe4b": false, "日本\xff": false, "\xc3": false, "0123456789ä": true,
	} {
		if got := IsUTF8MultiByte([]byte(in)); got != want {
			t.Errorf("IsUTF8MultiByte(%q) = %v", in, got)
		}
	}
}

func TestFromFCharset(t *testing.T) {
	for charset, want := range map[int]int{
		0: 1252, 1: 0, 2: 0, 77: 10000, 78: 10001, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950,
		161: 1253, 162: 1254, 163: 1258, 177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250,
		254: 437, 255: 850, 99: 0, -5: 0, 87: 0,
	} {
		if got := FromFCharset(charset); got != want {
			t.Errorf("FromFCharset(%d) = %d, want %d", charset, got, want)
		}
	}
}

func TestCharset(t *testing.T) {
	for name, want := range map[string]int{
		"utf-8": 65001, "UTF8": 65001, " \"utf-8\" ": 65001, "us-ascii": 20127, "iso-8859-1": 28591, "ISO_8859-1": 1252,
		"latin1": 28591, "iso-8859-15": 28605, "windows-1252": 1252, "cp1252": 1252, "Windows-1251": 1251, "cp850": 850,
		"IBM852": 852, "ibm437": 437, "shift_jis": 932, "Shift-JIS": 932, "sjis": 932, "windows-31j": 932, "cp932": 932,
		"gb2312": 936, "GBK": 936, "x-gbk": 936, "gb18030": 54936, "big5": 950, "big5-hkscs": 950, "euc-kr": 949, "ks_c_5601-1987": 949,
		"iso-2022-jp": 50220, "ISO-2022-KR": 50225, "hz-gb-2312": 52936, "utf-7": 65000, "utf-16": 1200, "koi8-r": 20866,
		"koi8-u": 21866, "iso-8859-8-i": 38598, "tis-620": 28601, "macintosh": 10000, "johab": 1361, "cp65001": 65001,
		"": 0, "no-such-charset": 0, "cp99999": 0, "windows-99999999999": 0, "cp": 0,
	} {
		if got := Charset(name); got != want {
			t.Errorf("Charset(%q) = %d, want %d", name, got, want)
		}
	}
}

// TestNames checks that a name leads back to a page that reads the same text.
func TestNames(t *testing.T) {
	for cp, c := range codecs {
		name := Name(cp)
		if name == "" {
			continue
		}
		back := Charset(name)
		if back == 0 {
			t.Errorf("%d is called %q, which Charset does not know", cp, name)
			continue
		}
		for _, dc := range decodeCases {
			if dc.codepage != cp || c.form == stateful {
				continue
			}
			if got := Decode(back, []byte(dc.in)); got != dc.want {
				t.Errorf("%d is called %q, which is %d and reads %q as %q", cp, name, back, dc.in, got)
			}
		}
	}
	if Name(1252) != "windows-1252" || Name(65001) != "utf-8" || Name(4711) != "" {
		t.Error("Name gives wrong names")
	}
}

func TestLeadBytes(t *testing.T) {
	for _, c := range []struct {
		codepage int
		b        byte
		want     bool
	}{
		{932, 0x80, false}, {932, 0x81, true}, {932, 0x9F, true}, {932, 0xA1, false}, {932, 0xDF, false}, {932, 0xE0, true}, {932, 0xFD, false},
		{936, 0x81, true}, {936, 0xFE, true}, {936, 0xFF, false}, {949, 0x81, true}, {950, 0x81, true}, {950, 0x7F, false},
		{1361, 0xD8, false}, {1361, 0xDF, false}, {1361, 0xE0, true}, {1252, 0xE4, false}, {65001, 0xE4, false}, {0, 0xE4, false},
	} {
		if got := IsLeadByte(c.codepage, c.b); got != c.want {
			t.Errorf("IsLeadByte(%d, %#x) = %v", c.codepage, c.b, got)
		}
	}
	for cp, want := range map[int]bool{1252: true, 932: true, 65001: true, 1200: false, 65000: false, 50220: false, 37: false, 4711: true} {
		if got := ASCIISuperset(cp); got != want {
			t.Errorf("ASCIISuperset(%d) = %v", cp, got)
		}
	}
}

// TestASCII holds every page that calls itself a superset of ASCII to it.
func TestASCII(t *testing.T) {
	var all []byte
	for c := range 128 {
		all = append(all, byte(c))
	}
	for cp := range codecs {
		if ASCIISuperset(cp) && Decode(cp, all) != string(all) {
			t.Errorf("%d changes ASCII", cp)
		}
		if !utf8.ValidString(Decode(cp, []byte(strings.Repeat("\x80\xff\xfe\x1b$", 50)))) {
			t.Errorf("%d gives invalid UTF-8", cp)
		}
	}
}

func TestUpperHalves(t *testing.T) {
	for cp, table := range upperHalf {
		if n := utf8.RuneCountInString(table); n != 128 {
			t.Errorf("%d has %d characters", cp, n)
		}
		if !Known(cp) {
			t.Errorf("%d has a table, but no codec", cp)
		}
	}
}

func TestSymbol(t *testing.T) {
	for font, table := range symbolFonts {
		if len(table) != 0xE0 {
			t.Errorf("%s has %d characters", font, len(table))
		}
	}
	for _, c := range []struct {
		font string
		char rune
		want rune // 0: no equivalent
	}{
		{"Wingdings", 'J', '☺'}, {"Wingdings", 'L', '☹'}, {"Wingdings", 0xFC, '✔'}, {"Wingdings", 0xA7, '▪'}, {"Wingdings", 0xD8, '➢'},
		{"Wingdings", 0xE0, '→'}, {"Wingdings", 0xDF, '←'}, {"Wingdings", 'v', '❖'}, {"Wingdings", 'l', '●'}, {"Wingdings", 'n', '■'},
		{"wingdings", 0xF04A, '☺'}, {`"Wingdings"`, 'A', '✌'}, {"Wingdings", 0xFF, 0}, {"Wingdings", 0x7F, 0},
		{"Symbol", 0xB7, '•'}, {"Symbol", 'a', 'α'}, {"Symbol", 'W', 'Ω'}, {"Symbol", 0xAE, '→'}, {"Symbol", 0xB3, '≥'}, {"Symbol", 0xD2, '®'},
		{"Symbol", 0xF0, 0}, {"Symbol", 0x90, 0}, {"Symbol", 0xF0B7, '•'}, {"Symbol", 0xE5, '∑'}, {"Symbol", 0xF2, '∫'},
		{"Webdings", 'a', '✔'}, {"Webdings", 'n', '⚫'}, {"Wingdings 2", 'P', '✓'}, {"Wingdings 3", 0x7D, '▶'},
		{"ZapfDingbats", '4', '✔'}, {"Monotype Sorts", 'l', '●'}, {"ZapfDingbats", 0xD5, '→'}, {"ZapfDingbats", 0xAC, '①'},
		{"Arial", 'J', 0}, {"Segoe UI Symbol", 'J', 0}, {"Symbol", 0x1F, 0}, {"Symbol", -1, 0}, {"Symbol", 0x20AC, 0},
	} {
		got, ok := Symbol(c.font, c.char)
		if got != c.want || ok != (c.want != 0) {
			t.Errorf("Symbol(%q, %#x) = %q, %v, want %q", c.font, c.char, got, ok, c.want)
		}
	}
	if !IsSymbolFont(" 'Symbol' ") || IsSymbolFont("Segoe UI Symbol") {
		t.Error("IsSymbolFont goes by a part of the name")
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range decodeCases {
		f.Add(c.codepage, []byte(c.in))
	}
	f.Fuzz(func(t *testing.T, cp int, b []byte) {
		for _, s := range []string{Decode(cp, b), DecodeGuess(cp, b)} {
			if !utf8.ValidString(s) {
				t.Fatalf("Decode(%d, %q) gives invalid UTF-8 %q", cp, b, s)
			}
			if len(s) > 4*len(b)+4 {
				t.Fatalf("%d bytes in %d became %d", len(b), cp, len(s))
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name     string
		codepage int
		text     string
	}{
		{"ascii", 1252, "The quick brown fox jumps over the lazy dog. "},
		{"1252", 1252, "Gr\xfc\xdfe aus M\xfcnchen, 100 \x80. "},
		{"932", 932, "\x93\xfa\x96\x7b\x8c\xea\x82\xcc\x83\x81\x81[\x83\x8b "},
		{"utf-8", 65001, "Grüße aus München, 100 €. "},
	} {
		b.Run(c.name, func(b *testing.B) {
			data := []byte(strings.Repeat(c.text, 1000))
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				Decode(c.codepage, data)
			}
		})
	}
}
