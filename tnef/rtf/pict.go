package rtf

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

// pict collects a \pict group.
type pict struct {
	mime                  string
	width, height         int // \picw, \pich: pixels or hundredths of a millimetre
	goalWidth, goalHeight int // \picwgoal, \pichgoal: twips
	scaleX, scaleY        int // per cent, 0 for 100
	bitsPixel, planes     int // of a device-dependent bitmap
	widthBytes            int
	pieces                [][]byte // the data as they came, but for the last piece
	data                  []byte   // the last piece; in the end, all
	size                  int      // bytes in pieces
	limit                 int      // more than this are not kept
	tooLarge              bool
	nibble                byte
	half                  bool // nibble is the first digit of a byte
}

// pictKind is the control word that names the kind of a picture.
func pictKind(mime string) func(x *renderer, t token) {
	return func(x *renderer, _ token) {
		if p := x.r.st.pict; p != nil {
			p.mime = mime
		}
	}
}

func pictSize(of func(p *pict) *int) func(x *renderer, t token) {
	return func(x *renderer, t token) {
		if p := x.r.st.pict; p != nil {
			*of(p) = max(0, min(t.param, 1<<20))
		}
	}
}

// beginPicture begins a picture, unless there were too many.
func (x *renderer) beginPicture() {
	x.r.st.pict = nil
	if x.picts++; len(x.pictures) >= maxPictures || x.picts > 2*maxPictures {
		x.r.warn(picturesLeftOut)
		return
	}
	x.r.st.pict = &pict{limit: x.pictRoom()}
}

const picturesLeftOut = "pictures are left out: there are more than allowed"

// hexDigits are the values of hexadecimal digits, -1 for other bytes.
var hexDigits = func() (v [256]int8) {
	for i := range v {
		v[i] = int8(hexValue(byte(i)))
	}
	return v
}()

// hex takes hexadecimal data.
func (p *pict) hex(b []byte) {
	if p == nil || !p.room(len(b)/2+1) {
		return
	}
	for _, c := range b {
		v := hexDigits[c]
		if v < 0 {
			continue
		}
		if p.half {
			p.data = append(p.data, p.nibble<<4|byte(v))
		} else {
			p.nibble = byte(v)
		}
		p.half = !p.half
	}
}

// binary takes the data of \bin.
func (p *pict) binary(b []byte) {
	if p != nil && p.room(len(b)) {
		p.data = append(p.data, b...)
	}
}

// room makes room for n bytes, without copying what is there; false when that is
// more than the limit.
func (p *pict) room(n int) bool {
	if p.tooLarge || p.size+len(p.data)+n > p.limit {
		p.tooLarge, p.pieces, p.data = true, nil, nil
		return false
	}
	if cap(p.data)-len(p.data) < n {
		const smallest, largest = 256, 256 << 10
		next := make([]byte, 0, max(n, min(max(p.size+len(p.data), smallest), largest)))
		if len(p.data) > 0 {
			p.pieces = append(p.pieces, p.data)
			p.size += len(p.data)
		}
		p.data = next
	}
	return true
}

// join puts the pieces together.
func (p *pict) join() {
	if len(p.pieces) == 0 {
		return
	}
	all := make([]byte, 0, p.size+len(p.data))
	for _, piece := range p.pieces {
		all = append(all, piece...)
	}
	p.data, p.pieces = append(all, p.data...), nil
}

// extensions names files by media type.
var extensions = map[string]string{
	"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/bmp": "bmp",
	"image/wmf": "wmf", "image/emf": "emf", "image/x-pict": "pict",
}

// maxPictures is how many pictures a document may have.
const maxPictures = 2000

// addPicture puts a picture into the paragraph.
func (x *renderer) addPicture(p *pict) {
	st := &x.r.st
	if p.tooLarge {
		x.r.warn(picturesLeftOut)
		return
	}
	if p.size+len(p.data) == 0 || st.dest == destSkip || st.char.hidden {
		return
	}
	p.join()
	mime, data := p.file()
	if mime == "" {
		x.r.warn("a picture of an unknown kind is left out")
		return
	}
	n := len(x.pictures)
	pic := Picture{Type: mime, Data: data, Name: fmt.Sprintf("image%03d.%s", n+1, extensions[mime])}
	if x.opt.ContentID != nil {
		pic.ContentID = strings.Trim(x.opt.ContentID(n, data), "<>")
	} else {
		pic.ContentID = fmt.Sprintf("image%03d.%08x@rtf", n+1, crc32.ChecksumIEEE(data))
	}
	x.pictures = append(x.pictures, pic)
	x.pictSize += pictCost(len(data))
	x.measure()
	x.sizes = append(x.sizes, [2]int{pixels(p.goalWidth, p.scaleX), pixels(p.goalHeight, p.scaleY)})
	x.para.addPicture(n, st.field.link())
}

