package rtf

import (
	"bytes"
)

// encapsulationDests are the destinations that matter for de-encapsulation. The
// rest of the header and RTF's own view of lists, fields and pictures is skipped.
var encapsulationDests = map[string]destination{
	"fonttbl": destFonts, "colortbl": destSkip, "stylesheet": destSkip, "info": destSkip,
	"htmltag": destHTMLTag, "mhtmltag": destSkip, "formatConverter": destSkip, "generator": destSkip,
	"pntext": destSkip, "listtext": destSkip, "pn": destSkip, "pict": destSkip, "object": destSkip, "nonshppict": destSkip,
	"fldinst": destSkip, "field": destBody, "fldrslt": destBody, "ud": destBody, "upr": destQuiet,
	"header": destSkip, "headerl": destSkip, "headerr": destSkip, "headerf": destSkip,
	"footer": destSkip, "footerl": destSkip, "footerr": destSkip, "footerf": destSkip,
	"footnote": destSkip, "annotation": destSkip, "filetbl": destSkip, "listtable": destSkip,
	"listoverridetable": destSkip, "revtbl": destSkip, "rsidtbl": destSkip, "private": destSkip,
	"themedata": destSkip, "colorschememapping": destSkip, "datastore": destSkip, "latentstyles": destSkip,
	"bkmkstart": destSkip, "bkmkend": destSkip, "xe": destSkip, "tc": destSkip, "comment": destSkip,
}

// encapsulatedChars are the characters that control words stand for in
// encapsulated content ([MS-OXRTFEX] 2.1.3.1.4.2). Note that \_ is a soft
// hyphen there.
var encapsulatedChars = map[string]string{
	"par": "\r\n", "line": "\r\n", "tab": "\t",
	"lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
	"bullet": "•", "endash": "–", "emdash": "—", "~": "\u00A0", "_": "\u00AD", "-": "\u00AD",
	"emspace": "\u2003", "enspace": "\u2002", "qmspace": "\u2005",
	"zwj": "\u200D", "zwnj": "\u200C", "ltrmark": "\u200E", "rtlmark": "\u200F",
	"cell": "\t", "nestcell": "\t", "row": "\r\n", "nestrow": "\r\n",
}

// extractor collects the original HTML or text.
type extractor struct {
	r    *reader
	done [][]byte // what was written before out
	size int      // bytes in done
	out  []byte
	max  int
	html bool
}

func deencapsulate(src []byte, kind Kind, opt Options) Result {
	r := newReader(src, opt, encapsulationDests)
	x := &extractor{r: r, max: opt.MaxOutput, html: kind == FromHTML}
	r.run(x)
	body, places := cutMarks(append(x.done, x.out)...)
	res := Result{Kind: kind, Warnings: r.warnings}
	for _, p := range places {
		o := Object{HTML: p}
		if !x.html {
			o = Object{Text: p}
		}
		res.Objects = append(res.Objects, o)
	}
	if x.html {
		res.HTML = body
	} else {
		res.Text = body
	}
	return res
}

// spill puts away what was written; growing one slice would copy it again and
// again.
func (x *extractor) spill() {
	if len(x.out) >= chunkSize {
		x.size += len(x.out)
		x.done = spill(x.done, &x.out)
	}
}

func (x *extractor) full() bool {
	x.spill()
	return x.size+len(x.out) > x.max
}

// write takes text. Inside \htmltag, and in encapsulated text, it is copied.
// Outside it is text of the HTML document, where the characters of markup have
// to be references; but most writers leave the references of the original as
// they are there, so an ampersand that begins one is not escaped again.
func (x *extractor) write(b []byte) {
	if !x.html || x.r.st.dest == destHTMLTag {
		x.out = append(x.out, b...)
		return
	}
	for {
		i := bytes.IndexAny(b, "<>&")
		if i < 0 {
			x.out = append(x.out, b...)
			return
		}
		x.out = append(x.out, b[:i]...)
		x.spill()
		b = b[i:]
		switch {
		case b[0] == '<':
			x.out = append(x.out, "&lt;"...)
		case b[0] == '>':
			x.out = append(x.out, "&gt;"...)
		case isReference(b):
			x.out = append(x.out, '&')
		default:
			x.out = append(x.out, "&amp;"...)
		}
		b = b[1:]
	}
}

// isReference reports whether b begins with a complete character reference
// (&name; &#123; &#x1F;).
func isReference(b []byte) bool {
	const longest = 33
	end := bytes.IndexByte(b[:min(len(b), longest)], ';')
	if end < 2 {
		return false
	}
	name := b[1:end]
	ok := func(c byte) bool { return isLetter(c) || isDigit(c) }
	if name[0] == '#' {
		name = name[1:]
		ok = isDigit
		if len(name) > 1 && name[0]|0x20 == 'x' {
			name = name[1:]
			ok = func(c byte) bool { return hexValue(c) >= 0 }
		}
	} else if !isLetter(name[0]) {
		return false
	}
	for _, c := range name {
		if !ok(c) {
			return false
		}
	}
	return len(name) > 0
}

func (x *extractor) char(name string) {
	x.out = append(x.out, encapsulatedChars[name]...)
}

func (x *extractor) word(t token) {
	if string(t.text) == "objattph" {
		// [MS-OXRTFEX] 2.2.3.4: the next attachment belongs here, in place of
		// the one character that follows.
		x.out = append(x.out, objectMark...)
		x.r.dropPlaceholder()
	}
}

func (x *extractor) closed(*state) {}

// dropPlaceholder skips the blank that follows \objattph for readers that do
// not know it.
func (r *reader) dropPlaceholder() {
	rest := r.lex.src[r.lex.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte(`\'20`)):
		r.lex.pos += 4
	case len(rest) > 0 && rest[0] == ' ':
		r.lex.pos++
	}
}
