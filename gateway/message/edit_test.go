package message

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef/rawmime"
	"github.com/google/go-cmp/cmp"
)

// removeNamed takes out the fields of these names.
func removeNamed(names ...string) func(rawmime.Field) bool {
	return func(f rawmime.Field) bool {
		return slices.ContainsFunc(names, f.Is)
	}
}

// oddMessages are messages that many parsers refuse, each without a field named X-Drop.
var oddMessages = map[string]string{
	"nothing":                    "",
	"ordinary":                   "From: a@contoso.com\r\nSubject: x\r\n\r\nbody\r\n",
	"no header, an empty line":   "\r\nbody\r\n",
	"no header, no empty line":   "body text, first line\r\nsecond: line\r\n",
	"no empty line":              "From: a@contoso.com\r\nSubject: x\r\n",
	"no line ending at all":      "Subject: x",
	"line without colon":         "From: a@contoso.com\r\nthis is no field\r\nSubject: x\r\n\r\nbody",
	"leading fold":               "  folded into nothing\r\nSubject: x\r\n\r\nbody",
	"mbox From_":                 "From adele@contoso.com Tue Nov 24 10:00:00 2026\r\nSubject: x\r\n\r\nbody\r\nFrom me\r\n",
	"space before the colon":     "Subject : x\r\nTo\t: y\r\n\r\nbody",
	"nothing before the colon":   ": x\r\nSubject: y\r\n\r\nbody",
	"NUL and eight bit":          "Sub\x00ject: \xff\xfe\x00\r\n\xe4\xf6: y\r\n\r\n\x00\xff",
	"bare LF":                    "Subject: x\nTo: y\n\nbody\n",
	"bare CR":                    "Subject: x\rTo: y\r\rbody\r",
	"CR CR LF":                   "Subject: x\r\r\nTo: y\r\r\n\r\r\nbody",
	"white line in the header":   "Subject: x\r\n \t\r\nTo: y\r\n\r\nbody",
	"duplicates":                 "Date: a\r\nDate: b\r\nSubject: a\r\nSubject: b\r\nMessage-ID: <a>\r\nMessage-ID: <b>\r\n\r\nbody",
	"Bcc, Resent and signatures": "Bcc: b@contoso.com\r\nResent-From: c@contoso.com\r\nDKIM-Signature: v=1;\r\n\tb=abc\r\nARC-Seal: i=1\r\n\r\nbody",
	"part with a field of ours":  "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-Drop: 1\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nX-Drop: 2\r\n\r\ny\r\n--b--\r\n",
	"field only in the body":     "\r\nX-Drop: in the body\r\n",
	"only empty lines":           "\r\n\r\n\r\n",
	"body of binary":             "Subject: x\r\n\r\n\x00\x01\x02\r\n.\r\n..\r\n",
}

func TestEditLeavesTheRestAsItCame(t *testing.T) {
	top := []byte("Received: by gw1.contoso.com; Tue, 24 Nov 2026 10:00:00 +0000\r\n")
	for name, msg := range oddMessages {
		t.Run(name, func(t *testing.T) {
			for _, e := range []Edit{{}, {Top: top}, {Remove: removeNamed("X-Drop")}, {Top: top, Remove: removeNamed("X-Drop")}} {
				want := string(e.Top) + msg
				if got := string(e.Apply([]byte(msg)).Bytes()); got != want {
					t.Errorf("got  %q\nwant %q", got, want)
				}
			}
		})
	}
}