// pictCost is what a picture counts for: some are copied once more to become
// files.
func pictCost(n int) int { return n + n/2 }

// pictRoom is how large the next picture may be.
func (x *renderer) pictRoom() int {
	return max(0, min(x.opt.MaxOutput/2-x.pictSize, x.budget-x.used)) * 2 / 3
}

// pixels converts twips, scaled by per cent, to the 96 pixels an inch of CSS.
func pixels(twips, scale int) int {
	if scale == 0 {
		scale = 100
	}
	return min(twips*scale/100/15, 10000)
}

// file returns the picture as a file that programs can open, and its type;
// "" for one that none can.
func (p *pict) file() (mime string, data []byte) {
	if mime := sniff(p.data); mime != "" {
		return mime, p.data
	}
	switch p.mime {
	case "image/bmp":
		if bmp := dibToBMP(p.data); bmp != nil {
			return "image/bmp", bmp
		}
		return "", nil
	case "image/wmf":
		if dib := dibInWMF(p.data); dib != nil {
			return "image/bmp", dib
		}
		return "image/wmf", placeableWMF(p)
	case "image/emf":
		if dib := dibInEMF(p.data); dib != nil {
			return "image/bmp", dib
		}
		return "image/emf", p.data
	case "image/x-ms-ddb":
		if bmp := ddbToBMP(p); bmp != nil {
			return "image/bmp", bmp
		}
		return "", nil
	case "image/png", "image/jpeg", "image/x-pict":
		return p.mime, p.data
	}
	return "", nil
}

// magics are the beginnings of files that show what they are, whatever the
// control word says.
var magics = []struct{ prefix, mime string }{
	{"\x89PNG\r\n\x1a\n", "image/png"},
	{"\xFF\xD8\xFF", "image/jpeg"},
	{"GIF8", "image/gif"},
	{"\xD7\xCD\xC6\x9A", "image/wmf"}, // a placeable metafile
}

func sniff(b []byte) string {
	for _, m := range magics {
		if len(b) > len(m.prefix) && string(b[:len(m.prefix)]) == m.prefix {
			return m.mime
		}
	}
	return ""
}

const (
	fileHeaderSize = 14 // BITMAPFILEHEADER
	coreHeaderSize = 12 // BITMAPCOREHEADER
	infoHeaderSize = 40 // BITMAPINFOHEADER
	biBitFields    = 3
)

// dibToBMP puts the file header before a device-independent bitmap
// ([MS-WMF] 2.2.2.9), nil if it is none.
func dibToBMP(dib []byte) []byte {
	if len(dib) < coreHeaderSize {
		return nil
	}
	le := binary.LittleEndian
	size := uint64(le.Uint32(dib))
	var bits, colors, entry uint64
	switch {
	case size == coreHeaderSize:
		bits, entry = uint64(le.Uint16(dib[10:])), 3
	case size >= infoHeaderSize && size <= 256 && len(dib) >= infoHeaderSize:
		bits, entry, colors = uint64(le.Uint16(dib[14:])), 4, uint64(le.Uint32(dib[32:]))
	default:
		return nil
	}
	if bits == 0 || bits > 32 {
		return nil
	}
	if colors == 0 && bits <= 8 {
		colors = 1 << bits
	}
	offset := size + colors*entry
	if size == infoHeaderSize && le.Uint32(dib[16:]) == biBitFields {
		offset += 12
	}
	if offset > uint64(len(dib)) || len(dib) > math.MaxInt32 {
		return nil
	}
	out := make([]byte, fileHeaderSize, fileHeaderSize+len(dib))
	copy(out, "BM")
	le.PutUint32(out[2:], uint32(fileHeaderSize+len(dib)))
	le.PutUint32(out[10:], uint32(fileHeaderSize+offset))
	return append(out, dib...)
}

// ddbToBMP converts a device-dependent bitmap (\wbitmap), whose rows run from
// top to bottom and are padded to 16 bits, of 24 or 32 bits a pixel, or of one
// bit. Others need the palette of a device that nobody has any more.
func ddbToBMP(p *pict) []byte {
	bits := max(1, p.bitsPixel) * max(1, p.planes)
	if p.width == 0 || p.height == 0 || p.widthBytes == 0 || p.width > 1<<14 || p.height > 1<<14 {
		return nil
	}
	stride := (p.width*bits + 31) / 32 * 4
	if bits != 1 && bits != 24 && bits != 32 || p.widthBytes < (p.width*bits+7)/8 || len(p.data) < p.widthBytes*p.height {
		return nil
	}
	le := binary.LittleEndian
	dib := make([]byte, infoHeaderSize, infoHeaderSize+8+stride*p.height)
	le.PutUint32(dib, infoHeaderSize)
	le.PutUint32(dib[4:], uint32(p.width))
	le.PutUint32(dib[8:], uint32(p.height))
	le.PutUint16(dib[12:], 1)
	le.PutUint16(dib[14:], uint16(bits))
	if bits == 1 {
		dib = append(dib, 0, 0, 0, 0, 255, 255, 255, 0)
	}
	for y := p.height - 1; y >= 0; y-- {
		row := make([]byte, stride)
		copy(row, p.data[y*p.widthBytes:(y+1)*p.widthBytes])
		dib = append(dib, row...)
	}
	return dibToBMP(dib)
}

