package rawmime

import (
	"bytes"
	"iter"
)

// Field is one header field as it stands in a message, or a run of octets in the header that is no field.
type Field struct {
	// Start and End are the offsets of the field's first octet and of the octet after its last line ending; folded lines are
	// inside. The fields of a header follow each other without a gap.
	Start, End int
	// Name is the field name as written, without the white space that obsolete syntax allows before the colon (RFC 5322 4.5).
	// It is nil for what is no field: a line without colon, a continuation line that continues nothing, an mbox "From " line.
	Name []byte
	// Value is what follows the colon, up to but without the last line ending. Folds are as written: see Unfold.
	Value []byte
}

// Is tells whether the field has this name; letter case does not matter (RFC 5322 1.2.2).
func (f Field) Is(name string) bool { return equalFold(f.Name, name) }

// HasPrefix tells whether the field's name begins with prefix; letter case does not matter.
func (f Field) HasPrefix(prefix string) bool {
	return len(f.Name) >= len(prefix) && equalFold(f.Name[:len(prefix)], prefix)
}

// Text is the value unfolded, without white space around it. It is not decoded (see DecodeWords).
func (f Field) Text() string { return string(Unfold(f.Value)) }

// Fields goes through the header of msg, from its first octet to the empty line that ends it, or to the end of msg if there is
// none. Runs that are no field are given too, with Name nil.
func Fields(msg []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		l := newLines(msg, 0)
		for {
			f, ok := nextField(l)
			if !ok || !yield(f) {
				return
			}
		}
	}
}

// HeaderEnd finds the end of the header: headerLen octets of fields, and the body starting at bodyStart, after the empty line.
// A message without an empty line is all header: both are len(msg). A message that begins with an empty line has no header.
func HeaderEnd(msg []byte) (headerLen, bodyStart int) {
	l := newLines(msg, 0)
	for {
		start, end, ok := l.next()
		if !ok {
			return len(msg), len(msg)
		}
		if start == end {
			return start, l.pos
		}
	}
}

// Find returns the first field of this name.
func Find(msg []byte, name string) (Field, bool) {
	for f := range Fields(msg) {
		if f.Is(name) {
			return f, true
		}
	}
	return Field{}, false
}

// Count tells how many fields of this name the header has.
func Count(msg []byte, name string) int {
	n := 0
	for f := range Fields(msg) {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// Newline returns the line ending that the header of msg uses: CRLF, LF or CR; CRLF when there is no line ending.
func Newline(msg []byte) string {
	i := bytes.IndexAny(msg[:min(len(msg), 1<<16)], "\r\n")
	switch {
	case i < 0 || msg[i] == '\r' && i+1 < len(msg) && (msg[i+1] == '\n' || msg[i+1] == '\r'):
		return "\r\n"
	case msg[i] == '\n':
		return "\n"
	}
	return "\r"
}

// Unfold removes line endings from a field's value (RFC 5322 2.2.3) and white space around it. The white space that began
// continuation lines stays. The result shares memory with value when there is no fold.
func Unfold(value []byte) []byte {
	value = trimSpace(value)
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return value
	}
	out := make([]byte, 0, len(value))
	for _, c := range value {
		if c != '\r' && c != '\n' {
			out = append(out, c)
		}
	}
	return out
}

// nextField reads a field with its continuation lines, or a line that is no field.
func nextField(l *lines) (Field, bool) {
	start, end, ok := l.next()
	if !ok || start == end {
		return Field{}, false
	}
	leadingFold := isSpace(l.b[start])
	for !l.done() && isSpace(l.b[l.pos]) {
		_, end, _ = l.next()
	}
	f := Field{Start: start, End: l.pos}
	if leadingFold {
		return f, true
	}
	line := l.b[start:end]
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return f, true
	}
	name := line[:colon]
	for len(name) > 0 && isSpace(name[len(name)-1]) {
		name = name[:len(name)-1]
	}
	if len(name) == 0 || !isFieldName(name) {
		return f, true
	}
	f.Name, f.Value = name, line[colon+1:]
	return f, true
}

// isFieldName accepts printable US-ASCII without space (RFC 5322 2.2), and octets over 127, which RFC 6532 does not allow either
// but which no reader takes for the end of the header.
func isFieldName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// lines cuts octets into lines. A line ends with LF, with any number of CR and LF (CR CR LF is what a mail program that converted
// line endings twice leaves behind), or with a CR alone.
type lines struct {
	b   []byte
	pos int
	lf  int // the next LF at or after pos; len(b) when there is none; kept so that text without LF is looked through only once
}

func newLines(b []byte, pos int) *lines { return &lines{b: b, pos: pos, lf: -1} }

func (l *lines) done() bool { return l.pos >= len(l.b) }

// next returns the line at pos without its ending, and moves behind the ending.
func (l *lines) next() (start, end int, ok bool) {
	if l.done() {
		return l.pos, l.pos, false
	}
	start = l.pos
	if l.lf < start {
		l.lf = len(l.b)
		if i := bytes.IndexByte(l.b[start:], '\n'); i >= 0 {
			l.lf = start + i
		}
	}
	end = l.lf
	if i := bytes.IndexByte(l.b[start:l.lf], '\r'); i >= 0 {
		end = start + i
		after := end + 1
		for after < len(l.b) && l.b[after] == '\r' {
			after++
		}
		if after != l.lf || after == len(l.b) {
			l.pos = end + 1 // CR alone
			return start, end, true
		}
	}
	l.pos = min(l.lf+1, len(l.b))
	return start, end, true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// trimSpace removes white space and line endings at both ends; other controls stay.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares without regard to the case of US-ASCII letters; bytes.EqualFold would also equate other letters (the Kelvin
// sign with k), which header names do not.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := 0; i < len(b); i++ {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
