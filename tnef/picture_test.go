package tnef_test

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// words32 packs numbers as 32-bit words.
func words32(list ...uint32) []byte {
	var b []byte
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// infoHeader is a BITMAPINFOHEADER of a picture of one row.
func infoHeader(depth uint16, compression, colours uint32) []byte {
	b := words32(40, 2, 1)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, depth)
	return append(b, words32(compression, 8, 0, 0, colours, 0)...)
}

// presentation is an OLEPresentationStream ([MS-OLEDS] 2.3.4), with a target device of n octets.
func presentation(format uint32, device int, data []byte) []byte {
	b := words32(0xFFFFFFFF, format, uint32(4+device))
	b = append(b, make([]byte, device)...)
	b = append(b, words32(1, 0xFFFFFFFF, 2, 0, 100, 100, uint32(len(data)))...)
	return append(b, data...)
}

func pictures() (dib, emf, wmf []byte) {
	dib = append(infoHeader(24, 0, 0), "12345678"...)
	emf = append(append(words32(1, 88), make([]byte, 32)...), " EMFrest"...)
	wmf = append([]byte{1, 0, 9, 0, 0, 3}, make([]byte, 20)...)
	return dib, emf, wmf
}

func TestPictures(t *testing.T) {
	dib, emf, wmf := pictures()
	bmp := func(offset int, dib []byte) string {
		return "BM" + string(words32(uint32(14+len(dib)), 0, uint32(14+offset))) + string(dib)
	}
	palette := append(infoHeader(8, 0, 3), "aaa.bbb.ccc.12345678"...)
	grey := append(infoHeader(1, 0, 0), "aaa.bbb.12345678"...)
	masks := append(infoHeader(16, 3, 0), "rrrrggggbbbb12345678"...)
	core := append(words32(12, 0, 1|8<<16), append(make([]byte, 3*256), "1234"...)...)
	core[4], core[6], core[8] = 2, 1, 1
	core = append(core[:8], append([]byte{1, 0, 8, 0}, core[12:]...)...)
	stream := func(name string, data []byte) tneftest.StorageStream {
		return tneftest.StorageStream{Name: name, Data: data}
	}
	ole := stream("\x01Ole", []byte{1, 0, 0, 2})
	for _, tt := range []struct {
		name, file, mediaType, data string
		streams                     []tneftest.StorageStream
	}{
		{"DIB", "Picture.bmp", "image/bmp", bmp(40, dib), []tneftest.StorageStream{ole, stream("CONTENTS", dib)}},
		{"DIB as presentation", "Picture.bmp", "image/bmp", bmp(40, dib), []tneftest.StorageStream{ole, stream("\x02OlePres000", presentation(8, 0, dib))}},
		{"for a target device", "Picture.bmp", "image/bmp", bmp(40, dib), []tneftest.StorageStream{ole, stream("\x02OlePres000", presentation(8, 50, dib))}},
		{"palette", "Picture.bmp", "image/bmp", bmp(52, palette), []tneftest.StorageStream{stream("CONTENTS", palette)}},
		{"palette of full size", "Picture.bmp", "image/bmp", bmp(48, grey), []tneftest.StorageStream{stream("CONTENTS", grey)}},
		{"masks", "Picture.bmp", "image/bmp", bmp(52, masks), []tneftest.StorageStream{stream("CONTENTS", masks)}},
		{"old header", "Picture.bmp", "image/bmp", bmp(12+768, core), []tneftest.StorageStream{stream("CONTENTS", core)}},
		{"enhanced metafile", "Picture.emf", "image/emf", string(emf), []tneftest.StorageStream{ole, stream("CONTENTS", emf)}},
		{"enhanced metafile as presentation", "Picture.emf", "image/emf", string(emf), []tneftest.StorageStream{ole, stream("\x02OlePres000", presentation(14, 0, emf))}},
		{"metafile", "Picture.wmf", "image/wmf", string(wmf), []tneftest.StorageStream{stream("CONTENTS", wmf)}},
		{"metafile as presentation", "Picture.wmf", "image/wmf", string(wmf), []tneftest.StorageStream{stream("\x02OlePres000", presentation(3, 0, wmf))}},
		{"the second presentation", "Picture.bmp", "image/bmp", bmp(40, dib), []tneftest.StorageStream{stream("\x02OlePres000", words32(0)), stream("\x02OlePres001", presentation(8, 0, dib))}},
		// The object has data of its own: the presentation is only how it looks.
		{"preview of something else", "Picture", "application/octet-stream", "", []tneftest.StorageStream{stream("Equation Native", []byte("e=mc2")), stream("\x02OlePres000", presentation(8, 0, dib))}},
		{"preview of a document", "Picture.pdf", "application/pdf", "%PDF-1", []tneftest.StorageStream{stream("CONTENTS", []byte("%PDF-1")), stream("\x02OlePres000", presentation(8, 0, dib))}},
		{"unknown format", "Picture", "application/octet-stream", "", []tneftest.StorageStream{stream("\x02OlePres000", presentation(17, 0, dib))}},
		{"cut in its header", "Picture", "application/octet-stream", "", []tneftest.StorageStream{stream("\x02OlePres000", presentation(8, 0, dib)[:30])}},
		{"a depth that there is not", "Picture", "application/octet-stream", string(infoHeader(7, 0, 0)), []tneftest.StorageStream{stream("CONTENTS", infoHeader(7, 0, 0))}},
		{"a palette longer than all", "Picture", "application/octet-stream", string(infoHeader(8, 0, 0)), []tneftest.StorageStream{stream("CONTENTS", infoHeader(8, 0, 0))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			storage := tneftest.CompoundFile(tt.streams...)
			s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{
				{Storage: storage, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 6), tneftest.Text(mapi.TagDisplayName, "Picture")}}}}
			p, out, _ := convert(t, tneftest.Wrap(header, plainBody, s.Bytes()))
			if len(p.Children) != 2 {
				t.Fatalf("%s\n%s", p.shape(), out)
			}
			want := tt.data
			if want == "" {
				want = string(storage)
			}
			if a := p.Children[1]; a.Type != tt.mediaType || a.Name != tt.file || string(a.Content) != want {
				t.Errorf("%s %q %d octets %.60q, want %s %q %d octets", a.Type, a.Name, len(a.Content), a.Content, tt.mediaType, tt.file, len(want))
			}
		})
	}
}

