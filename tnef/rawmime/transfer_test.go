package rawmime

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
)

func TestQPRoundTrip(t *testing.T) {
	for _, s := range []string{
		"", "plain", "a=b", "trailing \r\nx\t\r\n", "end ", "\u00e4\u00f6\u00fc", strings.Repeat("x", 200), strings.Repeat("\u00e4", 100), "--b\r\n--b--\r\n",
		"From kim\r\n.\r\n..\r\n", "a\rb", "nul\x00", strings.Repeat("word ", 60), strings.Repeat("x", 75) + "=", strings.Repeat("x", 76) + "\r\n" + strings.Repeat("y", 77),
		strings.Repeat("x", 75) + "--b", strings.Repeat("x", 75) + "From ", "=_x",
	} {
		enc := AppendQP(nil, []byte(s))
		if bytes.Contains(enc, []byte("=_")) {
			t.Errorf("%q: =_ in %q", s, enc)
		}
		for _, line := range strings.Split(string(enc), "\r\n") {
			if len(line) > 76 {
				t.Errorf("%q: line of %d", s, len(line))
			}
			if strings.HasPrefix(line, "--") || strings.HasPrefix(line, "From ") || line == "." || strings.HasSuffix(line, " ") || strings.HasSuffix(line, "\t") {
				t.Errorf("%q: line %q", s, line)
			}
		}
		if got, clean := DecodeQP(nil, enc); string(got) != s || !clean {
			t.Errorf("%q: came back as %q (%v)", s, got, clean)
		}
		std, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(enc)))
		if err != nil || string(std) != s {
			t.Errorf("%q: the standard library reads %q (%v)", s, std, err)
		}
	}
}

func TestQPPieces(t *testing.T) {
	text := []byte(strings.Repeat("abc def=ghi \u00e4\u00f6 jkl-mno --pq\r\n", 20) + strings.Repeat("abcdefghij", 50) + strings.Repeat("-", 300) + " end")
	want := AppendQP(nil, text)
	for size := 1; size < 400; size += 3 {
		var e QPEncoder
		var got []byte
		for rest := text; len(rest) > 0; {
			n := e.Cut(rest, size)
			got = e.Append(got, rest[:n], n == len(rest))
			rest = rest[n:]
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("pieces of %d:\n%s\nwant\n%s", size, got, want)
		}
	}
}

func TestDecodeQPTolerant(t *testing.T) {
	for in, want := range map[string]string{
		"a=3db": "a=b", "a=\r\nb": "ab", "a= \nb": "ab", "a=XXb": "a=XXb", "a=": "a", "a=4": "a=4", "a  \r\nb": "a\r\nb", "=E4=\n=F6": "\xe4\xf6",
	} {
		if got, _ := DecodeQP(nil, []byte(in)); string(got) != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDecodeUU(t *testing.T) {
	tests := []struct {
		name, in, want string
		found          bool
	}{
		{"cat", "begin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\n", "Cat", true},
		{"text in front", "Hello\n\nbegin 600 winmail.dat\n#0V%T\n \nend\n", "Cat", true},
		{"spaces lost at the end", "begin 644 x\n#0V%T\n\"86$\n`\nend\n", "Cataa", true},
		{"cut off", "begin 644 x\n#0V%T\n#0V", "CatC`\x00", true},
		{"no begin", "#0V%T\n", "", false},
		{"begin without mode", "begin the day\n#0V%T\n", "", false},
	}
	for _, tt := range tests {
		got, found := DecodeUU(nil, []byte(tt.in))
		if string(got) != tt.want || found != tt.found {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, found, tt.want)
		}
	}
}

func TestDecodeByName(t *testing.T) {
	for _, tt := range []struct {
		encoding, in, want string
		known              bool
	}{
		{"base64", "Q2F0", "Cat", true}, {"quoted-printable", "C=61t", "Cat", true}, {"x-uuencode", "begin 644 x\n#0V%T\nend\n", "Cat", true}, {"8bit", "Cat", "Cat", true},
		{"binary", "C\x00", "C\x00", true}, {"", "Cat", "Cat", true}, {"x-other", "Cat", "", false},
	} {
		got, known := Decode(nil, []byte(tt.in), tt.encoding)
		if string(got) != tt.want || known != tt.known {
			t.Errorf("%s: %q, %v", tt.encoding, got, known)
		}
	}
}

func TestBase64DecoderPieces(t *testing.T) {
	data := randomBytes(9, 1000)
	text := AppendBase64(nil, data)
	for size := 1; size < 200; size += 7 {
		var d Base64Decoder
		var out []byte
		buf := make([]byte, Base64Len(size))
		for rest := text; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			out = append(out, buf[:d.Decode(buf, rest[:min(size, len(rest))])]...)
		}
		out = append(out, buf[:d.Finish(buf)]...)
		if !bytes.Equal(out, data) || !d.Clean() {
			t.Fatalf("pieces of %d: wrong", size)
		}
	}
}
