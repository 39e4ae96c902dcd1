package rtf

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkCompressed compares what comes out of a document and of the same
// document compressed, which is read through a window.
func checkCompressed(t testing.TB, doc []byte, opt Options) {
	t.Helper()
	want, wantErr := Convert(doc, opt)
	got, err := ConvertCompressed(Compress(doc), opt)
	if !errors.Is(err, wantErr) {
		t.Fatalf("compressed: %v, else %v", err, wantErr)
	}
	if slices.Contains(got.Warnings, bodyCut) {
		return // how much there may be depends on how large the document can be
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("compressed documents differ (-plain +compressed):\n%s", d)
	}
}

func TestConvertCompressed(t *testing.T) {
	for _, c := range htmlCases {
		checkCompressed(t, []byte(htmlDoc(c.in)), Options{})
	}
	for _, c := range renderCases {
		checkCompressed(t, []byte(realDoc(c.in)), Options{})
	}
	checkCompressed(t, []byte("plain text"), Options{})
	for _, doc := range hostile(20_000) {
		checkCompressed(t, []byte(doc), Options{})
	}
}

// TestWindow puts every kind of token at every place around the end of the
// window.
func TestWindow(t *testing.T) {
	pieces := []string{
		`{\*\htmltag84 <b>}`, `\'e4\'f6`, `\u8364?`, `\u-10179?\u-8694?`, `&lt;&#8364;&amp;`, `text `, `\htmlrtf x\htmlrtf0 `, "\r\n", `\{\}\\`,
		`{\f1\'cf}`, "\x93\x5c", `\bin5 {}{}\`, strings.Repeat("\r\n", 40), `\par`, `\tab `, "\u00e9",
	}
	var filler strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for filler.Len() < windowSize-400 {
		filler.WriteString(pieces[r.IntN(len(pieces))])
	}
	for _, head := range []string{
		`{\rtf1\ansi\ansicpg1252\fromhtml1{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}`,
		`{\rtf1\ansi\ansicpg932\fromtext{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}`,
		`{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}`,
	} {
		for shift := range 12 {
			var doc strings.Builder
			doc.WriteString(head + filler.String() + strings.Repeat("x", shift))
			for range 40 {
				doc.WriteString(pieces[r.IntN(len(pieces))])
			}
			doc.WriteString("}")
			checkCompressed(t, []byte(doc.String()), Options{})
		}
	}
}

// TestLongRuns reads text, line ends and binary data that are longer than the
// window.
func TestLongRuns(t *testing.T) {
	const n = windowSize + windowSize/4 + 77
	for name, s := range map[string]string{
		"text":             strings.Repeat("a", n),
		"references":       strings.Repeat("&amp;", n/5),
		"8-bit":            strings.Repeat("\xe4", n),
		"UTF-8":            strings.Repeat("\u20ac", n/3),
		"line ends":        strings.Repeat("\r\n", n/2) + "x",
		"binary":           `{\pict\pngblip\bin` + itoa(n) + " " + strings.Repeat("}{", n/2) + `}x`,
		"binary after \\u": `\u8364\bin` + itoa(n) + " " + strings.Repeat("}", n) + `x`,
		"binary at an end": `\bin` + itoa(n) + " " + strings.Repeat("}", n/2),
		"words":            strings.Repeat(`\b`, n/2) + " x",
		"letters":          `\` + strings.Repeat("a", n) + " x",
		"digits":           `\fs` + strings.Repeat("1", n) + " x",
		"hexadecimal":      `{\pict\pngblip ` + strings.Repeat("89504e470d0a1a0a", n/16) + `}x`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, head := range []string{`{\rtf1\ansi `, `{\rtf1\ansi\ansicpg932\fromhtml1 `} {
				checkCompressed(t, []byte(head+s+"}"), Options{})
			}
		})
	}
}

func TestConvertCompressedForms(t *testing.T) {
	doc := []byte(`{\rtf1\ansi\fromtext Hello\par}`)
	packed := Compress(doc)
	wrong := append([]byte(nil), packed...)
	wrong[12]++
	for _, c := range []struct {
		name     string
		in       []byte
		text     string
		warnings []string // a piece of each
		err      error
	}{
		{"compressed", packed, "Hello\r\n", nil, nil},
		{"plain", pack(compMELA, len(doc), doc), "Hello\r\n", nil, nil},
		{"bare", doc, "Hello\r\n", []string{"without"}, nil},
		{"wrong checksum", wrong, "Hello\r\n", []string{"checksum"}, nil},
		{"cut", packed[:len(packed)-6], "Hell", []string{"bytes", "checksum", "early", "inside a group"}, nil},
		{"not compressed RTF", []byte("something that is none"), "", nil, ErrNotCompressedRTF},
		{"something else inside", Compress([]byte("plain text")), "", nil, ErrNotRTF},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ConvertCompressed(c.in, Options{})
			if !errors.Is(err, c.err) || !strings.HasPrefix(got.Text, c.text) {
				t.Errorf("%q, %v", got.Text, err)
			}
			if len(got.Warnings) != len(c.warnings) {
				t.Fatalf("warnings %q", got.Warnings)
			}
			for i, w := range c.warnings {
				if !strings.Contains(got.Warnings[i], w) {
					t.Errorf("warning %q does not say %q", got.Warnings[i], w)
				}
			}
		})
	}
}

func TestCharset(t *testing.T) {
	const meta = `{\*\htmltag <meta charset=iso-8859-1>}`
	for _, c := range []struct{ name, in, want string }{
		{"declared", htmlDoc(meta + `{\*\htmltag <body>}a\objattph\'20b`), `<meta charset=utf-8><body>a[]b`},
		{"longer than before", htmlDoc(`{\*\htmltag <meta charset=x><body>}a\objattph\'20b`), `<meta charset=utf-8><body>a[]b`},
		{"not declared", htmlDoc(`{\*\htmltag <body>}a\objattph\'20b`), `<body>a[]b`},
		{"large", htmlDoc(meta + `{\*\htmltag <body>}` + strings.Repeat("a", 3*chunkSize) + `\objattph\'20b`), `<meta charset=utf-8><body>` + strings.Repeat("a", 3*chunkSize) + `[]b`},
		{"large head", htmlDoc(strings.Repeat("x", 2*chunkSize) + meta + `{\*\htmltag <body>}\objattph\'20b`), strings.Repeat("x", 2*chunkSize) + `<meta charset=utf-8><body>[]b`},
	} {
		r, err := Convert([]byte(c.in), Options{Charset: "utf-8"})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := r.Place(func(int) string { return "[]" }, nil); got != c.want {
			t.Errorf("%s: %.200q, want %.200q", c.name, got, c.want)
		}
	}
}

// TestLongParagraph: a paragraph is not collected before it is written, and
// comes out as one all the same.
func TestLongParagraph(t *testing.T) {
	long := strings.Repeat("word ", 20_000)
	link := `{\field{\*\fldinst HYPERLINK "http://contoso.com"}{\fldrslt ` + long + `}}`
	for _, c := range []struct{ name, in, html, text string }{
		{"text", `a ` + long + `\par b\par`, p0 + "a " + long + "</p>\n" + p0 + "b</p>\n", "a " + long + "\nb\n"},
		{"formats", strings.Repeat(`\b x\b0 y`, 20_000) + `\par`, p0 + strings.Repeat("<b>x</b>y", 20_000) + "</p>\n", strings.Repeat("xy", 20_000) + "\n"},
		{"link", link + `\par`, p0 + `<a href="http://contoso.com">` + long + "</a></p>\n", long + " <http://contoso.com>\n"},
		{"item", `{\pntext *}` + long + `\par{\pntext *}b\par`, `<ul style="margin-top:0;margin-bottom:0">` + "\n<li>" + long + "</li>\n<li>b</li>\n</ul>\n", "• " + long + "\n• b\n"},
		{"label", `{\pntext 1.1}` + long + `\par`, p0 + "1.1&nbsp; " + long + "</p>\n", "1.1 " + long + "\n"},
		{"cell", `\trowd\cellx1000\intbl ` + long + `\cell\row`, table(row(td("50pt", long))), long + "\n"},
		{"cell that begins outside", `\trowd\cellx1000 ` + long + `\intbl x\cell\row`, p0 + long + "x</p>\n" + table(row(td("50pt", "&nbsp;"))), long + "x\n\n"},
		{"paragraphs in a cell", `\trowd\cellx1000\intbl ` + long + `\par b\cell\row`, table(row(td("50pt", p0+long+"</p>\n"+p0+"b</p>"))), long + " b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(realDoc(c.in)), Options{})
			if err != nil || len(got.Warnings) > 0 {
				t.Fatalf("%v, %q", err, got.Warnings)
			}
			if s := content(t, got); s != c.html {
				t.Errorf("HTML of %d bytes, want %d: %.80q ... %.80q", len(s), len(c.html), s, s[max(0, len(s)-80):])
			}
			if want := strings.ReplaceAll(c.text, "\n", "\r\n"); got.Text != want {
				t.Errorf("text of %d bytes, want %d: %.80q ... %.80q", len(got.Text), len(want), got.Text, got.Text[max(0, len(got.Text)-80):])
			}
		})
	}
}

// TestCut: what is larger than allowed is cut, in what was read first, and stays
// a document.
func TestCut(t *testing.T) {
	const limit = 80_000
	for name, in := range hostile(200_000) {
		r, err := Convert([]byte(in), Options{MaxOutput: limit})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(r.HTML) + len(r.Text); n > limit+2*chunkSize {
			t.Errorf("%s: %d bytes, %d are allowed", name, n, limit)
		}
		checkResult(t, name, r)
	}
	rows := realDoc(`start\par\trowd\cellx1000` + strings.Repeat(`\intbl row\cell\row`, 20_000))
	r, err := Convert([]byte(rows), Options{MaxOutput: limit})
	if err != nil || !strings.HasPrefix(r.Text, "start\r\nrow\r\nrow\r\n") || strings.Count(r.Text, "row") < 100 || len(r.Warnings) != 1 {
		t.Errorf("table: %.40q, %q, %v", r.Text, r.Warnings, err)
	}
	checkResult(t, "table", r)
}