// TestPictureInRTF: a picture that stands in the text is shown there.
func TestPictureInRTF(t *testing.T) {
	dib, _, _ := pictures()
	storage := tneftest.CompoundFile(tneftest.StorageStream{Name: "CONTENTS", Data: dib})
	s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.RTF(`{\rtf1\ansi before {\objattph\'20} after\par}`)}, Attachments: []tneftest.Attachment{
		{Storage: storage, Place: 7, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 6), tneftest.Text(mapi.TagDisplayName, "Picture")}}}}
	p, out, _ := convert(t, tneftest.Wrap(header, "before after", s.Bytes()))
	if got := p.shape(); got != "related(alternative(text/plain,text/html),image/bmp[Picture.bmp])" {
		t.Fatalf("%s\n%s", got, out)
	}
	if page := string(p.find("text/html").Content); !strings.Contains(page, `before <img src="cid:`+p.find("image/bmp").CID) {
		t.Error(page)
	}
}

// TestPackageNames: the Unicode name of a package is behind its content.
func TestPackageNames(t *testing.T) {
	native := func(tail []byte) []byte {
		b := append(tneftest.Ole10Native("???.txt", `C:\???.txt`, []byte("hello")), tail...)
		binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
		return b
	}
	wide := func(names ...string) (b []byte) {
		for _, n := range names {
			u := utf16.Encode([]rune(n))
			b = append(b, words32(uint32(len(u)))...)
			for _, c := range u {
				b = binary.LittleEndian.AppendUint16(b, c)
			}
		}
		return b
	}
	for _, tt := range []struct {
		name string
		tail []byte
		want string
	}{
		{"Unicode", wide(`C:\Temp\図.txt`, "図.txt", `C:\図.txt`), "図.txt"},
		{"no label", wide(`C:\Temp\図.txt`, "", `C:\図.txt`), "図.txt"},
		{"8 bit only", nil, "___.txt"},
		{"cut", wide(`C:\Temp\図.txt`, "図.txt", `C:\図.txt`)[:20], "___.txt"},
		{"too long", words32(0xFFFFFFFF, 1), "___.txt"},
		{"directories", wide("x", "../../図.txt", "y"), "図.txt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{
				{Storage: tneftest.CompoundFile(tneftest.StorageStream{Name: "\x01Ole10Native", Data: native(tt.tail)})}}}
			p, _, _ := convert(t, tneftest.Wrap(header, plainBody, s.Bytes()))
			if a := p.Children[1]; a.Name != tt.want || string(a.Content) != "hello" {
				t.Errorf("%q %q", a.Name, a.Content)
			}
		})
	}
}

