package rtf

import (
	"html"
	"strings"
	"unicode/utf8"
)

// htmlScanner splits HTML into tags and text, as the HTML Standard does (13.2.5,
// "Tokenization"), without copying: what it gives are parts of the document.
type htmlScanner struct {
	doc string
	pos int
	raw string // the element whose content is not markup: script, style...
}

// htmlKind is what a piece of a document is.
type htmlKind uint8

const (
	htmlEnd      htmlKind = iota
	htmlText              // text, with character references in it
	htmlRawText           // text without
	htmlStartTag          // a start tag
	htmlEndTag            // an end tag
)

// htmlPiece is a piece of a document.
type htmlPiece struct {
	kind htmlKind
	text string // htmlText, htmlRawText
	name string // of an element, in lower case
	attr attrs
}

// rawElements are those whose content is text whatever it looks like; of two of
// them character references count ("RCDATA").
var rawElements = map[string]htmlKind{
	"script": htmlRawText, "style": htmlRawText, "xmp": htmlRawText, "iframe": htmlRawText, "noembed": htmlRawText,
	"noframes": htmlRawText, "plaintext": htmlRawText, "title": htmlText, "textarea": htmlText,
}

// next returns the next piece. Comments, declarations and the like are left out.
func (z *htmlScanner) next() htmlPiece {
	for z.pos < len(z.doc) {
		if z.raw != "" {
			if p := z.rawText(); p.text != "" {
				return p
			}
			continue
		}
		if n := textLen(z.doc[z.pos:]); n > 0 {
			p := htmlPiece{kind: htmlText, text: z.doc[z.pos : z.pos+n]}
			z.pos += n
			return p
		}
		if p := z.markup(); p.kind != htmlEnd {
			return p
		}
	}
	return htmlPiece{}
}

// textLen is how much of s comes before the next markup.
func textLen(s string) int {
	for n := 0; ; {
		i := strings.IndexByte(s[n:], '<')
		if i < 0 {
			return len(s)
		}
		if n += i; n+1 < len(s) && (isLetter(s[n+1]) || s[n+1] == '/' || s[n+1] == '!' || s[n+1] == '?') {
			return n
		}
		n++
	}
}

// rawText takes the content of a raw element, up to its end tag.
func (z *htmlScanner) rawText() htmlPiece {
	kind, rest := rawElements[z.raw], z.doc[z.pos:]
	n := len(rest)
	for from := 0; z.raw != "plaintext"; { // which nothing ends
		i := indexFold(rest[from:], "</"+z.raw)
		if i < 0 {
			break
		}
		from += i + 2 + len(z.raw)
		if from < len(rest) && strings.IndexByte(" \t\r\n\f/>", rest[from]) >= 0 {
			n = from - 2 - len(z.raw)
			break
		}
	}
	z.raw = ""
	z.pos += n
	return htmlPiece{kind: kind, text: rest[:n]}
}

// markup takes what begins with "<": a tag, or something that is passed over.
func (z *htmlScanner) markup() htmlPiece {
	rest := z.doc[z.pos:]
	switch {
	case strings.HasPrefix(rest, "<!--"):
		z.pos += commentLen(rest)
		return htmlPiece{}
	case rest[1] == '/' && len(rest) > 2 && isLetter(rest[2]):
		return z.tag(htmlEndTag, 2)
	case isLetter(rest[1]):
		p := z.tag(htmlStartTag, 1)
		if _, ok := rawElements[p.name]; ok && p.kind == htmlStartTag {
			z.raw = p.name
		}
		return p
	case rest == "</":
		z.pos += len(rest)
		return htmlPiece{kind: htmlText, text: rest}
	}
	if i := strings.IndexByte(rest, '>'); i >= 0 { // <!DOCTYPE>, <![if]>, <?xml>, </ >
		z.pos += i + 1
	} else {
		z.pos = len(z.doc)
	}
	return htmlPiece{}
}

// commentLen is how long the comment is that s begins with.
func commentLen(s string) int {
	const open = len("<!--")
	if strings.HasPrefix(s[open:], ">") || strings.HasPrefix(s[open:], "->") {
		return strings.IndexByte(s, '>') + 1
	}
	for n := open; ; {
		i := strings.Index(s[n:], "--")
		if i < 0 {
			return len(s)
		}
		n += i
		switch {
		case strings.HasPrefix(s[n:], "-->"):
			return n + 3
		case strings.HasPrefix(s[n:], "--!>"):
			return n + 4
		}
		n++
	}
}

const htmlBlank = " \t\r\n\f"

// tag takes a tag whose name begins at the given offset. One that does not end
// is no tag: the document ends with it.
func (z *htmlScanner) tag(kind htmlKind, at int) htmlPiece {
	s := z.doc
	start := z.pos + at
	i := start
	for i < len(s) && strings.IndexByte(htmlBlank+"/>", s[i]) < 0 {
		i++
	}
	p := htmlPiece{kind: kind, name: strings.ToLower(s[start:i])}
	for {
		for i < len(s) && strings.IndexByte(htmlBlank+"/", s[i]) >= 0 {
			i++
		}
		if i >= len(s) {
			z.pos = len(s)
			return htmlPiece{}
		}
		if s[i] == '>' {
			z.pos = i + 1
			return p
		}
		var key, value string
		key, value, i = attribute(s, i)
		if kind == htmlStartTag {
			p.attr.set(key, value)
		}
	}
}

