package rtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// sampleEncapsulated makes an encapsulated document of about n bytes, with the
// mixture of tags, suppressed RTF and text that Outlook writes.
func sampleEncapsulated(n int) string {
	const para = `{\*\htmltag64 <p class=MsoNormal>}\htmlrtf {\htmlrtf0 ` + "\r\n" +
		`{\*\htmltag148 <span lang=EN-US style='font-size:10.0pt;font-family:"Segoe UI",sans-serif'>}\htmlrtf {\f1 \htmlrtf0 ` +
		`The quarterly figures of Contoso and Fabrikam are attached; please have a look before the meeting on Monday.` + "\r\n" +
		`{\*\htmltag84 &#8217;}\htmlrtf \'92\htmlrtf0 Gr\'fc\'dfe aus M\'fcnchen \u8364?100.` +
		`{\*\htmltag156 </span>}\htmlrtf }\htmlrtf0 {\*\htmltag244 <o:p>}` + "\r\n" + `{\*\htmltag252 </o:p>}\htmlrtf\par}\htmlrtf0` + "\r\n" +
		`\htmlrtf \par` + "\r\n" + `\htmlrtf0 {\*\htmltag72 </p>}` + "\r\n"
	return htmlDoc(strings.Repeat(para, n/len(para)+1))
}

// corpus finds the collection of real samples: the directory that the
// environment names, or shared/corpus/tnef beside the project.
func corpus(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("COEXIST_TNEF_CORPUS"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		candidate := filepath.Join(dir, "shared", "corpus", "tnef")
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			return candidate
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skip("SKIPPED: no real samples here; COEXIST_TNEF_CORPUS can name their directory")
		}
		dir = parent
	}
}

// packedIn finds PidTagRtfCompressed values anywhere in a file.
func packedIn(b []byte) [][]byte {
	var found [][]byte
	for _, magic := range []string{"LZFu", "MELA"} {
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte(magic))
			if i < 0 {
				break
			}
			start := at + i - 8
			at += i + 4
			if start < 0 {
				continue
			}
			size := uint64(binary.LittleEndian.Uint32(b[start:])) + 4
			if size >= headerSize && size <= uint64(len(b)-start) {
				found = append(found, b[start:start+int(size)])
			}
		}
	}
	return found
}

// TestCorpus reads every RTF body of the real samples, and those of fuzzers.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	files, bodies, kinds := 0, 0, make(map[Kind]int)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		docs := [][]byte{b}
		for _, packed := range packedIn(b) {
			raw, _, err := Decompress(packed, 0)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			docs = append(docs, raw)
		}
		for _, doc := range docs {
			start := time.Now()
			r, err := Convert(doc, Options{})
			if errors.Is(err, ErrNotRTF) {
				continue
			}
			bodies++
			kinds[r.Kind]++
			checkResult(t, path, r)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s: took %v", path, took)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if bodies == 0 {
		t.Errorf("%d files in %s, and no RTF in any", files, dir)
	}
	t.Logf("%d files, %d RTF documents: %v", files, bodies, kinds)
}

// checkResult checks what holds for every result.
func checkResult(t testing.TB, name string, r Result) {
	t.Helper()
	for what, s := range map[string]string{"HTML": r.HTML, "text": r.Text} {
		if !utf8.ValidString(s) {
			t.Errorf("%s: %s is not UTF-8", name, what)
		}
		if strings.Contains(s, "\x00") {
			t.Errorf("%s: NUL in %s", name, what)
		}
	}
	if r.Kind != FromHTML && strings.Contains(r.Text, `\par`) && r.Kind == FromText {
		t.Errorf("%s: RTF in the text", name)
	}
	for _, o := range r.Objects {
		if o.HTML > len(r.HTML) || o.Text > len(r.Text) {
			t.Errorf("%s: object beyond the end: %+v", name, o)
		}
	}
	if r.Kind == RealRTF {
		for _, tag := range []string{"table", "tr", "td", "ul", "ol", "li", "a", "span", "p", "b", "i", "u", "s", "sup", "sub"} {
			open := strings.Count(r.HTML, "<"+tag+">") + strings.Count(r.HTML, "<"+tag+" ")
			if end := strings.Count(r.HTML, "</"+tag+">"); open != end {
				t.Errorf("%s: %d <%s>, %d </%s>", name, open, tag, end, tag)
			}
		}
		for _, p := range r.Pictures {
			if !strings.Contains(r.HTML, `"cid:`+escapeAttr(p.ContentID)+`"`) {
				t.Errorf("%s: picture %s is not referred to", name, p.Name)
			}
		}
	}
}

