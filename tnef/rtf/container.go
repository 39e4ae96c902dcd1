package rtf

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// container is what paragraphs go into: the body, or a cell of a table.
type container struct {
	html, text []byte
	paras      int        // paragraphs so far
	only       []byte     // the inner HTML of the only paragraph so far, not yet in html
	format     paraFormat // of that paragraph
	lists      []listLevel
}

// listLevel is an open list.
type listLevel struct {
	indent int
	kind   listKind
}

// listKind is an element and the type of its numbers.
type listKind struct {
	ordered bool
	typ     byte // 1, a, A, i or I
}

func (k listKind) element() string {
	if k.ordered {
		return "ol"
	}
	return "ul"
}

// maxListDepth is how deep lists nest in RTF (nine levels).
const maxListDepth = 9

// endParagraph puts the paragraph where it belongs.
func (x *renderer) endParagraph() {
	p := x.r.st.para
	level := 0
	if p.inTable {
		level = max(1, p.level)
	}
	x.putParagraph(x.container(level), &p)
	x.spill()
}

// spill puts away what is finished of the body.
func (x *renderer) spill() {
	x.doneHTML = spill(x.doneHTML, &x.body.html)
	x.doneText = spill(x.doneText, &x.body.text)
}

func spill(done [][]byte, b *[]byte) [][]byte {
	if len(*b) < chunkSize {
		return done
	}
	done = append(done, *b)
	*b = make([]byte, 0, chunkSize+chunkSize/4)
	return done
}

func (x *renderer) putParagraph(c *container, p *paraFormat) {
	inner, text := x.takeParagraph()
	label := strings.TrimSpace(string(x.label))
	x.label = x.label[:0]
	x.written += len(inner) + 40 // and what add and item put around it
	if label != "" {
		if kind, number, ok := classify(label); ok {
			c.item(kind, number, p, inner, text)
			return
		}
		inner = append([]byte(escapeAttr(label)+"&nbsp; "), inner...)
		text = label + " " + text
	}
	c.closeLists(0)
	c.add(p, inner, text)
}

// add appends a paragraph.
func (c *container) add(p *paraFormat, inner []byte, text string) {
	if len(bytes.Trim(inner, objectMark)) == 0 { // an empty paragraph would have no height
		inner = append(inner, "&nbsp;"...)
	}
	c.paras++
	if c.paras == 1 {
		c.only, c.format = inner, *p // alone in a cell, it needs no element
	} else {
		c.settle()
		c.paragraph(p, inner)
	}
	c.text = appendLines(c.text, text)
	c.text = append(c.text, "\r\n"...)
}

// settle writes the first paragraph, as something follows it.
func (c *container) settle() {
	if c.only != nil {
		c.paragraph(&c.format, c.only)
		c.only = nil
	}
}

func (c *container) paragraph(p *paraFormat, inner []byte) {
	c.html = append(c.html, "<p"+p.dir()+` style="`+p.css()+`">`...)
	c.html = append(c.html, inner...)
	c.html = append(c.html, "</p>\r\n"...)
}

// appendLines appends text with its breaks as CRLF.
func appendLines(out []byte, text string) []byte {
	for {
		i := strings.IndexByte(text, '\n')
		if i < 0 {
			return append(out, text...)
		}
		out = append(append(out, text[:i]...), "\r\n"...)
		text = text[i+1:]
	}
}

// item appends an item of a list, opening and closing lists as its indent says.
func (c *container) item(kind listKind, number int, p *paraFormat, inner []byte, text string) {
	c.paras++
	c.settle()
	for n := len(c.lists); n > 0 && c.lists[n-1].indent > p.left; n = len(c.lists) {
		c.closeLists(n - 1)
	}
	n := len(c.lists)
	switch {
	case n > 0 && (c.lists[n-1].indent == p.left || n >= maxListDepth) && kind.continues(&c.lists[n-1].kind, number):
		c.html = append(c.html, "</li>\r\n"...)
	default:
		if n > 0 && c.lists[n-1].indent == p.left || n >= maxListDepth {
			c.closeLists(n - 1)
		}
		c.openList(kind, number, p.left)
	}
	c.html = append(c.html, "<li>"...)
	c.html = append(c.html, inner...)
	depth := len(c.lists)
	c.text = append(c.text, strings.Repeat("  ", depth-1)...)
	c.text = append(c.text, c.lists[depth-1].kind.label(number)...)
	c.text = appendLines(c.text, text)
	c.text = append(c.text, "\r\n"...)
}

// continues reports whether an item belongs to the open list. A letter that is
// also a Roman numeral is what the list is.
func (k listKind) continues(open *listKind, number int) bool {
	if k.ordered != open.ordered {
		return false
	}
	if k.typ == open.typ {
		return true
	}
	return k.ordered && k.typ|0x20 == 'i' && open.typ|0x20 == 'a' && number == 1
}

// label is how an item of the list begins in text.
func (k listKind) label(number int) string {
	if !k.ordered {
		return "• "
	}
	return k.number(number) + ". "
}

