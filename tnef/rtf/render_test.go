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
	{"footnote of two paragraphs", `a{\footnote one\par two}b\par`, p0 + "a [one two]b</p>\n", "a [one two]b\n"},
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
		"<ol style=\"margin-top:0;margin-bottom:0\" start=\"5\">\n<li>five</li>\n</ol>\n", "5) five\n"},
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

	{"border widths, styles and colours", `\trowd\clbrdrt\brdrs\brdrw20\brdrcf1\clbrdrl\brdrdb\brdrw10\clbrdrb\brdrdash\brdrw15\clbrdrr\brdrnone\cellx1000\intbl a\cell\row`,
		table(row(`<td style="vertical-align:top;width:50pt;border-top:1pt solid #ff0000;border-bottom:0.75pt dashed;border-left:2.25pt double">a</td>`)), "a\n"},
	{"equal borders are said once", `\trowd\clbrdrt\brdrth\brdrw10\clbrdrl\brdrth\brdrw10\clbrdrb\brdrth\brdrw10\clbrdrr\brdrth\brdrw10\cellx1000\intbl a\cell\row`,
		table(row(`<td style="vertical-align:top;width:50pt;border:1pt solid">a</td>`)), "a\n"},
	{"borders of the row", `\trowd\trbrdrt\brdrs\brdrw20\trbrdrl\brdrs\brdrw20\trbrdrb\brdrs\brdrw20\trbrdrr\brdrs\brdrw20\trbrdrh\brdrdot\trbrdrv\brdrs\cellx1000\cellx2000\intbl a\cell b\cell\row c\cell d\cell\row`,
		table(row(`<td style="vertical-align:top;width:50pt;border-top:1pt solid;border-right:1px solid;border-bottom:1px dotted;border-left:1pt solid">a</td>`,
			`<td style="vertical-align:top;width:50pt;border-top:1pt solid;border-right:1pt solid;border-bottom:1px dotted;border-left:1px solid">b</td>`),
			row(`<td style="vertical-align:top;width:50pt;border-top:1px dotted;border-right:1px solid;border-bottom:1pt solid;border-left:1pt solid">c</td>`,
				`<td style="vertical-align:top;width:50pt;border-top:1px dotted;border-right:1pt solid;border-bottom:1pt solid;border-left:1px solid">d</td>`)), "a\tb\nc\td\n"},
	{"borders of a paragraph", `\pard\brdrb\brdrs\brdrw10\brdrcf1 a\par\pard\box\brdrs b\par\pard c\par`,
		`<p style="margin:0;border-bottom:0.5pt solid #ff0000">a</p>` + "\n" + `<p style="margin:0;border:1px solid">b</p>` + "\n" + p0 + "c</p>\n", "a\nb\nc\n"},
	{"shading", `\trowd\clcbpat3\cellx1000\clcfpat1\clshdng5000\cellx2000\trcbpat1\cellx3000\intbl a\cell b\cell c\cell\row\pard\cbpat3 d\par`,
		table(row(`<td style="vertical-align:top;width:50pt;background-color:#ffff00">a</td>`, `<td style="vertical-align:top;width:50pt;background-color:#ff0000">b</td>`,
			`<td style="vertical-align:top;width:50pt;background-color:#ff0000">c</td>`)) + `<p style="margin:0;background-color:#ffff00">d</p>` + "\n", "a\tb\tc\nd\n"},
	{"pattern on white", `\trowd\clshdng2500\cellx1000\intbl a\cell\row`,
		table(row(`<td style="vertical-align:top;width:50pt;background-color:#bfbfbf">a</td>`)), "a\n"},
	{"table in the middle, from right to left", `\trowd\trqc\rtlrow\cellx1000\pard\intbl\rtlpar\qr a\cell\row`,
		`<table cellspacing="0" cellpadding="4" dir="rtl" style="border-collapse:collapse;margin-left:auto;margin-right:auto">` + "\n" +
			row(`<td dir="rtl" style="vertical-align:top;width:50pt">a</td>`) + "</table>\n", "a\n"},
	{"alignment from right to left", `\pard\rtlpar\ql a\par\pard\rtlpar\qr b\par\pard\rtlpar\qc c\par`,
		`<p dir="rtl" style="margin:0;text-align:left">a</p>` + "\n" + `<p dir="rtl" style="margin:0">b</p>` + "\n" + `<p dir="rtl" style="margin:0;text-align:center">c</p>` + "\n", "a\nb\nc\n"},
	{"paragraph that goes on behind a cell", `\trowd\cellx1000\intbl a\cell\row\pard b\par`, table(row(td("50pt", "a"))) + p0 + "b</p>\n", "a\nb\n"},
	{"pn without its text", `\pard{\*\pn\pnlvlbody\pnlcltr\pnstart2{\pntxtb (}{\pntxta )}}\li360 x\par y\par\pard z\par`,
		`<ol style="margin-top:0;margin-bottom:0" type="a" start="2">` + "\n<li>x</li>\n<li>y</li>\n</ol>\n" + p0 + "z</p>\n", "(b) x\n(c) y\nz\n"},
	{"pn of bullets without its text", `\pard{\*\pn\pnlvlblt\pnf2{\pntxtb\'b7}}x\par\pard z\par`,
		`<ul style="margin-top:0;margin-bottom:0">` + "\n<li>x</li>\n</ul>\n" + p0 + "z</p>\n", "• x\nz\n"},
	{"item that skips numbers", `{\listtext 1.\tab}a\par{\listtext 4.\tab}b\par{\listtext 5.\tab}c\par`,
		`<ol style="margin-top:0;margin-bottom:0">` + "\n<li>a</li>\n" + `<li value="4">b</li>` + "\n<li>c</li>\n</ol>\n", "1. a\n4. b\n5. c\n"},

	{"more cells than the row has", `\trowd\cellx1000\cellx2000\intbl a\cell b\cell\cell\cell\row`, table(row(td("50pt", "a"), td("50pt", "b"))), "a\tb\n"},
	{"halves of a character apart", `\uc1\u-10179?\uc1\u-8694?{\u-10179?}{\u-8694?}\u-10179?\b x\par`, p0 + "😊😊<b>\uFFFDx</b></p>\n", "😊😊\uFFFDx\n"},
	{"drawing's text", `{\shp{\*\shpinst{\sp{\sn shapeType}{\sv 202}}{\shptxt inside\par}}{\shprslt old}}\par`, p0 + "inside</p>\n" + p0 + "&nbsp;</p>\n", "inside\n\n"},
	{"object", `{\object\objemb{\*\objclass Package}{\*\objdata 0105}{\result{shown}}}\par`, p0 + "shown</p>\n", "shown\n"},
	{"encapsulation in real RTF", `a{\*\htmltag64 <p>}b\par`, p0 + "ab</p>\n", "ab\n"},
}

