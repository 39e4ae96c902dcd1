package rtf

import (
	"bytes"
	"slices"
	"sort"
	"strconv"
)

const (
	// maxTableDepth caps tables inside tables.
	maxTableDepth = 6
	// maxCells caps the cells of a row. Word allows 63.
	maxCells = 512
)

// edge names a border: of a cell, of the cells of a row, or of a paragraph.
type edge struct {
	of   edgeOwner
	side int
}

type edgeOwner uint8

const (
	ofNothing edgeOwner = iota
	ofCell
	ofRow
	ofParagraph
)

// The sides of a box, in the order of CSS, and what a row has beside them.
const (
	topEdge = iota
	rightEdge
	bottomEdge
	leftEdge
	insideRows    // \trbrdrh: between rows
	insideColumns // \trbrdrv: between cells
	allEdges
)

func setEdge(of edgeOwner, side int) func(x *renderer, t token) {
	return func(x *renderer, _ token) { x.edge = edge{of, side} }
}

func cellEdge(side int) func(x *renderer, t token) { return setEdge(ofCell, side) }
func rowEdge(side int) func(x *renderer, t token)  { return setEdge(ofRow, side) }
func paraEdge(side int) func(x *renderer, t token) { return setEdge(ofParagraph, side) }

// lineStyle is how a border is drawn.
type lineStyle uint8

const (
	noLine lineStyle = iota
	solidLine
	thickLine // twice its width
	hairLine
	doubleLine
	dottedLine
	dashedLine
	insetLine
	outsetLine
	ridgeLine
	grooveLine
)

// lineStyles are the control words that say how a border is drawn.
var lineStyles = map[string]lineStyle{
	"brdrs": solidLine, "brdrth": thickLine, "brdrhair": hairLine, "brdrdb": doubleLine, "brdrtriple": doubleLine,
	"brdrdot": dottedLine, "brdrdash": dashedLine, "brdrdashsm": dashedLine, "brdrdashd": dashedLine, "brdrdashdd": dashedLine,
	"brdrdashdotstr": dashedLine, "brdrinset": insetLine, "brdroutset": outsetLine, "brdremboss": ridgeLine, "brdrengrave": grooveLine,
	"brdrwavy": solidLine, "brdrwavydb": doubleLine, "brdrframe": solidLine, "brdrsh": solidLine,
	"brdrtnthsg": doubleLine, "brdrthtnsg": doubleLine, "brdrtnthtnsg": doubleLine, "brdrtnthmg": doubleLine, "brdrthtnmg": doubleLine,
	"brdrtnthtnmg": doubleLine, "brdrtnthlg": doubleLine, "brdrthtnlg": doubleLine, "brdrtnthtnlg": doubleLine,
	"brdrnone": noLine, "brdrnil": noLine, "brdrtbl": noLine,
}

// border is one border.
type border struct {
	style lineStyle
	width uint8 // twips; 0 when the writer says nothing
	color int16 // index in the colour table
}

// border changes the border that the words at hand are about.
func (x *renderer) border(change func(b *border)) {
	switch x.edge.of {
	case ofCell:
		change(&x.def().next.borders[x.edge.side])
	case ofRow:
		change(&x.def().borders[x.edge.side])
	case ofParagraph:
		b := x.boxes.get(x.r.st.para.borders)
		for i := range b {
			if x.edge.side == i || x.edge.side == allEdges {
				change(&b[i])
			}
		}
		x.r.st.para.borders = x.boxes.index(b)
	}
}

// box is the four borders of a paragraph or a cell.
type box [4]border

// boxSet keeps the boxes of a document, each once: a paragraph's format holds
// the index of its own. The first has no borders.
type boxSet struct {
	boxes []box
	known map[box]uint16
}

// maxBoxes caps a boxSet; what is beyond has no borders.
const maxBoxes = 1000

