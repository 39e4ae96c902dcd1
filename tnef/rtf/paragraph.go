package rtf

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// run is a piece of a paragraph in one format.
type run struct {
	start  int32 // where in paragraph.text it begins
	pict   int32 // index of a picture that stands here, or isText or isMark
	format runFormat
	link   *field
}

// What run.pict says of runs that are no pictures.
const (
	isText = -1
	isMark = -2 // the place of an attachment
)

// maxRuns is how many runs are collected before they are written.
const maxRuns = 512

// paragraph collects the text up to the next \par or \cell: first as runs, and
// then, from time to time and in the end, as HTML and as text.
type paragraph struct {
	text []byte
	runs []run

	html     htmlWriter
	plain    []byte
	link     *field // the link that html and plain are inside of
	linkFrom int    // where its text begins in plain
	linkCut  bool   // some of its text is no longer in plain

	begun  *container // where the beginning of the paragraph was written
	end    string     // what ends it in HTML
	hollow bool       // nothing was written in it that can be seen
}

// pieceSize is how much of a paragraph is collected, about, in bytes.
const pieceSize = 16 << 10

func (p *paragraph) empty() bool {
	return p.begun == nil && len(p.runs) == 0 && len(p.html.out) == 0
}

func (p *paragraph) add(b []byte, f runFormat, link *field) {
	if n := len(p.runs); n == 0 || p.runs[n-1].format != f || p.runs[n-1].link != link || p.runs[n-1].pict != isText {
		p.runs = append(p.runs, run{start: int32(len(p.text)), format: f, link: link, pict: isText})
	}
	p.text = append(p.text, b...)
}

func (p *paragraph) addPicture(index int, link *field) {
	p.runs = append(p.runs, run{start: int32(len(p.text)), link: link, pict: int32(index)})
}

func (p *paragraph) addMark(link *field) {
	p.runs = append(p.runs, run{start: int32(len(p.text)), link: link, pict: isMark})
}

// textOf returns the text of the i-th run.
func (p *paragraph) textOf(i int) []byte {
	end := int32(len(p.text))
	if i+1 < len(p.runs) {
		end = p.runs[i+1].start
	}
	return p.text[p.runs[i].start:end]
}

// writeRuns turns the runs into HTML and text.
func (x *renderer) writeRuns() {
	p := &x.para
	for i := range p.runs {
		ru := &p.runs[i]
		if ru.link != p.link {
			p.endLink()
			p.beginLink(ru.link)
		}
		if ru.pict == isMark {
			p.html.raw(objectMark)
			p.plain = append(p.plain, objectMark...)
			continue
		}
		if ru.pict >= 0 {
			x.image(&p.html, ru)
			p.plain = append(p.plain, "["+x.pictures[ru.pict].Name+"]"...)
			continue
		}
		text := p.textOf(i)
		open, end := x.tags(ru.format, ru.link != nil)
		p.html.raw(open)
		p.html.text(text)
		p.html.raw(end)
		if ru.format.char.caps {
			text = bytes.ToUpper(text)
		}
		p.plain = append(p.plain, text...)
	}
	p.text, p.runs = p.text[:0], p.runs[:0]
}

func (p *paragraph) beginLink(f *field) {
	p.link, p.linkFrom, p.linkCut = f, len(p.plain), false
	if f != nil {
		p.html.raw(`<a href="`, escapeAttr(f.href), `">`)
	}
}

// endLink ends the link; in text its address follows.
func (p *paragraph) endLink() {
	f := p.link
	if f == nil {
		return
	}
	p.link = nil
	p.html.raw("</a>")
	if text := string(p.plain[p.linkFrom:]); (p.linkCut || !sameLink(text, f.href)) && !strings.HasPrefix(f.href, "#") {
		p.plain = append(p.plain, " <"+strings.TrimPrefix(f.href, "mailto:")+">"...)
	}
}

// image writes the element of a picture.
func (x *renderer) image(w *htmlWriter, ru *run) {
	w.raw(`<img src="cid:`, escapeAttr(x.pictures[ru.pict].ContentID), `"`)
	if size := x.sizes[ru.pict]; size[0] > 0 && size[1] > 0 {
		w.raw(` width="`, strconv.Itoa(size[0]), `" height="`, strconv.Itoa(size[1]), `"`)
	}
	w.raw(` alt="">`)
	w.blank = false
}

// tagKey is what the tags around a run depend on.
type tagKey struct {
	format runFormat
	inLink bool
}

// tags returns what to put around text in a format.
func (x *renderer) tags(f runFormat, inLink bool) (open, end string) {
	key := tagKey{f, inLink}
	if t, ok := x.tagCache[key]; ok {
		return t[0], t[1]
	}
	open, end = x.makeTags(f, inLink)
	if x.tagCache == nil || len(x.tagCache) >= maxCached {
		x.tagCache = make(map[tagKey][2]string)
	}
	x.tagCache[key] = [2]string{open, end}
	return open, end
}

