package rtf

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/atom"

	"github.com/coexist-mail/coexist/tnef/textenc"
)

// maxHTMLDepth caps what HTMLToText remembers of open elements.
const maxHTMLDepth = 1000

// HTMLToText renders HTML as readable plain text with CRLF line ends, for the
// text/plain alternative of a message: paragraphs and their distances, lists
// with bullets and numbers, tables as lines with tabs, links as "text <url>",
// quotations with "> ", images as their alternative text; no scripts, styles,
// comments or hidden elements. Characters in Wingdings and its like become the
// Unicode characters that they show.
//
// The text is at most as long as the document, plus 64 KiB: only documents that
// are made to grow (rules, quotations and lists without content) are cut.
func HTMLToText(document string) string {
	text, _ := HTMLToTextLimit(document, len(document)+64<<10)
	return text
}

// HTMLToTextLimit is HTMLToText that stops once there are about limit bytes of
// text; cut tells whether it did. About twice as much is allocated on the way.
func HTMLToTextLimit(document string, limit int) (text string, cut bool) {
	c := textConverter{}
	z := htmlScanner{doc: document}
	c.out.limit = limit
	for !c.out.full() {
		p := z.next()
		switch p.kind {
		case htmlEnd:
			return c.out.finish(), false
		case htmlText:
			c.text(p.text, true)
		case htmlRawText:
			c.text(p.text, false)
		case htmlStartTag:
			c.start(atom.Lookup([]byte(p.name)), p.name, &p.attr)
		case htmlEndTag:
			c.end(atom.Lookup([]byte(p.name)), p.name)
		}
	}
	return c.out.finish(), true
}

// invisible are the elements whose content is not part of the text.
var invisible = map[atom.Atom]bool{
	atom.Script: true, atom.Style: true, atom.Title: true, atom.Template: true, atom.Noscript: false,
	atom.Object: true, atom.Applet: true, atom.Iframe: true, atom.Svg: true, atom.Math: false,
}

// blocks are the elements that stand on lines of their own, and how many line
// ends there are around them at least.
var blocks = map[atom.Atom]int{
	atom.P: 2, atom.Div: 1, atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2,
	atom.Ul: 1, atom.Ol: 1, atom.Dl: 1, atom.Dt: 1, atom.Dd: 1, atom.Table: 1, atom.Tr: 1, atom.Caption: 1,
	atom.Blockquote: 1, atom.Pre: 1, atom.Address: 1, atom.Center: 1, atom.Form: 1, atom.Fieldset: 1,
	atom.Section: 1, atom.Article: 1, atom.Header: 1, atom.Footer: 1, atom.Nav: 1, atom.Aside: 1, atom.Main: 1,
	atom.Body: 0, atom.Html: 0, atom.Figure: 1, atom.Figcaption: 1, atom.Li: 1, atom.Menu: 1, atom.Dir: 1,
}

// textConverter turns tokens into text.
type textConverter struct {
	out       textWriter
	skipTag   string // the element that is being skipped, "" for none
	skipDepth int
	pre       int
	lists     []textList
	links     []string // the addresses of the open links
	fonts     []string // of the open span and font elements; "" for ordinary ones
	gaps      []int    // distances of the open p elements
}

type textList struct {
	ordered bool
	next    int
	typ     byte
}

// text takes text, with character references in it unless it is raw.
func (c *textConverter) text(s string, references bool) {
	if c.skipTag != "" {
		return
	}
	c.out.cr = false
	if !references {
		c.write(s)
		return
	}
	unescapeTo(s, c.write)
}

func (c *textConverter) write(s string) {
	if c.out.full() {
		return
	}
	if n := len(c.fonts); n > 0 && c.fonts[n-1] != "" {
		font := c.fonts[n-1]
		s = strings.Map(func(r rune) rune {
			if u, ok := textenc.Symbol(font, r); ok && r != ' ' {
				return u
			}
			return r
		}, s)
	}
	c.out.write(s, c.pre > 0)
}

