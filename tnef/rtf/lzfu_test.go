package rtf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The vectors of [MS-OXRTFCP] section 3: a short document, and one whose
// references overlap what they write.
var vectors = []struct{ packed, want string }{
	{"2d0000002b0000004c5a4675f1c5c7a703000a0072637067313235423" +
		"20af32068656c0900206277" + "05b06c647d0a800fa0", "{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"},
	{"1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0", `{\rtf1 WXYZWXYZWXYZWXYZWXYZ}`},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		packed, err := hex.DecodeString(v.packed)
		if err != nil {
			t.Fatal(err)
		}
		got, warnings, err := Decompress(packed, 0)
		if err != nil || len(warnings) > 0 || string(got) != v.want {
			t.Errorf("Decompress = %q, %q, %v, want %q", got, warnings, err, v.want)
		}
	}
}

// pack puts a header before contents.
func pack(kind uint32, raw int, contents []byte) []byte {
	h := make([]byte, headerSize)
	binary.LittleEndian.PutUint32(h, uint32(len(contents)+12))
	binary.LittleEndian.PutUint32(h[4:], uint32(raw))
	binary.LittleEndian.PutUint32(h[8:], kind)
	if kind == compLZFu {
		binary.LittleEndian.PutUint32(h[12:], checksum(contents))
	}
	return append(h, contents...)
}

func TestDecompress(t *testing.T) {
	const doc = `{\rtf1\ansi x}`
	good := Compress([]byte(doc))
	change := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	ref := func(offset, length int) []byte {
		v := offset<<4 | (length - 2)
		return []byte{byte(v >> 8), byte(v)}
	}
	end := ref(207+1, 2)
	for _, c := range []struct {
		name     string
		in       []byte
		max      int
		want     string
		warnings []string // a piece of each
		err      bool
	}{
		{name: "compressed", in: good, want: doc},
		{name: "uncompressed", in: pack(compMELA, len(doc), []byte(doc)), want: doc},
		{name: "uncompressed with padding", in: pack(compMELA, len(doc), []byte(doc+"\x00\x00")), want: doc},
		{name: "uncompressed and cut", in: pack(compMELA, 100, []byte(doc)), want: doc, warnings: []string{"14 of 100"}},
		{name: "no header at all", in: []byte(doc), want: doc, warnings: []string{"without"}},
		{name: "nothing", in: nil, err: true},
		{name: "cut header", in: good[:15], err: true},
		{name: "unknown type", in: change(8, 0x12345678), err: true},
		{name: "wrong checksum", in: change(12, 1), want: doc, warnings: []string{"checksum"}},
		{name: "size too small", in: change(0, 3), want: doc, warnings: []string{"7 bytes"}},
		{name: "size too large", in: change(0, 1<<32-1), want: doc, warnings: []string{"4294967299 bytes"}},
		{name: "raw size too small", in: change(4, 3), want: doc, warnings: []string{"says 3"}},
		{name: "raw size too large", in: change(4, 1<<32-1), want: doc, warnings: []string{"says 4294967295"}},
		{name: "padding after the end", in: append(bytes.Clone(good), 0, 0, 0), want: doc, warnings: []string{"there are"}},
		{name: "capped", in: good, max: 5, want: doc[:5], warnings: []string{"cut at 5"}},
		{name: "cap that is just enough", in: good, max: len(doc), want: doc},
		{name: "capped uncompressed", in: pack(compMELA, len(doc), []byte(doc)), max: 5, want: doc[:5]},
		{name: "no end marker", in: pack(compLZFu, 1, []byte{0, 'a'}), want: "a", warnings: []string{"early"}},
		{name: "cut in a reference", in: pack(compLZFu, 1, []byte{2, 'a', 0}), want: "a", warnings: []string{"early"}},
		{name: "no contents", in: pack(compLZFu, 0, nil), want: "", warnings: []string{"early"}},
		{name: "reference into the preset", in: pack(compLZFu, 6, append(append([]byte{2 | 4, 'x'}, ref(0, 5)...), ref(207+6, 2)...)), want: `x{\rtf`},
		{name: "overlap of one", in: pack(compLZFu, 18, append(append([]byte{2 | 4, 'a'}, ref(207, 17)...), ref(207+18, 2)...)), want: strings.Repeat("a", 18)},
		{name: "reference before anything", in: pack(compLZFu, 3, append(append([]byte{2 | 4, 'a'}, ref(1000, 2)...), ref(210, 2)...)), want: "a\x00\x00"},
		{name: "end at once", in: pack(compLZFu, 1, append([]byte{2, 'a'}, end...)), want: "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, warnings, err := Decompress(c.in, c.max)
			if c.err {
				if !errors.Is(err, ErrNotCompressedRTF) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, string(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if len(warnings) != len(c.warnings) {
				t.Fatalf("warnings %q", warnings)
			}
			for i, w := range c.warnings {
				if !strings.Contains(warnings[i], w) {
					t.Errorf("warning %q does not say %q", warnings[i], w)
				}
			}
		})
	}
}

// TestRoundTrip packs texts of every length around the format's limits: groups
// of eight tokens, matches of 17, the window of 4096 bytes.
func TestRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "a", strings.Repeat("a", 30000), strings.Repeat(`\par \pard\plain`, 1000), presetDict, presetDict + presetDict}
	for n := range 70 {
		texts = append(texts, strings.Repeat("ab", n))
	}
	for _, n := range []int{3888, 3889, 4095, 4096, 4097, 8191, 8192, 20000} {
		for _, letters := range []int{2, 30, 256} {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rnd.IntN(letters))
			}
			texts = append(texts, string(b), string(b)+string(b))
		}
	}
	for _, text := range texts {
		packed := Compress([]byte(text))
		got, warnings, err := Decompress(packed, 0)
		if err != nil || len(warnings) > 0 || string(got) != text {
			t.Fatalf("%d bytes: %d back, %q, %v", len(text), len(got), warnings, err)
		}
	}
}

