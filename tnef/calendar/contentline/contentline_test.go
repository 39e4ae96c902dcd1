package contentline_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
)

func line(f func(*contentline.Writer)) string {
	w := &contentline.Writer{}
	f(w)
	return w.String()
}

func TestFolding(t *testing.T) {
	for _, unit := range []string{"x", "é", "語", "😀", "\u0301"} {
		for n := range 200 {
			value := strings.Repeat(unit, n)
			got := line(func(w *contentline.Writer) { w.Raw("SUMMARY", value) })
			for _, l := range strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n") {
				if len(l) > 75 || !utf8.ValidString(l) {
					t.Fatalf("%d of %q: line of %d octets: %q", n, unit, len(l), l)
				}
			}
			if back := strings.ReplaceAll(got, "\r\n ", ""); back != "SUMMARY:"+value+"\r\n" {
				t.Fatalf("%d of %q: unfolded %q", n, unit, back)
			}
		}
	}
	if got := line(func(w *contentline.Writer) { w.Raw("X", strings.Repeat("y", 73)) }); strings.Count(got, "\r\n") != 1 {
		t.Errorf("a line of 75 octets is folded: %q", got)
	}
}

func TestValues(t *testing.T) {
	param := func(v string) []contentline.Param { return []contentline.Param{{Name: "CN", Value: v}} }
	for _, x := range []struct {
		name string
		f    func(*contentline.Writer)
		want string
	}{
		{"text", func(w *contentline.Writer) { w.Text("A", "a;b,c\\d:e\"f") }, `A:a\;b\,c\\d:e"f`},
		{"lines", func(w *contentline.Writer) { w.Text("A", "1\r\n2\n3\r4\u20285\r\r\n6") }, `A:1\n2\n3\n4\n5\n\n6`},
		{"controls", func(w *contentline.Writer) { w.Text("A", "a\x00\x07\x7fb\tc") }, "A:ab\tc"},
		{"no UTF-8", func(w *contentline.Writer) { w.Text("A", "a\xffb") }, "A:a\uFFFDb"},
		{"empty text", func(w *contentline.Writer) { w.Text("A", "") }, ""},
		{"raw", func(w *contentline.Writer) { w.Raw("A", "a\r\nB:c\xff") }, "A:aB:c\uFFFD"},
		{"list", func(w *contentline.Writer) { w.Texts("A", []string{"a,b", " ", "c"}) }, `A:a\,b,c`},
		{"empty list", func(w *contentline.Writer) { w.Texts("A", []string{""}) }, ""},
		{"parameter", func(w *contentline.Writer) { w.Raw("A", "v", param("Kim Akers")...) }, "A;CN=Kim Akers:v"},
		{"quoted parameter", func(w *contentline.Writer) { w.Raw("A", "v", param("Akers, Kim; \"K\":\x01")...) }, `A;CN="Akers, Kim; 'K':":v`},
		{"parameter of lines", func(w *contentline.Writer) { w.Raw("A", "v", param("a\r\nB:c")...) }, `A;CN="a  B:c":v`},
	} {
		want := x.want
		if want != "" {
			want += "\r\n"
		}
		if got := line(x.f); got != want {
			t.Errorf("%s: %q, want %q", x.name, got, want)
		}
	}
	if got := contentline.OneLine(" a\r\n\tb\x00 "); got != " a b  " {
		t.Errorf("OneLine: %q", got)
	}
}
