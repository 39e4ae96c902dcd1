package rtf

import (
	"bytes"
	"slices"
	"sort"
	"strconv"
	"strings"
)

const (
	// maxTableDepth caps tables inside tables.
	maxTableDepth = 6
	// maxCells caps the cells of a row. Word allows 63.
	maxCells = 512
)

// sides of a cell that can have a border.
type sides uint8

const (
	top sides = 1 << iota
	right
	bottom
	left
	allSides = top | right | bottom | left
)

// cellDef is how a row describes one cell, up to its \cellx.
type cellDef struct {
	edge       int // its right edge, in twips
	borders    sides
	back       int // index in the colour table
	valign     string
	mergeFirst bool // \clmgf: the first of cells merged into one
	mergedLeft bool // \clmrg: merged with the cell before
	spanFirst  bool // \clvmgf: the first of cells merged downwards
	mergedUp   bool // \clvmrg: merged with the cell above
}

// rowDef is what \trowd and the words after it say of a row.
type rowDef struct {
	left  int
	cells []cellDef
	next  cellDef // the cell that the next \cellx ends
	side  sides   // which border the next \brdrs is about
	rows  sides   // borders that the row gives all its cells
	whole bool    // side is about the whole row
}

func (d *rowDef) setSide(s sides) {
	d.side, d.whole = s, s == allSides
}

func (d *rowDef) border() {
	if d.whole {
		d.rows |= d.side
		return
	}
	d.next.borders |= d.side
}

func (d *rowDef) cell(edge int) {
	if len(d.cells) < maxCells {
		d.next.edge = edge
		d.cells = append(d.cells, d.next)
	}
	d.next, d.side, d.whole = cellDef{}, 0, false
}

// tableCell is a finished cell.
type tableCell struct {
	html, text []byte
	align      align
}

// absorb adds the content of a cell that was merged into this one. Such cells
// are empty as a rule; what they hold must not be lost.
func (c *tableCell) absorb(other *tableCell) {
	if len(other.html) == 0 || string(other.html) == "&nbsp;" {
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
	c := x.container(level)
	if !x.para.empty() || len(x.label) > 0 || c.paras == 0 {
		p := x.r.st.para
		x.putParagraph(c, &p)
	}
	t := x.levels[level-1]
	t.endCell()
	x.written += cellWeight * level // it is copied from level to level
	if len(t.cells) >= maxCells {
		x.addRow(t)
	}
}

// endCell adds the cell that was read to the row.
func (t *tableBuilder) endCell() {
	c := &t.cell
	c.closeLists(0)
	done := tableCell{html: bytes.TrimSuffix(c.html, []byte("\r\n")), text: c.text}
	if c.only != nil {
		done.html, done.align = c.only, c.format.align
	}
	t.cells = append(t.cells, done)
	t.cell = container{}
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
	if len(t.cells) > 0 {
		t.rows = append(t.rows, tableRow{def: x.row, cells: slices.Clip(t.cells)})
		t.cells, x.rowUsed = nil, true
		x.written += rowWeight
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
		t.endCell()
	}
	x.addRow(t) // one that never ended
	x.levels = x.levels[:n-1]
	if len(t.rows) == 0 {
		return
	}
	c := x.at(n - 1)
	c.closeLists(0)
	c.paras++
	c.settle()
	x.written += tableWeight
	c.html = x.appendTable(c.html, t)
	for i := range t.rows {
		c.text = appendRowText(c.text, t.rows[i].cells)
	}
}

// appendRowText writes the cells of a row on one line, separated by tabs.
func appendRowText(out []byte, cells []tableCell) []byte {
	for i := range cells {
		if i > 0 {
			out = append(out, '\t')
		}
		s := strings.TrimRight(string(cells[i].text), "\r\n")
		out = append(out, strings.ReplaceAll(s, "\r\n", " ")...)
	}
	return append(out, "\r\n"...)
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
	type place struct{ row, col, last int }
	open := make(map[int]place) // cells that may grow downwards, by left edge
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
				open[c.start] = place{i, j, i}
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

func (x *renderer) appendTable(out []byte, t *tableBuilder) []byte {
	size := 0
	for i := range t.rows {
		for _, c := range t.rows[i].cells {
			size += len(c.html) + cellMarkup
		}
	}
	out = slices.Grow(out, size)
	edges := t.edges()
	column := func(edge int) int { return sort.SearchInts(edges, edge) }
	out = append(out, `<table cellspacing="0" cellpadding="4" style="border-collapse:collapse">`+"\r\n"...)
	for i, row := range t.grid() {
		out = append(out, "<tr>\r\n"...)
		for j := range row {
			c := &row[j]
			if c.gone {
				continue
			}
			out = append(out, "<td"...)
			if span := column(c.end) - column(c.start); span > 1 {
				out = append(out, ` colspan="`+strconv.Itoa(span)+`"`...)
			}
			if c.rowspan > 1 {
				out = append(out, ` rowspan="`+strconv.Itoa(c.rowspan)+`"`...)
			}
			out = append(out, ` style="`+x.cellStyle(c, t.rows[i].def.rows)+`">`...)
			out = append(out, c.content.html...)
			out = append(out, "</td>\r\n"...)
		}
		out = append(out, "</tr>\r\n"...)
	}
	return append(out, "</table>\r\n"...)
}

var sideNames = []struct {
	side sides
	css  string
}{{top, "border-top"}, {right, "border-right"}, {bottom, "border-bottom"}, {left, "border-left"}}

func (x *renderer) cellStyle(c *gridCell, rowBorders sides) string {
	valign := c.def.valign
	if valign == "" {
		valign = "top"
	}
	s := "vertical-align:" + valign
	if w := clampLength(c.end - c.start); w > 0 {
		s += ";width:" + points(w)
	}
	switch borders := c.def.borders | rowBorders; borders {
	case 0:
	case allSides:
		s += ";border:1px solid"
	default:
		for _, n := range sideNames {
			if borders&n.side != 0 {
				s += ";" + n.css + ":1px solid"
			}
		}
	}
	if color := x.color(c.def.back); color != "" {
		s += ";background-color:" + color
	}
	if c.content.align != "" && c.content.align != "left" {
		s += ";text-align:" + string(c.content.align)
	}
	return s
}