func FuzzConvert(f *testing.F) {
	for _, c := range htmlCases {
		f.Add([]byte(htmlDoc(c.in)))
	}
	for _, c := range renderCases {
		f.Add([]byte(realDoc(c.in)))
	}
	f.Add([]byte(realDoc(`{\pict\wmetafile8 ` + "010009000003" + `}`)))
	f.Add([]byte(listDoc(`\ls1 a\par\ilvl1 b\par\ls4 c\par`)))
	f.Add([]byte(`{\rtf1{\stylesheet{\s1\sbasedon2\b x;}{\s2\sbasedon1\i y;}{\*\cs3\ul z;}}\s1 a{\cs3 b}\par}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, doc := range [][]byte{b, append([]byte(`{\rtf1\ansi\fromhtml1 `), b...), append([]byte(`{\rtf1 `), b...)} {
			r, err := Convert(doc, Options{MaxOutput: 1 << 20})
			if err != nil {
				if !errors.Is(err, ErrNotRTF) {
					t.Fatal(err)
				}
				continue
			}
			checkResult(t, "fuzz", r)
			checkCompressed(t, doc, Options{MaxOutput: 1 << 20})
			if n := len(r.HTML) + len(r.Text); n > 3<<20+400*len(doc) {
				t.Fatalf("%d bytes from %d", n, len(doc))
			}
		}
	})
}

// hostile documents make careless readers quadratic, or hungry.
func hostile(n int) map[string]string {
	return map[string]string{
		"groups":            realDoc(strings.Repeat("{", n)),
		"closing braces":    realDoc("a") + strings.Repeat("}", n),
		"runs":              realDoc(strings.Repeat(`\b a\b0 b`, n/8)),
		"escapes":           realDoc(strings.Repeat(`\'e4`, n/4)),
		"lead bytes":        `{\rtf1\ansi\ansicpg932\fromhtml1 ` + strings.Repeat("\x93", n) + "}",
		"user-defined":      `{\rtf1\ansi\ansicpg932\fromhtml1 ` + strings.Repeat("\xf0\x40", n/2) + "}",
		"paragraphs":        realDoc(strings.Repeat(`\par`, n/4)),
		"cells":             realDoc(`\trowd` + strings.Repeat(`\cellx1`, n/16) + strings.Repeat(`\cell`, n/16) + `\row`),
		"rows":              realDoc(`\intbl` + strings.Repeat(`\trowd\clvmgf\cellx1\cell\row`, n/32) + strings.Repeat(`\trowd\clvmrg\cellx1\cell\row`, n/32)),
		"rows of one def":   realDoc(`\trowd` + strings.Repeat(`\cellx1`, n/16) + strings.Repeat(`\cell\row`, n/16)),
		"nested tables":     realDoc(strings.Repeat(`\itap9999 a\nestcell`, n/20)),
		"tables in turn":    realDoc(strings.Repeat(`\itap1 a\cell\itap8 b\nestcell`, n/30)),
		"lists":             realDoc(strings.Repeat(`{\pntext 1.}\li9 a\par{\pntext *}\li99 b\par`, n/40)),
		"deeper lists":      realDoc(deeperLists(n / 40)),
		"fields":            realDoc(strings.Repeat(`{\field{\*\fldinst HYPERLINK "a"}{\fldrslt `, n/40)),
		"instruction":       realDoc(`{\field{\*\fldinst HYPERLINK ` + strings.Repeat(`"a" `, n/4) + `}{\fldrslt x}}`),
		"fonts":             `{\rtf1{\fonttbl` + strings.Repeat(`{\f1 A;}`, n/8) + `}x}`,
		"one font name":     `{\rtf1{\fonttbl{\f1 ` + strings.Repeat(`\u65?A`, n/6) + `;}}x}`,
		"colours":           `{\rtf1{\colortbl` + strings.Repeat(`;`, n) + `}x}`,
		"objects":           realDoc(strings.Repeat(`\objattph\'20`, n/12)),
		"pictures":          realDoc(strings.Repeat(`{\pict\pngblip 8950}`, n/20)),
		"unicode":           realDoc(strings.Repeat(`\u-10179?`, n/8)),
		"ampersands":        htmlDoc(strings.Repeat(`&`, n)),
		"half references":   htmlDoc(strings.Repeat(`&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`, n/34)),
		"links to nothing":  realDoc(`{\field{\*\fldinst HYPERLINK "http://a"}{\fldrslt ` + strings.Repeat(`\b x\b0 y`, n/8) + `}}\par`),
		"numbers and signs": realDoc(strings.Repeat(`\bin-1\u-99999999999999999999?`, n/30)),
	}
}

// TestLinear converts hostile documents in time.
func TestLinear(t *testing.T) {
	for name, in := range hostile(100000) {
		start := time.Now()
		r, err := Convert([]byte(in), Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// A quadratic reader takes minutes; the race detector and a busy
		// machine may make a linear one slow.
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		if n := len(r.HTML) + len(r.Text); n > 60*len(in) {
			t.Errorf("%s: %d bytes from %d", name, n, len(in))
		}
	}
}

// TestMemory converts hostile documents and counts all that is allocated on
// the way, garbage included.
func TestMemory(t *testing.T) {
	for name, in := range hostile(1 << 19) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Convert([]byte(in), Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		used := after.TotalAlloc - before.TotalAlloc
		if limit := uint64(20*len(in) + 16<<20); used > limit {
			t.Errorf("%s: %d bytes of input took %d bytes, %.1f times, more than %d", name, len(in), used, float64(used)/float64(len(in)), limit)
		}
	}
}

func deeperLists(n int) string {
	var s strings.Builder
	for i := range n {
		s.WriteString(`{\pntext *}\li` + itoa(i) + ` a\par`)
	}
	return s.String()
}

func BenchmarkConvertHTML(b *testing.B) {
	src := []byte(sampleEncapsulated(100 << 10))
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Convert(src, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConvertRTF(b *testing.B) {
	const para = `\pard\li360{\b Contoso} and {\cf1\i Fabrikam} agreed on the \'fc figures, see ` +
		`{\field{\*\fldinst{HYPERLINK "http://www.contoso.com"}}{\fldrslt{\cf1\ul here}}} for all of them.\par` + "\r\n" +
		`\trowd\cellx1000\cellx2000\pard\intbl one\cell two\cell\row` + "\r\n"
	src := []byte(realDoc(strings.Repeat(para, 400)))
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Convert(src, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