// attribute reads an attribute that begins at i, and returns where it ends.
func attribute(s string, i int) (key, value string, end int) {
	start := i
	for i++; i < len(s) && strings.IndexByte(htmlBlank+"/>=", s[i]) < 0; i++ { // a "=" in front is part of the name
	}
	key = s[start:i]
	j := i
	for j < len(s) && strings.IndexByte(htmlBlank, s[j]) >= 0 {
		j++
	}
	if j >= len(s) || s[j] != '=' {
		return key, "", i
	}
	for i = j + 1; i < len(s) && strings.IndexByte(htmlBlank, s[i]) >= 0; i++ {
	}
	if i >= len(s) {
		return key, "", i
	}
	if q := s[i]; q == '"' || q == '\'' {
		n := strings.IndexByte(s[i+1:], q)
		if n < 0 {
			return key, "", len(s)
		}
		return key, s[i+1 : i+1+n], i + n + 2
	}
	start = i
	for i < len(s) && strings.IndexByte(htmlBlank+">", s[i]) < 0 {
		i++
	}
	return key, s[start:i], i
}

// attrs are the attributes of an element that HTMLToText looks at.
type attrs struct {
	href, alt, style, class, face, value, start, kind string
	hidden                                            bool
	seen                                              uint8 // bits of attributes
}

// maxAttribute is more than any attribute that is looked at needs, in bytes.
const maxAttribute = 16 << 10

// attributes are those whose values are looked at, in the order of field.
var attributes = [...]string{"href", "alt", "style", "class", "face", "value", "start", "type"}

// field is where the value of an attribute goes. A table of functions would make
// the compiler keep every tag on the heap.
func (a *attrs) field(i int) *string {
	switch i {
	case 0:
		return &a.href
	case 1:
		return &a.alt
	case 2:
		return &a.style
	case 3:
		return &a.class
	case 4:
		return &a.face
	case 5:
		return &a.value
	case 6:
		return &a.start
	}
	return &a.kind
}

func (a *attrs) set(key, value string) {
	if len(value) > maxAttribute {
		return
	}
	if strings.EqualFold(key, "hidden") {
		a.hidden = true
		return
	}
	for i, name := range attributes {
		if !strings.EqualFold(key, name) {
			continue
		}
		if a.seen&(1<<i) == 0 { // of two with one name, the first counts
			a.seen |= 1 << i
			if name == "style" {
				value = strings.ToLower(value)
			}
			*a.field(i) = unescapeAttribute(value)
		}
		return
	}
}

// unescapeAttribute replaces the character references in the value of an
// attribute. There a name without its semicolon is none when more of a word or a
// "=" follows: "?a=1&copy=2" is an address.
func unescapeAttribute(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			out.WriteString(s)
			return out.String()
		}
		n := i + referenceLen(s[i:])
		c := unescapeReference(s[i:n])
		named := n-i > 1 && isLetter(s[i+1])
		partly := utf8.RuneCountInString(c) > 1 && c[len(c)-1] == s[n-1] // "&copyx" begins with one
		if named && (partly || s[n-1] != ';' && n < len(s) && s[n] == '=') {
			c = s[i:n]
		}
		out.WriteString(s[:i] + c)
		s = s[n:]
	}
}

// unescapeTo calls write with the text of s, its character references replaced,
// piece by piece.
func unescapeTo(s string, write func(string)) {
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			write(s)
			return
		}
		write(s[:i])
		n := i + referenceLen(s[i:])
		write(unescapeReference(s[i:n]))
		s = s[n:]
	}
}

// unescapeReference returns what a reference stands for, or the reference.
func unescapeReference(s string) string {
	if c, ok := commonReferences[s]; ok {
		return c
	}
	if len(s) > len("&#") && s[1] == '#' && s[len(s)-1] != ';' {
		s += ";" // a number ends without it too
	}
	return html.UnescapeString(s)
}

// referenceLen is how much of s, which begins with "&", can be a reference.
func referenceLen(s string) int {
	n, ok := 1, func(c byte) bool { return isLetter(c) || isDigit(c) }
	if len(s) > 1 && s[1] == '#' {
		n, ok = 2, isDigit
		if len(s) > 2 && s[2]|0x20 == 'x' {
			n, ok = 3, func(c byte) bool { return hexValue(c) >= 0 }
		}
		if n == len(s) || !ok(s[n]) {
			return 1 // no number
		}
	}
	for n < len(s) && n < longestReference && ok(s[n]) {
		n++
	}
	if n < len(s) && s[n] == ';' {
		n++
	}
	return n
}

// commonReferences are those that mail is full of.
var commonReferences = map[string]string{
	"&nbsp;": "\u00A0", "&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": "\"", "&#39;": "'",
	"&#8217;": "’", "&#8216;": "‘", "&#8220;": "“", "&#8221;": "”", "&#8211;": "–", "&#8212;": "—", "&#8230;": "…",
}
