package message

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// scanBySpec finds the same as Scanner, an octet at a time, in the words of its documentation.
func scanBySpec(b []byte) Findings {
	f := Findings{Size: int64(len(b))}
	line := int64(0)
	for i, c := range b {
		switch {
		case c == 0:
			f.NUL = true
		case c == '\r' && (i+1 == len(b) || b[i+1] != '\n'):
			f.BareCR = true
		case c == '\n' && (i == 0 || b[i-1] != '\r'):
			f.BareLF = true
		case c > 127:
			f.EightBit = true
		}
		line++
		if c == '\n' {
			line--
			if i > 0 && b[i-1] == '\r' {
				line--
			}
			f.LongestLine = max(f.LongestLine, line)
			line = 0
		}
	}
	f.LongestLine = max(f.LongestLine, line)
	f.Unfinished = line > 0
	return f
}

func TestScanner(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	cases := []struct {
		name, in string
		want     Findings
	}{
		{"nothing", "", Findings{}},
		{"good", "Subject: a\r\n\r\nbody\r\n", Findings{Size: 20, LongestLine: 10}},
		{"unfinished", "abc", Findings{Size: 3, LongestLine: 3, Unfinished: true}},
		{"bare LF", "a\nb\r\n", Findings{Size: 5, LongestLine: 1, BareLF: true}},
		{"LF first", "\na\r\n", Findings{Size: 4, LongestLine: 1, BareLF: true}},
		{"bare CR", "a\rb\r\n", Findings{Size: 5, LongestLine: 3, BareCR: true}},
		{"CR last", "a\r\nb\r", Findings{Size: 5, LongestLine: 2, BareCR: true, Unfinished: true}},
		{"CR CR LF", "a\r\r\n", Findings{Size: 4, LongestLine: 2, BareCR: true}},
		{"a bare LF does not hide a bare CR", "a\rb\nc\r\n", Findings{Size: 7, LongestLine: 3, BareCR: true, BareLF: true}},
		{"LF CR", "a\n\rb\r\n", Findings{Size: 6, LongestLine: 2, BareCR: true, BareLF: true}},
		{"NUL", "a\x00\r\n", Findings{Size: 4, LongestLine: 2, NUL: true}},
		{"eight bit", "caf\xe9\r\n", Findings{Size: 6, LongestLine: 4, EightBit: true}},
		{"127 is seven bit", "\x7f\r\n", Findings{Size: 3, LongestLine: 1}},
		{"longest line that passes", long + "\r\n", Findings{Size: MaxLine + 2, LongestLine: MaxLine}},
		{"too long a line", "a\r\n" + long + "x", Findings{Size: MaxLine + 4, LongestLine: MaxLine + 1, Unfinished: true}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, len(c.in) + 1} {
				var s Scanner
				if err := writeChunks(&s, []byte(c.in), size); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, s.Findings()); diff != "" {
					t.Errorf("in chunks of %d (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

// TestScannerAcrossBlocks puts what is to be found at every place around the border of the blocks that are scanned at a time.
func TestScannerAcrossBlocks(t *testing.T) {
	for _, bad := range []string{"\n", "\r", "\r\n", "\r\r\n", "\n\r", "\x00", "\xff"} {
		for at := scanBlock - 40; at < scanBlock+40; at++ {
			b := bytes.Repeat([]byte("x"), 2*scanBlock)
			copy(b[at:], bad)
			var s Scanner
			_, _ = s.Write(b)
			if diff := cmp.Diff(scanBySpec(b), s.Findings()); diff != "" {
				t.Fatalf("%q at %d (-want +got):\n%s", bad, at, diff)
			}
		}
	}
}

func TestScannerReset(t *testing.T) {
	var s Scanner
	_, _ = s.Write([]byte("\n\x00\xff\r"))
	s.Reset()
	_, _ = s.Write([]byte("\na\r\n"))
	if diff := cmp.Diff(Findings{Size: 4, LongestLine: 1, BareLF: true}, s.Findings()); diff != "" {
		t.Errorf("the message before shines through (-want +got):\n%s", diff)
	}
}

// FuzzScanner compares with the plain scan, the input cut in two at any place.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{"", "a\r\nb\r\n", "\r", "\n", "\r\r\n\n\r", "\x00\xff", strings.Repeat("x\r\n", 20)} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = min(max(cut, 0), len(in))
		var s Scanner
		_, _ = s.Write(in[:cut])
		_, _ = s.Write(in[cut:])
		if diff := cmp.Diff(scanBySpec(in), s.Findings()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	})
}

var anyEnding = regexp.MustCompile("\r\n|\r|\n")

func TestNormalizeCRLF(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"good", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"},
		{"unfinished", "a\r\nb", "a\r\nb"},
		{"bare LF", "a\nb\n\nc", "a\r\nb\r\n\r\nc"},
		{"bare CR", "a\rb\r\rc\r", "a\r\nb\r\n\r\nc\r\n"},
		{"mixed", "\n\r\r\n\n\r", "\r\n\r\n\r\n\r\n\r\n"},
		{"a dot alone by bare LF", "a\n.\nb\r\n", "a\r\n.\r\nb\r\n"},
		{"other octets stay", "\x00\xff\x0b\x0c\x85\r\n", "\x00\xff\x0b\x0c\x85\r\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := string(NormalizeCRLF([]byte("kept:"), []byte(c.in))); got != "kept:"+c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			for _, size := range []int{1, 2, 3} {
				if got := normalizeChunks([]byte(c.in), size); string(got) != c.want {
					t.Errorf("in chunks of %d: %q, want %q", size, got, c.want)
				}
			}
		})
	}
}

