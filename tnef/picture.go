package tnef

import (
	"bytes"
	"encoding/binary"
)

// The clipboard formats of presentations ([MS-OLEDS] 2.1.1).
const (
	cfMetafile         = 3
	cfDIB              = 8
	cfEnhancedMetafile = 14
)

// The class ids of static objects, which are nothing but a picture ([MS-OLEDS] 2.1.1), by their first octet: what follows is the same in all.
const (
	clsidMetafile         = 0x15
	clsidDIB              = 0x16
	clsidEnhancedMetafile = 0x19
	clsidStaticTail       = "\x03\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00\x46" // 000003xx-0000-0000-C000-000000000046
)

// openPicture finds the picture that a static object is: in the stream CONTENTS, or as the presentation that every object has for programs
// which don't know it. The presentation of an object that has data of its own is only a preview, and is not taken for it.
func openPicture(f *compoundFile) *oleContent {
	if c := picture(f.stream("CONTENTS")); c != nil {
		return c
	}
	if !f.static() {
		return nil
	}
	for _, name := range []string{"\x02OlePres000", "\x02OlePres001", "\x02OlePres002"} {
		if c := openPresentation(f.stream(name)); c != nil {
			return c
		}
	}
	return nil
}

// static tells whether an object is a static one, or has no streams but those of OLE itself, whose names begin with a control character.
func (f *compoundFile) static() bool {
	id := f.directory[0].clsid
	if (id[0] == clsidMetafile || id[0] == clsidDIB || id[0] == clsidEnhancedMetafile) && string(id[1:]) == clsidStaticTail {
		return true
	}
	for _, e := range f.directory[1:] {
		if e.kind == 2 && e.name != "" && e.name[0] > ' ' && e.size > 0 {
			return false
		}
	}
	return true
}

// openPresentation reads an OLEPresentationStream ([MS-OLEDS] 2.3.4).
func openPresentation(b []byte) *oleContent {
	c := &cursor{b: b}
	switch marker := c.u32(); marker {
	case 0xFFFFFFFF, 0xFFFFFFFE: // a format with a number follows
	default:
		return nil
	}
	format := c.u32()
	if n := c.u32(); n > 4 {
		c.take(n - 4) // TargetDevice; its size counts itself
	}
	c.take(4 * 4) // Aspect, Lindex, Advf, Reserved1
	c.take(2 * 4) // Width, Height
	size := c.u32()
	if c.short || size == 0 {
		return nil
	}
	data := c.take(uint32(min(uint64(size), uint64(c.left())))) // a picture cut short shows what is there
	switch format {
	case cfMetafile:
		return &oleContent{ext: ".wmf", mediaType: "image/wmf", data: data}
	case cfEnhancedMetafile:
		return &oleContent{ext: ".emf", mediaType: "image/emf", data: data}
	case cfDIB:
		return bitmap(data)
	}
	return nil
}

// picture recognises what the stream CONTENTS of a static object holds: a DIB, or a metafile without the header that files have.
func picture(b []byte) *oleContent {
	switch {
	case len(b) >= 44 && binary.LittleEndian.Uint32(b) == 1 && string(b[40:44]) == " EMF": // [MS-EMF] 2.2.9
		return &oleContent{ext: ".emf", mediaType: "image/emf", data: b}
	case len(b) >= 18 && (b[0] == 1 || b[0] == 2) && bytes.HasPrefix(b[1:], []byte("\x00\x09\x00\x00")) && (b[5] == 1 || b[5] == 3): // [MS-WMF] 2.3.2.2
		return &oleContent{ext: ".wmf", mediaType: "image/wmf", data: b}
	}
	return bitmap(b)
}

// bitmap puts the header of a file ([MS-WMF] 2.2.2.9 has what follows it) before a device independent bitmap; nil if it is none.
func bitmap(dib []byte) *oleContent {
	const fileHeader = 14
	offset := dibPixels(dib)
	if offset == 0 {
		return nil
	}
	size := fileHeader + len(dib)
	data := make([]byte, 0, size)
	data = append(data, "BM"...)
	data = binary.LittleEndian.AppendUint32(data, uint32(size))
	data = append(data, 0, 0, 0, 0)
	data = binary.LittleEndian.AppendUint32(data, uint32(fileHeader+offset))
	return &oleContent{ext: ".bmp", mediaType: "image/bmp", data: append(data, dib...)}
}

// dibPixels is the offset of the pixels behind header, masks and colours; 0 for what is no bitmap.
func dibPixels(b []byte) int {
	if len(b) < 16 {
		return 0
	}
	le := binary.LittleEndian
	header := int(le.Uint32(b))
	if header == 12 { // BITMAPCOREHEADER: colours of three octets
		bits := int(le.Uint16(b[10:]))
		if le.Uint16(b[8:]) != 1 || !validDepth(bits) {
			return 0
		}
		return within(b, header+3*paletteSize(bits, 0))
	}
	if header < 40 || header > 124 || len(b) < header {
		return 0
	}
	bits, compression := int(le.Uint16(b[14:])), le.Uint32(b[16:])
	if le.Uint16(b[12:]) != 1 || !validDepth(bits) && !(bits == 0 && compression >= 4) {
		return 0
	}
	offset := header + 4*paletteSize(bits, le.Uint32(b[32:]))
	if header == 40 && compression == 3 { // BI_BITFIELDS
		offset += 12
	}
	return within(b, offset)
}

func within(b []byte, offset int) int {
	if offset > len(b) {
		return 0
	}
	return offset
}

func validDepth(bits int) bool {
	switch bits {
	case 1, 4, 8, 16, 24, 32:
		return true
	}
	return false
}

// paletteSize is the number of colours in the table.
func paletteSize(bits int, used uint32) int {
	switch {
	case used > 0 && used <= 256:
		return int(used)
	case bits > 0 && bits <= 8:
		return 1 << bits
	}
	return 0
}
