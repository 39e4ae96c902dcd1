package rtf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"image"
	imgcolor "image/color"
	"image/png"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// words appends numbers in little-endian order, by their Go type.
func words(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		if raw, ok := v.([]byte); ok {
			b.Write(raw)
			continue
		}
		// Writing fixed-size numbers to a buffer cannot fail.
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	return b.Bytes()
}

// smallDIB is a bitmap of one red pixel.
var smallDIB = words(uint32(40), uint32(1), uint32(1), uint16(1), uint16(24), uint32(0), uint32(4),
	uint32(0), uint32(0), uint32(0), uint32(0), []byte{0, 0, 255, 0})

// smallBMP is smallDIB as a file.
var smallBMP = append(words([]byte("BM"), uint32(14+44), uint32(0), uint32(54)), smallDIB...)

func smallPNG(t testing.TB) []byte {
	img := image.NewRGBA(image.Rect(0, 0, 2, 3))
	img.Set(1, 1, imgcolor.RGBA{255, 0, 0, 255})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// wmf is a metafile with the records.
func wmf(records ...[]byte) []byte {
	out := words(uint16(1), uint16(9), uint16(0x300), uint32(0), uint16(0), uint32(0), uint16(0))
	for _, r := range append(records, record(0)) {
		out = append(out, r...)
	}
	return out
}

func record(function uint16, params ...[]byte) []byte {
	p := bytes.Join(params, nil)
	if len(p)%2 == 1 {
		p = append(p, 0)
	}
	return words(uint32(3+len(p)/2), function, p)
}

func emf(kind uint32) []byte {
	head, bits := smallDIB[:40], smallDIB[40:]
	rec := make([]byte, 80)
	copy(rec, words(kind, uint32(80+len(smallDIB))))
	copy(rec[48:], words(uint32(80), uint32(40), uint32(120), uint32(len(bits))))
	rec = append(append(rec, head...), bits...)
	first := words(uint32(1), uint32(88), make([]byte, 80))
	return append(append(first, rec...), words(uint32(14), uint32(20), make([]byte, 12))...)
}

func TestPictures(t *testing.T) {
	pngData := smallPNG(t)
	jpeg := []byte("\xFF\xD8\xFF\xE0 not really a picture")
	placeable := words(uint32(0x9AC6CDD7), make([]byte, 6), uint16(1440), uint16(720), uint16(1440), make([]byte, 6))
	sum := uint16(0)
	for i := 0; i < 20; i += 2 {
		sum ^= binary.LittleEndian.Uint16(placeable[i:])
	}
	binary.LittleEndian.PutUint16(placeable[20:], sum)
	drawing := wmf(record(0x0213, []byte{1, 0, 1, 0}))
	stretch := wmf(record(0x0F43, make([]byte, 22), smallDIB))
	for _, c := range []struct {
		name, words string
		data        []byte
		mime, file  string
		want        []byte // nil: as it was
	}{
		{"png", `\pngblip`, pngData, "image/png", "image001.png", nil},
		{"jpeg", `\jpegblip`, jpeg, "image/jpeg", "image001.jpg", nil},
		{"png that calls itself jpeg", `\jpegblip`, pngData, "image/png", "image001.png", nil},
		{"bitmap", `\dibitmap0`, smallDIB, "image/bmp", "image001.bmp", smallBMP},
		{"metafile with a bitmap", `\wmetafile8`, stretch, "image/bmp", "image001.bmp", smallBMP},
		{"metafile with a drawing", `\wmetafile8\picwgoal1440\pichgoal720`, drawing, "image/wmf", "image001.wmf", append(placeable[:22:22], drawing...)},
		{"metafile with both", `\wmetafile8\picwgoal1440\pichgoal720`, wmf(record(0x0F43, make([]byte, 22), smallDIB), record(0x0213)), "image/wmf", "image001.wmf",
			append(placeable[:22:22], wmf(record(0x0F43, make([]byte, 22), smallDIB), record(0x0213))...)},
		{"enhanced metafile with a bitmap", `\emfblip`, emf(81), "image/bmp", "image001.bmp", smallBMP},
		{"enhanced metafile with a drawing", `\emfblip`, emf(43), "image/emf", "image001.emf", nil},
		{"device-dependent bitmap", `\wbitmap0\picw1\pich1\wbmbitspixel24\wbmplanes1\wbmwidthbytes4`, []byte{0, 0, 255, 0}, "image/bmp", "image001.bmp",
			append(words([]byte("BM"), uint32(58), uint32(0), uint32(54), uint32(40), uint32(1), uint32(1), uint16(1), uint16(24)), append(make([]byte, 24), 0, 0, 255, 0)...)},
		{"broken bitmap", `\dibitmap0`, []byte("nothing"), "", "", nil},
		{"bitmap with a palette beyond its end", `\dibitmap0`, append(words(uint32(40), uint32(1), uint32(1), uint16(1), uint16(8)), make([]byte, 24)...), "", "", nil},
		{"unknown kind", ``, []byte("nothing"), "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for form, data := range map[string]string{
				"hex": hex.EncodeToString(c.data),
				"bin": `\bin` + itoa(len(c.data)) + " " + string(c.data),
			} {
				got, err := Convert([]byte(realDoc(`a{\pict{\*\picprop{\sp{\sn x}{\sv 1}}}`+c.words+" "+data+`}b\par`)), Options{})
				if err != nil {
					t.Fatal(err)
				}
				if c.mime == "" {
					if len(got.Pictures) != 0 || len(got.Warnings) != 1 {
						t.Errorf("%s: %d pictures, warnings %q", form, len(got.Pictures), got.Warnings)
					}
					continue
				}
				want := c.want
				if want == nil {
					want = c.data
				}
				if len(got.Pictures) != 1 {
					t.Fatalf("%s: %d pictures, %q", form, len(got.Pictures), got.Warnings)
				}
				p := got.Pictures[0]
				if p.Type != c.mime || p.Name != c.file {
					t.Errorf("%s: %s, %s", form, p.Type, p.Name)
				}
				if d := cmp.Diff(want, p.Data); d != "" {
					t.Errorf("%s: data (-want +got):\n%s", form, d)
				}
				if !strings.Contains(got.HTML, `<img src="cid:`+p.ContentID+`"`) {
					t.Errorf("%s: the HTML does not refer to %s: %s", form, p.ContentID, got.HTML)
				}
				if got.Text != "a["+p.Name+"]b\r\n" {
					t.Errorf("%s: text %q", form, got.Text)
				}
			}
		})
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestPicturePlaces(t *testing.T) {
	png := hex.EncodeToString(smallPNG(t))
	body := `{\*\shppict{\pict\pngblip\picw100\pich50\picwgoal1500\pichgoal750\picscalex200\picscaley100 ` + png + `}}` +
		`{\nonshppict{\pict\wmetafile8 0102}}` +
		`{\field{\*\fldinst HYPERLINK "http://contoso.com"}{\fldrslt{\pict\pngblip ` + png + `}}}` +
		`{\object\objemb{\*\objdata 0102}{\result{\pict\pngblip ` + png + `}}}` +
		`{\shp{\*\shpinst{\sp{\sn pib}{\sv{\pict\pngblip ` + png + `}}}}}{\v{\pict\pngblip ` + png + `}}\par`
	opt := Options{ContentID: func(i int, _ []byte) string { return "<p" + string(rune('0'+i)) + "@contoso.com>" }}
	got, err := Convert([]byte(realDoc(body)), opt)
	if err != nil {
		t.Fatal(err)
	}
	want := p0 + `<img src="cid:p0@contoso.com" width="200" height="50" alt="">` +
		`<a href="http://contoso.com"><img src="cid:p1@contoso.com" alt=""></a>` +
		`<img src="cid:p2@contoso.com" alt=""><img src="cid:p3@contoso.com" alt=""></p>` + "\n"
	if d := cmp.Diff(want, content(t, got)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(got.Pictures) != 4 || got.Pictures[3].ContentID != "p3@contoso.com" {
		t.Errorf("pictures: %+v", got.Pictures)
	}
}

func TestPictureCap(t *testing.T) {
	png := hex.EncodeToString(smallPNG(t))
	one := `{\pict\pngblip ` + png + `}`
	// Two of them, each counting for one and a half, are within half of the cap; three are not.
	got, err := Convert([]byte(realDoc(strings.Repeat(one, 10)+`after\par`)), Options{MaxOutput: 2 * 7 * len(png) / 4})
	if err != nil || len(got.Pictures) != 2 || len(got.Warnings) != 1 || !strings.HasSuffix(got.Text, "after\r\n") {
		t.Errorf("%d pictures, %q, %v", len(got.Pictures), got.Warnings, err)
	}
}
