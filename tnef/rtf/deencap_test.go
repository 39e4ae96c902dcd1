package rtf

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// htmlDoc is an encapsulated document around body, as Outlook writes it.
func htmlDoc(body string) string {
	return `{\rtf1\ansi\ansicpg1252\fromhtml1 \fbidis \deff0{\fonttbl` + "\r\n" +
		`{\f0\fswiss Arial;}` + "\r\n" + `{\f1\fmodern Courier New;}` + "\r\n" +
		`{\f2\fnil\fcharset2 Symbol;}{\f3\fswiss\fcharset204 Arial;}{\f4\fnil\fcharset128 MS Gothic;}` +
		`{\f5\fnil\fcharset134 SimSun;}{\f6\fnil\fcharset136 PMingLiU;}{\f7\fnil\fcharset129 Batang;}` +
		`{\f8\fswiss\fcharset186 Arial;}{\f9\fswiss\fcharset238 Arial;}{\f10\fswiss\fcharset163 Arial;}` +
		`{\f11\fswiss\fcharset222 Tahoma;}{\f12\fswiss Arial Cyr;}{\f13\fswiss\fcharset177 Arial;}}` + "\r\n" +
		`{\colortbl\red0\green0\blue0;\red0\green0\blue255;}` + "\r\n" +
		`\uc1\pard\plain\deftab360 \f0\fs24 ` + body + "}\r\n\x00"
}

