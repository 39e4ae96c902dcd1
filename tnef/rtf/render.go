package rtf

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/coexist-mail/coexist/tnef/textenc"
)

// renderDests are the destinations that matter for rendering real RTF.
var renderDests = map[string]destination{
	"fonttbl": destFonts, "colortbl": destColors, "stylesheet": destStyles, "info": destSkip,
	"htmltag": destSkip, "mhtmltag": destSkip, "formatConverter": destSkip, "generator": destSkip,
	"pntext": destLabel, "listtext": destLabel, "pn": destLists, "pntxta": destListText, "pntxtb": destListText,
	"pict": destPict, "shppict": destBody, "nonshppict": destSkip,
	"object": destQuiet, "result": destBody, "objdata": destSkip, "objclass": destSkip, "objname": destSkip,
	"field": destBody, "fldinst": destInst, "fldrslt": destBody, "datafield": destSkip, "formfield": destSkip,
	"upr": destQuiet, "ud": destBody, "nesttableprops": destBody, "nonesttables": destSkip,
	"shp": destBody, "shpinst": destBody, "shptxt": destBody, "shprslt": destSkip, "shpgrp": destBody,
	"sp": destQuiet, "sn": destName, "sv": destValue, "do": destSkip, "background": destQuiet,
	"header": destSkip, "headerl": destSkip, "headerr": destSkip, "headerf": destSkip,
	"footer": destSkip, "footerl": destSkip, "footerr": destSkip, "footerf": destSkip,
	"footnote": destBody, "annotation": destSkip, "atnid": destSkip, "atnauthor": destSkip,
	"filetbl": destSkip, "listtable": destLists, "listoverridetable": destLists, "listpicture": destSkip,
	"leveltext": destListText, "levelnumbers": destSkip, "listname": destSkip, "liststylename": destSkip, "revtbl": destSkip, "rsidtbl": destSkip,
	"private": destSkip, "themedata": destSkip, "colorschememapping": destSkip, "datastore": destSkip,
	"latentstyles": destSkip, "bkmkstart": destSkip, "bkmkend": destSkip, "xe": destSkip, "tc": destSkip,
	"comment": destSkip, "picprop": destSkip, "blipuid": destSkip, "template": destSkip,
}

// renderChars are the characters that control words and symbols stand for.
var renderChars = map[string]string{
	"line": "\n", "lbr": "\n", "softline": "\n", "tab": "\t",
	"lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
	"bullet": "•", "endash": "–", "emdash": "—", "~": "\u00A0", "_": "\u2011", "-": "\u00AD",
	"emspace": "\u2003", "enspace": "\u2002", "qmspace": "\u2005",
	"zwj": "\u200D", "zwnj": "\u200C", "zwbo": "\u200B", "zwnbo": "\u2060", "ltrmark": "\u200E", "rtlmark": "\u200F",
}

// charFormat is how characters look. It is comparable: text of equal format is
// one run.
type charFormat struct {
	size                            int16 // half points
	fore, back                      int16 // indexes in the colour table; 0 is automatic
	script                          int8  // 1 superscript, -1 subscript
	bold, italic, underline, strike bool
	caps, smallCaps                 bool
	hidden                          bool // \v, or deleted by a revision
}

// plainFormat is what \plain sets.
var plainFormat = charFormat{size: 24}

// align is a paragraph's alignment.
type align uint8

const (
	alignNone align = iota // the writer said nothing
	alignLeft
	alignCenter
	alignRight
	alignJustify
)

// css is the alignment as CSS says it; "" where it is the reader's default.
func (a align) css(rtl bool) string {
	switch {
	case a == alignCenter:
		return "center"
	case a == alignJustify:
		return "justify"
	case a == alignRight && !rtl:
		return "right"
	case a == alignLeft && rtl:
		return "left"
	}
	return ""
}

