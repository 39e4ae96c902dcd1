package rtf

import (
	"bytes"
	"errors"
	"slices"
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
	return convert(newLexer(src, nil), len(src), opt)
}

// ConvertCompressed is Decompress followed by Convert, without ever holding the
// whole of the RTF in memory: src is a value of PidTagRtfCompressed. Warnings
// are those of both. The error wraps ErrNotCompressedRTF or ErrNotRTF; then
// Warnings may say why.
func ConvertCompressed(src []byte, opt Options) (Result, error) {
	p, err := openPacked(src)
	if err != nil {
		return Result{}, err
	}
	if p.z == nil {
		res, err := Convert(p.plain, opt)
		res.Warnings = append(p.warnings, res.Warnings...)
		return res, err
	}
	most := p.z.rest()
	lex := newLexer(nil, p.z)
	res, err := convert(lex, most, opt)
	if err != nil || !slices.Contains(res.Warnings, bodyCut) {
		p.z.drain()
		if w := p.z.verdict(p.header); w != "" {
			p.warnings = append(p.warnings, w)
		}
	}
	res.Warnings = append(p.warnings, res.Warnings...)
	return res, err
}

// convert reads a document of at most size bytes.
func convert(lex lexer, size int, opt Options) (Result, error) {
	head := lex.rest()
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xEF\xBB\xBF")), " \t\r\n\x00")
	lex.pos = len(lex.src) - len(head)
	kind, err := detect(head)
	if err != nil {
		return Result{}, err
	}
	if opt.MaxOutput <= 0 {
		opt.MaxOutput = 64 << 20
	}
	if kind == RealRTF {
		return render(lex, size, opt), nil
	}
	return deencapsulate(lex, kind, opt), nil
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
