package rtf

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// realDoc is a real RTF document around body, as a mail client writes it.
func realDoc(body string) string {
	return `{\rtf1\ansi\ansicpg1252\deff0\deflang1033{\fonttbl{\f0\fswiss\fcharset0 Arial;}` +
		`{\f1\fmodern\fcharset0 Courier New;}{\f2\fnil\fcharset2 Symbol;}{\f3\fnil\fcharset2 Wingdings;}` +
		`{\f4\fswiss\fcharset204 Arial;}{\f5\fnil\fcharset2 Corporate Pictures;}}` + "\r\n" +
		`{\colortbl ;\red255\green0\blue0;\red0\green0\blue0;\red255\green255\blue0;}` + "\r\n" +
		`{\stylesheet{\s0 Normal;}{\s1 heading 1;}}{\info{\author Contoso}{\title Secret}}` +
		`{\*\generator Riched20 5.50;}\viewkind4\uc1\pard\f0\fs20 ` + body + "}"
}

// content returns what a rendering has inside its body.
func content(t *testing.T, r Result) string {
	t.Helper()
	_, s, ok := strings.Cut(r.HTML, "<body")
	_, s, _ = strings.Cut(s, ">\r\n")
	s, _, end := strings.Cut(s, "</body></html>\r\n")
	if !ok || !end {
		t.Fatalf("not a document: %q", r.HTML)
	}
	return strings.ReplaceAll(s, "\r\n", "\n")
}

const p0 = `<p style="margin:0">`