// paraFormat is how paragraphs look. Lengths are in twips, 1/20 point.
type paraFormat struct {
	left, right, first, above, below int32
	list                             int32 // \ls: 0 for none
	shade                            int16 // \cbpat: index in the colour table
	listLevel                        uint8 // \ilvl
	level                            uint8 // \itap: nesting of the table
	align                            align
	rtl                              bool
	inTable                          bool
	borders                          uint16     // index in renderer.boxes
	pn                               *listLevel // \pn: the numbers of Word 95
}

// runFormat is the format of a run: characters and font.
type runFormat struct {
	char charFormat
	font int32
}

// renderer builds HTML and text from real RTF.
type renderer struct {
	r   *reader
	opt Options

	para     paragraph
	label    []byte // the bullet or number of the paragraph, from \pntext
	labels   bool   // the document has those
	base     runFormat
	based    bool // base is the format of the first text
	tagCache map[tagKey][2]string
	cssCache map[paraFormat]string
	body     container
	levels   []*tableBuilder // the open tables, outermost first
	row      *rowDef         // what \trowd and its followers said
	rowUsed  bool            // rows refer to row: see def
	edge     edge            // which border the next words are about
	prop     string          // the property whose value comes next
	page     string          // the colour of the page, "" for the reader's own
	boxes    boxSet
	lists    listTable
	styles   styleSheet
	pictures []Picture
	sizes    [][2]int // width and height of the pictures, in pixels; 0 when unknown
	pictSize int      // bytes in pictures
	objects  int      // \objattph so far
	picts    int      // \pict groups so far
	held     int      // bytes in open tables, with what they will cost
	extra    int      // what the document needs beside its output, in bytes
	used     int      // bytes of output so far, about: see measure
	budget   int      // how many there may be

	html, text output // what is finished of the body
}

const (
	// maxGrowth is how many bytes of output a byte of RTF may become. Mail
	// stays below 3; only a document of nothing but \par comes near it.
	maxGrowth = 10
	// freeGrowth is what any document may become, in bytes.
	freeGrowth = 1 << 20
	// cellWeight and so on are what a cell, a row and a table count for beside
	// their text: markup and memory.
	cellWeight  = 250
	rowWeight   = 150
	tableWeight = 800
	// fieldCost is what a field counts for beside its text.
	fieldCost = 250
	// maxObjects is how many attachments may have a place in the text.
	maxObjects = 10_000
)

// render renders a document of at most size bytes.
func render(lex lexer, size int, opt Options) Result {
	r := newReader(lex, opt, func(c *control) destination { return c.render })
	r.symbolCP = symbolPage
	x := &renderer{r: r, opt: opt, row: &rowDef{}, budget: min(opt.MaxOutput, size*maxGrowth+freeGrowth)}
	x.body.whole, x.para.html.blank = true, true
	x.styles.init()
	r.run(x)
	return x.finish()
}

func (x *renderer) full() bool { return x.used > x.budget }

// measure finds out how much there is by now.
func (x *renderer) measure() {
	x.used = x.html.len() + x.text.len() + len(x.body.html) + len(x.body.text) + x.pictSize + x.held + x.extra + x.r.spent/2
	for i, t := range x.levels {
		x.used += (i + 3) * (len(t.cell.html) + len(t.cell.text))
	}
}

// charge counts what something costs beside its output.
func (x *renderer) charge(n int) {
	x.extra += n
	x.used += n
}

// overfull reports that what is written, without what is held, is more than may
// be: even what was held has to be cut.
func (x *renderer) overfull() bool {
	return x.html.len()+x.text.len()+len(x.body.html)+len(x.body.text)+x.pictSize > x.budget+chunkSize
}

// write takes text for wherever it belongs.
func (x *renderer) write(b []byte) {
	st := &x.r.st
	switch st.dest {
	case destInst:
		if st.field != nil && len(st.field.inst) < maxInstruction {
			st.field.inst = append(st.field.inst, b...)
		}
		return
	case destName, destValue:
		x.property(st, b)
		return
	case destLabel:
		if len(x.label) < maxLabel {
			x.label = append(x.label, x.symbols(b)...)
		}
		return
	case destListText:
		x.lists.addText(b)
		return
	}
	x.applyStyles()
	f := runFormat{char: st.char, font: int32(st.font)}
	if f.char.hidden {
		return
	}
	if x.r.fonts[st.font].symbol {
		x.writeSymbols(b, f)
		return
	}
	x.add(b, f)
}