var htmlCases = []struct {
	name, in, want string
}{
	{"nothing", ``, ""},
	{"tag and text", `{\*\htmltag64 <p>}Hello{\*\htmltag72 </p>}`, "<p>Hello</p>"},
	{"tag without a number", `{\*\htmltag <b>}x`, "<b>x"},
	{"lines of the source are not text", "{\\*\\htmltag64 <p>}\r\na\r\nb\r\n", "<p>ab"},
	{"par and tab in a tag", `{\*\htmltag241 <style>\par \tab p \{margin:0\}</style>}`, "<style>\r\n\tp {margin:0}</style>"},
	{"par and line outside", `a\par b\line c\tab d`, "a\r\nb\r\nc\td"},
	{"suppressed", `{\*\htmltag84 &nbsp;}\htmlrtf \'a0\htmlrtf0 x`, "&nbsp;x"},
	{"suppressed with the number 1", `a\htmlrtf1 b\htmlrtf0 c`, "ac"},
	{"suppression ends with its group", `a{\htmlrtf b}c`, "ac"},
	{"suppression enters groups", `a\htmlrtf {b{c}d}\htmlrtf0 e`, "ae"},
	{"suppression switched off inside", `\htmlrtf {\b \htmlrtf0 bold\htmlrtf }\htmlrtf0 x`, "boldx"},
	{"toggle restored at the group's end", `\htmlrtf {\htmlrtf0 on}off\htmlrtf0 on`, "onon"},
	{"special character is not doubled", `date{\*\htmltag84 &#8217;}\htmlrtf \'92\htmlrtf0 s test`, "date&#8217;s test"},
	{"empty paragraph mark", `{\*\htmltag64}\htmlrtf {\htmlrtf0 x{\*\htmltag72}\htmlrtf\par}\htmlrtf0 `, "x"},
	{"rewritten tags are dropped", `{\*\mhtmltag84 <img src="rtfimage://1">}{\*\htmltag84 <img src="cid:1">}`, `<img src="cid:1">`},
	{"converter's note", `{\*\formatConverter converted from html;}x`, "x"},
	{"converter's note, unmarked", `{\formatConverter converted from html;}x`, "x"},
	{"bullet of a list", `{\*\htmltag64 <li>}{\pntext 1.\tab}Test`, "<li>Test"},
	{"numbering of a list", `\htmlrtf {{\*\pn\pnlvlbody\pndec\pnstart1{\pntxta .}}\htmlrtf0 \li360 \fi-360 {\pntext 1.\tab}Test}`, "Test"},
	{"field", `{\*\htmltag84 <a href="http://contoso.com">}\htmlrtf {\field{\*\fldinst{HYPERLINK "http://contoso.com"}}` +
		`{\fldrslt\cf1\ul \htmlrtf0 Contoso\htmlrtf }\htmlrtf0 \htmlrtf }\htmlrtf0 {\*\htmltag92 </a>}`, `<a href="http://contoso.com">Contoso</a>`},
	{"unknown destination", `a{\*\unheardof b{c}d}e`, "ae"},
	{"unknown control word", `a\unheardof17 b`, "ab"},
	{"picture", `a{\pict\pngblip 89504e47}b`, "ab"},
	{"binary data", "a{\\*\\x\\bin4 }}}}}b\\bin3 {{{c", "abc"},
	{"escaped braces and backslash", `\{a\}\\`, `{a}\`},
	{"symbols", `a\~b\_c\-d`, "a\u00a0b\u00adc\u00add"},
	{"named characters", `\lquote a\rquote \ldblquote b\rdblquote \bullet \endash \emdash `, "‘a’“b”•–—"},
	{"named characters in a tag", `{\*\htmltag241 \ldblquote \emdash\~}`, "“—\u00a0"},

	{"font's code page", `\f3 \'cf\'f0\'e8\'e2\'e5\'f2`, "Привет"},
	{"document's code page in a tag", `\f3{\*\htmltag241 \'e4}\'e4`, "äд"},
	{"font change inside suppression holds", `\htmlrtf{\f3\fs24\htmlrtf0 \'cf\htmlrtf\f0}\htmlrtf0 \'e4`, "Пä"},
	{"plain returns to the default font", `\f3\'cf\plain\'cf`, "ПÏ"},
	{"group returns to its font", `{\f3\'cf}\'cf`, "ПÏ"},
	{"charset 186", `\f8\'e0`, "ą"},
	{"charset 238", `\f9\'b9`, "ą"},
	{"charset 163", `\f10\'f0`, "đ"},
	{"charset 222", `\f11\'a1`, "ก"},
	{"charset 177", `\f13\'f9\'ec\'e5\'ed`, "שלום"},
	{"character set in the font's name", `\f12\'cf`, "П"},
	{"unknown font", `\f99\'e4`, "ä"},
	{"double bytes", `\f4\'93\'fa\'96\'7b`, "日本"},
	{"double byte with a raw trail", `\f4\'83L`, "キ"},
	{"double byte with a backslash as trail", `\f4\'83\\x`, "ソx"},
	{"double byte with an escaped backslash value", `\f4\'83\'5cx`, "ソx"},
	{"raw double bytes", "\\f4\x93\xfa\x96\x7b", "日本"},
	{"raw double byte, backslash as trail", "\\f4\x83\\x", "ソx"},
	{"raw double byte, brace as trail", "\\f4{\x83}}x", "マx"},
	{"raw lead, escaped trail", "\\f4\x93\\'fa", "日"},
	{"double byte split by a line end", "\\f4\\'93\r\n\\'fa", "日"},
	{"charset 134", `\f5\'d6\'d0`, "中"},
	{"charset 136", `\f6\'a4\'a4`, "中"},
	{"charset 129", `\f7\'c7\'d1`, "한"},
	{"half a character", `\f4\'93 x`, "\uFFFD x"},
	{"half a character alone", `\f4\'93\par `, "\u201c\r\n"},
	{"symbol font keeps its bytes", `{\*\htmltag148 <span style='font-family:Symbol'>}{\f2\htmlrtf0 \'b7}`, "<span style='font-family:Symbol'>·"},

	{"unicode", `\u8364?\u8364 ?x`, "€€x"},
	{"negative unicode", `\u-4051?`, "\uf02d"},
	{"unsigned unicode", `\u61485?`, "\uf02d"},
	{"surrogates", `\u-10179?\u-8694?`, "😊"},
	{"unsigned surrogates", `\u55357?\u56842?`, "😊"},
	{"surrogates with escaped stand-ins", `\u55357\'20\u56542 ?`, "📞"},
	{"surrogates with blanks", `\u-10179 ?\u-8694 ?x`, "😊x"},
	{"lone high surrogate", `\u-10179?x`, "\uFFFDx"},
	{"lone low surrogate", `\u-8694?x`, "\uFFFDx"},
	{"unicode without a stand-in", `{\uc0 \u8364 x}\u8364?y`, "€x€y"},
	{"two stand-ins", `{\uc2\u26085\'93\'fax}`, "日x"},
	{"stand-in after a group's end", `{\u8364}x`, "€x"},
	{"stand-in is a control symbol", `\u160\~x`, "\u00a0x"},
	{"stand-in is a control word", `\u8217\rquote x`, "’x"},
	{"a break is no stand-in", `\u8364\par x`, "€\r\nx"},
	{"unicode in a tag", `{\*\htmltag84 \u8364?}`, "€"},
	{"suppressed unicode with its stand-in", `\htmlrtf \u55357\'20\u56542 ?\htmlrtf0 x`, "x"},
	{"unicode beyond all", `\u99999999?x`, "\uFFFDx"},
	{"unicode of a whole character", `\u128522?x`, "😊x"},
	{"unicode NUL", `a\u0?b`, "ab"},

	{"text is escaped", `a < b > c & d`, "a &lt; b &gt; c &amp; d"},
	{"reference in text is kept", `Katja &lt;katja@contoso.com&gt; &amp; &#8364; &#x20ac;`, "Katja &lt;katja@contoso.com&gt; &amp; &#8364; &#x20ac;"},
	{"what is no reference", `&; &x &#; &#x; &#12a; &#xg; &1a;`, "&amp;; &amp;x &amp;#; &amp;#x; &amp;#12a; &amp;#xg; &amp;1a;"},
	{"nothing is escaped in a tag", `{\*\htmltag84 <a href="?a=1&b=2">}`, `<a href="?a=1&b=2">`},
	{"NUL bytes", "a\x00b\\'00c", "abc"},
	{"too few hex digits", `a\'zb\'4x`, "azb\x04x"},
}

func TestFromHTML(t *testing.T) {
	for _, c := range htmlCases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(htmlDoc(c.in)), Options{})
			if err != nil || got.Kind != FromHTML {
				t.Fatalf("Convert: %v, %v", got.Kind, err)
			}
			if d := cmp.Diff(c.want, got.HTML); d != "" {
				t.Errorf("wrong HTML (-want +got):\n%s", d)
			}
			if got.Text != "" || len(got.Warnings) > 0 {
				t.Errorf("text %q, warnings %q", got.Text, got.Warnings)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name, in string
		opt      Options
		kind     Kind
		html     string
		text     string
	}{
		{name: "text", in: "{\\rtf1\\ansi\\ansicpg1252\\fromtext \\fbidis \\deff0{\\fonttbl{\\f0\\fswiss Arial;}}\r\n\\uc1\\pard\\plain\\f0\\fs20 body\\par\r\n}",
			kind: FromText, text: "body\r\n"},
		{name: "text is not escaped", in: `{\rtf1\ansi\fromtext a < b & c\line d}`, kind: FromText, text: "a < b & c\r\nd"},
		{name: "text with fonts", in: `{\rtf1\ansi\ansicpg1252\fromtext\deff0{\fonttbl{\f0\fcharset0 Arial;}{\f4\fcharset204 Arial;}}\htmlrtf{\f4\htmlrtf0 \'f4\htmlrtf\f0}\htmlrtf0\par}`,
			kind: FromText, text: "ф\r\n"},
		{name: "mark late in the header", in: `{\rtf1\ansi\fbidis\ansicpg1251\deff0\deftab720\uc1\adeff0\deflang1033\deflangfe1033\fromtext{\fonttbl{\f0 Arial;}}\'cf}`,
			kind: FromText, text: "П"},
		{name: "ansicpg after the mark", in: `{\rtf1\fromhtml1\ansi\ansicpg1251 \'cf}`, kind: FromHTML, html: "П"},
		{name: "65001", in: `{\rtf1\ansi\ansicpg65001\fromhtml1{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 Arial;}}\f0 Ol\'c3\'a1 \f1\'cf}`, kind: FromHTML, html: "Olá П"},
		{name: "65001 that is not", in: `{\rtf1\ansi\ansicpg65001\fromhtml1 Gr\'fc\'dfe}`, kind: FromHTML, html: "Grüße"},
		{name: "65001 raw", in: "{\\rtf1\\ansi\\ansicpg65001\\fromhtml1 Ol\u00e1 日本}", kind: FromHTML, html: "Olá 日本"},
		{name: "raw UTF-8 in a 1252 document", in: "{\\rtf1\\ansi\\ansicpg1252\\fromhtml1 Ol\u00e1 日本}", kind: FromHTML, html: "Olá 日本"},
		{name: "code page from the message", in: `{\rtf1\ansi\fromhtml1 \'cf}`, opt: Options{Codepage: 1251}, kind: FromHTML, html: "П"},
		{name: "code page that cannot be RTF's", in: `{\rtf1\ansi\fromhtml1 \'e4}`, opt: Options{Codepage: 1200}, kind: FromHTML, html: "ä"},
		{name: "ansicpg that cannot be RTF's", in: `{\rtf1\ansi\ansicpg1200\fromhtml1 \'e4}`, kind: FromHTML, html: "ä"},
		{name: "mac", in: `{\rtf1\mac\fromhtml1 \'8a}`, kind: FromHTML, html: "ä"},
		{name: "pc", in: `{\rtf1\pc\fromhtml1 \'84}`, kind: FromHTML, html: "ä"},
		{name: "pca", in: `{\rtf1\pca\fromhtml1 \'84\'d5}`, kind: FromHTML, html: "äı"},
		{name: "932 document, font without charset", in: `{\rtf1\ansi\ansicpg932\fromhtml1\deff0{\fonttbl{\f0 Arial;}{\f3\fcharset0 Courier New;}}{\*\htmltag241 \'82\'6c}\'82\'6c{\f3\'e4}}`,
			kind: FromHTML, html: "ＭＭä"},
		{name: "lone lead byte in a 936 document", in: `{\rtf1\ansi\ansicpg936\fromhtml1{\*\htmltag1 Item \'b7\htmltag34 </li>}}`, kind: FromHTML, html: "Item ·</li>"},
		{name: "two double-byte characters of 936", in: `{\rtf1\ansi\ansicpg936\fromhtml1{\*\htmltag1 \'b0\'f5}}`, kind: FromHTML, html: "磅"},
		{name: "fonts without groups", in: `{\rtf1\ansi\ansicpg1252\fromhtml1{\fonttbl\f0\fswiss Arial;\f3\fswiss\fcharset204 Arial}\f3\'cf}`, kind: FromHTML, html: "П"},
		{name: "font with alternative and panose", in: `{\rtf1\ansi\fromhtml1{\fonttbl{\f3\fswiss\fcharset204{\*\panose 020b0604020202020204}Arial{\*\falt Helvetica};}}\f3\'cf}`, kind: FromHTML, html: "П"},
		{name: "font's code page by cpg", in: `{\rtf1\ansi\fromhtml1{\fonttbl{\f3\fswiss\cpg1251 Arial;}}\f3\'cf}`, kind: FromHTML, html: "П"},
		{name: "default font's charset", in: `{\rtf1\ansi\ansicpg1252\fromtext\deff1{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}\'cf}`, kind: FromText, text: "П"},
		{name: "byte order mark before", in: "\ufeff{\\rtf1\\fromtext x}", kind: FromText, text: "x"},
		{name: "blanks before", in: "\r\n {\\rtf1\\fromtext x}", kind: FromText, text: "x"},
		{name: "after the end", in: `{\rtf1\fromtext x}{y}`, kind: FromText, text: "x"},
		{name: "mark in the text does not count", in: `{\rtf1\ansi{\fonttbl{\f0 Arial;}}\pard x\fromhtml1 y\par}`, kind: RealRTF, text: "xy\r\n"},
		{name: "other version of encapsulation", in: `{\rtf1\ansi\fromhtml0 x\par}`, kind: RealRTF, text: "x\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(c.in), c.opt)
			if err != nil || got.Kind != c.kind {
				t.Fatalf("Convert: %v, %v", got.Kind, err)
			}
			if got.Kind != RealRTF && got.HTML != c.html {
				t.Errorf("HTML %q, want %q", got.HTML, c.html)
			}
			if got.Text != c.text {
				t.Errorf("text %q, want %q", got.Text, c.text)
			}
		})
	}
}