// skipped keeps count of the elements inside one that is skipped.
func (c *textConverter) skipped(name string, change int) bool {
	if c.skipTag == "" {
		return false
	}
	if name == c.skipTag {
		c.skipDepth += change
		if c.skipDepth <= 0 {
			c.skipTag = ""
		}
	}
	return true
}

// void elements have no content and no end tag.
var void = map[atom.Atom]bool{
	atom.Br: true, atom.Hr: true, atom.Img: true, atom.Input: true, atom.Meta: true, atom.Link: true,
	atom.Area: true, atom.Base: true, atom.Col: true, atom.Embed: true, atom.Source: true, atom.Wbr: true, atom.Param: true,
}

func (c *textConverter) start(tag atom.Atom, name string, a *attrs) {
	if c.skipped(name, 1) {
		return
	}
	hidden := a.hidden || a.style != "" && hides(a.style)
	if (invisible[tag] || hidden) && !void[tag] {
		c.skipTag, c.skipDepth = name, 1
		return
	}
	if n, ok := blocks[tag]; ok {
		if tag == atom.P {
			n = c.openParagraph(a)
		}
		if !c.out.labelled || tag == atom.Li { // <li><p> is one line
			c.out.lines(n)
		}
	}
	switch tag {
	case atom.Br:
		c.out.newline()
	case atom.Hr:
		c.out.lines(1)
		c.out.write(strings.Repeat("_", 32), false)
		c.out.lines(1)
	case atom.Img:
		if alt := strings.TrimSpace(a.alt); alt != "" && !hidden {
			c.out.write("["+alt+"]", false)
		}
	case atom.A:
		c.endLink()
		c.links = append(c.links, strings.TrimSpace(a.href))
		c.out.capture()
	case atom.Pre:
		c.pre++
	case atom.Blockquote:
		c.out.quote++
	case atom.Td, atom.Th:
		c.out.cell()
	case atom.Ul, atom.Menu, atom.Dir:
		c.pushList(textList{})
	case atom.Ol:
		c.pushList(orderedList(a))
	case atom.Li:
		c.item(a)
	case atom.Span, atom.Font:
		if len(c.fonts) < maxHTMLDepth {
			c.fonts = append(c.fonts, c.font(a))
		}
	}
}

// hides reports whether a style (in lower case) makes an element invisible.
func hides(style string) bool {
	i := strings.Index(style, "display")
	if i >= 0 {
		rest := strings.TrimLeft(style[i+len("display"):], " \t")
		if v, ok := strings.CutPrefix(rest, ":"); ok && strings.HasPrefix(strings.TrimLeft(v, " \t"), "none") {
			return true
		}
	}
	return strings.Contains(style, "mso-hide:all")
}

// openParagraph returns how many line ends stand around a paragraph. Outlook
// writes each line as a paragraph without margins.
func (c *textConverter) openParagraph(a *attrs) int {
	n := 2
	for _, class := range []string{"MsoNormal", "MsoPlainText", "MsoListParagraph", "MsoNoSpacing"} {
		if strings.HasPrefix(strings.Trim(a.class, `"'`), class) {
			n = 1
		}
	}
	for _, m := range []string{"margin:0", "margin: 0", "margin-top:0", "margin-top: 0"} {
		if strings.Contains(a.style, m) {
			n = 1
		}
	}
	if len(c.gaps) < maxHTMLDepth {
		c.gaps = append(c.gaps, n)
	}
	return n
}

// font returns the symbol font that an element sets, or that is already set
// when it says nothing of fonts; "" for an ordinary font.
func (c *textConverter) font(a *attrs) string {
	family := a.face
	if i := strings.Index(a.style, "font-family"); i >= 0 {
		_, family, _ = strings.Cut(a.style[i:], ":")
		family, _, _ = strings.Cut(family, ";")
	}
	if family == "" {
		if n := len(c.fonts); n > 0 {
			return c.fonts[n-1]
		}
		return ""
	}
	family, _, _ = strings.Cut(family, ",")
	family = strings.Trim(family, " \t\r\n\"'")
	if textenc.IsSymbolFont(family) {
		return family
	}
	return ""
}