// property takes the name or value of a property of a drawing. Only the colour
// of the page matters: without it white text on a dark page could not be read.
func (x *renderer) property(st *state, b []byte) {
	if !st.page {
		return
	}
	if st.dest == destName {
		x.prop = string(b[:min(len(b), maxLabel)])
		return
	}
	// A colour is 0x00BBGGRR in decimal.
	if v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 24); err == nil && x.prop == "fillColor" {
		x.page = fmt.Sprintf("#%02x%02x%02x", byte(v), byte(v>>8), byte(v>>16))
	}
}

// maxLabel is more than any bullet or number needs.
const maxLabel = 64

func (x *renderer) add(b []byte, f runFormat) {
	x.addLinked(b, f, x.r.st.field.link())
}

func (x *renderer) addLinked(b []byte, f runFormat, link *field) {
	if !x.based && len(bytes.TrimSpace(b)) > 0 {
		x.base, x.based, x.tagCache = f, true, nil
	}
	for len(b) > pieceSize {
		n := pieceSize - partialRune(b[:pieceSize])
		x.para.add(b[:n], f, link)
		x.writePiece()
		b = b[n:]
	}
	x.para.add(b, f, link)
	if len(x.para.runs) > maxRuns || len(x.para.text) > pieceSize {
		x.writeRuns()
	}
	if len(x.para.html.out) > pieceSize {
		x.writePiece()
	}
}

// symbols replaces what stands in a symbol font by Unicode characters, where
// there are any.
func (x *renderer) symbols(b []byte) []byte {
	f := x.r.fonts[x.r.st.font]
	if !f.symbol {
		return b
	}
	out := make([]rune, 0, len(b))
	for _, c := range string(b) {
		if s, ok := textenc.Symbol(f.name, c); ok {
			c = s
		} else if c >= 0xF020 && c <= 0xF0FF {
			c = '•'
		}
		out = append(out, c)
	}
	return []byte(string(out))
}

// writeSymbols writes text in a symbol font. Characters with a Unicode
// equivalent no longer need the font.
func (x *renderer) writeSymbols(b []byte, f runFormat) {
	name := x.r.fonts[int(f.font)].name
	inFont, plain := f, f
	plain.font = x.base.font
	for _, c := range string(b) {
		if s, ok := textenc.Symbol(name, c); ok {
			x.add([]byte(string(s)), plain)
			continue
		}
		if c >= 0xF020 && c <= 0xF0FF {
			c -= 0xF000 // a reader that has the font shows it by its byte
		}
		x.add([]byte(string(c)), inFont)
	}
}

// char takes the characters and breaks that have names.
func (x *renderer) char(name string) {
	st := &x.r.st
	if s, ok := renderChars[name]; ok {
		switch {
		case st.dest == destLabel:
			x.label = append(x.label, ' ')
		case st.dest == destBody && !st.char.hidden:
			x.applyStyles()
			x.add([]byte(s), runFormat{char: st.char, font: int32(st.font)})
		}
		return
	}
	if st.dest != destBody {
		return
	}
	x.applyStyles()
	switch name {
	case "par":
		if st.note { // a note stays in its line
			x.add([]byte(" "), runFormat{char: st.char, font: int32(st.font)})
			return
		}
		x.endParagraph()
	case "sect", "page", "column":
		if !x.para.empty() {
			x.endParagraph()
		}
	case "cell":
		x.endCell(1)
	case "nestcell":
		x.endCell(max(2, int(st.para.level)))
	case "row":
		x.endRow(1)
	case "nestrow":
		x.endRow(max(2, int(st.para.level)))
	}
}