// listDoc is a document with lists: 1 numbers its levels 1., a), i.; 2 has
// bullets; 3 legal numbers that begin with 5; 4 is 1 begun anew at 3; 5 has no
// numbers on its first level, and ordinal ones below that do not begin again.
func listDoc(body string) string {
	level := func(nfc, rest, text, numbers string) string {
		return `{\listlevel\levelnfc` + nfc + `\levelnfcn` + nfc + `\leveljc0\levelfollow0\levelstartat1` + rest + `\levelspace0\levelindent0` +
			`{\leveltext\leveltemplateid1` + text + `;}{\levelnumbers` + numbers + `;}\f1\fi-360\li720}`
	}
	return `{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}{\f2\fcharset2 Symbol;}}` + "\r\n" +
		`{\*\listtable{\list\listtemplateid1\listhybrid` +
		level("0", "", `\'02\'00.`, `\'01`) + level("4", "", `\'02\'01)`, `\'01`) + level("2", "", `\'03(\'02)`, `\'02`) + `{\listname One;}\listid11}` +
		`{\list` + level("23", "", `\'01\u-3913 ?`, ``) + level("23", "", `\'01o`, ``) + `\listid22}` +
		`{\list` + level("1", `\levelstartat5`, `\'02\'00.`, `\'01`) + level("0", `\levellegal1`, `\'03\'00.\'01`, `\'01\'03`) + `\listid33}` +
		`{\list` + level("255", "", `\'00`, ``) + level("5", `\levelnorestart1`, `\'01\'01`, `\'01`) + level("22", ``, `\'01\'02`, `\'01`) + `\listid55}}` +
		`{\*\listoverridetable{\listoverride\listid11\listoverridecount0\ls1}{\listoverride\listid22\listoverridecount0\ls2}{\listoverride\listid33\ls3}` +
		`{\listoverride\listid11\listoverridecount1{\lfolevel\listoverridestartat\levelstartat3}\ls4}{\listoverride\listid55\ls5}{\listoverride\listid99\ls6}}` +
		"\r\n" + `\uc1\pard\f0\fs24 ` + body + "}"
}