func (c *textConverter) pushList(l textList) {
	if len(c.lists) < maxHTMLDepth {
		c.lists = append(c.lists, l)
	}
}

func orderedList(a *attrs) textList {
	l := textList{ordered: true, next: 1, typ: '1'}
	if a.start != "" {
		if n, err := strconv.Atoi(a.start); err == nil {
			l.next = n
		}
	}
	if len(a.kind) == 1 && strings.Contains("1aAiI", a.kind) {
		l.typ = a.kind[0]
	}
	return l
}

func (c *textConverter) item(a *attrs) {
	depth := max(0, min(len(c.lists)-1, 8))
	for range depth {
		c.out.write("\u00A0\u00A0", false)
	}
	if len(c.lists) == 0 || !c.lists[len(c.lists)-1].ordered {
		c.out.label("•\u00A0")
		return
	}
	l := &c.lists[len(c.lists)-1]
	if a.value != "" {
		if n, err := strconv.Atoi(a.value); err == nil {
			l.next = n
		}
	}
	c.out.label(listKind{ordered: true, typ: l.typ}.number(l.next) + ".\u00A0")
	l.next++
}

func (c *textConverter) end(tag atom.Atom, name string) {
	if c.skipped(name, -1) {
		return
	}
	switch tag {
	case atom.A:
		c.endLink()
	case atom.Pre:
		c.pre = max(0, c.pre-1)
	case atom.Blockquote:
		c.out.lines(1)
		c.out.quote = max(0, c.out.quote-1)
	case atom.Ul, atom.Ol, atom.Menu, atom.Dir:
		c.lists = c.lists[:max(0, len(c.lists)-1)]
	case atom.Span, atom.Font:
		c.fonts = c.fonts[:max(0, len(c.fonts)-1)]
	}
	n, ok := blocks[tag]
	if !ok {
		return
	}
	if tag == atom.P {
		if k := len(c.gaps); k > 0 {
			n = c.gaps[k-1]
			c.gaps = c.gaps[:k-1]
			c.out.paragraphEnd()
		}
	}
	c.out.lines(n)
}

// endLink puts the address after the text of a link.
func (c *textConverter) endLink() {
	n := len(c.links)
	if n == 0 {
		return
	}
	href := c.links[n-1]
	c.links = c.links[:n-1]
	text, whole := c.out.captured()
	scheme, _, _ := strings.Cut(href, ":")
	if !slices.Contains([]string{"http", "https", "ftp", "mailto", "tel", "file", "notes"}, strings.ToLower(scheme)) {
		return
	}
	if strings.TrimSpace(text) == "" || whole && sameLink(text, href) {
		return
	}
	c.out.write(" <"+strings.TrimPrefix(href, "mailto:")+">", false)
}

// textWriter writes lines of text: it joins blanks, and counts line ends.
type textWriter struct {
	out   output
	limit int
	end   int    // where the last character that can be seen ends
	space []byte // hard blanks and tabs that are due before the next character
	ends  int    // line ends at the end of out
	blank bool   // a blank is due before the next character
	line  bool   // something was written on this line
	cr    bool   // the last character was a CR
	quote int

	labelled bool   // the line holds nothing but the label of a list item
	link     []byte // the beginning of the text of the open link
	inLink   bool
}

const lineEnd = "\r\n"

// full reports that enough was written.
func (w *textWriter) full() bool { return w.out.len()+len(w.space) > w.limit }

// maxLinkText is how much of a link's text is compared with its address.
const maxLinkText = 2048

// capture begins to keep the text of a link.
func (w *textWriter) capture() { w.link, w.inLink = w.link[:0], true }

// captured returns the text since capture, and whether that is all of it.
func (w *textWriter) captured() (text string, whole bool) {
	w.inLink = false
	return string(w.link), len(w.link) < maxLinkText
}

// lines makes sure that n line ends stand before what follows.
func (w *textWriter) lines(n int) {
	if n == 0 {
		return
	}
	if w.line {
		w.newline()
	}
	if w.out.len() == 0 {
		return
	}
	for w.ends < n {
		w.newline()
	}
	w.blank = false
}

