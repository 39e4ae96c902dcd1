package rawmime

import "bytes"

// UUFile is a uuencoded file (POSIX uuencode, historical form) in a text.
type UUFile struct {
	Name  string // as the "begin" line says it
	Start int    // offset of the "begin" line in the text
	data  int    // offset of the line behind it
	src   []byte // the text
}

// FindUU finds the first uuencoded file in src: the first line that looks like `begin 644 name`.
func FindUU(src []byte) (f UUFile, found bool) {
	for rest := src; len(rest) > 0; {
		line, _, after := cutLine(rest)
		if name, ok := uuBegin(line); ok {
			return UUFile{Name: name, Start: len(src) - len(rest), data: len(src) - len(after), src: src}, true
		}
		rest = after
	}
	return UUFile{}, false
}

// Head is the octets of the file's first line, at most 63: enough to tell what it is.
func (f *UUFile) Head() []byte {
	line, _, _ := cutLine(f.src[f.data:])
	missing := maxUULine
	return appendUULine(nil, bytes.TrimRight(line, "\r"), &missing)
}

// Decode appends the file's octets to dst. end is the offset in the text behind the "end" line, or behind the text when there is none. Data
// cut short give what is there.
func (f *UUFile) Decode(dst []byte) (out []byte, end int) {
	rest := f.src[f.data:]
	missing := maxUULine + 4*len(rest)
	for len(rest) > 0 {
		line, _, after := cutLine(rest)
		rest = after
		if string(bytes.TrimSpace(line)) == "end" {
			break
		}
		dst = appendUULine(dst, bytes.TrimRight(line, "\r"), &missing)
	}
	return dst, len(f.src) - len(rest)
}

// DecodeUU appends the octets of the first uuencoded file in src to dst. found is false when there is no "begin" line.
func DecodeUU(dst, src []byte) (out []byte, found bool) {
	f, found := FindUU(src)
	if !found {
		return dst, false
	}
	out, _ = f.Decode(dst)
	return out, true
}

// uuBegin recognises `begin 644 winmail.dat`: three or four octal digits, and a name.
func uuBegin(line []byte) (name string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("begin "))
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '7' {
		digits++
	}
	if !ok || digits < 3 || digits > 4 || digits < len(rest) && rest[digits] != ' ' {
		return "", false
	}
	return string(bytes.TrimSpace(rest[digits:])), true
}

// maxUULine is the most octets that a line can have.
const maxUULine = 63

// appendUULine decodes a line: a count, then four characters for three octets. Blanks at the end, which stand for zeros, may be lost: missing is how many
// octets may still be made up for them, so that a text of nothing but counts does not become a large file.
func appendUULine(dst, line []byte, missing *int) []byte {
	if len(line) == 0 {
		return dst
	}
	n := int(line[0]-' ') & 63
	line = line[1:]
	if present := len(line) * 3 / 4; n > present {
		n = present + min(n-present, *missing)
		*missing -= n - present
	}
	at := func(i int) byte {
		if i < len(line) {
			return (line[i] - ' ') & 63
		}
		return 0
	}
	for i := 0; n > 0; i += 4 {
		a, b, c, d := at(i), at(i+1), at(i+2), at(i+3)
		q := [3]byte{a<<2 | b>>4, b<<4 | c>>2, c<<6 | d}
		dst = append(dst, q[:min(n, 3)]...)
		n -= 3
	}
	return dst
}
