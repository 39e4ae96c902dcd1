package rawmime

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show writes fields as name|value|raw.
func show(msg string) []string {
	var list []string
	for f := range Fields([]byte(msg)) {
		name := string(f.Name)
		if f.Name == nil {
			name = "-"
		}
		list = append(list, name+"|"+string(f.Value)+"|"+msg[f.Start:f.End])
	}
	return list
}

func TestFields(t *testing.T) {
	tests := []struct {
		name, msg string
		want      []string
		head      int // HeaderEnd
		body      int
	}{
		{"two fields", "A: 1\r\nB: 2\r\n\r\nbody", []string{"A| 1|A: 1\r\n", "B| 2|B: 2\r\n"}, 12, 14},
		{"fold", "A: 1\r\n 2\r\n\t3\r\nB:\r\n\r\n", []string{"A| 1\r\n 2\r\n\t3|A: 1\r\n 2\r\n\t3\r\n", "B||B:\r\n"}, 18, 20},
		{"bare LF", "A: 1\n x\nB: 2\n\nbody", []string{"A| 1\n x|A: 1\n x\n", "B| 2|B: 2\n"}, 13, 14},
		{"bare CR", "A: 1\rB: 2\r\rbody", []string{"A| 1|A: 1\r", "B| 2|B: 2\r"}, 10, 11},
		{"CR CR LF", "A: 1\r\r\nB: 2\r\r\n\r\nbody", []string{"A| 1|A: 1\r\r\n", "B| 2|B: 2\r\r\n"}, 14, 16},
		{"bare CR inside", "A: 1\rX: 2\r\n\r\n", []string{"A| 1|A: 1\r", "X| 2|X: 2\r\n"}, 11, 13},
		{"line without colon", "A: 1\r\njunk\r\nB: 2\r\n\r\n", []string{"A| 1|A: 1\r\n", "-||junk\r\n", "B| 2|B: 2\r\n"}, 18, 20},
		{"leading fold", " x\r\nA: 1\r\n\r\n", []string{"-|| x\r\n", "A| 1|A: 1\r\n"}, 10, 12},
		{"mbox From", "From kim@contoso.com Tue Jun  3 10:00:00 2025\r\nA: 1\r\n\r\n", []string{"-||From kim@contoso.com Tue Jun  3 10:00:00 2025\r\n", "A| 1|A: 1\r\n"}, 53, 55},
		{"space before colon", "Subject : x\r\n\r\n", []string{"Subject| x|Subject : x\r\n"}, 13, 15},
		{"no empty line", "A: 1\r\nB: 2\r\n", []string{"A| 1|A: 1\r\n", "B| 2|B: 2\r\n"}, 12, 12},
		{"last line not ended", "A: 1\r\nB: 2", []string{"A| 1|A: 1\r\n", "B| 2|B: 2"}, 10, 10},
		{"last line not ended, LF", "A: 1\nB: 2", []string{"A| 1|A: 1\n", "B| 2|B: 2"}, 9, 9},
		{"no header", "\r\nbody: x\r\n", nil, 0, 2},
		{"empty", "", nil, 0, 0},
		{"space line is a fold", "A: 1\r\n \r\nB: 2\r\n\r\n", []string{"A| 1\r\n |A: 1\r\n \r\n", "B| 2|B: 2\r\n"}, 15, 17},
		{"colon first", ": x\r\nA: 1\r\n\r\n", []string{"-||: x\r\n", "A| 1|A: 1\r\n"}, 11, 13},
		{"NUL in name", "A\x00: x\r\n\r\n", []string{"-||A\x00: x\r\n"}, 7, 9},
		{"8-bit value", "A: \xff\r\n\r\n", []string{"A| \xff|A: \xff\r\n"}, 6, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, show(tt.msg)); diff != "" {
				t.Error(diff)
			}
			head, body := HeaderEnd([]byte(tt.msg))
			if head != tt.head || body != tt.body {
				t.Errorf("HeaderEnd %d, %d; want %d, %d", head, body, tt.head, tt.body)
			}
		})
	}
}

func TestFieldsLeaveNoGap(t *testing.T) {
	msg := []byte("A: 1\r\n x\njunk\rB : 2\r\n\r\nbody")
	at := 0
	for f := range Fields(msg) {
		if f.Start != at {
			t.Fatalf("field at %d, the one before ended at %d", f.Start, at)
		}
		at = f.End
	}
	if head, _ := HeaderEnd(msg); at != head {
		t.Fatalf("fields end at %d, header at %d", at, head)
	}
}

func TestFieldIs(t *testing.T) {
	f := Field{Name: []byte("X-MS-Has-Attach")}
	for name, want := range map[string]bool{"x-ms-has-attach": true, "X-MS-HAS-ATTACH": true, "X-MS-Has-Attac": false, "X-MS-Has-Attach2": false} {
		if f.Is(name) != want {
			t.Errorf("Is(%q) is not %v", name, want)
		}
	}
	if (Field{Name: []byte("\u212Aey")}).Is("key") {
		t.Error("the Kelvin sign is not a k")
	}
	if !f.HasPrefix("x-ms-") || f.HasPrefix("x-mt-") || f.HasPrefix("X-MS-Has-Attach-") {
		t.Error("HasPrefix")
	}
}

