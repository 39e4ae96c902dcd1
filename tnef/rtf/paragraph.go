package rtf

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// run is a piece of a paragraph in one format.
type run struct {
	start  int // where in paragraph.text it begins
	format runFormat
	link   *field
	pict   int // index of a picture that stands here instead of text, -1 for none
	width  int // of the picture, in pixels; 0 when unknown
	height int
}

// paragraph collects the text up to the next \par or \cell.
type paragraph struct {
	text []byte
	runs []run
}

func (p *paragraph) empty() bool { return len(p.runs) == 0 }

func (p *paragraph) reset() { p.text, p.runs = p.text[:0], p.runs[:0] }

func (p *paragraph) add(b []byte, f runFormat, link *field) {
	if n := len(p.runs); n == 0 || p.runs[n-1].format != f || p.runs[n-1].link != link || p.runs[n-1].pict >= 0 {
		p.runs = append(p.runs, run{start: len(p.text), format: f, link: link, pict: -1})
	}
	p.text = append(p.text, b...)
}

func (p *paragraph) addPicture(index, width, height int, link *field) {
	p.runs = append(p.runs, run{start: len(p.text), link: link, pict: index, width: width, height: height})
}

// textOf returns the text of the i-th run.
func (p *paragraph) textOf(i int) []byte {
	end := len(p.text)
	if i+1 < len(p.runs) {
		end = p.runs[i+1].start
	}
	return p.text[p.runs[i].start:end]
}

// inner returns the paragraph as HTML, without its own element.
func (x *renderer) inner(p *paragraph) []byte {
	w := htmlWriter{blank: true}
	var link *field
	for i := range p.runs {
		ru := &p.runs[i]
		if ru.link != link {
			if link != nil {
				w.raw("</a>")
			}
			if ru.link != nil {
				w.raw(`<a href="`, escapeAttr(ru.link.href), `">`)
			}
			link = ru.link
		}
		if ru.pict >= 0 {
			x.image(&w, ru)
			continue
		}
		open, end := x.tags(ru.format, ru.link != nil)
		w.raw(open)
		w.text(p.textOf(i))
		w.raw(end)
	}
	if link != nil {
		w.raw("</a>")
	}
	return w.out
}

// image writes the element of a picture.
func (x *renderer) image(w *htmlWriter, ru *run) {
	w.raw(`<img src="cid:`, escapeAttr(x.pictures[ru.pict].ContentID), `"`)
	if ru.width > 0 && ru.height > 0 {
		w.raw(` width="`, strconv.Itoa(ru.width), `" height="`, strconv.Itoa(ru.height), `"`)
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
	if x.tagCache == nil || len(x.tagCache) > 1000 {
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
		if family := x.fontFamily(f.font); family != "" && family != x.fontFamily(x.base.font) {
			s = append(s, "font-family:"+family)
		}
	}
	if f.char.size != x.base.char.size {
		s = append(s, "font-size:"+points(f.char.size*10))
	}
	if c := x.color(f.char.fore); c != "" && c != "#000000" && !inLink {
		s = append(s, "color:"+c)
	}
	if c := x.color(f.char.back); c != "" && c != "#ffffff" {
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

func (x *renderer) color(n int) string {
	if n <= 0 || n >= len(x.r.colors) || !x.r.colors[n].set {
		return ""
	}
	c := x.r.colors[n]
	return fmt.Sprintf("#%02x%02x%02x", c.r, c.g, c.b)
}

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

// css returns the style of a paragraph.
func (p *paraFormat) css() string {
	var s strings.Builder
	above, below, left, right := max(0, clampLength(p.above)), max(0, clampLength(p.below)), clampLength(p.left), clampLength(p.right)
	switch {
	case above == 0 && below == 0 && left == 0 && right == 0:
		s.WriteString("margin:0")
	default:
		s.WriteString("margin:" + points(above) + " " + points(right) + " " + points(below) + " " + points(left))
	}
	if first := clampLength(p.first); first != 0 {
		s.WriteString(";text-indent:" + points(first))
	}
	if p.align != "" && p.align != "left" {
		s.WriteString(";text-align:" + string(p.align))
	}
	return s.String()
}

func (p *paraFormat) dir() string {
	if p.rtl {
		return ` dir="rtl"`
	}
	return ""
}

// plain returns the paragraph as text.
func (x *renderer) plain(p *paragraph) string {
	var out strings.Builder
	for i := 0; i < len(p.runs); {
		ru := p.runs[i]
		if ru.link == nil {
			x.plainRun(&out, p, i)
			i++
			continue
		}
		var text strings.Builder
		for i < len(p.runs) && p.runs[i].link == ru.link {
			x.plainRun(&text, p, i)
			i++
		}
		out.WriteString(text.String())
		if !sameLink(text.String(), ru.link.href) && !strings.HasPrefix(ru.link.href, "#") {
			out.WriteString(" <" + strings.TrimPrefix(ru.link.href, "mailto:") + ">")
		}
	}
	return out.String()
}

func (x *renderer) plainRun(out *strings.Builder, p *paragraph, i int) {
	if n := p.runs[i].pict; n >= 0 {
		out.WriteString("[" + x.pictures[n].Name + "]")
		return
	}
	s := string(p.textOf(i))
	if p.runs[i].format.char.caps {
		s = strings.ToUpper(s)
	}
	out.WriteString(s)
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
			if c >= ' ' || c == objectMark[0] {
				w.out = append(w.out, c)
			}
		}
		w.blank = blank
	}
}

var attrEscaper = strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;")

func escapeAttr(s string) string { return attrEscaper.Replace(s) }