func (s *boxSet) get(i uint16) box {
	if int(i) < len(s.boxes) {
		return s.boxes[i]
	}
	return box{}
}

func (s *boxSet) index(b box) uint16 {
	if s.known == nil {
		s.boxes, s.known = []box{{}}, map[box]uint16{{}: 0}
	}
	i, ok := s.known[b]
	if !ok && len(s.boxes) < maxBoxes {
		i = uint16(len(s.boxes))
		s.boxes = append(s.boxes, b)
		s.known[b] = i
	}
	return i
}

// css is the border as CSS says it, "" for none.
func (x *renderer) borderCSS(b border) string {
	if b.style == noLine {
		return ""
	}
	l := lineCSS[b.style]
	width := "1px"
	if b.width > 0 {
		width = points(max(int(b.width)*l.times, l.least))
	}
	if c := x.color(int(b.color)); c != "" {
		return width + " " + l.name + " " + c
	}
	return width + " " + l.name
}

// lineCSS says what CSS calls a line, how many times the width of one stroke the
// whole is, and how wide it has to be, in twips: a double line of less than three
// pixels looks like one.
var lineCSS = [...]struct {
	name         string
	times, least int
}{
	solidLine: {"solid", 1, 0}, thickLine: {"solid", 2, 0}, hairLine: {"solid", 1, 0}, doubleLine: {"double", 3, 45}, dottedLine: {"dotted", 1, 0},
	dashedLine: {"dashed", 1, 0}, insetLine: {"inset", 1, 0}, outsetLine: {"outset", 1, 0}, ridgeLine: {"ridge", 1, 0}, grooveLine: {"groove", 1, 0},
}

// bordersCSS is the borders of a box, each property behind a semicolon.
func (x *renderer) bordersCSS(b box) string {
	if b[0] == b[1] && b[0] == b[2] && b[0] == b[3] {
		if css := x.borderCSS(b[0]); css != "" {
			return ";border:" + css
		}
		return ""
	}
	s := ""
	for i, name := range [...]string{"top", "right", "bottom", "left"} {
		if css := x.borderCSS(b[i]); css != "" {
			s += ";border-" + name + ":" + css
		}
	}
	return s
}

// cellDef is how a row describes one cell, up to its \cellx.
type cellDef struct {
	edge       int // its right edge, in twips
	borders    box
	back       int16 // index in the colour table
	pattern    int16 // the colour of a pattern on it
	shading    int16 // how much of it that covers, in hundredths of a per cent
	valign     string
	mergeFirst bool // \clmgf: the first of cells merged into one
	mergedLeft bool // \clmrg: merged with the cell before
	spanFirst  bool // \clvmgf: the first of cells merged downwards
	mergedUp   bool // \clvmrg: merged with the cell above
}

// rowDef is what \trowd and the words after it say of a row.
type rowDef struct {
	left    int
	cells   []cellDef
	next    cellDef   // the cell that the next \cellx ends
	borders [6]border // those that its cells have, where they have none of their own
	back    int16     // index in the colour table, likewise
	align   align     // of the table
	rtl     bool      // its cells run from right to left
}

func (d *rowDef) cell(edge int) {
	if len(d.cells) < maxCells {
		d.next.edge = edge
		d.cells = append(d.cells, d.next)
	}
	d.next = cellDef{}
}

// tableCell is a finished cell.
type tableCell struct {
	html, text []byte
	format     paraFormat // of the only paragraph in it
}

// absorb adds the content of a cell that was merged into this one. Such cells
// are empty as a rule; what they hold must not be lost.
func (c *tableCell) absorb(other *tableCell) {
	if len(other.html) == 0 || string(other.html) == emptyParagraph {
		return
	}
	c.html = append(append(c.html, "<br>\r\n"...), other.html...)
}

// tableRow is a finished row.
type tableRow struct {
	def   *rowDef // shared by rows of the same shape
	cells []tableCell
}

