package rtf

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestHTMLToText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"only markup", "<html><body><p></p></body></html>", ""},
		{"bare text", "a", "a\n"},
		{"blanks are joined", "<body>  a \r\n\t b  </body>", "a b\n"},
		{"blank between elements", "<b>a</b> <i>b</i><u> c </u> d", "a b c d\n"},
		{"paragraphs", "<p>a</p><p>b</p>", "a\n\nb\n"},
		{"paragraphs that are not ended", "<p>a<p>b", "a\n\nb\n"},
		{"Outlook's paragraphs are lines", "<p class=MsoNormal>a<o:p></o:p></p>\r\n<p class=MsoNormal><o:p>&nbsp;</o:p></p>\r\n<p class=\"MsoNormal\">b</p>", "a\n\nb\n"},
		{"paragraphs without margins are lines", `<p style="margin:0">a</p><p style="MARGIN-TOP: 0px">b</p>`, "a\nb\n"},
		{"divisions are lines", "<div>a</div><div>b</div><div><br></div><div>c</div>", "a\nb\n\nc\n"},
		{"breaks", "a<br>b<br/><br />c", "a\nb\n\nc\n"},
		{"headings", "<h1>A</h1>text<h2>B</h2>", "A\n\ntext\n\nB\n"},
		{"references", "&lt;a&gt; &amp; &quot;b&quot; &#8364; &#x20AC; &uuml;&nbsp;&nbsp;x &nosuch;", "<a> & \"b\" € € ü  x &nosuch;\n"},
		{"invisible", "<head><title>T</title><style>p{}</style></head><script>var a='<p>';</script><!-- comment --><![if !vml]>a<![endif]><!--[if mso]>x<![endif]-->", "a\n"},
		{"hidden", `a<div style="display:none">b<div>c</div>d</div><span style="mso-hide:all">e</span><span hidden>f</span>g`, "ag\n"},
		{"hidden but void", `a<input style="display:none">b<img style="display:none" alt="x">c`, "abc\n"},
		{"link", `<a href="http://www.contoso.com/">Contoso</a>.`, "Contoso <http://www.contoso.com/>.\n"},
		{"link that says its address", `<a href="http://www.contoso.com/">www.contoso.com</a> <a href="mailto:user@contoso.com">user@contoso.com</a>`, "www.contoso.com user@contoso.com\n"},
		{"mail link", `<a href="mailto:user@contoso.com">Write</a>`, "Write <user@contoso.com>\n"},
		{"links that lead nowhere", `<a href="#top">a</a><a name="x">b</a><a href="javascript:x()">c</a><a href="cid:1">d</a>`, "abcd\n"},
		{"link around an image", `<a href="http://contoso.com"><img alt="Logo" src="cid:1"></a>`, "[Logo] <http://contoso.com>\n"},
		{"link without text", `<a href="http://contoso.com"><img src="cid:1"></a>x`, "x\n"},
		{"link that is not ended", `<a href="http://contoso.com">a<a href="http://fabrikam.com">b</a>`, "a <http://contoso.com>b <http://fabrikam.com>\n"},
		{"bullets", "<p>a</p><ul><li>b</li><li>c<ul><li>d</li></ul></li></ul>e", "a\n\n• b\n• c\n  • d\ne\n"},
		{"numbers", `<ol start=3><li>a<li>b<li value=9>c</ol><ol type=a><li>d</ol>`, "3. a\n4. b\n9. c\na. d\n"},
		{"paragraphs in items", "<ul><li><p>a</p></li><li><p>b</p></li></ul>", "• a\n\n• b\n"},
		{"empty items", "<ul><li></li><li>a<li><li>b</ul>", "•\n• a\n•\n• b\n"},
		{"table", "<table><tr><th>a</th><th>b</th></tr>\r\n<tr><td>c</td>\r\n<td>d</td></tr></table>e", "a\tb\nc\td\ne\n"},
		{"layout table", "<table><tr><td><table><tr><td><p>a</p></td></tr></table></td></tr><tr><td>b</td></tr></table>", "a\n\nb\n"},
		{"quotation", "a<blockquote>b<br>c<blockquote>d</blockquote></blockquote>e", "a\n> b\n> c\n> > d\ne\n"},
		{"preformatted", "<pre>a\r\n  b\tc\n\nd</pre>e", "a\n  b\tc\n\nd\ne\n"},
		{"rule", "a<hr>b", "a\n" + strings.Repeat("_", 32) + "\nb\n"},
		{"Wingdings", `<span style='font-family:Wingdings'>J</span> <span style="font-size:1pt;FONT-FAMILY: 'Symbol' , serif">&middot;<span style='font-size:7pt'>a</span><span style='font-family:Arial'>a</span></span><font face=Wingdings>L</font>J`, "☺ •αa☹J\n"},
		{"invisible characters", "a&shy;b\u200bc\ufeff\x01", "abc\n"},
		{"upper case", "<P>A</P><BR><SCRIPT>x</SCRIPT><A HREF='HTTP://CONTOSO.COM'>C</A>", "A\n\n\nC <HTTP://CONTOSO.COM>\n"},
		{"unknown elements", "<x:y>a</x:y><center>b</center>", "a\nb\n"},
		{"bare less-than", "1 < 2 and 3 <4", "1 < 2 and 3 <4\n"},
		{"cut tag", "a<p clas", "a\n"},
		{"ends without beginnings", "</p></ul></a></span></blockquote></pre>a</td></div>", "a\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.ReplaceAll(c.want, "\n", "\r\n")
			if d := cmp.Diff(want, HTMLToText(c.in)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestTextToHTML(t *testing.T) {
	body := func(s string) string {
		return "<html><head>\r\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">\r\n</head>\r\n<body>\r\n<div>" +
			strings.ReplaceAll(s, "\n", "\r\n") + "</div>\r\n</body></html>\r\n"
	}
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"lines", "a\r\nb\nc\rd\r\n", "a<br>\nb<br>\nc<br>\nd"},
		{"empty lines", "a\n\nb\n\n", "a<br>\n<br>\nb<br>\n"},
		{"markup", "a < b & c > d", "a &lt; b &amp; c &gt; d"},
		{"blanks", "  a  b\tc", "&nbsp;&nbsp;a &nbsp;b&nbsp;&nbsp;&nbsp; c"},
		{"address", "see http://www.contoso.com/a?b=1&c=2. Or (https://fabrikam.com)!",
			`see <a href="http://www.contoso.com/a?b=1&amp;c=2">http://www.contoso.com/a?b=1&amp;c=2</a>. Or (<a href="https://fabrikam.com">https://fabrikam.com</a>)!`},
		{"address in angle brackets", "<http://contoso.com>", `&lt;<a href="http://contoso.com">http://contoso.com</a>&gt;`},
		{"address with parentheses", "http://contoso.com/a_(b)", `<a href="http://contoso.com/a_(b)">http://contoso.com/a_(b)</a>`},
		{"no address", "javascript://x xhttp://a", "javascript://x xhttp://a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(body(c.want), TextToHTML(c.in)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestSetMetaCharset(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"content type", `<html><head><meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"></head>`,
			`<html><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head>`},
		{"no quotes", `<META HTTP-EQUIV=Content-Type CONTENT="text/html; CHARSET = windows-1252">`, `<META HTTP-EQUIV=Content-Type CONTENT="text/html; CHARSET = utf-8">`},
		{"short form", `<meta charset="gb2312">`, `<meta charset="utf-8">`},
		{"short form, bare", `<meta charset=gb2312/>`, `<meta charset=utf-8/>`},
		{"over two lines", "<meta\r\nhttp-equiv=Content-Type\r\ncontent='text/html;\r\ncharset=koi8-r'>", "<meta\r\nhttp-equiv=Content-Type\r\ncontent='text/html;\r\ncharset=utf-8'>"},
		{"twice", `<meta charset=a><meta charset=b>`, `<meta charset=utf-8><meta charset=utf-8>`},
		{"XML declaration", `<?xml version="1.0" encoding="ISO-8859-1"?><html>`, `<?xml version="1.0" encoding="utf-8"?><html>`},
		{"none", `<html><head><meta name=Generator content="x"></head>`, `<html><head><meta name=Generator content="x"></head>`},
		{"already", `<meta charset=utf-8>`, `<meta charset=utf-8>`},
		{"not in the body", `<head></head><BODY><meta charset=a>charset=b`, `<head></head><BODY><meta charset=a>charset=b`},
		{"not elsewhere", `<a href="?charset=x">`, `<a href="?charset=x">`},
		{"nothing", ``, ``},
	} {
		if got := SetMetaCharset(c.in, "utf-8"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestHTMLToTextLinear converts hostile documents of some size.
func TestHTMLToTextLinear(t *testing.T) {
	const n = 100000
	for name, in := range map[string]string{
		"elements":    strings.Repeat("<div>", n),
		"quotations":  strings.Repeat("<blockquote>a", n/10),
		"lists":       strings.Repeat("<ul><li>a", n/8),
		"links":       strings.Repeat(`<a href="http://a">`, n/20),
		"long link":   `<a href="http://a">` + strings.Repeat("b<b>", n),
		"fonts":       strings.Repeat(`<span style="font-family:Symbol">`, n/30),
		"cells":       strings.Repeat(`<td>`, n),
		"blanks":      strings.Repeat("&nbsp;", n) + "<br>",
		"breaks":      strings.Repeat("a <br>", n),
		"brackets":    strings.Repeat("<", n),
		"hidden":      strings.Repeat("<div hidden>", n/10),
		"attributes":  "<p " + strings.Repeat("a=b ", n) + ">",
		"cut comment": "<!--" + strings.Repeat("<!-", n),
	} {
		start := time.Now()
		out := HTMLToText(in)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		if len(out) > 60*len(in) {
			t.Errorf("%s: %d bytes from %d", name, len(out), len(in))
		}
	}
}

func FuzzHTMLToText(f *testing.F) {
	f.Add("<p>a</p><ul><li>b</ul><table><td>c<a href='http://d'>e</a>")
	f.Add("<pre> a\r\n</pre><blockquote>&nbsp;<span style='font-family:Wingdings'>J")
	f.Add(`<meta charset=x><?xml encoding="y"?>`)
	f.Fuzz(func(t *testing.T, in string) {
		out := HTMLToText(in)
		if utf8.ValidString(in) && !utf8.ValidString(out) {
			t.Fatalf("invalid UTF-8: %q", out)
		}
		if out != "" && !strings.HasSuffix(out, lineEnd) {
			t.Fatalf("no line end: %q", out)
		}
		if strings.Contains(strings.ReplaceAll(out, lineEnd, ""), "\n") {
			t.Fatalf("bare LF: %q", out)
		}
		back := TextToHTML(out)
		if strings.Count(back, "<") < 8 {
			t.Fatalf("not a document: %q", back)
		}
		set := SetMetaCharset(in, "utf-8")
		if SetMetaCharset(set, "utf-8") != set {
			t.Fatalf("SetMetaCharset is not stable on %q", in)
		}
	})
}

func BenchmarkHTMLToText(b *testing.B) {
	r, err := Convert([]byte(sampleEncapsulated(200<<10)), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(r.HTML)))
	b.ReportAllocs()
	for b.Loop() {
		HTMLToText(r.HTML)
	}
}