func (x *renderer) makeTags(f runFormat, inLink bool) (open, end string) {
	wrap := func(on bool, name string) {
		if on {
			open += "<" + name + ">"
			end = "</" + name + ">" + end
		}
	}
	if css := x.css(f, inLink); css != "" {
		open, end = `<span style="`+css+`">`, "</span>"
	}
	wrap(f.char.bold, "b")
	wrap(f.char.italic, "i")
	wrap(f.char.underline && !inLink, "u")
	wrap(f.char.strike, "s")
	wrap(f.char.script > 0, "sup")
	wrap(f.char.script < 0, "sub")
	return open, end
}

// css returns what in a format differs from the body's, as CSS that may stand
// in an attribute between double quotes.
func (x *renderer) css(f runFormat, inLink bool) string {
	var s []string
	if f.font != x.base.font {
		if family := x.fontFamily(int(f.font)); family != "" && family != x.fontFamily(int(x.base.font)) {
			s = append(s, "font-family:"+family)
		}
	}
	if f.char.size != x.base.char.size {
		s = append(s, "font-size:"+points(int(f.char.size)*10))
	}
	if c := x.color(int(f.char.fore)); c != "" && c != "#000000" && !inLink {
		s = append(s, "color:"+c)
	}
	if c := x.color(int(f.char.back)); c != "" && c != "#ffffff" {
		s = append(s, "background-color:"+c)
	}
	if f.char.caps {
		s = append(s, "text-transform:uppercase")
	}
	if f.char.smallCaps {
		s = append(s, "font-variant:small-caps")
	}
	return strings.Join(s, ";")
}

// fontFamily returns a font, and the family it belongs to, for CSS.
func (x *renderer) fontFamily(n int) string {
	f, ok := x.r.fonts[n]
	if !ok || f.name == "" {
		return ""
	}
	name := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`'"<>&;{}\`, r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, f.name)
	name = "'" + name + "'"
	if f.family != "" {
		name += "," + f.family
	}
	return name
}

// color returns an entry of the colour table for CSS, "" for none.
func (x *renderer) color(n int) string {
	if c, ok := x.lookupColor(n); ok {
		return c.css()
	}
	return ""
}

func (x *renderer) lookupColor(n int) (color, bool) {
	if n <= 0 || n >= len(x.r.colors) || !x.r.colors[n].set {
		return color{}, false
	}
	return x.r.colors[n], true
}

func (c color) css() string { return fmt.Sprintf("#%02x%02x%02x", c.r, c.g, c.b) }

// points returns a length in twips as CSS.
func points(twips int) string {
	if twips == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(twips)/20, 'f', -1, 64) + "pt"
}

// maxIndent is the widest indent that makes sense, in twips: 22 inches.
const maxIndent = 31680

func clampLength(n int) int { return max(-maxIndent, min(n, maxIndent)) }

// maxCached is how many styles are remembered.
const maxCached = 1000

// paraCSS returns the style of a paragraph.
func (x *renderer) paraCSS(p *paraFormat) string {
	key := *p
	key.list, key.listLevel, key.level, key.inTable, key.pn = 0, 0, 0, false, nil
	css, ok := x.cssCache[key]
	if !ok {
		css = x.makeParaCSS(&key)
		if x.cssCache == nil || len(x.cssCache) >= maxCached {
			x.cssCache = make(map[paraFormat]string)
		}
		x.cssCache[key] = css
	}
	return css
}

func (x *renderer) makeParaCSS(p *paraFormat) string {
	var s strings.Builder
	length := func(n int32) int { return clampLength(int(n)) }
	above, below, left, right := max(0, length(p.above)), max(0, length(p.below)), length(p.left), length(p.right)
	switch {
	case above == 0 && below == 0 && left == 0 && right == 0:
		s.WriteString("margin:0")
	default:
		s.WriteString("margin:" + points(above) + " " + points(right) + " " + points(below) + " " + points(left))
	}
	if first := length(p.first); first != 0 {
		s.WriteString(";text-indent:" + points(first))
	}
	if a := p.align.css(p.rtl); a != "" {
		s.WriteString(";text-align:" + a)
	}
	s.WriteString(x.bordersCSS(x.boxes.get(p.borders)))
	if c := x.color(int(p.shade)); c != "" && c != "#ffffff" {
		s.WriteString(";background-color:" + c)
	}
	return s.String()
}

// htmlWriter writes text as HTML.
type htmlWriter struct {
	out   []byte
	blank bool // the last character was a blank, or none was written
}

func (w *htmlWriter) raw(parts ...string) {
	for _, s := range parts {
		w.out = append(w.out, s...)
	}
}

// text escapes b. HTML joins blanks, so all but the first of a row, and one at
// the beginning of a line, are written as &nbsp;.
func (w *htmlWriter) text(b []byte) {
	for _, c := range b {
		blank := false
		switch c {
		case '<':
			w.raw("&lt;")
		case '>':
			w.raw("&gt;")
		case '&':
			w.raw("&amp;")
		case '\t':
			w.raw("&nbsp;&nbsp;&nbsp; ")
			blank = true
		case '\n':
			w.raw("<br>\r\n")
			blank = true
		case ' ':
			if w.blank {
				w.raw("&nbsp;")
			} else {
				w.out = append(w.out, ' ')
			}
			blank = true
		default:
			if c >= ' ' {
				w.out = append(w.out, c)
			}
		}
		w.blank = blank
	}
}

var attrEscaper = strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;")

func escapeAttr(s string) string { return attrEscaper.Replace(s) }
