package rtf

import "bytes"

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
	out  output
	max  int
	cut  bool // something was left out
	html bool
}

func deencapsulate(lex lexer, kind Kind, opt Options) Result {
	r := newReader(lex, opt, func(c *control) destination { return c.encap })
	x := &extractor{r: r, max: opt.MaxOutput, html: kind == FromHTML}
	r.run(x)
	res := Result{Kind: kind, Warnings: r.warnings}
	for _, p := range x.out.marks {
		o := Object{HTML: p}
		if !x.html {
			o = Object{Text: p}
		}
		res.Objects = append(res.Objects, o)
	}
	if x.html {
		res.HTML = x.document(opt.Charset, res.Objects)
	} else {
		res.Text = x.out.join("")
	}
	return res
}

// document joins the HTML, with another charset declared at its beginning; then
// the places after that move.
func (x *extractor) document(charset string, objects []Object) string {
	if charset == "" {
		return x.out.join("")
	}
	head := x.out.head(maxHead)
	if i := indexFold(head, "<body"); i >= 0 {
		head = head[:i]
	}
	declared := SetMetaCharset(head, charset)
	if declared == head {
		return x.out.join("")
	}
	for i := range objects {
		if objects[i].HTML >= len(head) {
			objects[i].HTML += len(declared) - len(head)
		}
	}
	x.out.skip(len(head))
	return x.out.join(declared)
}

func (x *extractor) full() bool { return x.cut || x.out.len()+x.r.spent/2 > x.max }

// write takes text. Inside \htmltag, and in encapsulated text, it is copied.
// Outside it is text of the HTML document, where the characters of markup have
// to be references; but most writers leave the references of the original as
// they are there, so an ampersand that begins one is not escaped again.
func (x *extractor) write(b []byte) {
	if room := max(0, x.max+1-x.out.len()); len(b) > room {
		b, x.cut = b[:room-partialRune(b[:room])], true
	}
	if !x.html || x.r.st.dest == destHTMLTag {
		x.out.copy(b)
		return
	}
	for {
		i := bytes.IndexAny(b, "<>&")
		if x.full() {
			return
		}
		if i < 0 {
			x.out.copy(b)
			return
		}
		x.out.copy(b[:i])
		switch b = b[i:]; {
		case b[0] == '<':
			x.out.copy([]byte("&lt;"))
		case b[0] == '>':
			x.out.copy([]byte("&gt;"))
		case isReference(b):
			x.out.copy([]byte("&"))
		default:
			x.out.copy([]byte("&amp;"))
		}
		b = b[1:]
	}
}

// longestReference is how long a character reference can be.
const longestReference = 33

// isReference reports whether b begins with a complete character reference
// (&name; &#123; &#x1F;).
func isReference(b []byte) bool {
	end := bytes.IndexByte(b[:min(len(b), longestReference)], ';')
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
	x.out.copy([]byte(encapsulatedChars[name]))
}

func (x *extractor) word(c *control, _ token) {
	if c.name == "objattph" {
		// [MS-OXRTFEX] 2.2.3.4: the next attachment belongs here, in place of
		// the one character that follows.
		if len(x.out.marks) < maxObjects {
			x.out.mark()
		}
		x.r.dropPlaceholder()
	}
}

func (x *extractor) opened()       {}
func (x *extractor) closed(*state) {}

// dropPlaceholder skips the blank that follows \objattph for readers that do
// not know it.
func (r *reader) dropPlaceholder() {
	rest := r.lex.rest()
	switch {
	case bytes.HasPrefix(rest, []byte(`\'20`)):
		r.lex.pos += 4
	case len(rest) > 0 && rest[0] == ' ':
		r.lex.pos++
	}
}