// tableBuilder is a table under construction.
type tableBuilder struct {
	rows  []tableRow
	cells []tableCell // of the row that is being read
	cell  container   // the cell that is being read
	held  int         // its share of renderer.held
}

// container returns what paragraphs of a table level go into (0 is the body),
// closing deeper tables and opening missing ones.
func (x *renderer) container(level int) *container {
	level = x.depth(level)
	for len(x.levels) > level {
		x.closeTable()
	}
	if len(x.levels) < level {
		x.levels = append(x.levels, &tableBuilder{})
	}
	return x.at(level)
}

// depth is the level that a table can really have: tables nest one by one.
func (x *renderer) depth(level int) int {
	return max(0, min(level, maxTableDepth, len(x.levels)+1))
}

func (x *renderer) at(level int) *container {
	if level == 0 {
		return &x.body
	}
	return &x.levels[level-1].cell
}

// endCell ends a cell of a table level, and its last paragraph with it.
func (x *renderer) endCell(level int) {
	level = x.depth(level)
	if c := x.para.begun; c != nil && (level > len(x.levels) || c != x.at(level)) {
		x.finishParagraph() // it began in another cell
	}
	c := x.container(level)
	if !x.para.empty() || len(x.label) > 0 || c.paras == 0 {
		if x.para.begun == nil {
			x.begin(c)
		}
		x.finishParagraph()
	}
	t := x.levels[level-1]
	x.closeCell(t, level)
	if len(t.cells) >= maxCells {
		x.addRow(t)
	}
	x.measure()
}

// largeCell is from where on a cell's buffer is kept instead of copied.
const largeCell = 4 << 10

// closeCell adds the cell that was read to the row.
func (x *renderer) closeCell(t *tableBuilder, level int) {
	c := &t.cell
	c.closeLists(0)
	// What a cell holds is written again when its table ends, and for each
	// table around.
	n := len(c.html) + len(c.text)
	cost := n * 3 * level / 2
	if n >= largeCell {
		cost += n
	}
	x.hold(t, cost+cellWeight*level)
	done := tableCell{}
	done.html, c.html = keepCell(c.html)
	done.html = bytes.TrimSuffix(done.html, []byte("\r\n"))
	done.text, c.text = keepCell(c.text)
	if c.bare {
		done.format = c.format
	}
	t.cells = append(t.cells, done)
	c.reset()
}

// keepCell returns what is in a buffer, and the buffer for the next cell.
func keepCell(b []byte) (kept, next []byte) {
	if len(b) < largeCell {
		return bytes.Clone(b), b
	}
	return b, nil
}

// hold counts what an open table will cost.
func (x *renderer) hold(t *tableBuilder, n int) {
	t.held += n
	x.held += n
}

func (x *renderer) endRow(level int) {
	level = x.depth(level)
	if len(x.levels) < level {
		return
	}
	if !x.para.empty() {
		x.endCell(level)
	}
	x.container(level)
	t := x.levels[level-1]
	x.addRow(t)
}

// addRow adds the cells that were read to the table, as a row.
func (x *renderer) addRow(t *tableBuilder) {
	// Some writers end cells that the row does not have.
	for n := len(t.cells); len(x.row.cells) > 0 && n > len(x.row.cells) && string(t.cells[n-1].html) == emptyParagraph; n = len(t.cells) {
		t.cells = t.cells[:n-1]
	}
	if len(t.cells) > 0 {
		t.rows = append(t.rows, tableRow{def: x.row, cells: slices.Clip(t.cells)})
		t.cells, x.rowUsed = nil, true
		x.hold(t, rowWeight)
	}
}

// def returns what \trowd and the words after it said, to be changed.
func (x *renderer) def() *rowDef {
	if x.rowUsed { // rows have it already
		d := *x.row
		d.cells = slices.Clip(d.cells)
		x.row, x.rowUsed = &d, false
	}
	return x.row
}