// TestBomb checks that memory follows the input, not what its header claims.
func TestBomb(t *testing.T) {
	small := pack(compLZFu, 1<<31-1, []byte{0, 'a'})
	if n := testing.AllocsPerRun(10, func() { _, _, _ = Decompress(small, 0) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
	got, _, err := Decompress(small, 0)
	if err != nil || cap(got) > 8192 {
		t.Errorf("%d bytes of memory for %d bytes of input, %v", cap(got), len(small), err)
	}
	// The most that the format can expand: references of 17 bytes, overlapping.
	var body []byte
	pos := 207
	for range 20000 {
		body = append(body, 0xFF)
		for range 8 {
			ref := ((pos-1)&4095)<<4 | 15
			body = append(body, byte(ref>>8), byte(ref))
			pos += 17
		}
	}
	got, _, err = Decompress(pack(compLZFu, 1, body), 1<<20)
	if err != nil || len(got) != 1<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	got, _, err = Decompress(pack(compLZFu, 1, body), 0)
	if err != nil || len(got) != 20000*8*17 {
		t.Errorf("%d bytes, want %d, %v", len(got), 20000*8*17, err)
	}
}

func FuzzDecompress(f *testing.F) {
	for _, v := range vectors {
		b, _ := hex.DecodeString(v.packed)
		f.Add(b, 0)
	}
	f.Add(pack(compMELA, 5, []byte("{\\rtf")), 3)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		got, _, err := Decompress(b, limit)
		if limit > 0 && len(got) > limit {
			t.Fatalf("%d bytes, at most %d allowed", len(got), limit)
		}
		if len(got) > 9*len(b) {
			t.Fatalf("%d bytes of %d", len(got), len(b))
		}
		if err != nil && got != nil {
			t.Fatal("a result with an error")
		}
		back, warnings, err := Decompress(Compress(b), 0)
		if err != nil || len(warnings) > 0 || !bytes.Equal(back, b) {
			t.Fatalf("round trip of %q gives %q, %q, %v", b, back, warnings, err)
		}
	})
}

func BenchmarkDecompress(b *testing.B) {
	raw := []byte(sampleEncapsulated(100 << 10))
	packed := Compress(raw)
	b.SetBytes(int64(len(raw)))
	b.ReportMetric(float64(len(packed))/float64(len(raw)), "ratio")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decompress(packed, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompress(b *testing.B) {
	raw := []byte(sampleEncapsulated(100 << 10))
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		Compress(raw)
	}
}