// number writes a number the way the list does.
func (k listKind) number(n int) string {
	switch k.typ {
	case 'a', 'A':
		if n >= 1 && n <= 26 {
			return string(rune(k.typ) + rune(n-1))
		}
	case 'i':
		return strings.ToLower(roman(n))
	case 'I':
		return roman(n)
	}
	return strconv.Itoa(n)
}

func (c *container) openList(kind listKind, number, indent int) {
	c.lists = append(c.lists, listLevel{indent: indent, kind: kind})
	c.html = append(c.html, "<"+kind.element()+` style="margin-top:0;margin-bottom:0"`...)
	if kind.ordered {
		if kind.typ != '1' {
			c.html = append(c.html, ` type="`+string(rune(kind.typ))+`"`...)
		}
		if number != 1 {
			c.html = append(c.html, ` start="`+strconv.Itoa(number)+`"`...)
		}
	}
	c.html = append(c.html, ">\r\n"...)
}

// closeLists closes lists until depth are open.
func (c *container) closeLists(depth int) {
	for n := len(c.lists); n > depth; n-- {
		c.html = append(c.html, "</li>\r\n</"+c.lists[n-1].kind.element()+">\r\n"...)
		c.lists = c.lists[:n-1]
	}
}

// classify tells from a label what kind of list an item is of: "1.", "a)",
// "(iv)", or a bullet. ok is false for labels that HTML lists cannot show, such
// as "1.2".
func classify(label string) (kind listKind, number int, ok bool) {
	body := strings.TrimSpace(strings.TrimRight(strings.TrimLeft(label, "("), ".):"))
	if body == "" || utf8.RuneCountInString(label) == 1 && !isDigit(label[0]) && (!isLetter(label[0]) || label == "o") {
		return listKind{}, 0, true // a bullet; "o" in Courier New is one of Word's
	}
	if n, err := strconv.Atoi(body); err == nil && n >= 0 && len(body) <= 9 {
		return listKind{ordered: true, typ: '1'}, n, true
	}
	if len(body) == len(label) { // letters without "." are words
		return listKind{}, 0, false
	}
	if n := romanValue(body); n > 0 && (len(body) > 1 || body == "i" || body == "I" || body == "v" || body == "V" || body == "x" || body == "X") {
		return listKind{ordered: true, typ: 'I' | body[0]&0x20}, n, true
	}
	if len(body) == 1 && isLetter(body[0]) {
		return listKind{ordered: true, typ: 'A' | body[0]&0x20}, int(body[0]|0x20-'a') + 1, true
	}
	return listKind{}, 0, false
}

var romans = []struct {
	value int
	sign  string
}{
	{1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"},
	{50, "L"}, {40, "XL"}, {10, "X"}, {9, "IX"}, {5, "V"}, {4, "IV"}, {1, "I"},
}

// roman writes n, 1 to 3999, as a Roman numeral.
func roman(n int) string {
	if n < 1 || n > 3999 {
		return strconv.Itoa(n)
	}
	var s strings.Builder
	for _, r := range romans {
		for n >= r.value {
			n -= r.value
			s.WriteString(r.sign)
		}
	}
	return s.String()
}

// romanValue returns the value of a Roman numeral in one case, 0 for anything else.
func romanValue(s string) int {
	if len(s) > 15 || s != strings.ToUpper(s) && s != strings.ToLower(s) {
		return 0
	}
	up := strings.ToUpper(s)
	rest, n := up, 0
	for _, r := range romans {
		for strings.HasPrefix(rest, r.sign) {
			rest = rest[len(r.sign):]
			n += r.value
		}
	}
	if rest != "" || roman(n) != up {
		return 0
	}
	return n
}

// finish closes what is open and makes the result.
func (x *renderer) finish() Result {
	if !x.para.empty() {
		x.endParagraph()
	}
	x.container(0)
	x.body.settle()
	x.body.closeLists(0)
	head := "<html><head>\r\n" +
		`<meta http-equiv="Content-Type" content="text/html; charset=utf-8">` + "\r\n</head>\r\n<body"
	if style := x.bodyStyle(); style != "" {
		head += ` style="` + style + `"`
	}
	html := slices.Concat([][]byte{[]byte(head + ">\r\n")}, x.doneHTML, [][]byte{x.body.html, []byte("</body></html>\r\n")})
	res := Result{Kind: RealRTF, Pictures: x.pictures, Warnings: x.r.warnings}
	var inHTML, inText []int
	res.HTML, inHTML = cutMarks(html...)
	res.Text, inText = cutMarks(append(x.doneText, x.body.text)...)
	for i, at := range inHTML {
		o := Object{HTML: at}
		if i < len(inText) {
			o.Text = inText[i]
		}
		res.Objects = append(res.Objects, o)
	}
	return res
}

func (x *renderer) bodyStyle() string {
	if !x.based {
		return ""
	}
	style := "font-size:" + points(int(x.base.char.size)*10)
	if family := x.fontFamily(int(x.base.font)); family != "" {
		style = "font-family:" + family + ";" + style
	}
	if x.page != "" {
		style += ";background-color:" + x.page
	}
	return style
}
