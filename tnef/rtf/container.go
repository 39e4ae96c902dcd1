package rtf

import (
	"bytes"
	"slices"
	"strconv"
)

// container is what paragraphs go into: the body, or a cell of a table.
type container struct {
	html, text []byte
	whole      bool // the body, whose paragraphs always are elements
	paras      int  // paragraphs so far
	bare       bool // html is the inside of the only paragraph so far
	format     paraFormat
	lists      []openList
}

// openList is an open list.
type openList struct {
	indent int32
	kind   listKind
	next   int // the number that the next item has by itself
}

// reset makes a cell ready for the next one.
func (c *container) reset() {
	*c = container{html: c.html[:0], text: c.text[:0], lists: c.lists[:0]}
}

// endParagraph puts the paragraph where it belongs.
func (x *renderer) endParagraph() {
	if x.para.begun == nil {
		x.begin(x.container(x.level()))
	}
	x.finishParagraph()
	x.measure()
}

// emptyParagraph is what an empty paragraph, or cell, has in it in HTML.
const emptyParagraph = "&nbsp;"

// level is the table level of the paragraph; 0 is outside tables.
func (x *renderer) level() int {
	if p := &x.r.st.para; p.inTable {
		return max(1, int(p.level))
	}
	return 0
}

// writePiece writes what there is of a long paragraph.
func (x *renderer) writePiece() {
	if x.para.begun == nil {
		x.begin(x.container(x.level()))
	}
	x.writeRuns()
	x.para.linkCut = x.para.link != nil
	x.putWritten(x.para.begun)
	x.measure()
}

// finishParagraph writes the rest of the paragraph that was begun.
func (x *renderer) finishParagraph() {
	c, p := x.para.begun, &x.para
	x.writeRuns()
	p.endLink()
	x.putWritten(c)
	if p.hollow { // an empty paragraph would have no height
		c.html = append(c.html, emptyParagraph...)
	}
	c.html = append(c.html, p.end...)
	c.text = append(c.text, "\r\n"...)
	p.begun, p.html.blank = nil, true // HTML drops blanks at the beginning of a paragraph
	if c == &x.body {
		x.spill()
	}
}

// putWritten moves what is written of the paragraph to where it belongs.
func (x *renderer) putWritten(c *container) {
	p := &x.para
	if len(p.html.out) > 0 {
		p.hollow = p.hollow && len(bytes.Trim(p.html.out, objectMark)) == 0
	}
	c.html = append(room(c.html, len(p.html.out)), p.html.out...)
	c.text = appendLines(room(c.text, len(p.plain)), p.plain)
	p.html.out, p.plain, p.linkFrom = p.html.out[:0], p.plain[:0], 0
	if c == &x.body {
		x.spill()
	}
}

// room makes room for n bytes, at least doubling what is there: append would
// grow, and copy, more often.
func room(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		return slices.Grow(b, max(n, len(b)))
	}
	return b
}

// spill puts away what is finished of the body.
func (x *renderer) spill() {
	x.html.add(x.body.html)
	x.text.add(x.body.text)
	x.body.html, x.body.text = x.body.html[:0], x.body.text[:0]
}

// begin writes what stands before the text of a paragraph.
func (x *renderer) begin(c *container) {
	p := x.r.st.para
	x.para.begun, x.para.hollow, x.para.end = c, true, ""
	label, ok := x.takeLabel(&p)
	if ok && label.inHTML {
		x.beginItem(c, &label, &p)
		x.para.hollow = false
		return
	}
	c.closeLists(0)
	c.paras++
	if c.paras == 1 && !c.whole {
		c.bare, c.format = true, p // alone in a cell, it needs no element
	} else {
		x.settle(c)
		x.openParagraph(c, &p)
		x.para.end = "</p>\r\n"
	}
	if ok {
		c.html = append(append(c.html, escapeAttr(label.text)...), "&nbsp; "...)
		c.text = append(append(c.text, label.text...), ' ')
		x.para.hollow = false
	}
}

