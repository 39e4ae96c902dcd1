package rawmime

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// tree shows the types and bodies: multipart/mixed[text/plain"a", text/plain"b"].
func tree(msg string, p *Part) string {
	if len(p.Children) == 0 {
		return fmt.Sprintf("%s%q", p.Type, p.Body([]byte(msg)))
	}
	var list []string
	for _, c := range p.Children {
		list = append(list, tree(msg, c))
	}
	return p.Type + "[" + strings.Join(list, ", ") + "]"
}

const mixedB = "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

func TestWalk(t *testing.T) {
	tests := []struct{ name, msg, want string }{
		{"text", "Subject: x\r\n\r\nbody\r\n", `text/plain"body\r\n"`},
		{"header only", "Subject: x\r\n", `text/plain""`},
		{"two parts", mixedB + "pre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\ntwo\r\n--b--\r\nepi\r\n", `multipart/mixed[text/plain"one", text/html"two"]`},
		{"bare LF", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n\n--b--\n", `multipart/mixed[text/plain"one", text/plain"two\n"]`},
		{"bare CR", "Content-Type: multipart/mixed; boundary=b\r\r--b\r\rone\r--b--\r", `multipart/mixed[text/plain"one"]`},
		{"never closed", mixedB + "--b\r\n\r\none\r\n", `multipart/mixed[text/plain"one\r\n"]`},
		{"no delimiter", mixedB + "nothing\r\n", `multipart/mixed"nothing\r\n"`},
		{"no boundary", "Content-Type: multipart/mixed\r\n\r\n--b\r\n", `multipart/mixed"--b\r\n"`},
		{"padding behind delimiter", mixedB + "--b \t\r\n\r\none\r\n--b-- \r\n", `multipart/mixed[text/plain"one"]`},
		{"longer line is no delimiter", mixedB + "--b\r\n\r\n--bb\r\n--b x\r\nxx--b\r\n--b--\r\n", `multipart/mixed[text/plain"--bb\r\n--b x\r\nxx--b"]`},
		{"empty part", mixedB + "--b\r\n\r\n\r\n--b--\r\n", `multipart/mixed[text/plain""]`},
		{"part without empty line", mixedB + "--b\r\nContent-Type: text/html\r\n--b\r\n--b--\r\n", `multipart/mixed[text/html"", text/plain""]`},
		{"delimiters in epilogue mean nothing", mixedB + "--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\nno\r\n", `multipart/mixed[text/plain"one"]`},
		{"nested", mixedB + "--b\r\nContent-Type: multipart/alternative; boundary=\"c\"\r\n\r\n--c\r\n\r\none\r\n--c--\r\n\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
			`multipart/mixed[multipart/alternative[text/plain"one"], text/plain"two"]`},
		{"inner not closed", mixedB + "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
			`multipart/mixed[multipart/alternative[text/plain"one"], text/plain"two"]`},
		{"same boundary inside", mixedB + "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
			`multipart/mixed[multipart/mixed[text/plain"one"], text/plain"two"]`},
		{"boundary ends with dashes", "Content-Type: multipart/mixed; boundary=\"b--\"\r\n\r\n--b--\r\n\r\none\r\n--b----\r\n", `multipart/mixed[text/plain"one"]`},
		{"attached message", mixedB + "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\ninner\r\n--b--\r\n", `multipart/mixed[message/rfc822[text/plain"inner"]]`},
		{"encoded attached message is opaque", mixedB + "--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3Vi\r\n--b--\r\n", `multipart/mixed[message/rfc822"U3Vi"]`},
		{"digest", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: y\r\n\r\ninner\r\n--b--\r\n", `multipart/digest[message/rfc822[text/plain"inner"]]`},
		{"first Content-Type counts", "Content-Type: text/html\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nx", `text/html"x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Walk([]byte(tt.msg), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := tree(tt.msg, p); got != tt.want {
				t.Errorf("%s\nwant\n%s", got, tt.want)
			}
			checkOffsets(t, []byte(tt.msg), p)
		})
	}
}

// checkOffsets checks what a program that puts a message together from its parts relies on.
func checkOffsets(t *testing.T, msg []byte, p *Part) {
	t.Helper()
	if !(0 <= p.Delim && p.Delim <= p.Start && p.Start <= p.HeaderEnd && p.HeaderEnd <= p.BodyStart && p.BodyStart <= p.BodyEnd && p.BodyEnd <= len(msg)) {
		t.Fatalf("offsets out of order: %+v", p)
	}
	at := p.BodyStart
	for _, c := range p.Children {
		if c.Delim < at || c.BodyEnd > p.BodyEnd {
			t.Fatalf("part at %d to %d is not behind %d and inside %d", c.Delim, c.BodyEnd, at, p.BodyEnd)
		}
		if p.IsMultipart() && !strings.HasPrefix(string(msg[c.Delim:]), "--"+p.Boundary) {
			t.Fatalf("no delimiter at %d", c.Delim)
		}
		checkOffsets(t, msg, c)
		at = c.BodyEnd
	}
	if p.Close >= 0 && (p.Close < at || p.CloseEnd > len(msg)) {
		t.Fatalf("close-delimiter at %d to %d", p.Close, p.CloseEnd)
	}
}

func TestPartNames(t *testing.T) {
	msg := []byte("Content-Type: application/octet-stream; name=a.dat\r\nContent-Disposition: ATTACHMENT; filename=WINMAIL.DAT\r\nContent-Transfer-Encoding: BASE64 \r\n\r\n")
	p, err := Walk(msg, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Name() != "WINMAIL.DAT" || p.Disposition != "attachment" || p.Encoding != "base64" {
		t.Errorf("%+v", p)
	}
}

func TestWalkLimits(t *testing.T) {
	nested := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String()
	}
	tests := []struct{ name, msg, what string }{
		{"nested multiparts", nested(5000), "depth"},
		{"nested messages", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 5000), "depth"},
		{"many parts", mixedB + strings.Repeat("--b\r\n\r\nx\r\n", 5000), "parts"},
		{"large header", strings.Repeat("A: b\r\n", 3<<19), "header"},
		{"long field", "A: " + strings.Repeat("b", 9<<20), "header"},
	}
	for _, tt := range tests {
		_, err := Walk([]byte(tt.msg), Limits{})
		var limit *LimitError
		if !errors.As(err, &limit) || limit.What != tt.what || !strings.Contains(err.Error(), tt.what) {
			t.Errorf("%s: %v, want the limit of %s", tt.name, err, tt.what)
		}
	}
	if _, err := Walk([]byte(nested(49)+"\r\nx"), Limits{}); err != nil {
		t.Errorf("49 levels and text: %v", err)
	}
}

func TestWalkIsLinear(t *testing.T) {
	var outer strings.Builder
	for i := range 48 {
		fmt.Fprintf(&outer, "Content-Type: multipart/mixed; boundary=%s%d\r\n\r\n--%s%d\r\n", strings.Repeat("x", 60), i, strings.Repeat("x", 60), i)
	}
	for name, body := range map[string]string{
		"dashes":         strings.Repeat("-", 8<<20),
		"dash lines":     strings.Repeat("--\r\n", 2<<20),
		"near matches":   strings.Repeat("--"+strings.Repeat("x", 60)+"\r\n", 1<<17),
		"long near":      strings.Repeat("--"+strings.Repeat("x", 4000)+"\r\n", 1<<11),
		"CR":             strings.Repeat("\r--", 1<<21),
		"blanks":         "--" + strings.Repeat(" ", 8<<20),
		"CR run":         "--x\r" + strings.Repeat("\r", 8<<20),
		"closed, no end": strings.Repeat("--"+strings.Repeat("x", 60)+"47--\r\n", 1<<17),
	} {
		msg := []byte(outer.String() + "\r\n" + body)
		start := time.Now()
		if _, err := Walk(msg, Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// A quadratic walk takes hours; a linear one milliseconds, also with the race detector on a busy machine.
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%s: %v", name, d)
		}
	}
}

func FuzzWalk(f *testing.F) {
	for _, s := range []string{"", "A: b\r\n\r\nx", mixedB + "--b\r\n\r\none\r\n--b--\r\n", "Content-Type: message/rfc822\n\nSubject: x\n\ny", "Content-Type: multipart/x; boundary*0=\"b\"; boundary*1=\"c\"\r\r--bc\r\r--bc--"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		p, err := Walk(msg, Limits{})
		if err == nil {
			checkOffsets(t, msg, p)
		}
		at := 0
		for x := range Fields(msg) {
			if x.Start != at || x.End <= x.Start {
				t.Fatalf("field %d to %d after %d", x.Start, x.End, at)
			}
			at = x.End
		}
		if head, body := HeaderEnd(msg); head != at || body < head {
			t.Fatalf("header ends at %d (%d), fields at %d", head, body, at)
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	data := randomBytes(3, 16<<20)
	msg := append([]byte(mixedB+"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"), AppendBase64(nil, data)...)
	msg = append(msg, "--b--\r\n"...)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if p, err := Walk(msg, Limits{}); err != nil || len(p.Children) != 1 {
			b.Fatal(err)
		}
	}
}