var renderCases = []struct {
	name, in, html, text string
}{
	{"nothing", ``, "", ""},
	{"paragraphs", `one\par two\par`, p0 + "one</p>\n" + p0 + "two</p>\n", "one\ntwo\n"},
	{"paragraph that is not ended", `one\par two`, p0 + "one</p>\n" + p0 + "two</p>\n", "one\ntwo\n"},
	{"empty paragraph", `one\par\par two\par`, p0 + "one</p>\n" + p0 + "&nbsp;</p>\n" + p0 + "two</p>\n", "one\n\ntwo\n"},
	{"backslash and line end", "one\\\r\ntwo\\\n", p0 + "one</p>\n" + p0 + "two</p>\n", "one\ntwo\n"},
	{"line break", `one\line two\par`, p0 + "one<br>\ntwo</p>\n", "one\ntwo\n"},
	{"markup is escaped", `a < b & "c" > d\par`, p0 + `a &lt; b &amp; "c" &gt; d</p>` + "\n", "a < b & \"c\" > d\n"},
	{"blanks", `  a   b\tab c\par`, p0 + "&nbsp;&nbsp;a &nbsp;&nbsp;b&nbsp;&nbsp;&nbsp; c</p>\n", "  a   b\tc\n"},
	{"bold and its like", `a\b b\b0\i c\i0\ul d\ulnone\strike e\strike0 f\par`,
		p0 + "a<b>b</b><i>c</i><u>d</u><s>e</s>f</p>\n", "abcdef\n"},
	{"combined", `\b\i a\i0 b\b0\par`, p0 + "<b><i>a</i></b><b>b</b></p>\n", "ab\n"},
	{"formats end with their group", `{\b a}b\par`, p0 + "<b>a</b>b</p>\n", "ab\n"},
	{"plain", `\b\fs40 a\plain\f0\fs20 b\par`, `<p style="margin:0"><b>a</b><span style="font-size:10pt">b</span></p>` + "\n", "ab\n"},
	{"super and sub", `x\super 2\nosupersub y\sub 1\nosupersub z{\up6 3}{\dn6 4}\par`,
		p0 + "x<sup>2</sup>y<sub>1</sub>z<sup>3</sup><sub>4</sub></p>\n", "x2y1z34\n"},
	{"font and size", `a\f1\fs24 b\par`, p0 + `a<span style="font-family:'Courier New',monospace;font-size:12pt">b</span></p>` + "\n", "ab\n"},
	{"half sizes", `a\fs21 b\par`, p0 + `a<span style="font-size:10.5pt">b</span></p>` + "\n", "ab\n"},
	{"colours", `a\cf1 b\cf0\highlight3 c\highlight0\cf2 d\cf99 e\par`,
		p0 + `a<span style="color:#ff0000">b</span><span style="background-color:#ffff00">c</span>de</p>` + "\n", "abcde\n"},
	{"capitals", `{\caps Big}{\scaps Small}\par`,
		p0 + `<span style="text-transform:uppercase">Big</span><span style="font-variant:small-caps">Small</span></p>` + "\n", "BIGSmall\n"},
	{"hidden and deleted", `a{\v secret}{\deleted gone}b\par`, p0 + "ab</p>\n", "ab\n"},
	{"alignment", `\pard\qc a\par\pard\qr b\par\pard\qj c\par\pard d\par`,
		`<p style="margin:0;text-align:center">a</p>` + "\n" + `<p style="margin:0;text-align:right">b</p>` + "\n" +
			`<p style="margin:0;text-align:justify">c</p>` + "\n" + p0 + "d</p>\n", "a\nb\nc\nd\n"},
	{"indents and distances", `\pard\li720\ri360\fi-360\sb100\sa200 a\par`,
		`<p style="margin:5pt 18pt 10pt 36pt;text-indent:-18pt">a</p>` + "\n", "a\n"},
	{"right to left", `\pard\rtlpar a\par`, `<p dir="rtl" style="margin:0">a</p>` + "\n", "a\n"},
	{"characters", `\lquote\rquote\ldblquote\rdblquote\bullet\endash\emdash\~\_\-\par`, p0 + "‘’“”•–—\u00a0\u2011\u00ad</p>\n", "‘’“”•–—\u00a0\u2011\u00ad\n"},
	{"code pages", `\'e4\f4\'cf\f0\u8364?\u-10179?\u-8694?\par`, p0 + "äП€😊</p>\n", "äП€😊\n"},
	{"both spellings in one", `{\upr{ansi}{\*\ud{unicode \u8364?}}}\par`, p0 + "unicode €</p>\n", "unicode €\n"},
	{"header and footer", `{\header top\par}{\footer bottom\par}{\footerf x}text\par`, p0 + "text</p>\n", "text\n"},
	{"footnote", `a{\footnote \pard\plain\f0\fs20 see below}b\par`, p0 + "a [see below]b</p>\n", "a [see below]b\n"},
	{"bookmark", `{\*\bkmkstart here}text{\*\bkmkend here}\par`, p0 + "text</p>\n", "text\n"},
	{"page break", `a\page b\par\sect c\par`, p0 + "a</p>\n" + p0 + "b</p>\n" + p0 + "c</p>\n", "a\nb\nc\n"},

	{"symbols", `{\f3 J}{\f2\'b7}{\f3\'fc}\u-4022? x\par`, p0 + "☺•✔\uf04a x</p>\n", "☺•✔\uf04a x\n"},
	{"symbol in its private form", `{\f3\u-4022?}\par`, p0 + "☺</p>\n", "☺\n"},
	{"font of pictures nobody knows", `x{\f5 A\'e4}\par`, p0 + `x<span style="font-family:'Corporate Pictures'">Aä</span></p>` + "\n", "xAä\n"},

	{"link", `{\field{\*\fldinst{HYPERLINK "http://www.contoso.com/a?b=1&c=2"}}{\fldrslt{\cf1\ul Contoso}}} x\par`,
		p0 + `<a href="http://www.contoso.com/a?b=1&amp;c=2">Contoso</a> x</p>` + "\n", "Contoso <http://www.contoso.com/a?b=1&c=2> x\n"},
	{"link that says its address", `{\field{\*\fldinst HYPERLINK "mailto:user@contoso.com"}{\fldrslt user@contoso.com}}\par`,
		p0 + `<a href="mailto:user@contoso.com">user@contoso.com</a></p>` + "\n", "user@contoso.com\n"},
	{"link in several formats", `{\field{\*\fldinst{HYPERLINK "http://a.contoso.com"}}{\fldrslt{a\b b}}}\par`,
		p0 + `<a href="http://a.contoso.com">a<b>b</b></a></p>` + "\n", "ab <http://a.contoso.com>\n"},
	{"two links", `{\field{\*\fldinst HYPERLINK "http://a.contoso.com"}{\fldrslt a}}{\field{\*\fldinst HYPERLINK "http://b.contoso.com"}{\fldrslt b}}\par`,
		p0 + `<a href="http://a.contoso.com">a</a><a href="http://b.contoso.com">b</a></p>` + "\n", "a <http://a.contoso.com>b <http://b.contoso.com>\n"},
	{"link to a place", `{\field{\*\fldinst HYPERLINK "http://contoso.com" \\l "top" \\o "tip"}{\fldrslt a}}\par`,
		p0 + `<a href="http://contoso.com#top">a</a></p>` + "\n", "a <http://contoso.com#top>\n"},
	{"link to a place here", `{\field{\*\fldinst HYPERLINK \\l "top"}{\fldrslt a}}\par`, p0 + `<a href="#top">a</a></p>` + "\n", "a\n"},
	{"link to a share", `{\field{\*\fldinst HYPERLINK "\\\\\\\\server\\\\share\\\\a b.doc"}{\fldrslt doc}}\par`,
		p0 + `<a href="file://server/share/a b.doc">doc</a></p>` + "\n", "doc <file://server/share/a b.doc>\n"},
	{"script is no link", `{\field{\*\fldinst HYPERLINK " JavaScript:alert(1)"}{\fldrslt a}}\par`, p0 + "a</p>\n", "a\n"},
	{"link without quotes", `{\field{\*\fldinst HYPERLINK http://contoso.com }{\fldrslt a}}\par`, p0 + `<a href="http://contoso.com">a</a></p>` + "\n", "a <http://contoso.com>\n"},
	{"link without a result", `{\field{\*\fldinst HYPERLINK "http://contoso.com"}}\par`,
		p0 + `<a href="http://contoso.com">http://contoso.com</a></p>` + "\n", "http://contoso.com\n"},
	{"quote in a link", `{\field{\*\fldinst HYPERLINK "http://contoso.com/\\"><script>"}{\fldrslt a}}\par`,
		p0 + `<a href="http://contoso.com/&quot;&gt;&lt;script&gt;">a</a></p>` + "\n", "a <http://contoso.com/\"><script>>\n"},
	{"other field", `{\field{\*\fldinst PAGE}{\fldrslt 7}}\par`, p0 + "7</p>\n", "7\n"},
	{"symbol field", `{\field{\*\fldinst SYMBOL 74 \\f "Wingdings" \\s 11}}\par`, p0 + "☺</p>\n", "☺\n"},

	{"bullets", `\pard{\pntext\f2\'B7\tab}{\*\pn\pnlvlblt\pnf2\pnindent0{\pntxtb\'B7}}\fi-360\li720 one\par{\pntext\f2\'B7\tab}two\par\pard after\par`,
		"<ul style=\"margin-top:0;margin-bottom:0\">\n<li>one</li>\n<li>two</li>\n</ul>\n" + p0 + "after</p>\n", "• one\n• two\nafter\n"},
	{"numbers", `\pard{\pntext 1.\tab}\li720 one\par{\pntext 2.\tab}two\par`,
		"<ol style=\"margin-top:0;margin-bottom:0\">\n<li>one</li>\n<li>two</li>\n</ol>\n", "1. one\n2. two\n"},
	{"numbers that begin later", `\pard{\listtext 5)\tab}\li720 five\par`,
		"<ol style=\"margin-top:0;margin-bottom:0\" start=\"5\">\n<li>five</li>\n</ol>\n", "5. five\n"},
	{"letters and Roman numerals", `\pard{\listtext a.\tab}\li720 x\par{\listtext b.\tab}y\par\pard z\par{\listtext IV.\tab}\li720 w\par`,
		"<ol style=\"margin-top:0;margin-bottom:0\" type=\"a\">\n<li>x</li>\n<li>y</li>\n</ol>\n" + p0 + "z</p>\n" +
			"<ol style=\"margin-top:0;margin-bottom:0\" type=\"I\" start=\"4\">\n<li>w</li>\n</ol>\n", "a. x\nb. y\nz\nIV. w\n"},
	{"nested lists", `\pard{\listtext\f2\'b7\tab}\ls1\ilvl0\li720 a\par{\listtext\f1 o\tab}\ilvl1\li1440 b\par{\listtext\f2\'b7\tab}\ilvl0\li720 c\par`,
		"<ul style=\"margin-top:0;margin-bottom:0\">\n<li>a<ul style=\"margin-top:0;margin-bottom:0\">\n<li>b</li>\n</ul>\n</li>\n<li>c</li>\n</ul>\n", "• a\n  • b\n• c\n"},
	{"label that HTML has no list for", `\pard{\listtext 1.2\tab}\li720\fi-360 x\par`,
		`<p style="margin:0 0 0 36pt;text-indent:-18pt">1.2&nbsp; x</p>` + "\n", "1.2 x\n"},

	{"table", `\trowd\cellx1000\cellx3000\pard\intbl a\cell b\cell\row\trowd\cellx1000\cellx3000 c\cell d\cell\row\pard after\par`,
		table(row(td("50pt", "a"), td("100pt", "b")), row(td("50pt", "c"), td("100pt", "d"))) + p0 + "after</p>\n", "a\tb\nc\td\nafter\n"},
	{"borders and colours", `\trowd\clbrdrt\brdrs\clbrdrl\brdrs\clbrdrb\brdrs\clbrdrr\brdrs\clcbpat3\cellx1000\clbrdrb\brdrs\clvertalc\cellx2000\pard\intbl\qc a\cell\ql b\cell\row`,
		table(row(`<td style="vertical-align:top;width:50pt;border:1px solid;background-color:#ffff00;text-align:center">a</td>`,
			`<td style="vertical-align:middle;width:50pt;border-bottom:1px solid">b</td>`)), "a\tb\n"},
	{"columns that differ", `\trowd\cellx1000\cellx2000\intbl a\cell b\cell\row\trowd\cellx2000 c\cell\row`,
		table(row(td("50pt", "a"), td("50pt", "b")), row(`<td colspan="2" style="vertical-align:top;width:100pt">c</td>`)), "a\tb\nc\n"},
	{"merged cells", `\trowd\clmgf\cellx1000\clmrg\cellx2000\intbl a\cell\cell\row\trowd\cellx1000\cellx2000 b\cell c\cell\row`,
		table(row(`<td colspan="2" style="vertical-align:top;width:100pt">a</td>`), row(td("50pt", "b"), td("50pt", "c"))), "a\t\nb\tc\n"},
	{"cells merged downwards", `\trowd\clvmgf\cellx1000\cellx2000\intbl a\cell b\cell\row\trowd\clvmrg\cellx1000\cellx2000\cell c\cell\row`,
		table(row(`<td rowspan="2" style="vertical-align:top;width:50pt">a</td>`, td("50pt", "b")), row(td("50pt", "c"))), "a\tb\n\tc\n"},
	{"merged cells with content", `\trowd\clvmgf\cellx1000\clmgf\cellx2000\clmrg\cellx3000\intbl a\cell b\cell c\cell\row\trowd\clvmrg\cellx1000\cellx3000 d\cell e\cell\row`,
		table(row(`<td rowspan="2" style="vertical-align:top;width:50pt">a<br>`+"\nd</td>", `<td colspan="2" style="vertical-align:top;width:100pt">b<br>`+"\nc</td>"),
			row(`<td colspan="2" style="vertical-align:top;width:100pt">e</td>`)), "a\tb\tc\nd\te\n"},
	{"two paragraphs in a cell", `\trowd\cellx1000\pard\intbl a\par b\cell\row`,
		table(row(td("50pt", p0+"a</p>\n"+p0+"b</p>"))), "a b\n"},
	{"list in a cell", `\trowd\cellx1000\pard\intbl{\pntext\f2\'b7\tab}a\cell\row`,
		table(row(td("50pt", "<ul style=\"margin-top:0;margin-bottom:0\">\n<li>a</li>\n</ul>"))), "• a\n"},
	{"nested table", `\trowd\cellx4000\pard\intbl x\par\pard\intbl\itap2 a\nestcell b\nestcell{\*\nesttableprops\trowd\cellx1000\cellx2000\nestrow}{\nonesttables\par}` +
		`\pard\intbl\itap1 y\cell\trowd\cellx4000\row\pard z\par`,
		table(row(td("200pt", p0+"x</p>\n"+table(row(td("50pt", "a"), td("50pt", "b")))+p0+"y</p>"))) + p0 + "z</p>\n", "x a\tb y\nz\n"},
	{"row that never ends", `\trowd\cellx1000\intbl a\cell b`, table(row(td("50pt", "a"), `<td style="vertical-align:top">b</td>`)), "a\tb\n"},
	{"cells nobody defined", `\intbl a\cell b\cell\row`, table(row(`<td style="vertical-align:top">a</td>`, `<td style="vertical-align:top">b</td>`)), "a\tb\n"},

	{"drawing's text", `{\shp{\*\shpinst{\sp{\sn shapeType}{\sv 202}}{\shptxt inside\par}}{\shprslt old}}\par`, p0 + "inside</p>\n" + p0 + "&nbsp;</p>\n", "inside\n\n"},
	{"object", `{\object\objemb{\*\objclass Package}{\*\objdata 0105}{\result{shown}}}\par`, p0 + "shown</p>\n", "shown\n"},
	{"encapsulation in real RTF", `a{\*\htmltag64 <p>}b\par`, p0 + "ab</p>\n", "ab\n"},
}