func (x *renderer) word(c *control, t token) {
	switch d := x.r.st.dest; {
	case c == nil:
	case d == destStyles:
		x.styles.word(x, c, t)
	case d == destLists, d == destListText:
		if c.table != nil {
			c.table(x, t)
		}
	case c.do != nil:
		c.do(x, t)
		switch c.kind { // the writer says it: the style's formatting does not count
		case charWord:
			x.r.st.charStyle, x.r.st.markStyle = 0, 0
		case paraWord:
			x.r.st.paraStyle = 0
		}
	}
}

// opened applies the style that is all a paragraph has when a group begins in it.
func (x *renderer) opened() { x.applyStyles() }

// closed acts on the end of groups that mean something as a whole.
func (x *renderer) closed(old *state) {
	st := &x.r.st
	if old.pict != nil && old.pict != st.pict {
		x.addPicture(old.pict)
	}
	if old.field != nil && old.field != st.field {
		x.endField(old.field)
	}
	if old.dest == destStyles {
		x.styles.endGroup()
	}
	if old.dest == destLists && st.dest == destBody && x.lists.pn != nil {
		st.para.pn, x.lists.pn = x.lists.pn, nil
	}
	if old.note && !st.note {
		x.add([]byte("]"), runFormat{char: st.char, font: int32(st.font)})
	}
}

// toggle is the value of a control word that switches something on, or off
// with the number 0.
func toggle(t token) bool { return !t.hasParam || t.param != 0 }

func char(set func(f *charFormat, t token)) func(x *renderer, t token) {
	return func(x *renderer, t token) { set(&x.r.st.char, t) }
}

func para(set func(p *paraFormat, n int32)) func(x *renderer, t token) {
	return func(x *renderer, t token) { set(&x.r.st.para, int32(t.param)) }
}

func alignment(a align) func(x *renderer, t token) {
	return func(x *renderer, _ token) { x.r.st.para.align = a }
}

var underline = char(func(f *charFormat, t token) { f.underline = toggle(t) })

// charWords are the control words that change how characters look.
var charWords = map[string]func(x *renderer, t token){
	"f": func(x *renderer, t token) { x.r.st.font = t.param }, // in a style; the reader knows it elsewhere

	"b":          char(func(f *charFormat, t token) { f.bold = toggle(t) }),
	"i":          char(func(f *charFormat, t token) { f.italic = toggle(t) }),
	"ul":         underline,
	"uld":        underline,
	"uldash":     underline,
	"uldashd":    underline,
	"uldashdd":   underline,
	"uldb":       underline,
	"ulw":        underline,
	"ulwave":     underline,
	"ulth":       underline,
	"ulthd":      underline,
	"ulthdash":   underline,
	"ulhwave":    underline,
	"ulldash":    underline,
	"ululdbwave": underline,
	"ulnone":     char(func(f *charFormat, _ token) { f.underline = false }),
	"strike":     char(func(f *charFormat, t token) { f.strike = toggle(t) }),
	"striked":    char(func(f *charFormat, t token) { f.strike = toggle(t) }),
	"caps":       char(func(f *charFormat, t token) { f.caps = toggle(t) }),
	"scaps":      char(func(f *charFormat, t token) { f.smallCaps = toggle(t) }),
	"v":          char(func(f *charFormat, t token) { f.hidden = toggle(t) }),
	"deleted":    char(func(f *charFormat, t token) { f.hidden = toggle(t) }),
	"super":      char(func(f *charFormat, t token) { f.script = script(t, 1) }),
	"sub":        char(func(f *charFormat, t token) { f.script = script(t, -1) }),
	"up":         char(func(f *charFormat, t token) { f.script = raised(t, 1) }),
	"dn":         char(func(f *charFormat, t token) { f.script = raised(t, -1) }),
	"nosupersub": char(func(f *charFormat, _ token) { f.script = 0 }),
	"fs":         char(func(f *charFormat, t token) { f.size = int16(max(2, min(t.param, 3276))) }),
	"cf":         char(func(f *charFormat, t token) { f.fore = colorIndex(t) }),
	"cb":         char(func(f *charFormat, t token) { f.back = colorIndex(t) }),
	"chcbpat":    char(func(f *charFormat, t token) { f.back = colorIndex(t) }),
	"highlight":  char(func(f *charFormat, t token) { f.back = colorIndex(t) }),
}

