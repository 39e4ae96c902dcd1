package rawmime

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"
)

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// wrap cuts base64 into lines.
func wrap(s string, width int, newline string) string {
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width])
		b.WriteString(newline)
		s = s[width:]
	}
	b.WriteString(s)
	return b.String()
}

func TestBase64RoundTrip(t *testing.T) {
	for n := range 400 {
		src := randomBytes(uint64(n), n)
		enc := AppendBase64([]byte("x"), src)
		if len(enc) != 1+EncodedLen(n) {
			t.Fatalf("%d octets: EncodedLen says %d, got %d", n, EncodedLen(n), len(enc)-1)
		}
		want := wrap(base64.StdEncoding.EncodeToString(src), 76, "\r\n")
		if n > 0 {
			want += "\r\n"
		}
		if string(enc[1:]) != want {
			t.Fatalf("%d octets:\n%s\nwant\n%s", n, enc[1:], want)
		}
		for _, line := range []int{4, 60, 64, 72, 75, 76, 77, 1000} {
			for _, nl := range []string{"\r\n", "\n", "\r", " \r\n"} {
				text := wrap(base64.StdEncoding.EncodeToString(src), line, nl)
				got, clean := DecodeBase64([]byte("head"), []byte(text))
				if string(got) != "head"+string(src) {
					t.Fatalf("%d octets, lines of %d with %q: decoded wrong", n, line, nl)
				}
				if wantClean := nl != " \r\n" || !strings.Contains(text, " "); clean != wantClean {
					t.Fatalf("%d octets, lines of %d with %q: clean = %v", n, line, nl, clean)
				}
			}
		}
	}
}

func TestDecodeBase64Tolerant(t *testing.T) {
	tests := []struct {
		name, in, want string
		clean          bool
	}{
		{"empty", "", "", true},
		{"no pad", "Zm9vYg", "foob", false},
		{"junk inside", "Zm9*v-Ym Fy", "foobar", false},
		{"two encoded blocks", "Zm8=\r\nYmFy", "fobar", false},
		{"pad then line ending", "Zm8=\r\n\r\n", "fo", true},
		{"three pads", "Zg===", "f", true},
		{"one character left", "Zm9vZ", "foo", false},
		{"NUL", "Zm9v\x00YmFy", "foobar", false},
		{"high octets", "Zm9v\xff\xfeYmFy", "foobar", false},
		{"url alphabet is not base64", "Zm9v-_-_", "foo", false},
		{"only pads", "====", "", true},
		{"only line endings", "\r\n\r\n", "", true},
	}
	for _, tt := range tests {
		got, clean := DecodeBase64(nil, []byte(tt.in))
		if string(got) != tt.want || clean != tt.clean {
			t.Errorf("%s: %q, clean %v; want %q, %v", tt.name, got, clean, tt.want, tt.clean)
		}
	}
}

func FuzzDecodeBase64(f *testing.F) {
	for _, s := range []string{"", "Zm9vYmFy", "Zm8=\r\nYmFy\r\n", "=", "\r\n=\n", strings.Repeat("A", 76) + "\r\n" + strings.Repeat("/", 76)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, clean := DecodeBase64(nil, in)
		if want := slowDecode(in); !bytes.Equal(got, want) {
			t.Fatalf("got %q, one by one %q", got, want)
		}
		if clean {
			again, _ := DecodeBase64(nil, AppendBase64(nil, got))
			if !bytes.Equal(again, got) {
				t.Fatal("round trip changed octets")
			}
		}
	})
}

// slowDecode is the rule, written as simply as can be.
func slowDecode(in []byte) []byte {
	var out []byte
	var bits uint32
	have := 0
	flush := func() {
		switch have {
		case 2:
			out = append(out, byte(bits>>4))
		case 3:
			out = append(out, byte(bits>>10), byte(bits>>2))
		}
		bits, have = 0, 0
	}
	for _, c := range in {
		if c == '=' {
			flush()
			continue
		}
		v := strings.IndexByte(alphabet, c)
		if v < 0 {
			continue
		}
		bits = bits<<6 | uint32(v)
		if have++; have == 4 {
			out = append(out, byte(bits>>16), byte(bits>>8), byte(bits))
			bits, have = 0, 0
		}
	}
	flush()
	return out
}

func BenchmarkDecodeBase64(b *testing.B) {
	data := randomBytes(7, 16<<20)
	for _, tt := range []struct {
		name    string
		width   int
		newline string
	}{{"76", 76, "\r\n"}, {"72", 72, "\r\n"}, {"60", 60, "\r\n"}, {"76-LF", 76, "\n"}, {"64", 64, "\r\n"}} {
		text := []byte(wrap(base64.StdEncoding.EncodeToString(data), tt.width, tt.newline))
		dst := make([]byte, 0, Base64Len(len(text)))
		b.Run(tt.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				out, _ := DecodeBase64(dst, text)
				if len(out) != len(data) {
					b.Fatal("wrong length")
				}
			}
		})
	}
}

func BenchmarkEncodeBase64(b *testing.B) {
	data := randomBytes(7, 16<<20)
	dst := make([]byte, 0, EncodedLen(len(data)))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if len(AppendBase64(dst, data)) != EncodedLen(len(data)) {
			b.Fatal("wrong length")
		}
	}
}
