package routing

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMailbox(t *testing.T) {
	long := strings.Repeat("x", 63)
	tests := []struct {
		name, in, local, ascii string
	}{
		{"plain", "AdeleV@Contoso.COM", "AdeleV", "contoso.com"},
		{"quoted for nothing", `"adelev"@contoso.com`, "adelev", "contoso.com"},
		{"quoted space, quote and backslash", `"a \"b\" \\c"@contoso.com`, `a "b" \c`, "contoso.com"},
		{"quoted @", `"a@b"@contoso.com`, "a@b", "contoso.com"},
		{"every atext", "!#$%&'*+-/=?^_`{|}~@contoso.com", "!#$%&'*+-/=?^_`{|}~", "contoso.com"},
		{"dots that RFC 5321 forbids", ".a..b.@contoso.com", ".a..b.", "contoso.com"},
		{"underscore in the domain", "a@notes_1.contoso.com", "a", "notes_1.contoso.com"},
		{"domain of one label", "a@localhost", "a", "localhost"},
		{"IDN", "a@MÜNCHEN.contoso.com", "a", "xn--mnchen-3ya.contoso.com"},
		{"UTF-8 local part", "jürgen@contoso.com", "jürgen", "contoso.com"},
		{"IPv4", "a@[192.0.2.1]", "a", "[192.0.2.1]"},
		{"IPv6", "a@[ipv6:2001:DB8::1]", "a", "[ipv6:2001:db8::1]"},
		{"longest label", "a@" + long + ".com", "a", long + ".com"},
		{"long local part", strings.Repeat("y", 300) + "@contoso.com", strings.Repeat("y", 300), "contoso.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := parseMailbox(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if m.wire != tt.in || m.local != tt.local || m.ascii != tt.ascii {
				t.Errorf("got %q %q %q", m.wire, m.local, m.ascii)
			}
		})
	}
}

func TestParseMailboxRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"NUL", "a\x00b@contoso.com", "in the local part"},
		{"CR in quotes", "\"a\rb\"@contoso.com", "control character"},
		{"escaped LF in quotes", "\"a\\\nb\"@contoso.com", "control character"},
		{"DEL in quotes", "\"a\x7fb\"@contoso.com", "control character"},
		{"backslash at the end", `"a\`, "does not end"},
		{"escaped quote at the end", `"a\"`, "does not end"},
		{"backslash without quotes", `a\b@contoso.com`, "in the local part"},
		{"angle", "a>b@contoso.com", "in the local part"},
		{"comma", "a,b@contoso.com", "in the local part"},
		{"parentheses", "a(b)@contoso.com", "in the local part"},
		{"no UTF-8", "a\xff@contoso.com", "UTF-8"},
		{"no UTF-8 in the domain", "a@cont\xc3oso.com", "UTF-8"},
		{"space in the domain", "a@contoso .com", "in the domain"},
		{"CRLF in the domain", "a@contoso.com\r\n", "in the domain"},
		{"slash in the domain", "a@contoso/com", "in the domain"},
		{"label too long", "a@" + strings.Repeat("x", 64) + ".com", "63 octets"},
		{"domain too long", "a@" + strings.Repeat("x.", 128) + "com", "255 octets"},
		{"domain of dots", "a@.", "empty label"},
		{"IDN that is none", "a@xn--\u00fc.com", "internationalized"},
		{"open literal", "a@[192.0.2.1", "literal"},
		{"text behind a literal", "a@[192.0.2.1].com", "literal"},
		{"IPv4 with the tag of IPv6", "a@[IPv6:192.0.2.1]", "literal"},
		{"IPv6 with a zone", "a@[IPv6:fe80::1%eth0]", "literal"},
		{"empty literal", "a@[]", "literal"},
		{"too long", strings.Repeat("x", maxAddress) + "@contoso.com", "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := parseMailbox(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v and error %v, want one with %q", m, err, tt.want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"plain", "AdeleV@Contoso.com", []string{"AdeleV@Contoso.com"}},
		{"quoted for nothing", `"adelev"@contoso.com`, []string{"adelev@contoso.com"}},
		{"quoted", `"a b"@contoso.com`, []string{`"a b"@contoso.com`, "a b@contoso.com"}},
		{"quoted in another way", `"a\ b"@contoso.com`, []string{`"a b"@contoso.com`, "a b@contoso.com"}},
		{"U-labels", "a@münchen.contoso.com", []string{"a@münchen.contoso.com", "a@xn--mnchen-3ya.contoso.com"}},
		{"A-labels", "a@xn--mnchen-3ya.contoso.com", []string{"a@xn--mnchen-3ya.contoso.com", "a@münchen.contoso.com"}},
		{"quoted, U-labels", `"a b"@münchen.contoso.com`, []string{`"a b"@münchen.contoso.com`, "a b@münchen.contoso.com",
			`"a b"@xn--mnchen-3ya.contoso.com`, "a b@xn--mnchen-3ya.contoso.com"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := parseMailbox(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, m.keys(nil)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSplitPrefix(t *testing.T) {
	tests := []struct{ in, prefix, value string }{
		{"SMTP:a@b", "SMTP", "a@b"},
		{"smtp:", "smtp", ""},
		{"X400:c=US;a= ;", "X400", "c=US;a= ;"},
		{"a@[IPv6:::1]", "", "a@[IPv6:::1]"},
		{`"a:b"@contoso.com`, "", `"a:b"@contoso.com`},
		{":a@b", "", ":a@b"},
		{"a@b", "", "a@b"},
		{"", "", ""},
		{"smtp:smtp:a@b", "smtp", "smtp:a@b"},
		{" smtp:a@b", "", " smtp:a@b"},
	}
	for _, tt := range tests {
		if p, v := splitPrefix(tt.in); p != tt.prefix || v != tt.value {
			t.Errorf("%q: got %q and %q, want %q and %q", tt.in, p, v, tt.prefix, tt.value)
		}
	}
}

func TestDecodeIMCEA(t *testing.T) {
	tests := []struct{ in, want string }{
		{"_O=MMS_CN=USER", "/O=MMS/CN=USER"},
		{"+28a+29+2b+5F", "(a)+_"},
		{"DOM+2EPO+2Euser", "DOM.PO.user"},
		{"+", "+"},
		{"+2", "+2"},
		{"+2G", "+2G"},
		{"++20", "+ "},
		{"+C3+BC", "ü"},
		{"+FC", "ü"},
		{"+00", "\x00"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := decodeIMCEA(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// What was parsed and is written again is the same mailbox, and nothing that could break out of an SMTP command gets through.
func FuzzParseMailbox(f *testing.F) {
	for _, s := range []string{"AdeleV@contoso.com", `"a \"b\" \\c"@contoso.com`, "a@[IPv6:::1]", "jürgen@münchen.contoso.com", `""@x`, "a@xn--mnchen-3ya.com",
		"a@b@c", "\"a\rb\"@x", "@a:b@c", "a@x.", "a@\u2024.com", "0@\u200b", "a@\u200b.com", "a@\uff0ecom"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMailbox(s)
		if err != nil {
			return
		}
		if m.wire != s || m.local == "" || m.ascii == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q: %+v", s, m)
		}
		if !m.literal && strings.ContainsAny(m.ascii, "@<>[]\" \\:/") {
			t.Fatalf("%q: domain %q", s, m.ascii)
		}
		again, err := parseMailbox(m.withLocal(m.local).wire)
		if err != nil || !again.same(m) || again.local != m.local {
			t.Fatalf("%q: written again %+v, %v", s, again, err)
		}
		for _, k := range m.keys(nil) {
			if k == "" {
				t.Fatalf("%q: empty key", s)
			}
		}
	})
}

// Encoding as [MS-OXCMAIL] 2.1.3.1.8 says, then decoding, gives back what went in.
func FuzzDecodeIMCEA(f *testing.F) {
	f.Add("/o=Contoso/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=x_500+1")
	f.Add("Henrietta Müller/Contoso@Domain")
	f.Fuzz(func(t *testing.T, s string) {
		decodeIMCEA(s) // any input at all
		if strings.ToValidUTF8(s, "") != s {
			return
		}
		if got := decodeIMCEA(encodeIMCEA(s)); got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func encodeIMCEA(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/':
			b.WriteByte('_')
		case isAlnum(c) || c == '-' || c == '=':
			b.WriteByte(c)
		default:
			b.Write([]byte{'+', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// No recipient, whoever sends it, makes a decision that contradicts itself, turns back or relays for a stranger.
func FuzzRoute(f *testing.F) {
	view, r := world(f), New(testPolicy())
	lines(f, "testdata/truth.txt", func(n int, line string) {
		if col := strings.Split(line, " | "); len(col) == 4 {
			f.Add(expandDomains(col[2]), byte(n))
		}
	})
	sides := []Side{Internet, OnPrem, Cloud, Gateway}
	f.Fuzz(func(t *testing.T, recipient string, side byte) {
		from := sides[int(side)%len(sides)]
		d := r.Route(view, 0, Query{From: from, Recipient: recipient})
		consistent(t, d)
		if d.Recipient != recipient {
			t.Errorf("%q: recipient %q", recipient, d.Recipient)
		}
		if d.Action == Relay {
			if _, err := parseMailbox(d.Address); err != nil {
				t.Errorf("%q: sent to %q, which is no address: %v", recipient, d.Address, err)
			}
		}
		if from == Cloud && d.Side == Cloud || from == OnPrem && d.Side == OnPrem && d.Address == recipient {
			t.Errorf("%q: u-turn to %q", recipient, d.Address)
		}
		if from == Internet && d.Reason == Foreign {
			t.Errorf("%q: relayed to %q for a stranger", recipient, d.Address)
		}
	})
}