func td(width, s string) string {
	return `<td style="vertical-align:top;width:` + width + `">` + s + "</td>"
}

func row(cells ...string) string {
	return "<tr>\n" + strings.Join(cells, "\n") + "\n</tr>\n"
}

func table(rows ...string) string {
	return `<table cellspacing="0" cellpadding="4" style="border-collapse:collapse">` + "\n" + strings.Join(rows, "") + "</table>\n"
}

func TestRender(t *testing.T) {
	for _, c := range renderCases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(realDoc(c.in)), Options{})
			if err != nil || got.Kind != RealRTF {
				t.Fatalf("Convert: %v, %v", got.Kind, err)
			}
			if d := cmp.Diff(c.html, content(t, got)); d != "" {
				t.Errorf("wrong HTML (-want +got):\n%s", d)
			}
			if d := cmp.Diff(strings.ReplaceAll(c.text, "\n", "\r\n"), got.Text); d != "" {
				t.Errorf("wrong text (-want +got):\n%s", d)
			}
			if len(got.Warnings) > 0 {
				t.Errorf("warnings: %q", got.Warnings)
			}
		})
	}
}

func TestRenderBody(t *testing.T) {
	got, err := Convert([]byte(realDoc(`{\*\background{\shp{\*\shpinst{\sp{\sn fillColor}{\sv 16711680}}{\sp{\sn fFilled}{\sv 1}}}}}\f1\fs22 x\par`)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := "<html><head>\r\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">\r\n</head>\r\n" +
		"<body style=\"font-family:'Courier New',monospace;font-size:11pt;background-color:#0000ff\">\r\n" +
		"<p style=\"margin:0\">x</p>\r\n</body></html>\r\n"
	if d := cmp.Diff(want, got.HTML); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestRenderObjects(t *testing.T) {
	got, err := Convert([]byte(realDoc(`\objattph\'20\b a\b0\objattph\'20b\par\trowd\cellx1000\intbl c\objattph  d\cell\row\pard\objattph\par`)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	mark := func(i int) string { return "[" + string(rune('0'+i)) + "]" }
	html, text := got.Place(mark, mark)
	got.HTML = html
	want := p0 + "[0]<b>a</b>[1]b</p>\n" + table(row(td("50pt", "c[2]d"))) + p0 + "[3]&nbsp;</p>\n"
	if d := cmp.Diff(want, content(t, got)); d != "" {
		t.Errorf("HTML (-want +got):\n%s", d)
	}
	if d := cmp.Diff("[0]a[1]b\r\nc[2]d\r\n[3]\r\n", text); d != "" {
		t.Errorf("text (-want +got):\n%s", d)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		label  string
		kind   listKind
		number int
		ok     bool
	}{
		{"•", listKind{}, 0, true},
		{"-", listKind{}, 0, true},
		{"o", listKind{}, 0, true},
		{"1.", listKind{true, '1'}, 1, true},
		{"12", listKind{true, '1'}, 12, true},
		{"(3)", listKind{true, '1'}, 3, true},
		{"b)", listKind{true, 'a'}, 2, true},
		{"C.", listKind{true, 'A'}, 3, true},
		{"iv.", listKind{true, 'i'}, 4, true},
		{"XL.", listKind{true, 'I'}, 40, true},
		{"i.", listKind{true, 'i'}, 1, true},
		{"d.", listKind{true, 'a'}, 4, true},
		{"iiii.", listKind{}, 0, false},
		{"1.1.", listKind{}, 0, false},
		{"Chapter 1", listKind{}, 0, false},
		{"ab", listKind{}, 0, false},
		{"1234567890.", listKind{}, 0, false},
	} {
		kind, number, ok := classify(c.label)
		if kind != c.kind || number != c.number || ok != c.ok {
			t.Errorf("classify(%q) = %v, %d, %v, want %v, %d, %v", c.label, kind, number, ok, c.kind, c.number, c.ok)
		}
	}
	for n := 1; n < 4000; n++ {
		if got := romanValue(roman(n)); got != n {
			t.Fatalf("%d is %s is %d", n, roman(n), got)
		}
	}
}