func normalizeChunks(in []byte, size int) []byte {
	var n Normalizer
	var out []byte
	for len(in) > 0 {
		chunk := in[:min(size, len(in))]
		in = in[len(chunk):]
		out = n.Append(out, chunk)
	}
	return n.Finish(out)
}

func FuzzNormalizer(f *testing.F) {
	for _, s := range []string{"", "a\r\nb\r\n", "\r", "\n", "\r\r\n\n\r", "a\rb\nc"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = min(max(size, 1), len(in)+1)
		want := anyEnding.ReplaceAll(in, []byte("\r\n"))
		if got := normalizeChunks(in, size); !bytes.Equal(got, want) {
			t.Errorf("%q in chunks of %d: %q, want %q", in, size, got, want)
		}
	})
}

// letter is a message of about n octets in lines of 76.
func letter(n int) []byte {
	var b bytes.Buffer
	b.WriteString("Received: from mail.fabrikam.com ([192.0.2.7])\r\n\tby mx.contoso.com with ESMTPS id 1\r\n\tfor <adele@contoso.com>; Tue, 24 Nov 2026 10:00:00 +0000\r\n")
	for range 20 {
		b.WriteString("X-MS-Exchange-CrossTenant-Id: 00000000-0000-0000-0000-000000000000\r\n")
	}
	b.WriteString("From: alex@fabrikam.com\r\nTo: adele@contoso.com\r\nSubject: Contract\r\nMessage-ID: <1@fabrikam.com>\r\n\r\n")
	line := strings.Repeat("abcd", 19) + "\r\n"
	for b.Len() < n {
		b.WriteString(line)
	}
	return b.Bytes()
}

func BenchmarkScanner(b *testing.B) {
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
				if f := s.Findings(); f.BareLF || f.BareCR {
					b.Fatal(f)
				}
			}
		})
	}
}

func BenchmarkNormalizer(b *testing.B) {
	msg := letter(1 << 20)
	for name, in := range map[string][]byte{"good": msg, "bareLF": bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n"))} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			var out []byte
			for b.Loop() {
				out = NormalizeCRLF(out[:0], in)
			}
		})
	}
}