// closeTable writes the innermost table into what is around it.
func (x *renderer) closeTable() {
	n := len(x.levels)
	t := x.levels[n-1]
	if t.cell.paras > 0 {
		x.closeCell(t, n)
	}
	x.addRow(t) // one that never ended
	x.levels = x.levels[:n-1]
	c := x.at(n - 1)
	if len(t.rows) > 0 {
		c.closeLists(0)
		c.paras++
		x.settle(c)
		x.writeTable(c, t)
	}
	x.held -= t.held
	if c != &x.body {
		x.hold(x.levels[n-2], tableWeight)
	}
	x.measure()
}

// appendRowText writes the cells of a row on one line, separated by tabs.
func appendRowText(out []byte, cells []tableCell) []byte {
	for i := range cells {
		if i > 0 {
			out = append(out, '\t')
		}
		text := bytes.TrimRight(cells[i].text, lineEnd)
		for out = room(out, len(text)); ; {
			line, rest, more := bytes.Cut(text, []byte(lineEnd))
			out = append(out, line...)
			if !more {
				break
			}
			out = append(out, ' ')
			text = rest
		}
	}
	return append(out, lineEnd...)
}

// edges returns the left edges of the columns of a table, ascending: the grid
// that colspan counts in.
func (t *tableBuilder) edges() []int {
	var e []int
	for i := range t.rows {
		d := t.rows[i].def
		e = append(e, d.left)
		for j := range min(len(d.cells), len(t.rows[i].cells)) {
			e = append(e, d.cells[j].edge)
		}
	}
	sort.Ints(e)
	return slices.Compact(e)
}

// gridCell is a cell with its place in the grid.
type gridCell struct {
	content    *tableCell
	def        *cellDef
	start, end int // edges, in twips
	rowspan    int
	gone       bool // merged into another
}

// grid lays the rows out, with merged cells joined.
func (t *tableBuilder) grid() [][]gridCell {
	grid := make([][]gridCell, len(t.rows))
	type growing struct{ row, col, last int }
	open := make(map[int]growing) // cells that may grow downwards, by left edge
	for i := range t.rows {
		row := layRow(&t.rows[i])
		grid[i] = row
		for j := range row {
			c := &row[j]
			at, ok := open[c.start]
			switch {
			case c.def.mergedUp && ok && at.last == i-1:
				grid[at.row][at.col].rowspan++
				grid[at.row][at.col].content.absorb(c.content)
				c.gone = true
				at.last = i
				open[c.start] = at
			case c.def.spanFirst:
				open[c.start] = growing{i, j, i}
			}
		}
	}
	return grid
}

// undefinedCell describes cells beyond those that their row defines.
var undefinedCell cellDef

func layRow(r *tableRow) []gridCell {
	row := make([]gridCell, 0, len(r.cells))
	start := r.def.left
	for j := range r.cells {
		c := gridCell{content: &r.cells[j], def: &undefinedCell, rowspan: 1, start: start, end: start}
		if j < len(r.def.cells) {
			c.def = &r.def.cells[j]
			c.end = max(start, c.def.edge)
		}
		start = c.end
		if c.def.mergedLeft && len(row) > 0 {
			row[len(row)-1].end = c.end
			row[len(row)-1].content.absorb(c.content)
			continue
		}
		row = append(row, c)
	}
	return row
}

// writeTable writes a table into what is around it.
func (x *renderer) writeTable(c *container, t *tableBuilder) {
	edges := t.edges()
	column := func(edge int) int { return sort.SearchInts(edges, edge) }
	c.html = append(c.html, t.open()...)
	for i, row := range t.grid() {
		if x.overfull() {
			x.r.warn(bodyCut)
			break
		}
		c.html = append(c.html, "<tr>\r\n"...)
		for j := range row {
			if !row[j].gone {
				x.writeCell(c, t, cellPlace{i, j, len(row)}, &row[j], column(row[j].end)-column(row[j].start))
			}
		}
		c.html = append(c.html, "</tr>\r\n"...)
		c.text = appendRowText(c.text, t.rows[i].cells)
		if c == &x.body {
			x.spill()
		}
	}
	c.html = append(c.html, "</table>\r\n"...)
}