// TestLists numbers items that have no number of their own written down.
func TestLists(t *testing.T) {
	const (
		ol  = `<ol style="margin-top:0;margin-bottom:0"`
		ul  = `<ul style="margin-top:0;margin-bottom:0">`
		end = "</li>\n</ol>\n"
	)
	for _, c := range []struct{ name, in, html, text string }{
		{"numbers", `\ls1 a\par b\par\pard c\par`, ol + ">\n<li>a</li>\n<li>b" + end + p0 + "c</p>\n", "1. a\n2. b\nc\n"},
		{"levels", `\ls1 a\par\ilvl1 b\par c\par\ilvl2 d\par\ilvl0 e\par\ilvl1 f\par`,
			ol + ">\n<li>a" + ol + " type=\"a\">\n<li>b</li>\n<li>c" + ol + " type=\"i\">\n<li>d" + end + end + "</li>\n<li>e" + ol + " type=\"a\">\n<li>f" + end + end,
			"1. a\n  a) b\n  b) c\n    (i) d\n2. e\n  a) f\n"},
		{"list that goes on", `\ls1 a\par\pard b\par\ls1 c\par`, ol + ">\n<li>a" + end + p0 + "b</p>\n" + ol + " start=\"2\">\n<li>c" + end, "1. a\nb\n2. c\n"},
		{"list that begins again", `\ls1 a\par\ls4 c\par d\par`, ol + ">\n<li>a</li>\n<li value=\"3\">c</li>\n<li>d" + end, "1. a\n3. c\n4. d\n"},
		{"bullets", `\ls2 a\par\ilvl1\li1440 b\par`, ul + "\n<li>a" + ul + "\n<li>b</li>\n</ul>\n</li>\n</ul>\n", "• a\n  • b\n"},
		{"Roman numbers that begin late", `\ls3 a\par`, ol + " type=\"I\" start=\"5\">\n<li>a" + end, "V. a\n"},
		{"numbers of two levels", `\ls3 a\par\ilvl1 b\par c\par`, ol + " type=\"I\" start=\"5\">\n<li>a" + end + p0 + "5.1&nbsp; b</p>\n" + p0 + "5.2&nbsp; c</p>\n", "V. a\n5.1 b\n5.2 c\n"},
		{"level without numbers, and below it", `\ls5 a\par\ilvl1 b\par\ilvl0 c\par\ilvl1 d\par\ilvl2 e\par`,
			p0 + "a</p>\n" + p0 + "1st&nbsp; b</p>\n" + p0 + "c</p>\n" + p0 + "2nd&nbsp; d</p>\n" + p0 + "01&nbsp; e</p>\n", "a\n1st b\nc\n2nd d\n01 e\n"},
		{"numbers that are written down win", `\ls1{\listtext 7.\tab}a\par b\par`, ol + " start=\"7\">\n<li>a</li>\n<li>b" + end, "7. a\n8. b\n"},
		{"letter that looks like a Roman number", `\ls1\ilvl1{\listtext i)\tab}a\par`, ol + " type=\"a\" start=\"9\">\n<li>a" + end, "i) a\n"},
		{"no such list", `\ls6 a\par\ls77 b\par\ls1\ilvl8 c\par`, p0 + "a</p>\n" + p0 + "b</p>\n" + p0 + "c</p>\n", "a\nb\nc\n"},
		{"more than the alphabet", strings.Repeat(`\ls1\ilvl1\par`, 26) + ` x\par`, "", strings.Repeat("#", 26) + "aa) x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(listDoc(c.in)), Options{})
			if err != nil || len(got.Warnings) > 0 {
				t.Fatalf("%v, %q", err, got.Warnings)
			}
			if c.html == "" { // only the last line of the text counts
				lines := strings.SplitAfter(strings.TrimSuffix(got.Text, "\r\n"), "\r\n")
				if last := lines[len(lines)-1]; last+"\n" != strings.TrimLeft(c.text, "#") {
					t.Errorf("last line %q, want %q", last, c.text)
				}
				return
			}
			if d := cmp.Diff(c.html, content(t, got)); d != "" {
				t.Errorf("wrong HTML (-want +got):\n%s", d)
			}
			if d := cmp.Diff(strings.ReplaceAll(c.text, "\n", "\r\n"), got.Text); d != "" {
				t.Errorf("wrong text (-want +got):\n%s", d)
			}
		})
	}
}