// paraWords are the control words that change how paragraphs look. Lists and
// tables are not among them: they are said even where the rest is the style's.
var paraWords = map[string]func(x *renderer, t token){
	"ql":      alignment(alignLeft),
	"qc":      alignment(alignCenter),
	"qr":      alignment(alignRight),
	"qj":      alignment(alignJustify),
	"qd":      alignment(alignJustify),
	"qt":      alignment(alignJustify),
	"li":      para(func(p *paraFormat, n int32) { p.left = n }),
	"lin":     para(func(p *paraFormat, n int32) { p.left = n }),
	"ri":      para(func(p *paraFormat, n int32) { p.right = n }),
	"rin":     para(func(p *paraFormat, n int32) { p.right = n }),
	"fi":      para(func(p *paraFormat, n int32) { p.first = n }),
	"sb":      para(func(p *paraFormat, n int32) { p.above = n }),
	"sa":      para(func(p *paraFormat, n int32) { p.below = n }),
	"cbpat":   func(x *renderer, t token) { x.r.st.para.shade = colorIndex(t) },
	"brdrt":   paraEdge(topEdge),
	"brdrr":   paraEdge(rightEdge),
	"brdrb":   paraEdge(bottomEdge),
	"brdrl":   paraEdge(leftEdge),
	"box":     paraEdge(allEdges),
	"brdrbtw": func(x *renderer, _ token) { x.edge = edge{} },
}

