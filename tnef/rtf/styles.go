package rtf

const (
	// maxStyles caps the style sheet, and maxStyleWords what one style says.
	// Word writes some 400 styles of up to 30 words.
	maxStyles     = 2048
	maxStyleWords = 64
	// maxBasedOn is how long a chain of \sbasedon is followed.
	maxBasedOn = 10
)

// styleSheet is the \stylesheet. RTF wants writers to say the formatting of a
// style again wherever it is used (the RTF specification, "Style Sheet"), and
// most do. Its formatting is applied where a text only refers to a style: where
// no control word of formatting follows \s or \cs before the text begins.
type styleSheet struct {
	para, char map[int]*style
	current    *style // the one being read
	count      int    // how many there were
}

// style is one style: what it says is kept as it stands, and read when first used.
type style struct {
	based    int // \sbasedon, or noStyle
	words    []styleWord
	resolved bool
	// low and high are what the style makes of two formats that differ in
	// everything: where they agree, it says something.
	low, high formats
}

const noStyle = 222 // what \sbasedon says for "none"

// styleWord is a control word of formatting.
type styleWord struct {
	c        *control
	param    int32
	hasParam bool
}

// formats are all that a style can set.
type formats struct {
	char charFormat
	para paraFormat
	font int
}

func (s *styleSheet) init() { s.para, s.char = make(map[int]*style), make(map[int]*style) }

// word takes a control word inside the style sheet.
func (s *styleSheet) word(_ *renderer, c *control, t token) {
	switch c.name {
	case "s":
		s.begin(s.para, t.param)
	case "cs":
		s.begin(s.char, t.param)
	case "ds", "ts", "tsrowd": // of sections and tables
		s.current = nil
	case "sbasedon":
		if s.current != nil {
			s.current.based = t.param
		}
	default:
		formats := c.kind == charWord || c.kind == paraWord || c.name == "ls" || c.name == "ilvl" || c.name == "rtlpar"
		if s.current != nil && formats && len(s.current.words) < maxStyleWords {
			s.current.words = append(s.current.words, styleWord{c, int32(t.param), t.hasParam})
		}
	}
}

func (s *styleSheet) begin(in map[int]*style, number int) {
	s.current = nil
	if s.count++; s.count <= maxStyles {
		s.current = &style{based: noStyle}
		in[number] = s.current
	}
}

// endGroup takes the end of a group inside the style sheet.
func (s *styleSheet) endGroup() { s.current = nil }

// opposite differs from the zero formats in everything that a style can set.
var opposite = formats{
	char: charFormat{size: -1, fore: -1, back: -1, script: -2, bold: true, italic: true, underline: true, strike: true, caps: true, smallCaps: true, hidden: true},
	para: paraFormat{left: -1, right: -1, first: -1, above: -1, below: -1, list: -1, shade: -1, listLevel: 255, align: 255, rtl: true},
	font: -2,
}

// resolve finds out what a style sets.
func (x *renderer) resolve(in map[int]*style, s *style, depth int) {
	if s.resolved {
		return
	}
	s.resolved = true // also while it is being resolved: styles may be based on each other in a circle
	s.low, s.high = formats{}, opposite
	if base := in[s.based]; base != nil && base != s && depth < maxBasedOn {
		x.resolve(in, base, depth+1)
		base.apply(&s.low)
		base.apply(&s.high)
	}
	saved, edge := x.r.st, x.edge
	for _, f := range []*formats{&s.low, &s.high} {
		x.r.st.char, x.r.st.para, x.r.st.font = f.char, f.para, f.font
		for _, w := range s.words {
			w.c.do(x, token{kind: tokWord, param: int(w.param), hasParam: w.hasParam})
		}
		*f = formats{char: x.r.st.char, para: x.r.st.para, font: x.r.st.font}
		f.para.borders = 0
	}
	x.r.st, x.edge = saved, edge
	s.words = nil
}

// apply sets in f what the style says.
func (s *style) apply(f *formats) {
	s.applyChar(&f.char, &f.font)
	s.applyPara(&f.para)
}

// set gives dst a value that the style sets: one that came out of both formats.
func set[T comparable](dst *T, low, high T) {
	if low == high {
		*dst = low
	}
}

func (s *style) applyChar(f *charFormat, font *int) {
	a, b := &s.low.char, &s.high.char
	set(font, s.low.font, s.high.font)
	set(&f.size, a.size, b.size)
	set(&f.fore, a.fore, b.fore)
	set(&f.back, a.back, b.back)
	set(&f.script, a.script, b.script)
	set(&f.bold, a.bold, b.bold)
	set(&f.italic, a.italic, b.italic)
	set(&f.underline, a.underline, b.underline)
	set(&f.strike, a.strike, b.strike)
	set(&f.caps, a.caps, b.caps)
	set(&f.smallCaps, a.smallCaps, b.smallCaps)
	set(&f.hidden, a.hidden, b.hidden)
}

func (s *style) applyPara(f *paraFormat) {
	a, b := &s.low.para, &s.high.para
	set(&f.left, a.left, b.left)
	set(&f.right, a.right, b.right)
	set(&f.first, a.first, b.first)
	set(&f.above, a.above, b.above)
	set(&f.below, a.below, b.below)
	set(&f.list, a.list, b.list)
	set(&f.shade, a.shade, b.shade)
	set(&f.listLevel, a.listLevel, b.listLevel)
	set(&f.align, a.align, b.align)
	set(&f.rtl, a.rtl, b.rtl)
}

// applyStyles applies the styles that the text at hand only refers to.
func (x *renderer) applyStyles() {
	st := &x.r.st
	if st.paraStyle|st.charStyle|st.markStyle == 0 || st.dest != destBody {
		return
	}
	para, char, mark := int(st.paraStyle)-1, int(st.charStyle)-1, int(st.markStyle)-1
	st.paraStyle, st.charStyle, st.markStyle = 0, 0, 0
	if s := x.styles.para[para]; s != nil {
		x.resolve(x.styles.para, s, 0)
		s.applyPara(&st.para)
	}
	if s := x.styles.para[char]; s != nil {
		x.resolve(x.styles.para, s, 0)
		s.applyChar(&st.char, &st.font)
	}
	if s := x.styles.char[mark]; s != nil {
		x.resolve(x.styles.char, s, 0)
		s.applyChar(&st.char, &st.font)
	}
}
