package rtf

import (
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

// scanned lists the pieces of a document, text joined and in its final form.
func scanned(doc string) []string {
	var out []string
	text := ""
	end := func() {
		if text != "" {
			out = append(out, "text "+text)
			text = ""
		}
	}
	z := htmlScanner{doc: doc}
	for {
		p := z.next()
		switch p.kind {
		case htmlEnd:
			end()
			return out
		case htmlText:
			unescapeTo(p.text, func(s string) { text += s })
		case htmlRawText:
			text += p.text
		case htmlStartTag:
			end()
			out = append(out, "<"+p.name+">"+p.attr.href)
		case htmlEndTag:
			end()
			out = append(out, "</"+p.name+">")
		}
	}
}

// tokenized is the same by another implementation of the HTML Standard.
func tokenized(doc string) []string {
	var out []string
	text := ""
	end := func() {
		if text != "" {
			out = append(out, "text "+text)
			text = ""
		}
	}
	z := html.NewTokenizer(strings.NewReader(doc))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF {
				return []string{z.Err().Error()}
			}
			end()
			return out
		case html.TextToken:
			text += string(z.Text())
		case html.StartTagToken, html.SelfClosingTagToken:
			end()
			t := z.Token()
			href := ""
			for _, a := range t.Attr {
				if a.Key == "href" {
					href = a.Val
					break
				}
			}
			out = append(out, "<"+t.Data+">"+href)
		case html.EndTagToken:
			end()
			name, _ := z.TagName()
			out = append(out, "</"+string(name)+">")
		}
	}
}

var scanCases = []string{
	"", "a", "a<b>c</b>d", "<P CLASS=x>A</P>", "a < b <3 <", "<", "</", "</>", "</ x>a", "<!-- a --> b", "<!-->a", "<!--->a", "<!---->a", "<!--a--!>b", "<!--a", "<!-- a -- b -->c",
	"<!DOCTYPE html>a", "<![if !vml]>a<![endif]>", "<?xml version='1'?>a", "<?xml", "<!", "<![CDATA[a]]>b",
	"<a href=x>y", "<a href='x y'>z", `<a href="x>y">z`, `<a href = "x" >z`, "<a href>z", "<a href=>z", "<a href= >z", "<a HREF=x href=y>z", "<a/href=x>z", "<a b/>c", "<br/>", "<a ='b' href=c>d", "<a href=x", `<a href="x`,
	"<a href='a&amp;b'>", "<a href=a&lt;b>", "<a href='?a=1&copy=2&lt&ltx&gt=&amp;&euro;&#65&#x41x'>", "&amp;&lt;&#8364;&#x20ac;&nosuch;&ampx &amp", "&notin; &not; &notit;", "&", "&;", "&#", "&#;", "&#x;", strings.Repeat("&a", 40),
	"<script>a<b></script>c", "<script>a</scriptx></script >c", "<script>a", "<STYLE>x</style>y", "<title>a&amp;b<i></title>c", "<textarea><p>&lt;</textarea>", "<xmp>&amp;<b></xmp>", "<iframe><p></iframe>a", "<plaintext>a</plaintext>",
	"<p\n\tclass\n=\nx\n>a", "<o:p></o:p>", "<x-y z>", "<a\fb>", "</p class=x>a", "<b<i>c", "<span style='font-family:\"A\"'>b",
}

func TestHTMLScanner(t *testing.T) {
	for _, doc := range scanCases {
		if d := cmp.Diff(tokenized(doc), scanned(doc)); d != "" {
			t.Errorf("%q (-want +got):\n%s", doc, d)
		}
	}
}

// TestHTMLScannerMutants compares the two on documents that were damaged. Left
// out is where they differ on purpose: line ends and NUL, which HTMLToText deals
// with itself, text that is no UTF-8, noscript, whose content a mail reader shows,
// and upper case beyond ASCII.
func TestHTMLScannerMutants(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	all := strings.Join(scanCases, "")
	for range 20_000 {
		var doc []byte
		for range 1 + r.IntN(3) {
			c := scanCases[r.IntN(len(scanCases))]
			doc = append(doc, c...)
		}
		for range r.IntN(6) {
			if len(doc) == 0 {
				break
			}
			i := r.IntN(len(doc))
			switch r.IntN(3) {
			case 0:
				doc[i] = all[r.IntN(len(all))]
			case 1:
				doc = append(doc[:i], doc[min(len(doc), i+1+r.IntN(4)):]...)
			case 2:
				doc = append(doc[:i:i], append([]byte{all[r.IntN(len(all))]}, doc[i:]...)...)
			}
		}
		if d := cmp.Diff(tokenized(string(doc)), scanned(string(doc))); d != "" {
			t.Fatalf("%q (-want +got):\n%s", doc, d)
		}
	}
}

func FuzzHTMLScanner(f *testing.F) {
	for _, doc := range scanCases {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		z, last, n := htmlScanner{doc: doc}, 0, 0
		for p := z.next(); p.kind != htmlEnd; p = z.next() {
			if z.pos <= last || z.pos > len(doc) {
				t.Fatalf("at %d after %d, of %d: %+v", z.pos, last, len(doc), p)
			}
			last = z.pos
			if unescapeTo(p.text, func(s string) { n += len(s) }); n > 2*len(doc)+8 {
				t.Fatalf("%d bytes of text, of %d", n, len(doc))
			}
		}
		if z.pos < len(doc) {
			t.Fatalf("ends at %d of %d", z.pos, len(doc))
		}
	})
}

func TestHTMLToTextLimit(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		limit          int
		cut            bool
	}{
		{"enough", "<p>abc</p>", "abc\r\n", 100, false},
		{"text", "abcdefghij", "abcde\r\n", 4, true},
		{"lines", strings.Repeat("a<br>", 10), "a\r\na\r\na\r\n", 8, true},
		{"blanks", strings.Repeat("&nbsp;", 1000) + "x", "", 10, true},
		{"blanks before something", strings.Repeat("&nbsp;", 1000) + "x", strings.Repeat(" ", 1000) + "x\r\n", 2000, false},
		{"blanks after something", "x" + strings.Repeat("&nbsp;", 1000), "x\r\n", 2000, false},
	} {
		got, cut := HTMLToTextLimit(c.in, c.limit)
		if got != c.want || cut != c.cut {
			t.Errorf("%s: %q, %v", c.name, got, cut)
		}
	}
	for name, unit := range map[string]string{"rules": "<hr>", "items": "<li>", "quotations": "<blockquote>a<br>", "blanks": "<pre>  \n"} {
		doc := strings.Repeat("<ol type=i>", 20) + strings.Repeat(unit, 50_000)
		if got := HTMLToText(doc); len(got) > len(doc)+66<<10 {
			t.Errorf("%s: %d bytes of text, of %d", name, len(got), len(doc))
		}
	}
}