// otherWords are the control words that say something of a list, a table, a
// destination or a picture.
var otherWords = map[string]func(x *renderer, t token){
	"s":  func(x *renderer, t token) { x.r.st.charStyle, x.r.st.paraStyle = int32(t.param)+1, int32(t.param)+1 },
	"cs": func(x *renderer, t token) { x.r.st.markStyle = int32(t.param) + 1 },
	"pard": func(x *renderer, _ token) {
		x.r.st.para, x.r.st.paraStyle, x.r.st.charStyle, x.edge = paraFormat{}, 0, 0, edge{}
	},
	"ls":     para(func(p *paraFormat, n int32) { p.list = n }),
	"ilvl":   para(func(p *paraFormat, n int32) { p.listLevel = uint8(max(0, min(n, maxListDepth-1))) }),
	"rtlpar": para(func(p *paraFormat, _ int32) { p.rtl = true }),
	"ltrpar": para(func(p *paraFormat, _ int32) { p.rtl = false }),
	"intbl":  para(func(p *paraFormat, _ int32) { p.inTable = true }),
	"itap":   para(func(p *paraFormat, n int32) { p.level, p.inTable = uint8(max(0, min(n, 255))), n > 0 }),

	"trowd":     func(x *renderer, _ token) { x.row, x.rowUsed, x.edge = &rowDef{}, false, edge{} },
	"trleft":    func(x *renderer, t token) { x.def().left = t.param },
	"trcbpat":   func(x *renderer, t token) { x.def().back = colorIndex(t) },
	"rtlrow":    func(x *renderer, _ token) { x.def().rtl = true },
	"trqc":      func(x *renderer, _ token) { x.def().align = alignCenter },
	"trqr":      func(x *renderer, _ token) { x.def().align = alignRight },
	"trbrdrt":   rowEdge(topEdge),
	"trbrdrr":   rowEdge(rightEdge),
	"trbrdrb":   rowEdge(bottomEdge),
	"trbrdrl":   rowEdge(leftEdge),
	"trbrdrh":   rowEdge(insideRows),
	"trbrdrv":   rowEdge(insideColumns),
	"clbrdrt":   cellEdge(topEdge),
	"clbrdrr":   cellEdge(rightEdge),
	"clbrdrb":   cellEdge(bottomEdge),
	"clbrdrl":   cellEdge(leftEdge),
	"cldglu":    func(x *renderer, _ token) { x.edge = edge{} },
	"cldgll":    func(x *renderer, _ token) { x.edge = edge{} },
	"chbrdr":    func(x *renderer, _ token) { x.edge = edge{} },
	"brdrw":     func(x *renderer, t token) { x.border(func(b *border) { b.width = uint8(max(0, min(t.param, 255))) }) },
	"brdrcf":    func(x *renderer, t token) { x.border(func(b *border) { b.color = colorIndex(t) }) },
	"clcbpat":   func(x *renderer, t token) { x.def().next.back = colorIndex(t) },
	"clcfpat":   func(x *renderer, t token) { x.def().next.pattern = colorIndex(t) },
	"clshdng":   func(x *renderer, t token) { x.def().next.shading = int16(max(0, min(t.param, 10000))) },
	"clmgf":     func(x *renderer, _ token) { x.def().next.mergeFirst = true },
	"clmrg":     func(x *renderer, _ token) { x.def().next.mergedLeft = true },
	"clvmgf":    func(x *renderer, _ token) { x.def().next.spanFirst = true },
	"clvmrg":    func(x *renderer, _ token) { x.def().next.mergedUp = true },
	"clvertalc": func(x *renderer, _ token) { x.def().next.valign = "middle" },
	"clvertalb": func(x *renderer, _ token) { x.def().next.valign = "bottom" },
	"cellx":     func(x *renderer, t token) { x.def().cell(t.param); x.edge = edge{} },

	// A footnote has no page to stand at the foot of: it stays in the text.
	"footnote": func(x *renderer, _ token) {
		x.add([]byte(" ["), runFormat{char: x.r.st.char, font: int32(x.r.st.font)})
		x.r.st.note = true
	},
	"background": func(x *renderer, _ token) { x.r.st.page = true },
	"field":      func(x *renderer, _ token) { x.r.st.field = &field{outer: x.r.st.field}; x.charge(fieldCost) },
	"fldrslt":    func(x *renderer, _ token) { x.r.st.field.result() },
	"pntext":     func(x *renderer, _ token) { x.label, x.labels = x.label[:0], true },
	"listtext":   func(x *renderer, _ token) { x.label, x.labels = x.label[:0], true },
	"objattph": func(x *renderer, _ token) {
		if x.r.st.dest == destBody && !x.r.st.char.hidden && x.objects < maxObjects {
			x.objects++
			x.para.addMark(x.r.st.field.link())
		}
		x.r.dropPlaceholder()
	},

	"pict":          func(x *renderer, _ token) { x.beginPicture() },
	"pngblip":       pictKind("image/png"),
	"jpegblip":      pictKind("image/jpeg"),
	"emfblip":       pictKind("image/emf"),
	"wmetafile":     pictKind("image/wmf"),
	"macpict":       pictKind("image/x-pict"),
	"dibitmap":      pictKind("image/bmp"),
	"wbitmap":       pictKind("image/x-ms-ddb"),
	"picw":          pictSize(func(p *pict) *int { return &p.width }),
	"pich":          pictSize(func(p *pict) *int { return &p.height }),
	"picwgoal":      pictSize(func(p *pict) *int { return &p.goalWidth }),
	"pichgoal":      pictSize(func(p *pict) *int { return &p.goalHeight }),
	"picscalex":     pictSize(func(p *pict) *int { return &p.scaleX }),
	"picscaley":     pictSize(func(p *pict) *int { return &p.scaleY }),
	"wbmbitspixel":  pictSize(func(p *pict) *int { return &p.bitsPixel }),
	"wbmplanes":     pictSize(func(p *pict) *int { return &p.planes }),
	"wbmwidthbytes": pictSize(func(p *pict) *int { return &p.widthBytes }),
}

func colorIndex(t token) int16 { return int16(max(0, min(t.param, maxColors))) }

func script(t token, to int8) int8 {
	if toggle(t) {
		return to
	}
	return 0
}

// raised is \up and \dn: shifted by half points, 6 unless told. A small shift
// is typography, not an exponent.
func raised(t token, to int8) int8 {
	if t.hasParam && t.param == 0 {
		return 0
	}
	return to
}
