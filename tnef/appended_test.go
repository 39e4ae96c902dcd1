package tnef_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// TestAppended: what a list server or a gateway put behind the fallback text is kept, and nothing else of that text.
func TestAppended(t *testing.T) {
	text := func(s string) mapi.Property { return tneftest.Text(mapi.TagBody, s) }
	page := func(s string) mapi.Property {
		return tneftest.Binary(mapi.TagHTML, []byte("<html><body>"+s+"</body></html>"))
	}
	const footer = "\r\n\r\n_____________\r\nThis mail was scanned <by> Contoso.\r\n"
	for _, tt := range []struct {
		name     string
		body     mapi.Property
		fallback string
		want     string // of the text; "" for what the stream says alone
	}{
		{"footer", text("Hello, the figures.\r\n"), "Hello, the figures." + footer, "Hello, the figures.\r\n\r\n_____________\r\nThis mail was scanned <by> Contoso.\r\n"},
		{"the same text", text("Hello, the figures.\r\n"), "Hello, the figures.\r\n\r\n", ""},
		{"the same, other punctuation", text("Hello – the \"figures\"…"), "Hello -- the figures...", ""},
		{"lost characters", text("Größe für Zoë: 5 €"), "Gr??e f?r Zoe: 5 ?" + footer, "Größe für Zoë: 5 €\r\n\r\n_____________\r\nThis mail was scanned <by> Contoso.\r\n"},
		{"question marks of its own", text("Really? Yes? Ok?"), "Really? Yes? Ok?" + footer, "Really? Yes? Ok?\r\n\r\n_____________\r\nThis mail was scanned <by> Contoso.\r\n"},
		{"other line ends", text("one two\r\nthree"), "one\r\ntwo three" + footer, "one two\r\nthree\r\n\r\n_____________\r\nThis mail was scanned <by> Contoso.\r\n"},
		{"case", text("HELLO THERE"), "Hello there" + footer, "HELLO THERE\r\n\r\n_____________\r\nThis mail was scanned <by> Contoso.\r\n"},
		{"the line goes on", text("Hello"), "Hello there" + footer, ""},
		{"another text", text("Hello, the figures."), "Good morning." + footer, ""},
		{"shorter than the body", text("Hello, the figures."), "Hello", ""},
		{"punctuation only", text("Hello"), "Hello\r\n-----\r\n", ""},
		{"no body", text(" "), "Only this." + footer, "Only this.\r\n\r\n_____________\r\nThis mail was scanned <by> Contoso.\r\n"},
		{"an address in brackets", page(`see <a href="https://www.contoso.com/">here</a>`), "see here<https://www.contoso.com/>\r\n\r\nscanned", "see here <https://www.contoso.com/>\r\n\r\nscanned\r\n"},
		{"a picture in brackets", page(`logo <img src="cid:a@b">`), "logo [cid:a@b]\r\n\r\n[cid:c@d]", ""},
		{"brackets that close nothing", text("Hello" + strings.Repeat("<", 1<<20)), "Hello" + strings.Repeat("[", 1<<17) + footer, "Hello" + strings.Repeat("<", 1<<20) + footer}, // each is looked at once
		{"an open bracket", text("a < b [c"), "a < b [c\r\nmore", "a < b [c\r\n\r\nmore\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tt.body}}
			p, out, _ := convert(t, tneftest.Wrap(header, tt.fallback, s.Bytes()))
			var bare bytes.Buffer
			if _, err := tnef.ConvertStream(&bare, s.Bytes(), nil); err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want == "" {
				want = string(parseMessage(t, bare.Bytes()).find("text/plain").Content)
			}
			trim := func(s string) string { return strings.TrimRight(s, "\r\n") }
			if got := string(p.find("text/plain").Content); trim(got) != trim(want) {
				t.Errorf("text %q, want %q", got, want)
			}
			checkLines(t, out)
		})
	}
	t.Run("in HTML too", func(t *testing.T) {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{page("<p>Hello, the figures.</p>")}}
		p, _, _ := convert(t, tneftest.Wrap(header, "Hello, the figures."+footer, s.Bytes()))
		if got := string(p.find("text/html").Content); !strings.Contains(got, "<br>\r\nThis mail was scanned &lt;by&gt; Contoso.</p></body>") {
			t.Errorf("%s", got)
		}
	})
}