// TestEditTakesOutWholeFields puts fields that go at each place of the odd messages' headers.
func TestEditTakesOutWholeFields(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"first", "X-Drop: 1\r\nSubject: x\r\n\r\nbody", "Subject: x\r\n\r\nbody"},
		{"last", "Subject: x\r\nX-Drop: 1\r\n\r\nbody", "Subject: x\r\n\r\nbody"},
		{"only", "X-Drop: 1\r\n\r\nbody", "\r\nbody"},
		{"only, and nothing after", "X-Drop: 1", ""},
		{"folded", "A: 1\r\nX-Drop: 1\r\n\tmore: of it\r\n  \r\n and more\r\nB: 2\r\n\r\nbody", "A: 1\r\nB: 2\r\n\r\nbody"},
		{"several, in any case", "x-drop: 1\r\nA: 1\r\nX-DROP:\r\nX-Drop : 3\r\nB: 2\r\n\r\nx-drop: 4\r\n", "A: 1\r\nB: 2\r\n\r\nx-drop: 4\r\n"},
		{"longer and shorter names stay", "X-Dro: 1\r\nX-Dropp: 2\r\n\r\n", "X-Dro: 1\r\nX-Dropp: 2\r\n\r\n"},
		{"after a line without colon", "no field\r\nX-Drop: 1\r\nA: 1\r\n\r\nbody", "no field\r\nA: 1\r\n\r\nbody"},
		{"after a leading fold", " fold\r\nX-Drop: 1\r\nA: 1\r\n\r\nbody", " fold\r\nA: 1\r\n\r\nbody"},
		{"after From_", "From a@contoso.com Tue Nov 24 10:00:00 2026\r\nX-Drop: 1\r\n\r\nbody", "From a@contoso.com Tue Nov 24 10:00:00 2026\r\n\r\nbody"},
		{"no body", "A: 1\r\nX-Drop: 1\r\n", "A: 1\r\n"},
		{"cut inside", "A: 1\r\nX-Drop: 1\r\n more", "A: 1\r\n"},
		{"LF", "A: 1\nX-Drop: 1\n more\nB: 2\n\nbody", "A: 1\nB: 2\n\nbody"},
		{"parts stay", "X-Drop: 0\r\n" + oddMessages["part with a field of ours"], oddMessages["part with a field of ours"]},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := Edit{Top: []byte("Top: 1\r\n"), Remove: removeNamed("X-Drop")}
			if diff := cmp.Diff("Top: 1\r\n"+c.want, string(e.Apply([]byte(c.in)).Bytes())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			e.Top = nil
			if diff := cmp.Diff(c.want, string(e.Apply([]byte(c.in)).Bytes())); diff != "" {
				t.Errorf("without top (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEditOfVeryManyFields crosses the number of pieces from which the header is copied, by every count near it.
func TestEditOfVeryManyFields(t *testing.T) {
	for _, n := range []int{1, maxPieces - 3, maxPieces - 2, maxPieces - 1, maxPieces, maxPieces + 1, 100_000} {
		for _, body := range []string{"", "\r\n", "\r\nX-Drop: body\r\n"} {
			var in, want bytes.Buffer
			for i := range n {
				fmt.Fprintf(&in, "X-Keep-%d: v\r\n\tw\r\nX-Drop: %d\r\n folded\r\n", i, i)
				fmt.Fprintf(&want, "X-Keep-%d: v\r\n\tw\r\n", i)
			}
			in.WriteString(body)
			want.WriteString(body)
			got := Edit{Remove: removeNamed("X-Drop")}.Apply(in.Bytes())
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%d fields, body %q: not what was expected", n, body)
			}
			if len(got) > maxPieces+1 {
				t.Errorf("%d fields: %d pieces", n, len(got))
			}
		}
	}
}

func TestEditOfOneHugeField(t *testing.T) {
	huge := bytes.Repeat([]byte("x"), 100<<20)
	for name, c := range map[string]struct{ field, left string }{
		"stays": {"X-Keep", "X-Keep: "},
		"goes":  {"X-Drop", ""},
	} {
		msg := slices.Concat([]byte(c.field+": "), huge, []byte("\r\n\r\nbody"))
		got := Edit{Remove: removeNamed("X-Drop")}.Apply(msg)
		want := int64(len(c.left) + len(huge) + len("\r\n\r\nbody"))
		if c.left == "" {
			want = int64(len("\r\nbody"))
		}
		if got.Size() != want {
			t.Errorf("%s: %d octets, want %d", name, got.Size(), want)
		}
	}
}

func TestEditDoesNotCopyTheBody(t *testing.T) {
	msg := append([]byte("X-Drop: 1\r\n\r\n"), make([]byte, 1<<20)...)
	got := Edit{Remove: removeNamed("X-Drop")}.Apply(msg)
	last := got[len(got)-1]
	if &last[len(last)-1] != &msg[len(msg)-1] {
		t.Error("the body was copied")
	}
}

func TestInspect(t *testing.T) {
	cases := []struct {
		name, in string
		want     Header
	}{
		{"nothing", "", Header{}},
		{"ordinary", "Received: a\r\n\tb\r\nreceived : c\r\nMessage-Id: <1@contoso.com>\r\n\r\nReceived: body\r\n", Header{Received: 2, MessageID: "<1@contoso.com>"}},
		{"names that only begin so", "Received-SPF: pass\r\nX-Received: a\r\nMessage-IDs: <1@contoso.com>\r\n\r\n", Header{}},
		{"first of two ids", "Message-ID:\r\n <a@contoso.com>\r\nMessage-ID: <b@contoso.com>\r\n\r\n", Header{MessageID: "<a@contoso.com>"}},
		{"id that would break a log line", "Message-ID: <a\r\n b@contoso.com>\r\n\r\n", Header{}},
		{"id too long", "Message-ID: <" + strings.Repeat("a", 999) + ">\r\n\r\n", Header{}},
		{"auto-replied", "Auto-Submitted: auto-replied; owner=x\r\n\r\n", Header{Automatic: true}},
		{"not automatic", "Auto-Submitted: No\r\nPrecedence: first-class\r\n\r\n", Header{}},
		{"bulk", "precedence: Bulk\r\n\r\n", Header{Automatic: true}},
		{"list", "List-ID: <all.contoso.com>\r\n\r\n", Header{Automatic: true}},
		{"TLS-Required: No", "TLS-Required: No\r\n\r\n", Header{TLSOptional: true}},
		{"in other words", "tls-required:(a comment)\r\n no \r\n\r\n", Header{TLSOptional: true}},
		{"TLS-Required: something else", "TLS-Required: None\r\n\r\n", Header{}},
		{"TLS-Required twice", "TLS-Required: No\r\nTLS-Required: No\r\n\r\n", Header{}},
		{"TLS-Required in the body", "\r\nTLS-Required: No\r\n", Header{}},
		{"after junk", "no field\r\n\r\n", Header{}},
		{"no empty line", "Received: a\r\n b", Header{Size: 15, Received: 1}},
		{"no header", "\r\nReceived: a\r\n", Header{}},
		{"junk before", "no field\r\nReceived: a\r\n\r\n", Header{Received: 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if header, _, ok := strings.Cut(c.in, "\r\n\r\n"); ok {
				c.want.Size = len(header) + len("\r\n")
			}
			if diff := cmp.Diff(c.want, Inspect([]byte(c.in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if h := Inspect(bytes.Repeat([]byte("Received: x\r\n"), 90_000)); h.Received != 90_000 {
		t.Errorf("of 90,000 Received fields %d were counted", h.Received)
	}
}

// FuzzEdit checks what must hold of any input: what is left is what came, less whole lines of the header; the body is whole;
// and editing again changes nothing.
func FuzzEdit(f *testing.F) {
	for _, s := range oddMessages {
		f.Add([]byte(s))
		f.Add([]byte("X-Drop: 1\r\n fold\r\n" + s))
	}
	f.Add([]byte(strings.Repeat("X-Drop: 1\r\nA: b\r\n", 40) + "\r\nX-Drop: body"))
	f.Fuzz(func(t *testing.T, in []byte) {
		e := Edit{Remove: removeNamed("X-Drop")}
		out := e.Apply(in).Bytes()
		_, body := rawmime.HeaderEnd(in)
		if !bytes.HasSuffix(out, in[body:]) {
			t.Errorf("the body of %q is not whole in %q", in, out)
		}
		var want []byte
		end := 0
		for f := range rawmime.Fields(in) {
			if !f.Is("X-Drop") {
				want = append(want, in[f.Start:f.End]...)
			}
			end = f.End
		}
		want = append(want, in[end:]...)
		if !bytes.Equal(out, want) {
			t.Errorf("%q became %q, want %q", in, out, want)
		}
		_ = Inspect(in)
	})
}

func BenchmarkEditAndScan(b *testing.B) {
	top := Received{Hello: "mail.fabrikam.com", By: "gw1.contoso.com", ID: "1", Session: Session{Extended: true}}.Append(nil)
	f := NewFirewall("gw1.contoso.com")
	for _, size := range []struct {
		name string
		n    int
	}{{"4KB", 4 << 10}, {"10MB", 10 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			msg := letter(size.n)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				var s Scanner
				_, _ = s.Write(msg)
				h := Inspect(msg)
				c := f.Apply(Boundary{"internet", "onprem"}, top, msg)
				if s.Findings().BareLF || h.Received != 1 || c.Size() >= int64(len(msg)+len(top)) {
					b.Fatal("wrong")
				}
			}
		})
	}
}

func BenchmarkEditHeaderOnly(b *testing.B) {
	msg := letter(4 << 10)
	f := NewFirewall("gw1.contoso.com")
	b.Run("inspect", func(b *testing.B) {
		for b.Loop() {
			_ = Inspect(msg)
		}
	})
	b.Run("firewall", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = f.Apply(Boundary{"internet", "onprem"}, nil, msg)
		}
	})
}