// TestHidden: what the sender's program keeps from view stays so if it is a picture; a file must not get lost.
func TestHidden(t *testing.T) {
	hide := tneftest.Bool(mapi.TagAttachmentHidden, true)
	dib, _, _ := pictures()
	picture := tneftest.Attachment{Storage: tneftest.CompoundFile(tneftest.StorageStream{Name: "CONTENTS", Data: dib}), Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 6), hide}}
	exception := tneftest.Attachment{Message: &tneftest.Stream{Class: "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}", Props: []mapi.Property{textProp}},
		Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5), hide}}
	mail := tneftest.Attachment{Message: &tneftest.Stream{Props: []mapi.Property{tneftest.Text(mapi.TagSubject, "in"), textProp}}, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5), hide}}
	for _, tt := range []struct {
		name, shape string
		file        tneftest.Attachment
		warns       bool
	}{
		{"picture by type", "text/plain", cidImage("logo@x", hide), true},
		{"picture by name", "text/plain", tneftest.Attachment{Title: "a.GIF", Data: []byte("x"), Props: []mapi.Property{hide}}, true},
		{"picture in an object", "text/plain", picture, true},
		{"exception of a meeting", "text/plain", exception, false},
		{"document", "mixed(text/plain,application/pdf[report.pdf])", tneftest.Attachment{Title: "report.pdf", Data: []byte("x"), Props: []mapi.Property{hide}}, false},
		{"message", "mixed(text/plain,message/rfc822[in.eml](text/plain))", mail, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{tt.file}}
			p, out, r := convert(t, tneftest.Wrap(header+"X-MS-Has-Attach: yes\r\n", plainBody, s.Bytes()))
			if p.shape() != tt.shape || (len(r.Warnings) > 0) != tt.warns {
				t.Errorf("%s, %q", p.shape(), r.Warnings)
			}
			listed := tt.name == "message" // which would be shown
			if strings.Contains(out, "Content-Disposition: attachment") != listed || strings.Contains(out, "X-MS-Has-Attach: yes") != listed {
				t.Error(out)
			}
		})
	}
	t.Run("document of an attached contact", func(t *testing.T) {
		contact := contactStream(tneftest.Attachment{Title: "cv.pdf", Data: []byte("cv"), Props: []mapi.Property{hide}})
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Message: contact, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5)}}}}
		p, out, _ := convert(t, tneftest.Wrap(header, plainBody, s.Bytes()))
		if f := p.find("application/pdf"); f == nil || string(f.Content) != "cv" {
			t.Error(out)
		}
	})
}