// TestSpecificationExample converts the kinds of content that the example of
// [MS-OXRTFEX] section 3 has: a comment, a tag over two lines, references,
// escaped characters, and a list whose number is RTF's own.
func TestSpecificationExample(t *testing.T) {
	const in = `{\rtf1\ANSI\ansicpg1251\fromhtml1 \deff0
{\fonttbl {\f0\fmodern Courier New;}{\f1\fswiss Arial;}{\f2\fswiss\fcharset0 Arial;}}
{\colortbl\red0\green0\blue0;\red0\green0\blue255;}
{\*\htmltag64}
\uc1\pard\plain\deftab360 \f0\fs24
{\*\htmltag <HTML><head>\par
<style>\par p \{font-family:Arial;\}\par </style>\par
\tab <!-- after a tab -->\par
</head>\par
<p\par
class="x">}
{\htmlrtf \f1 \htmlrtf0 A line end in a tag. {\*\htmltag <b>}{\htmlrtf \b
\htmlrtf0 bold{\*\htmltag </b>}} \htmlrtf\par\htmlrtf0}
\htmlrtf \par \htmlrtf0
{\*\htmltag </p>\par}
{\htmlrtf \f1 \htmlrtf0 references:
{\*\htmltag &nbsp;}\htmlrtf \'a0\htmlrtf0  {\*\htmltag &lt;}\htmlrtf <\htmlrtf0  {\*\htmltag
&uml;}\htmlrtf {\f2\'a8}\htmlrtf0{\*\htmltag <br>\par}\htmlrtf\line\htmlrtf0
escapes: \{\}\\{\*\htmltag
<br>\par}\htmlrtf\line\htmlrtf0\htmlrtf\par\htmlrtf0}
{\*\htmltag <ol>\par
<li>}{\htmlrtf
{{\*\pn\pnlvlbody\pndec\pnstart1\pnindent360{\pntxta.}}\li360\fi-360{\pntext 1.\tab} \f1
\htmlrtf0 An item}\htmlrtf\par\htmlrtf0}
{\*\htmltag \par
</ol>\par
</HTML>\par }}`
	want := strings.ReplaceAll(`<HTML><head>
<style>
p {font-family:Arial;}
</style>
	<!-- after a tab -->
</head>
<p
class="x">A line end in a tag. <b>bold</b> </p>
references:&nbsp; &lt; &uml;<br>
escapes: {}\<br>
<ol>
<li>An item
</ol>
</HTML>
`, "\n", "\r\n")
	got, err := Convert([]byte(strings.Replace(in, `\ANSI`, `\ansi`, 1)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.HTML); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestNotRTF(t *testing.T) {
	for _, in := range []string{"", "{", "{}", "plain text", `{\rt`, `{\html}`, "\x00\x01", `\rtf1`, `{{\rtf1}}`} {
		if got, err := Convert([]byte(in), Options{}); !errors.Is(err, ErrNotRTF) {
			t.Errorf("Convert(%q) = %v, %v", in, got, err)
		}
	}
}

func TestObjects(t *testing.T) {
	for _, c := range []struct {
		name, in string
		html     string // after Place
		text     string
		want     []Object
	}{
		{"in HTML", htmlDoc(`{\*\htmltag64 <p>}a\objattph  b\objattph\'20c`), "<p>a[0]b[1]c", "", []Object{{HTML: 4}, {HTML: 5}}},
		{"suppressed", htmlDoc(`a\htmlrtf\objattph\'20\htmlrtf0 b`), "a[0]b", "", []Object{{HTML: 1}}},
		{"in text", `{\rtf1\fromtext a\objattph\'20b\objattph }`, "", "a[0]b[1]", []Object{{Text: 1}, {Text: 2}}},
		{"no blank after", `{\rtf1\fromtext a\objattph{}b}`, "", "a[0]b", []Object{{Text: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(c.in), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got.Objects); d != "" {
				t.Errorf("objects (-want +got):\n%s", d)
			}
			mark := func(i int) string { return "[" + string(rune('0'+i)) + "]" }
			if h, x := got.Place(mark, mark); h != c.html || x != c.text {
				t.Errorf("Place gives %q and %q", h, x)
			}
			if h, x := got.Place(nil, nil); h != got.HTML || x != got.Text {
				t.Errorf("Place without anything gives %q and %q", h, x)
			}
		})
	}
}

func TestDamage(t *testing.T) {
	whole := htmlDoc(`{\*\htmltag64 <p>}Hello \'e4{\b \u8364?}{\*\htmltag72 </p>}`)
	for n := range whole {
		r, err := Convert([]byte(whole[:n]), Options{})
		if err != nil && !errors.Is(err, ErrNotRTF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if err == nil && n < len(whole)-3 && len(r.Warnings) == 0 {
			t.Fatalf("cut at %d: no warning", n)
		}
	}
	got, _ := Convert([]byte(strings.TrimRight(whole, "\x00\r\n}")), Options{})
	if got.HTML != "<p>Hello ä€</p>" || len(got.Warnings) != 1 {
		t.Errorf("document without its last brace: %q, %q", got.HTML, got.Warnings)
	}
}

func TestDeepNesting(t *testing.T) {
	const n = 300000
	in := `{\rtf1\fromhtml1 ` + strings.Repeat("{", n) + "x" + strings.Repeat("}", n) + "y}"
	got, err := Convert([]byte(in), Options{})
	if err != nil || got.HTML != "xy" || len(got.Warnings) != 1 {
		t.Errorf("%q, %q, %v", got.HTML, got.Warnings, err)
	}
}

func TestOutputCap(t *testing.T) {
	in := `{\rtf1\ansi\fromhtml1 ` + strings.Repeat(`{\*\htmltag84 <b>}`, 1000) + "}"
	got, err := Convert([]byte(in), Options{MaxOutput: 100})
	if err != nil || len(got.HTML) < 100 || len(got.HTML) > 110 || len(got.Warnings) != 1 {
		t.Errorf("%d bytes, %q, %v", len(got.HTML), got.Warnings, err)
	}
}