func (w *textWriter) newline() {
	if w.quote > 0 && !w.line {
		w.prefix()
	}
	w.space = w.space[:0] // no blanks at the ends of lines
	w.out.copy([]byte(lineEnd))
	w.ends++
	w.line, w.blank, w.labelled = false, false, false
}

// paragraphEnd ends a paragraph; one of hard blanks alone is an empty line.
func (w *textWriter) paragraphEnd() {
	if w.line {
		w.newline()
	}
}

// maxQuote is how many levels of quotation are shown.
const maxQuote = 8

func (w *textWriter) prefix() {
	if n := min(w.quote, maxQuote); n > 0 {
		w.out.copy([]byte("> > > > > > > > "[:2*n-1]))
		w.space = append(w.space[:0], ' ')
	}
}

// cell begins a cell: a tab, where something stands before it.
func (w *textWriter) cell() {
	if w.line {
		w.space = append(w.space, '\t')
		w.blank = false
	}
}

// label writes the beginning of a list item.
func (w *textWriter) label(s string) {
	w.write(s, false)
	w.labelled = true
}

// write appends text. Outside pre, blanks are joined; no-break spaces count as
// characters, and are written as blanks.
func (w *textWriter) write(s string, pre bool) {
	for i := 0; i < len(s) && !w.full(); {
		if n := visible(s[i:min(len(s), i+max(1, w.limit-w.out.len()))]); n > 0 {
			w.put(s[i : i+n])
			w.cr = false
			i += n
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		w.character(r, pre)
		w.cr = r == '\r'
		i += size
	}
}

// visible is how many characters of US-ASCII that can be seen s begins with.
func visible(s string) int {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return i
		}
	}
	return len(s)
}

// character writes one of the others.
func (w *textWriter) character(r rune, pre bool) {
	switch {
	case r == '\u00A0', pre && r == ' ':
		w.hardBlank(' ')
	case pre && r == '\t':
		w.hardBlank('\t')
	case pre && (r == '\r' || r == '\n'):
		if r == '\r' || !w.cr {
			w.newline()
		}
	case r == '\r':
		w.blank = w.blank || w.line
	case !pre && (r == ' ' || r == '\n' || r == '\t' || r == '\f'):
		w.blank = w.blank || w.line
	case r == '\u00AD' || r == '\u200B' || r == '\uFEFF' || unicode.IsControl(r):
	default:
		w.put(string(r))
	}
}

// begin begins a line, where none is begun.
func (w *textWriter) begin() {
	if !w.line {
		w.space = w.space[:0]
		w.prefix()
		w.line = true
		w.ends = 0
		w.blank = false
	}
	w.labelled = false
}

func (w *textWriter) hardBlank(c byte) {
	w.begin()
	w.softBlank()
	if w.space = append(w.space, c); len(w.space) >= maxSpace {
		w.out.copy(w.space)
		w.space = w.space[:0]
	}
}

// maxSpace is how many blanks at the end of a line are taken off.
const maxSpace = 256

// softBlank writes the blank that is due, unless there is one already.
func (w *textWriter) softBlank() {
	if w.blank && len(w.space) == 0 {
		w.space = append(w.space, ' ')
	}
	w.blank = false
}

// put writes characters that can be seen.
func (w *textWriter) put(s string) {
	w.begin()
	w.softBlank()
	if w.inLink && len(w.link) < maxLinkText {
		w.link = append(append(w.link, w.space...), s[:min(len(s), maxLinkText)]...)
	}
	if len(w.space) > 0 {
		w.out.copy(w.space)
		w.space = w.space[:0]
	}
	w.out.copyString(s)
	w.end = w.out.len()
}

// finish returns the text, with one line end at its end.
func (w *textWriter) finish() string {
	if w.end == 0 {
		return ""
	}
	w.out.cut(w.end)
	w.out.copy([]byte(lineEnd))
	return w.out.join("")
}
