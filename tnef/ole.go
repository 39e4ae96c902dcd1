package tnef

import (
	"bytes"
	"encoding/binary"
	"path"
	"strings"
)

// oleDocuments: a compound file with one of these streams is a document of that program by itself.
var oleDocuments = []struct{ stream, ext, mediaType string }{
	{"WordDocument", ".doc", "application/msword"},
	{"Workbook", ".xls", "application/vnd.ms-excel"},
	{"Book", ".xls", "application/vnd.ms-excel"},
	{"PowerPoint Document", ".ppt", "application/vnd.ms-powerpoint"},
	{"VisioDocument", ".vsd", "application/vnd.visio"},
	{"__properties_version1.0", ".msg", "application/vnd.ms-outlook"},
}

// signatures tell what octets are by their beginning.
var signatures = []struct{ magic, ext, mediaType string }{
	{"\x89PNG\r\n\x1a\n", ".png", "image/png"},
	{"\xFF\xD8\xFF", ".jpg", "image/jpeg"},
	{"GIF8", ".gif", "image/gif"},
	{"BM", ".bmp", "image/bmp"},
	{"%PDF-", ".pdf", "application/pdf"},
	{"\xD7\xCD\xC6\x9A", ".wmf", "image/wmf"}, // with the placeable header ([MS-WMF] 2.3.2.3)
	{"{\\rtf", ".rtf", "application/rtf"},
}

// oleObject makes an entity of what an OLE object holds: the file of a package, an embedded document, a picture; else the object's octets.
func (b *builder) oleObject(a *Attachment, index int) *entity {
	if len(a.Data) == 0 {
		return nil
	}
	title := strings.TrimSuffix(b.fileName(a, index), ".ole")
	o := openObject(a.Data)
	if o == nil {
		return b.file(a, title, a.Data)
	}
	e := &entity{name: o.name, mediaType: o.mediaType, disposition: "attachment", data: o.data, contentID: cleanContentID(a.ContentID())}
	if e.name == "" {
		e.name = title
	}
	if !strings.EqualFold(path.Ext(e.name), o.ext) && path.Ext(e.name) == "" {
		e.name = shortenName(e.name + o.ext)
	}
	if e.mediaType == "" {
		e.mediaType = typeByName(e.name)
	}
	return e
}

// oleContent is what was found in an OLE object.
type oleContent struct {
	name, ext, mediaType string
	data                 []byte
}

// openObject looks into a compound file; nil when it can't be told what it holds.
func openObject(data []byte) *oleContent {
	f := openCompoundFile(data)
	if f == nil {
		return nil
	}
	if native := f.stream("\x01Ole10Native"); native != nil {
		if c := openNative(native); c != nil {
			return c
		}
	}
	if pkg := f.stream("Package"); len(pkg) > 0 { // an Office Open XML document
		return identify(pkg, openXML(pkg))
	}
	for _, d := range oleDocuments {
		if f.has(d.stream) {
			return &oleContent{ext: d.ext, mediaType: d.mediaType, data: data}
		}
	}
	if c := openPicture(f); c != nil {
		return c
	}
	if c := f.stream("CONTENTS"); len(c) > 0 {
		return identify(c, "")
	}
	return nil
}

// openNative reads an OLE 1 object's data ([MS-OLEDS] 2.3.6): its size, then the data, which of a package are a label, the file's name and
// its content.
func openNative(b []byte) *oleContent {
	if len(b) < 6 {
		return nil
	}
	body := b[4:]
	if size := binary.LittleEndian.Uint32(b); uint64(size) < uint64(len(body)) {
		body = body[:size]
	}
	if c := openPackage(body); c != nil {
		return c
	}
	if c := identify(body, ""); c.ext != "" {
		return c
	}
	return nil
}

// openPackage reads what Windows' Packager writes: u16 2, label, file name (both end with NUL), two words, length and text of a path, length
// and content.
func openPackage(b []byte) *oleContent {
	c := &cursor{b: b}
	if c.u16() != 2 {
		return nil
	}
	label, ok1 := c.cstring()
	name, ok2 := c.cstring()
	c.u32()
	c.take(c.u32())
	size := c.u32()
	if !ok1 || !ok2 || c.short || uint64(size) > uint64(c.left()) {
		return nil
	}
	o := &oleContent{data: c.take(size)}
	o.name = firstNonEmpty(packageName(c), safeName(decodeString(1252, label)), safeName(decodeString(1252, name)))
	return o
}

// packageName reads what newer versions of Windows write behind the content: path, label and name again, in UTF-16. "" when they don't.
func packageName(c *cursor) string {
	var names [3]string
	for i := range names {
		n := c.u32()
		if uint64(n)*2 > uint64(c.left()) {
			return ""
		}
		names[i] = safeName(decodeUTF16(c.take(2 * n)))
	}
	if c.short {
		return ""
	}
	return firstNonEmpty(names[1], names[2])
}

// cstring takes octets up to a NUL, and the NUL.
func (c *cursor) cstring() ([]byte, bool) {
	i := bytes.IndexByte(c.b[c.pos:], 0)
	if i < 0 {
		c.short = true
		return nil, false
	}
	s := c.b[c.pos : c.pos+i]
	c.pos += i + 1
	return s, true
}

// identify tells the type by the beginning of the data; ext, when set, is known already.
func identify(data []byte, ext string) *oleContent {
	if ext != "" {
		return &oleContent{ext: ext, mediaType: mediaTypes[ext], data: data}
	}
	for _, s := range signatures {
		if bytes.HasPrefix(data, []byte(s.magic)) {
			return &oleContent{ext: s.ext, mediaType: s.mediaType, data: data}
		}
	}
	return &oleContent{data: data}
}

// openXML tells which Office program a ZIP file belongs to, by the name of a directory in it.
func openXML(b []byte) string {
	if !bytes.HasPrefix(b, []byte("PK")) {
		return ""
	}
	for _, x := range []struct{ dir, ext string }{{"word/", ".docx"}, {"xl/", ".xlsx"}, {"ppt/", ".pptx"}} {
		if bytes.Contains(b, []byte(x.dir)) {
			return x.ext
		}
	}
	return ".zip"
}