// wmfBitmaps are the records of a Windows metafile that paint a bitmap, and
// where in their parameters it begins, in bytes ([MS-WMF] 2.3.1).
var wmfBitmaps = map[uint16]int{
	0x0B41: 20, // META_DIBSTRETCHBLT
	0x0F43: 22, // META_STRETCHDIB
	0x0940: 16, // META_DIBBITBLT
	0x0D33: 18, // META_SETDIBTODEV
}

// wmfDrawing are records that paint something that is no bitmap: a metafile
// with any of them is a drawing.
var wmfDrawing = map[uint16]bool{
	0x0213: true, 0x0418: true, 0x041B: true, 0x0324: true, 0x0325: true, 0x0521: true, 0x0538: true,
	0x061C: true, 0x0817: true, 0x081A: true, 0x0830: true, 0x0A32: true,
}

// dibInWMF returns the bitmap of a metafile that is nothing but one bitmap, as
// WordPad and Outlook store pasted pictures, as a BMP file; nil for others.
func dibInWMF(wmf []byte) []byte {
	const metaHeader = 18
	if len(wmf) < metaHeader {
		return nil
	}
	var found []byte
	for b := wmf[metaHeader:]; len(b) >= 6; {
		size := uint64(binary.LittleEndian.Uint32(b)) * 2
		function := binary.LittleEndian.Uint16(b[4:])
		if size < 6 || size > uint64(len(b)) {
			break
		}
		if wmfDrawing[function] {
			return nil
		}
		if at, ok := wmfBitmaps[function]; ok && size > uint64(6+at) {
			if found != nil {
				return nil
			}
			found = b[6+at : size]
		}
		b = b[size:]
	}
	if found == nil {
		return nil
	}
	return dibToBMP(found)
}

// dibInEMF is dibInWMF for enhanced metafiles: the bitmap of the only
// EMR_STRETCHDIBITS record ([MS-EMF] 2.3.1.7), if nothing else is drawn.
func dibInEMF(emf []byte) []byte {
	const stretchDIBits = 81
	le := binary.LittleEndian
	var found []byte
	for b := emf; len(b) >= 8; {
		kind, size := le.Uint32(b), uint64(le.Uint32(b[4:]))
		if size < 8 || size > uint64(len(b)) {
			break
		}
		switch {
		case kind == stretchDIBits && size >= 80:
			if found != nil {
				return nil
			}
			if found = emfBitmap(b[:size]); found == nil {
				return nil
			}
		case kind >= 2 && kind <= 8 || kind >= 41 && kind <= 47 || kind >= 53 && kind <= 56 || kind >= 70 && kind <= 97:
			return nil // lines, shapes, text, EMF+ (in a comment, 70)
		}
		b = b[size:]
	}
	if found == nil {
		return nil
	}
	return dibToBMP(found)
}

// emfBitmap joins the header and the bits of a record's bitmap.
func emfBitmap(rec []byte) []byte {
	le := binary.LittleEndian
	part := func(at int) []byte {
		off, n := uint64(le.Uint32(rec[at:])), uint64(le.Uint32(rec[at+4:]))
		if off+n > uint64(len(rec)) {
			return nil
		}
		return rec[off : off+n]
	}
	head, bits := part(48), part(56)
	if len(head) == 0 || len(bits) == 0 {
		return nil
	}
	return append(append([]byte(nil), head...), bits...)
}

// placeableWMF puts the header before a metafile ([MS-WMF] 2.3.2.3) without
// which programs don't know its size.
func placeableWMF(p *pict) []byte {
	le := binary.LittleEndian
	h := make([]byte, 22, 22+len(p.data))
	le.PutUint32(h, 0x9AC6CDD7)
	le.PutUint16(h[10:], uint16(min(p.goalWidth, math.MaxInt16)))
	le.PutUint16(h[12:], uint16(min(p.goalHeight, math.MaxInt16)))
	le.PutUint16(h[14:], 1440) // twips an inch
	var sum uint16
	for i := 0; i < 20; i += 2 {
		sum ^= le.Uint16(h[i:])
	}
	le.PutUint16(h[20:], sum)
	return append(h, p.data...)
}