func TestNewline(t *testing.T) {
	for in, want := range map[string]string{"": "\r\n", "a": "\r\n", "a\r\nb\n": "\r\n", "a\nb": "\n", "a\rb": "\r", "a\r\r\nb": "\r\n"} {
		if got := Newline([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestUnfoldShares(t *testing.T) {
	v := []byte(" plain ")
	if got := Unfold(v); string(got) != "plain" || &got[0] != &v[1] {
		t.Errorf("%q", got)
	}
	if got := string(Unfold([]byte(" a\r\n b\r\n\tc"))); got != "a b\tc" {
		t.Errorf("%q", got)
	}
}

func TestHeaderScanIsLinear(t *testing.T) {
	// Each of these would take minutes if a line cost the whole rest of the text.
	for _, msg := range []string{
		strings.Repeat("a: b\r", 1<<20), strings.Repeat("a: b\n", 1<<20), "x\r" + strings.Repeat("\r", 1<<22),
		strings.Repeat("a\r\r\r\n", 1<<20), strings.Repeat(" \r\n", 1<<20),
	} {
		n := 0
		for range Fields([]byte(msg)) {
			n++
		}
		if n == 0 {
			t.Errorf("%.10q: no fields", msg)
		}
	}
}

func TestParseValue(t *testing.T) {
	tests := []struct {
		name, in, main string
		want           Params
	}{
		{"simple", " text/plain; charset=utf-8", "text/plain", Params{{"charset", "utf-8"}}},
		{"upper case and quotes", `Multipart/MIXED; Boundary="a b; c"`, "multipart/mixed", Params{{"boundary", "a b; c"}}},
		{"escapes", `a/b; name="q\"x\\y"`, "a/b", Params{{"name", `q"x\y`}}},
		{"space around =", `a/b; name = "x" ; n2= y`, "a/b", Params{{"name", "x"}, {"n2", "y"}}},
		{"bare text with spaces", "a/b; name=my file.dat; x=y", "a/b", Params{{"name", "my file.dat"}, {"x", "y"}}},
		{"comment", "text/plain; charset=us-ascii (Plain text)", "text/plain", Params{{"charset", "us-ascii"}}},
		{"RFC 2231", "a/b; name*=utf-8''%e2%82%ac%20rates", "a/b", Params{{"name", "€ rates"}}},
		{"RFC 2231 latin-1", "a/b; name*=iso-8859-1'en'%A3%20rates", "a/b", Params{{"name", "£ rates"}}},
		{"continuations", `a/b; name*0="win"; name*1="mail."; name*2=dat`, "a/b", Params{{"name", "winmail.dat"}}},
		{"continuations out of order, mixed", `a/b; name*1*=%C3%A4; name*0*=utf-8''x; name*2="y.dat"`, "a/b", Params{{"name", "xäy.dat"}}},
		{"RFC 2231 beats plain", "a/b; name=plain; name*=utf-8''better", "a/b", Params{{"name", "better"}}},
		{"encoded word", `a/b; name="=?utf-8?B?w6Qub2R0?="`, "a/b", Params{{"name", "ä.odt"}}},
		{"encoded word, folded", "a/b;\r\n\tname=\"=?iso-8859-1?Q?=E4?=\r\n =?iso-8859-1?Q?=F6?=\"", "a/b", Params{{"name", "äö"}}},
		{"raw UTF-8", "a/b; name=\"\u00e4.txt\"", "a/b", Params{{"name", "ä.txt"}}},
		{"raw latin-1", "a/b; name=\"\xe4.txt\"", "a/b", Params{{"name", "ä.txt"}}},
		{"first counts", "a/b; x=1; x=2", "a/b", Params{{"x", "1"}}},
		{"no value", "a/b; x; y=1;;", "a/b", Params{{"y", "1"}}},
		{"quote never closed", `a/b; boundary="abc`, "a/b", Params{{"boundary", "abc"}}},
		{"broken percent", "a/b; name*=utf-8''a%2", "a/b", Params{{"name", "a%2"}}},
		{"no type", "; x=1", "", Params{{"x", "1"}}},
		{"empty", "", "", nil},
		{"junk after quotes", `a/b; x="1"junk; y=2`, "a/b", Params{{"x", "1"}, {"y", "2"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			main, params := ParseValue([]byte(tt.in))
			if main != tt.main {
				t.Errorf("main %q, want %q", main, tt.main)
			}
			if diff := cmp.Diff(tt.want, params); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseValueHostile(t *testing.T) {
	for _, in := range []string{
		"a/b" + strings.Repeat("; x=y", 1<<16), "a/b; " + strings.Repeat("x*", 1<<16), "a/b; x*99999999999999999999=y", "a/b; x=\"" + strings.Repeat(`\`, 1<<16),
		strings.Repeat("(", 1<<16), "a/b; x*0*=utf-8'" + strings.Repeat("%", 1<<16),
	} {
		if _, p := ParseValue([]byte(in)); len(p) > maxParams {
			t.Errorf("%d parameters", len(p))
		}
	}
}

func TestDecodeWords(t *testing.T) {
	for in, want := range map[string]string{
		" plain ": "plain", "=?utf-8?q?a=C3=A4?= b": "aä b", "=?broken": "=?broken", "=?x-unknown?B?YQ==?=": "a",
	} {
		if got := DecodeWords([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