// TestStyles: formatting of a style counts where the text only refers to it, and
// is never doubled.
func TestStyles(t *testing.T) {
	const sheet = `{\rtf1\ansi\deff0{\fonttbl{\f0 Arial;}{\f1\fmodern Courier New;}}{\colortbl;\red255\green0\blue0;}{\stylesheet{\fs24 Normal;}` +
		`{\s1\sbasedon0\snext0\sb240\b\fs32 heading 1;}{\s2\sbasedon1\i heading 2;}{\s3\sbasedon4 a;}{\s4\sbasedon3\b0\qc b;}{\*\cs10\additive\b Strong;}` +
		`{\*\cs11\additive\sbasedon10\f1\cf1 Code;}{\*\ts12\tsrowd\b Table;}}\pard\plain `
	const heading = `<p style="margin:12pt 0 0 0"><b>`
	for _, c := range []struct{ name, in, html string }{
		{"referred to", `\s1 a\par\pard\plain b\par`, heading + `a</b></p>` + "\n" + p0 + `<span style="font-size:12pt">b</span></p>` + "\n"},
		{"said again", `\s1\sb240\b\fs32 a\par`, heading + "a</b></p>\n"},
		{"said otherwise", `\s1\sb0\fs24 a\par`, p0 + "a</p>\n"},
		{"based on another", `\s2 a\par`, `<p style="margin:12pt 0 0 0"><b><i>a</i></b></p>` + "\n"},
		{"based on each other", `\s3 a\par\pard\plain\s4 b\par`, `<p style="margin:0;text-align:center">a</p>` + "\n" + `<p style="margin:0;text-align:center">b</p>` + "\n"},
		{"characters", `a{\cs10 b}{\cs11 c}d\par`, p0 + `a<b>b</b><span style="font-family:'Courier New',monospace;color:#ff0000"><b>c</b></span>d</p>` + "\n"},
		{"characters, said again", `a{\cs10\b b}\par`, p0 + "a<b>b</b></p>\n"},
		{"characters, said otherwise", `a{\cs10\i b}\par`, p0 + "a<i>b</i></p>\n"},
		{"group in a paragraph with a style", `\s1{\i a}b\par`, heading + `<i>a</i></b><b>b</b></p>` + "\n"},
		{"before plain", `\s1\plain a\par`, `<p style="margin:12pt 0 0 0">a</p>` + "\n"},
		{"table style, and none", `\s12 a\par\pard\s99 b\par`, p0 + "a</p>\n" + p0 + "b</p>\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(sheet+c.in+"}"), Options{})
			if err != nil || len(got.Warnings) > 0 {
				t.Fatalf("%v, %q", err, got.Warnings)
			}
			if d := cmp.Diff(c.html, content(t, got)); d != "" {
				t.Errorf("wrong HTML (-want +got):\n%s", d)
			}
			if strings.Contains(got.Text, "heading") || strings.Contains(got.Text, "Strong") {
				t.Errorf("the style sheet is in the text: %q", got.Text)
			}
		})
	}
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