// TestUnusableContentID: an id that can't stand in a header field gets another one, in the document too.
func TestUnusableContentID(t *testing.T) {
	html := tneftest.Binary(mapi.TagHTML, []byte(`<p>cid:no <img src="CID:a%20b%40C"><img src='cid:a b@c'><img src="cid:a%20b@c"></p>`))
	s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{html}, Attachments: []tneftest.Attachment{cidImage("a b@c")}}
	p, out, _ := convert(t, tneftest.Wrap(header, "x", s.Bytes()))
	image := p.find("image/png")
	if p.shape() != "related(alternative(text/plain,text/html),image/png[image001.png])" || image.CID == "" || strings.Contains(image.CID, " ") {
		t.Fatal(out)
	}
	page := string(p.find("text/html").Content)
	if strings.Count(page, ":"+image.CID+`"`) != 2 || !strings.Contains(page, "<p>cid:no ") {
		t.Error(page)
	}
}

// TestNameCharacters: what RFC 2231 gives a meaning to stands in quotes.
func TestNameCharacters(t *testing.T) {
	for _, name := range []string{"it's.txt", "100%.txt", "a'b'c.txt", "plain.txt"} {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Title: name, Data: []byte("x")}}}
		p, out, _ := convert(t, tneftest.Wrap(header, plainBody, s.Bytes()))
		if p.Children[1].Name != name || strings.Contains(out, "="+name) != (name == "plain.txt") {
			t.Errorf("%q: %s", name, out)
		}
	}
}

// FuzzOLEObject: whatever a compound file holds, an attachment comes out that is not longer than it.
func FuzzOLEObject(f *testing.F) {
	dib, emf, wmf := pictures()
	for _, s := range []tneftest.StorageStream{
		{Name: "CONTENTS", Data: dib}, {Name: "CONTENTS", Data: emf}, {Name: "\x02OlePres000", Data: presentation(3, 10, wmf)},
		{Name: "\x01Ole10Native", Data: tneftest.Ole10Native("a.txt", `C:\a.txt`, []byte("hello"))}, {Name: "Package", Data: []byte("PK word/")},
	} {
		f.Add(tneftest.CompoundFile(s))
	}
	f.Fuzz(func(t *testing.T, storage []byte) {
		s := tneftest.Stream{Props: []mapi.Property{textProp}, Attachments: []tneftest.Attachment{{Storage: storage}}}
		files, err := tnef.Extract(s.Bytes(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range files {
			if len(x.Data) > len(storage)+14 {
				t.Errorf("%d octets of %d", len(x.Data), len(storage))
			}
		}
		if _, err := tnef.ConvertStream(io.Discard, s.Bytes(), nil); err != nil {
			t.Fatal(err)
		}
	})
}

// TestContentIDs: an image has the id that the document uses, letter for letter, and no other one has it.
func TestContentIDs(t *testing.T) {
	for _, tt := range []struct {
		name, src string
		ids       []string // of the attachments
		shape     string
	}{
		{"other case", "cid:A@B", []string{"a@b"}, "related(alternative(text/plain,text/html),image/png[image001.png])"},
		{"space", "cid:a b@c", []string{"a b@c"}, "related(alternative(text/plain,text/html),image/png[image001.png])"},
		{"two of one id", "cid:a@b", []string{"a@b", "a@b"}, "mixed(related(alternative(text/plain,text/html),image/png[image001.png]),image/png[image001.png])"},
	} {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{tneftest.Binary(mapi.TagHTML, []byte(`<p>x<img src="`+tt.src+`"></p>`))}}
		for _, id := range tt.ids {
			s.Attachments = append(s.Attachments, cidImage(id))
		}
		p, out, _ := convert(t, tneftest.Wrap(header, "x", s.Bytes()))
		image := p.find("image/png")
		if p.shape() != tt.shape || !strings.Contains(string(p.find("text/html").Content), `"cid:`+image.CID+`"`) || strings.Count(out, "Content-ID: ") != 1 {
			t.Errorf("%s: %s\n%s", tt.name, p.shape(), out)
		}
	}
}
