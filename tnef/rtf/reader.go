package rtf

import (
	"unicode/utf16"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/textenc"
)

const (
	// maxDepth is how many nested groups keep a state of their own. Word writes
	// a few dozen; deeper ones share the state of the last.
	maxDepth = 1000
	// maxFonts and maxColors cap the tables of the header.
	maxFonts  = 4096
	maxColors = 4096
	// noFont is the font of text without \f in a document without \deff.
	noFont = -1
)

// destination says what the text of a group is for.
type destination uint8

const (
	destBody    destination = iota
	destSkip                // nothing inside counts, whatever it says
	destQuiet               // text is ignored, but groups inside may be visible again
	destFonts               // \fonttbl
	destColors              // \colortbl
	destHTMLTag             // \*\htmltag: a piece of the original HTML
	destLabel               // \pntext and \listtext: the bullet or number of a paragraph
	destInst                // \fldinst: the instruction of a field
	destPict                // \pict: hexadecimal picture data
	destName                // \sn: the name of a property of a drawing
	destValue               // \sv: its value
)

// state is what a group saves and restores.
type state struct {
	dest    destination
	htmlrtf bool // \htmlrtf: this is RTF's view of the HTML, not part of it
	font    int
	uc      int // \ucN: how many characters stand in for a \u
	char    charFormat
	para    paraFormat
	field   *field
	pict    *pict
	note    bool // inside \footnote
	page    bool // inside \background: the drawing behind the whole document
}

// font is an entry of the font table.
type font struct {
	name     string
	family   string // froman, fswiss...: as CSS says it
	codepage int    // 0: the document's
	charset  int    // \fcharset, -1 when absent
	symbol   bool
}

// sink takes what the reader finds.
type sink interface {
	// write takes visible text in UTF-8; it must not keep the slice.
	write(text []byte)
	// char takes a character that a control word or symbol stands for, in the
	// words of RTF ("par", "emdash", "~").
	char(name string)
	// word takes the control words that the reader does not know itself.
	word(t token)
	// closed tells that a group ended; old is the state that it had.
	closed(old *state)
	// full reports that enough was written.
	full() bool
}

// reader drives a sink through a document: groups, destinations, fonts and
// code pages, characters in all their spellings.
type reader struct {
	lex   lexer
	out   sink
	st    state
	stack []state
	over  int // groups beyond maxDepth

	dests    map[string]destination // which groups this kind of reading knows
	symbolCP int                    // the code page of text in symbol fonts
	docCP    int
	defFont  int
	fonts    map[int]font
	colors   []color
	starred  bool // \* stood before this token
	opening  bool // nothing but \* stood in this group yet
	skip     int  // characters still to be skipped after \u
	high     rune // a high surrogate that waits for its other half
	warnings []string

	pending    []byte // text that is not decoded yet
	pendingCP  int
	pendingRaw bool // all of pending stood unescaped

	table tableParser
}

func newReader(src []byte, opt Options, dests map[string]destination) *reader {
	cp := opt.Codepage
	if cp == 0 || !textenc.ASCIISuperset(cp) {
		cp = textenc.Windows1252
	}
	r := &reader{lex: lexer{src: src}, dests: dests, docCP: cp, symbolCP: textenc.Windows1252, defFont: noFont, fonts: make(map[int]font)}
	r.st = state{font: noFont, uc: 1, char: plainFormat}
	return r
}

func (r *reader) warn(msg string) {
	for _, w := range r.warnings {
		if w == msg {
			return
		}
	}
	if len(r.warnings) < 20 {
		r.warnings = append(r.warnings, msg)
	}
}

// run reads the document to its end.
func (r *reader) run(out sink) {
	r.out = out
	depth := 0
	for !out.full() {
		t := r.lex.next()
		switch t.kind {
		case tokEOF:
			r.flush()
			if depth > 0 {
				r.warn("RTF ends inside a group")
			}
			return
		case tokOpen:
			depth++
			r.open()
			continue
		case tokClose:
			depth--
			if depth <= 0 {
				r.flush()
				return
			}
			r.close()
		default:
			if r.st.dest != destSkip {
				r.token(t)
			}
		}
		if t.kind != tokText || !blank(t.text) { // "{ \fonttbl" is written too
			r.opening = false
		}
	}
	r.warn("the body is cut: it is larger than allowed")
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' {
			return false
		}
	}
	return true
}

func (r *reader) open() {
	r.flush()
	r.skip = 0
	r.starred, r.opening = false, true
	if len(r.stack) >= maxDepth {
		r.over++
		r.warn("groups are nested too deeply")
		return
	}
	r.stack = append(r.stack, r.st)
}

func (r *reader) close() {
	r.flush()
	r.skip = 0
	r.starred = false
	if r.over > 0 {
		r.over--
		return
	}
	if len(r.stack) == 0 {
		return
	}
	old := r.st
	r.st = r.stack[len(r.stack)-1]
	r.stack = r.stack[:len(r.stack)-1]
	if old.dest == destFonts {
		r.table.endFont(r)
	}
	r.out.closed(&old)
}