// open is the element of the table.
func (t *tableBuilder) open() string {
	d := t.rows[0].def
	s := `<table cellspacing="0" cellpadding="4"`
	if d.rtl {
		s += ` dir="rtl"`
	}
	s += ` style="border-collapse:collapse`
	switch d.align {
	case alignCenter:
		s += ";margin-left:auto;margin-right:auto"
	case alignRight:
		s += ";margin-left:auto"
	}
	return s + `">` + "\r\n"
}

// cellPlace is where a cell is in its table.
type cellPlace struct{ row, col, cols int }

func (x *renderer) writeCell(c *container, t *tableBuilder, at cellPlace, cell *gridCell, span int) {
	c.html = append(room(c.html, len(cell.content.html)+cellWeight), "<td"...)
	if cell.content.format.rtl {
		c.html = append(c.html, ` dir="rtl"`...)
	}
	if span > 1 {
		c.html = append(c.html, ` colspan="`+strconv.Itoa(span)+`"`...)
	}
	if cell.rowspan > 1 {
		c.html = append(c.html, ` rowspan="`+strconv.Itoa(cell.rowspan)+`"`...)
	}
	c.html = append(c.html, ` style="`...)
	c.html = append(c.html, x.cellStyle(t, at, cell)...)
	c.html = append(c.html, `">`...)
	c.html = append(c.html, cell.content.html...)
	c.html = append(c.html, "</td>\r\n"...)
}

// borders are those of a cell: its own, else those that its row has for cells in
// this place.
func (t *tableBuilder) borders(at cellPlace, cell *gridCell) box {
	b, row := cell.def.borders, &t.rows[at.row].def.borders
	inherit := func(side int, outer bool, inside int) {
		switch {
		case b[side].style != noLine:
		case outer:
			b[side] = row[side]
		default:
			b[side] = row[inside]
		}
	}
	inherit(topEdge, at.row == 0, insideRows)
	inherit(bottomEdge, at.row+cell.rowspan >= len(t.rows), insideRows)
	inherit(leftEdge, at.col == 0, insideColumns)
	inherit(rightEdge, at.col == at.cols-1, insideColumns)
	return b
}

func (x *renderer) cellStyle(t *tableBuilder, at cellPlace, c *gridCell) string {
	valign := c.def.valign
	if valign == "" {
		valign = "top"
	}
	s := "vertical-align:" + valign
	if w := clampLength(c.end - c.start); w > 0 {
		s += ";width:" + points(w)
	}
	s += x.bordersCSS(t.borders(at, c))
	if color := x.cellColor(c.def, t.rows[at.row].def.back); color != "" {
		s += ";background-color:" + color
	}
	f := &c.content.format
	if a := f.align.css(f.rtl); a != "" {
		s += ";text-align:" + a
	}
	return s
}

// cellColor is the background of a cell: its colour, with a pattern in another
// colour mixed into it.
func (x *renderer) cellColor(d *cellDef, rowBack int16) string {
	back := d.back
	if back == 0 {
		back = rowBack
	}
	if d.shading == 0 {
		return x.color(int(back))
	}
	under, over := color{255, 255, 255, true}, color{0, 0, 0, true}
	if c, ok := x.lookupColor(int(back)); ok {
		under = c
	}
	if c, ok := x.lookupColor(int(d.pattern)); ok {
		over = c
	}
	mix := func(a, b uint8) uint8 {
		return uint8((int(a)*(10000-int(d.shading)) + int(b)*int(d.shading)) / 10000)
	}
	return color{mix(under.r, over.r), mix(under.g, over.g), mix(under.b, over.b), true}.css()
}
