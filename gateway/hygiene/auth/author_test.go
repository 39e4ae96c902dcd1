package auth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMailboxes(t *testing.T) {
	for _, c := range []struct {
		list string
		want []string
	}{
		{"john@contoso.com", []string{"john@contoso.com"}},
		{"John <john@contoso.com>", []string{"john@contoso.com"}},
		{`"ceo@fabrikam.com" <john@contoso.com>`, []string{"john@contoso.com"}},
		{"ceo@fabrikam.com <john@contoso.com>", []string{"john@contoso.com"}},
		{"<john@contoso.com> ceo@fabrikam.com", []string{"john@contoso.com"}},
		{"john@contoso.com (ceo@fabrikam.com)", []string{"john@contoso.com"}},
		{`"Smith, John" <john@contoso.com>, bob@fabrikam.com`, []string{"john@contoso.com", "bob@fabrikam.com"}},
		{"Sales: a@contoso.com, B <b@fabrikam.com>;", []string{"a@contoso.com", "b@fabrikam.com"}},
		{`<"a@b,c<"@contoso.com>`, []string{`"a@b,c<"@contoso.com`}},
		{"John <john @ contoso.com>", []string{"john@contoso.com"}},
		{"<@relay.example:john@contoso.com>", []string{"@relay.example:john@contoso.com"}},
		{`"open <john@contoso.com>`, []string{"john@contoso.com"}},
		{"(open <john@contoso.com>", []string{"john@contoso.com"}},
		{"<john@contoso.com", []string{"john@contoso.com"}},
		{"<a@b.example><john@contoso.com>", []string{"john@contoso.com"}},
		{"undisclosed-recipients:;", nil},
		{"", nil},
	} {
		if diff := cmp.Diff(c.want, mailboxes(c.list)); diff != "" {
			t.Errorf("%q: %s", c.list, diff)
		}
	}
}

func TestAuthors(t *testing.T) {
	for _, c := range []struct {
		name, header string
		want         author
	}{
		{"folded", "From: John\r\n <john@contoso.com>\r\n", author{domains: []string{"contoso.com"}}},
		{"case and dot", "FROM : <a@CONTOSO.com.>\r\n", author{domains: []string{"contoso.com"}}},
		{"U-label", "From: a@b\u00fccher.example\r\n", author{domains: []string{"xn--bcher-kva.example"}}},
		{"two of one domain", "From: a@contoso.com, b@contoso.com\r\n", author{domains: []string{"contoso.com"}}},
		{"none", "To: a@contoso.com\r\n", author{bad: "no From field"}},
		{"no address", "From: John\r\n", author{bad: "no address in From"}},
		{"no domain", "From: <a@localhost>\r\n", author{bad: "no address in From"}},
		{"literal", "From: <a@[192.0.2.1]>\r\n", author{bad: "no address in From"}},
		{"fields without end", strings.Repeat("From: a@contoso.com\r\n", 10000), author{domains: []string{"contoso.com"}, bad: tooMany}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := authors([]byte(c.header + "\r\nFrom: body@fabrikam.com\r\n"))
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(author{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzMailboxes(f *testing.F) {
	for _, s := range []string{`"a" <b@c>, d@e`, "((((", `"\`, "<<<", "a:b;c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range mailboxes(s) {
			if len(m) > len(s) {
				t.Errorf("%q gives %q", s, m)
			}
		}
	})
}

// The time for a field is linear in its length, whatever it holds: compare the two figures.
func BenchmarkMailboxesUnclosed(b *testing.B) {
	for _, n := range []int{4 << 10, 64 << 10} {
		list := strings.Repeat("(", n)
		b.Run(strings.Repeat("16*", min(n>>12-1, 1))+"4KB", func(b *testing.B) {
			for b.Loop() {
				mailboxes(list)
			}
		})
	}
}