// token takes what is neither a brace nor inside a group to be skipped.
func (r *reader) token(t token) {
	if t.kind != tokWord {
		r.starred = false
	}
	switch t.kind {
	case tokText:
		r.text(t.text)
	case tokHex:
		if r.skip > 0 {
			r.skip--
			return
		}
		r.put(t.char, false)
	case tokSymbol:
		r.symbol(t.char)
	case tokBinary:
		if r.skip > 0 {
			r.skip--
			return
		}
		if r.st.dest == destPict {
			r.st.pict.binary(t.text)
		}
	case tokWord:
		r.word(t)
	}
}

// visible reports whether text counts here.
func (r *reader) visible() bool {
	return !r.st.htmlrtf && (r.st.dest == destBody || r.st.dest == destHTMLTag || r.st.dest == destLabel || r.st.dest == destInst)
}

// codepage is the code page of the text that follows. Inside \htmltag it is
// the document's ([MS-OXRTFEX] 2.2.3.2), else that of the font, if it has one.
func (r *reader) codepage() int {
	if r.st.dest == destHTMLTag || r.st.dest == destInst {
		return r.docCP
	}
	f, ok := r.fonts[r.st.font]
	if ok && f.symbol {
		return r.symbolCP
	}
	if !ok || f.codepage == 0 {
		return r.docCP
	}
	if r.docCP == textenc.UTF8 && f.charset <= 0 {
		return r.docCP // who writes \ansicpg65001 means it for "ANSI" fonts too
	}
	return f.codepage
}

// text takes a run of unescaped bytes.
func (r *reader) text(b []byte) {
	if r.skip > 0 {
		n := min(r.skip, len(b))
		b, r.skip = b[n:], r.skip-n
	}
	if len(b) == 0 {
		return
	}
	switch r.st.dest {
	case destFonts, destColors:
		r.table.text(r, b)
		return
	case destPict:
		r.st.pict.hex(b)
		return
	case destName, destValue:
		r.out.write(b)
		return
	}
	first := firstHigh(b)
	if first < len(b) || len(r.pending) > 0 {
		b = r.joinTrail(b, first)
	}
	if !r.visible() {
		return
	}
	if len(r.pending) == 0 && first == len(b) {
		r.loneSurrogate()
		r.out.write(b)
		return
	}
	r.start(r.codepage(), true)
	r.pending = append(r.pending, b...)
}

// firstHigh returns the index of the first byte above 0x7F, len(b) for none.
func firstHigh(b []byte) int {
	for i, c := range b {
		if c >= 0x80 {
			return i
		}
	}
	return len(b)
}

// joinTrail adds to a run that ends in a lead byte the brace or backslash that
// is its trail byte: a raw lead byte takes the next byte whatever it is (the
// RTF specification, "Far East support"), except where an escape follows.
func (r *reader) joinTrail(b []byte, first int) []byte {
	cp := r.codepage()
	src, pos := r.lex.src, r.lex.pos
	if pos >= len(src) || first == len(b) || src[pos] != '\\' && src[pos] != '{' && src[pos] != '}' {
		return b
	}
	if src[pos] == '\\' && pos+1 < len(src) && src[pos+1] == '\'' {
		return b
	}
	i := first
	for i < len(b) {
		if textenc.IsLeadByte(cp, b[i]) {
			i++
		}
		i++
	}
	if i == len(b) { // every lead byte has its trail
		return b
	}
	r.lex.pos++
	return append(b[:len(b):len(b)], src[pos])
}

// start makes pending ready for bytes in the code page.
func (r *reader) start(cp int, raw bool) {
	if len(r.pending) > 0 && (r.pendingCP != cp) {
		r.flush()
	}
	if len(r.pending) == 0 {
		r.pendingCP, r.pendingRaw = cp, true
	}
	r.pendingRaw = r.pendingRaw && raw
}

// put takes one byte of text that was escaped.
func (r *reader) put(c byte, raw bool) {
	if r.st.dest == destFonts || r.st.dest == destColors {
		r.table.text(r, []byte{c})
		return
	}
	if !r.visible() || c == 0 {
		return
	}
	r.start(r.codepage(), raw)
	r.pending = append(r.pending, c)
}

// flush decodes and writes what is pending.
func (r *reader) flush() {
	r.loneSurrogate()
	if len(r.pending) == 0 {
		return
	}
	s := r.decodePending()
	r.pending = r.pending[:0]
	r.out.write([]byte(s))
}

func (r *reader) decodePending() string {
	switch {
	case r.pendingCP == symbolPage:
		return decodeSymbols(r.pending)
	case len(r.pending) == 1 && textenc.IsLeadByte(r.pendingCP, r.pending[0]):
		// Half a character: a western one, from a writer that forgot the font.
		return textenc.Decode(textenc.Windows1252, r.pending)
	case r.pendingCP == textenc.UTF8:
		return textenc.Decode(0, r.pending) // or 1252, where it is no UTF-8
	case r.pendingRaw:
		// RTF is a 7-bit format; raw bytes come from writers that may have
		// forgotten to convert from UTF-8.
		return textenc.DecodeGuess(r.pendingCP, r.pending)
	}
	return textenc.Decode(r.pendingCP, r.pending)
}