// settle makes an element of the only paragraph, as something follows it.
func (x *renderer) settle(c *container) {
	if !c.bare {
		return
	}
	c.bare = false
	inner := bytes.Clone(c.html)
	c.html = c.html[:0]
	x.openParagraph(c, &c.format)
	c.html = append(c.html, inner...)
	c.html = append(c.html, "</p>\r\n"...)
}

func (x *renderer) openParagraph(c *container, p *paraFormat) {
	c.html = append(c.html, "<p"...)
	if p.rtl {
		c.html = append(c.html, ` dir="rtl"`...)
	}
	c.html = append(c.html, ` style="`...)
	c.html = append(c.html, x.paraCSS(p)...)
	c.html = append(c.html, `">`...)
}

// appendLines appends text with its breaks as CRLF.
func appendLines(out, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return append(out, text...)
		}
		out = append(append(out, text[:i]...), "\r\n"...)
		text = text[i+1:]
	}
}

// beginItem begins an item of a list, opening and closing lists as its indent
// says.
func (x *renderer) beginItem(c *container, label *itemLabel, p *paraFormat) {
	c.paras++
	x.settle(c)
	indent := x.itemIndent(p)
	for n := len(c.lists); n > 0 && c.lists[n-1].indent > indent; n = len(c.lists) {
		c.closeLists(n - 1)
	}
	n := len(c.lists)
	same := n > 0 && (c.lists[n-1].indent == indent || n >= maxListDepth)
	if same && label.kind.continues(&c.lists[n-1].kind, label.number) {
		c.html = append(c.html, "</li>\r\n"...)
	} else {
		if same {
			c.closeLists(n - 1)
		}
		c.openList(label.kind, label.number, indent)
	}
	l := &c.lists[len(c.lists)-1]
	c.html = append(c.html, "<li"...)
	if l.kind.ordered && l.kind == label.kind && label.number != l.next {
		c.html = append(c.html, ` value="`+strconv.Itoa(label.number)+`"`...)
		l.next = label.number
	}
	l.next++
	c.html = append(c.html, itemStyle(p)...)
	c.html = append(c.html, '>')
	for range len(c.lists) - 1 {
		c.text = append(c.text, "  "...)
	}
	c.text = append(c.text, label.shown()...)
	c.text = append(c.text, ' ')
}

// itemStyle is what an item keeps of its paragraph's format.
func itemStyle(p *paraFormat) string {
	s := ""
	if p.rtl {
		s = ` dir="rtl"`
	}
	if a := p.align.css(p.rtl); a != "" {
		s += ` style="text-align:` + a + `"`
	}
	return s
}

// shown is the label in text.
func (l *itemLabel) shown() string {
	if !l.kind.ordered {
		return "•"
	}
	return l.text
}

// itemIndent says how deep an item is: by its indent, and among those of one
// indent by its level. Where the paragraph has no indent, its list may.
func (x *renderer) itemIndent(p *paraFormat) int32 {
	left := p.left
	if left == 0 {
		if _, _, level := x.lists.levelOf(p); level != nil {
			left = level.left
		}
	}
	left = int32(clampLength(int(left))) * (maxListDepth + 1)
	if p.list == 0 {
		return left
	}
	return left + int32(p.listLevel)
}

func (c *container) openList(kind listKind, number int, indent int32) {
	c.lists = append(c.lists, openList{indent: indent, kind: kind, next: number})
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

// finish closes what is open and makes the result.
func (x *renderer) finish() Result {
	if !x.para.empty() {
		x.endParagraph()
	}
	x.container(0)
	x.body.closeLists(0)
	x.spill()
	x.html.add([]byte("</body></html>\r\n"))
	head := "<html><head>\r\n" +
		`<meta http-equiv="Content-Type" content="text/html; charset=utf-8">` + "\r\n</head>\r\n<body"
	if style := x.bodyStyle(); style != "" {
		head += ` style="` + style + `"`
	}
	head += ">\r\n"
	res := Result{Kind: RealRTF, Pictures: x.pictures, Warnings: x.r.warnings}
	for i, at := range x.html.marks {
		o := Object{HTML: len(head) + at}
		if i < len(x.text.marks) {
			o.Text = x.text.marks[i]
		}
		res.Objects = append(res.Objects, o)
	}
	res.HTML, res.Text = x.html.join(head), x.text.join("")
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
