package rtf

import (
	"bytes"
	"errors"
	"strings"
)

// ErrNotRTF is returned for data that does not begin with {\rtf.
var ErrNotRTF = errors.New("not RTF")

// headerTokens is how far the mark of encapsulation is looked for. [MS-OXRTFEX]
// 2.2.3.1 says ten tokens; writers exist that put more before it.
const headerTokens = 40

// detect finds out what a document was made from ([MS-OXRTFEX] 2.2.3.1).
func detect(src []byte) (Kind, error) {
	l := lexer{src: src}
	if t := l.next(); t.kind != tokOpen {
		return RealRTF, ErrNotRTF
	}
	if t := l.next(); t.kind != tokWord || string(t.text) != "rtf" {
		return RealRTF, ErrNotRTF
	}
	for range headerTokens {
		t := l.next()
		if t.kind == tokOpen && l.pos < len(src) && src[l.pos] == '\\' {
			continue // [MS-OXRTFEX] counts the beginnings of groups too
		}
		if t.kind == tokText && len(bytes.TrimSpace(t.text)) == 0 {
			continue
		}
		if t.kind != tokWord {
			break
		}
		switch string(t.text) {
		case "fromhtml":
			if !t.hasParam || t.param == 1 {
				return FromHTML, nil
			}
		case "fromtext":
			return FromText, nil
		case "fonttbl", "colortbl", "stylesheet", "pard", "info":
			return RealRTF, nil
		}
	}
	return RealRTF, nil
}

// Convert reads an RTF document and gives back the HTML or text that was
// encapsulated in it ([MS-OXRTFEX] 2.2.3), or a rendering of it.
//
// Damaged documents give what could be read, and Warnings. The only error is
// ErrNotRTF. The HTML of an encapsulated document is the original, converted to
// UTF-8; the charset that its meta elements declare is left alone: see
// SetMetaCharset.
func Convert(src []byte, opt Options) (Result, error) {
	src = bytes.TrimPrefix(src, []byte("\xEF\xBB\xBF"))
	src = bytes.TrimLeft(src, " \t\r\n\x00")
	kind, err := detect(src)
	if err != nil {
		return Result{}, err
	}
	if opt.MaxOutput <= 0 {
		opt.MaxOutput = 64 << 20
	}
	if kind == RealRTF {
		return render(src, opt), nil
	}
	return deencapsulate(src, kind, opt), nil
}

// Place returns HTML and Text with something put at each place of Objects, in
// order: html and text are asked with the index of the object. Either may be
// nil, then nothing is put there.
func (r Result) Place(html, text func(index int) string) (htmlOut, textOut string) {
	at := func(o Object) int { return o.HTML }
	htmlOut = place(r.HTML, r.Objects, at, html)
	at = func(o Object) int { return o.Text }
	return htmlOut, place(r.Text, r.Objects, at, text)
}

func place(s string, objects []Object, at func(Object) int, what func(int) string) string {
	if s == "" || what == nil || len(objects) == 0 {
		return s
	}
	var out bytes.Buffer
	done := 0
	for i, o := range objects {
		if pos := at(o); pos >= done && pos <= len(s) {
			out.WriteString(s[done:pos])
			done = pos
		}
		out.WriteString(what(i))
	}
	out.WriteString(s[done:])
	return out.String()
}

// objectMark stands in output under construction where an attachment belongs.
// NUL cannot come from a document: the lexer takes it for padding.
const objectMark = "\x00"

// cutMarks joins parts, takes the marks out and returns where they were.
func cutMarks(parts ...[]byte) (string, []int) {
	size, marks := 0, 0
	for _, p := range parts {
		size += len(p)
		marks += bytes.Count(p, []byte(objectMark))
	}
	var out strings.Builder
	out.Grow(size - marks)
	var places []int
	for _, p := range parts {
		for marks > 0 {
			i := bytes.IndexByte(p, objectMark[0])
			if i < 0 {
				break
			}
			out.Write(p[:i])
			places = append(places, out.Len())
			p = p[i+1:]
		}
		out.Write(p)
	}
	return out.String(), places
}