// symbolPage is the code page of symbol fonts. As in Windows (CP_SYMBOL), byte
// XX is the private character U+F0XX.
const symbolPage = 42

func decodeSymbols(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = 0xF000 + rune(c)
	}
	return string(out)
}

// loneSurrogate writes U+FFFD for a high surrogate whose other half never came.
func (r *reader) loneSurrogate() {
	if r.high != 0 {
		r.high = 0
		r.out.write([]byte("\uFFFD"))
	}
}

// unicode takes \uN. N is a signed 16-bit number (the RTF specification,
// "Unicode RTF"), but writers of unsigned and of larger ones exist.
func (r *reader) unicode(n int) {
	r.skip = r.st.uc
	if n < 0 {
		n += 1 << 16
	}
	c := rune(n)
	if n < 0 || n > utf8.MaxRune {
		c = utf8.RuneError
	}
	if !r.visible() {
		return
	}
	if len(r.pending) > 0 {
		r.flush()
	}
	switch {
	case c >= 0xDC00 && c <= 0xDFFF && r.high != 0:
		c, r.high = utf16.DecodeRune(r.high, c), 0
	case c >= 0xD800 && c <= 0xDBFF:
		r.loneSurrogate()
		r.high = c
		return
	default:
		r.loneSurrogate()
	}
	if c == 0 {
		return
	}
	r.out.write(utf8.AppendRune(nil, c))
}

// symbol takes a backslash with one character.
func (r *reader) symbol(c byte) {
	switch c {
	case '*':
		r.starred = r.opening
		return
	case '\\', '{', '}':
		if r.skip > 0 {
			r.skip--
			return
		}
		r.put(c, true)
	case '\r', '\n':
		r.emit("par")
	case '\t':
		r.emit("tab")
	case '~', '_', '-':
		if r.skip > 0 {
			r.skip--
			return
		}
		r.emit(string(c))
	}
}

// emit passes on a character that has a name.
func (r *reader) emit(name string) {
	if !r.visible() {
		return
	}
	r.flush()
	r.out.char(name)
}

// characters are the control words that stand for a character or a break.
var characters = map[string]bool{
	"par": true, "line": true, "lbr": true, "tab": true, "sect": true, "page": true, "column": true, "softline": true,
	"lquote": true, "rquote": true, "ldblquote": true, "rdblquote": true, "bullet": true, "endash": true, "emdash": true,
	"emspace": true, "enspace": true, "qmspace": true, "zwj": true, "zwnj": true, "zwbo": true, "zwnbo": true,
	"ltrmark": true, "rtlmark": true,
	"cell": true, "nestcell": true, "row": true, "nestrow": true,
}

// headerWords are the control words that the reader acts upon itself.
var headerWords = map[string]func(r *reader, n int){
	"ansicpg": func(r *reader, n int) {
		if textenc.Known(n) && textenc.ASCIISuperset(n) {
			r.docCP = n
		}
	},
	"mac":  func(r *reader, _ int) { r.docCP = 10000 },
	"pc":   func(r *reader, _ int) { r.docCP = 437 },
	"pca":  func(r *reader, _ int) { r.docCP = 850 },
	"deff": func(r *reader, n int) { r.defFont, r.st.font = n, n },
	"uc":   func(r *reader, n int) { r.st.uc = max(0, min(n, 16)) },
	"u":    func(r *reader, n int) { r.unicode(n) },
	"f":    func(r *reader, n int) { r.st.font = n },
	"af":   func(*reader, int) {},
	"plain": func(r *reader, _ int) {
		r.st.font, r.st.char = r.defFont, plainFormat
	},
}

// word takes a control word.
func (r *reader) word(t token) {
	starred, opening := r.starred, r.opening
	r.starred = false
	if r.skip > 0 {
		if characters[string(t.text)] && len(t.text) > 4 { // \rquote and the like: a fallback
			r.skip--
			return
		}
		r.skip = 0
	}
	if starred || opening {
		if d, ok := r.dests[string(t.text)]; ok {
			r.flush()
			r.enter(d, t)
			return
		}
		if starred { // an optional destination that nobody here knows
			r.st.dest = destSkip
			return
		}
	}
	if r.st.dest == destFonts || r.st.dest == destColors {
		r.table.word(r, t)
		return
	}
	if string(t.text) == "htmlrtf" {
		r.flush()
		r.st.htmlrtf = !t.hasParam || t.param != 0
		return
	}
	if do, ok := headerWords[string(t.text)]; ok {
		if string(t.text) != "u" {
			r.flush()
		}
		do(r, t.param)
		return
	}
	if characters[string(t.text)] {
		r.emit(string(t.text))
		return
	}
	r.flush()
	r.out.word(t)
}

// enter makes the rest of this group belong to a destination.
func (r *reader) enter(d destination, t token) {
	switch d {
	case destPict:
		r.st.pict = &pict{}
	case destFonts, destColors:
		r.table = tableParser{}
	}
	r.st.dest = d
	r.out.word(t)
}
