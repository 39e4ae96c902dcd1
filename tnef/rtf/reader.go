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
	destBody     destination = iota
	destSkip                 // nothing inside counts, whatever it says
	destQuiet                // text is ignored, but groups inside may be visible again
	destFonts                // \fonttbl
	destColors               // \colortbl
	destHTMLTag              // \*\htmltag: a piece of the original HTML
	destLabel                // \pntext and \listtext: the bullet or number of a paragraph
	destInst                 // \fldinst: the instruction of a field
	destPict                 // \pict: hexadecimal picture data
	destName                 // \sn: the name of a property of a drawing
	destValue                // \sv: its value
	destStyles               // \stylesheet
	destLists                // \listtable, \listoverridetable and all inside
	destListText             // \leveltext: what stands before an item, as bytes
	destNone                 // not a destination
)

// state is what a group saves and restores.
type state struct {
	dest    destination
	htmlrtf bool // \htmlrtf: this is RTF's view of the HTML, not part of it
	font    int
	uc      int // \ucN: how many characters stand in for a \u
	char    charFormat
	para    paraFormat
	// paraStyle and charStyle are one more than the number of the paragraph
	// style, markStyle of the character style, whose formatting was only
	// referred to so far; 0 for none.
	paraStyle, charStyle, markStyle int32
	field                           *field
	pict                            *pict
	note                            bool // inside \footnote
	page                            bool // inside \background: the drawing behind the whole document
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
	// word takes the control words that the reader does not act upon alone; c
	// is nil for those that nobody here knows.
	word(c *control, t token)
	// opened tells that a group begins.
	opened()
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
	old   state // of the group that ended last
	over  int   // groups beyond maxDepth

	dest     func(*control) destination // which groups this kind of reading knows
	symbolCP int                        // the code page of text in symbol fonts
	docCP    int
	defFont  int
	fonts    map[int]font
	colors   []color
	starred  bool // \* stood before this token
	opening  bool // nothing but \* stood in this group yet
	skip     int  // characters still to be skipped after \u
	skipBin  bool // the data of \bin are skipped
	high     rune // a high surrogate that waits for its other half
	warnings []string

	pending    []byte // text that is not decoded yet
	pendingCP  int
	pendingRaw bool          // all of pending stood unescaped
	lead       bool          // pending ends in the first byte of two
	pages      map[int]*page // what was found out about code pages
	scratch    []byte        // decoded text on its way to the sink
	spent      int           // bytes that decoding has allocated, about

	table tableParser
}

func newReader(lex lexer, opt Options, dest func(*control) destination) *reader {
	cp := opt.Codepage
	if cp == 0 || !textenc.ASCIISuperset(cp) {
		cp = textenc.Windows1252
	}
	r := &reader{lex: lex, dest: dest, docCP: cp, symbolCP: textenc.Windows1252, defFont: noFont,
		fonts: make(map[int]font), pages: make(map[int]*page)}
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

// bodyCut is the warning of a result that is not complete.
const bodyCut = "the body is cut: it is larger than allowed"

// run reads the document to its end.
func (r *reader) run(out sink) {
	r.out = out
	depth := 0
	for !out.full() {
		t := r.lex.next()
		switch t.kind {
		case tokEOF:
			r.flush()
			r.loneSurrogate()
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
				r.loneSurrogate()
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
	r.warn(bodyCut)
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
	r.out.opened()
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
	r.old = r.st
	r.st = r.stack[len(r.stack)-1]
	r.stack = r.stack[:len(r.stack)-1]
	if r.old.dest == destFonts {
		r.table.endFont(r)
	}
	r.out.closed(&r.old)
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
		r.binary(t)
	case tokWord:
		r.word(t)
	}
}

// binary takes the data of \bin, or a piece of it. After \u it counts, with all
// its data, as one character (the RTF specification, "Unicode RTF").
func (r *reader) binary(t token) {
	if !t.more {
		r.skipBin = r.skip > 0
		r.skip = max(0, r.skip-1)
	}
	if !r.skipBin && r.st.dest == destPict {
		r.st.pict.binary(t.text)
	}
}

// visible reports whether text counts here.
func (r *reader) visible() bool {
	if r.st.htmlrtf {
		return false
	}
	switch r.st.dest {
	case destBody, destHTMLTag, destLabel, destInst, destListText:
		return true
	}
	return false
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
	if !r.visible() {
		r.joinTrail(b, first)
		return
	}
	if len(r.pending) == 0 && first == len(b) {
		r.loneSurrogate()
		r.out.write(b)
		return
	}
	r.start(r.codepage(), true)
	r.keep(b)
	if r.lead {
		r.takeTrail()
	}
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

// joinTrail finds out, for text that nobody will see, whether it takes the next
// byte with it.
func (r *reader) joinTrail(b []byte, first int) {
	p := r.page(r.codepage())
	if p.leads == nil {
		return
	}
	lead := false
	for _, c := range b[first:] {
		lead = !lead && p.leads[c]
	}
	if lead {
		r.takeTrail()
	}
}

// takeTrail takes a brace or backslash that is the trail byte of the lead byte
// before it: a raw lead byte takes the next byte whatever it is (the RTF
// specification, "Far East support"), except where an escape follows.
func (r *reader) takeTrail() {
	rest := r.lex.rest()
	if len(rest) == 0 || rest[0] != '\\' && rest[0] != '{' && rest[0] != '}' || len(rest) > 1 && rest[0] == '\\' && rest[1] == '\'' {
		return
	}
	if r.visible() {
		r.keep(rest[:1])
	}
	r.lex.pos++
}

// start makes pending ready for bytes in the code page.
func (r *reader) start(cp int, raw bool) {
	if len(r.pending) > 0 && r.pendingCP != cp {
		r.flush()
	}
	if len(r.pending) == 0 {
		r.pendingCP, r.pendingRaw, r.lead = cp, true, false
	}
	r.pendingRaw = r.pendingRaw && raw
}

// maxPending is how much text is collected before it is decoded, in bytes.
const maxPending = 16 << 10

// keep adds to pending, decoding what is more than enough.
func (r *reader) keep(b []byte) {
	leads := r.page(r.pendingCP).leads
	for len(b) > 0 {
		n := min(len(b), maxPending-len(r.pending))
		r.pending = append(r.pending, b[:n]...)
		r.followLeads(leads, b[:n])
		b = b[n:]
		if len(r.pending) < maxPending {
			return
		}
		whole := r.wholeCharacters(leads)
		r.decode(r.pending[:whole])
		r.pending = append(r.pending[:0], r.pending[whole:]...)
		r.lead = false
		r.followLeads(leads, r.pending)
	}
}

// followLeads finds out whether pending ends in a lead byte, now that b was
// added.
func (r *reader) followLeads(leads *[256]bool, b []byte) {
	if leads != nil {
		for _, c := range b {
			r.lead = !r.lead && leads[c]
		}
	}
}

// wholeCharacters is how much of pending can be decoded: neither a pair of bytes
// nor, where it may be UTF-8, a sequence must be torn.
func (r *reader) wholeCharacters(leads *[256]bool) int {
	n := len(r.pending)
	whole := n - partialRune(r.pending)
	if leads == nil || utf8.Valid(r.pending[:whole]) {
		return whole
	}
	if r.lead {
		return n - 1
	}
	return n
}

// partialRune is how many bytes at the end begin a UTF-8 sequence that goes on
// behind it.
func partialRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// put takes one byte of text that was escaped.
func (r *reader) put(c byte, raw bool) {
	if r.st.dest == destFonts || r.st.dest == destColors {
		r.table.text(r, []byte{c})
		return
	}
	if r.st.dest == destListText && c < ' ' { // a length, or the number of a level
		r.flush()
		r.out.write([]byte{c})
		return
	}
	if !r.visible() || c == 0 {
		return
	}
	r.start(r.codepage(), raw)
	r.keep([]byte{c})
}

// flush decodes and writes what is pending. A high surrogate goes on waiting:
// its other half may stand behind a control word, or in a group of its own.
func (r *reader) flush() {
	if len(r.pending) == 0 {
		return
	}
	r.loneSurrogate()
	r.decode(r.pending)
	r.pending, r.lead = r.pending[:0], false
}

// decode writes text of the code page of pending.
func (r *reader) decode(b []byte) {
	p := r.page(r.pendingCP)
	r.scratch = r.scratch[:0]
	switch {
	case r.pendingCP == symbolPage:
		// As in Windows (CP_SYMBOL), byte XX is the private character U+F0XX.
		for _, c := range b {
			r.scratch = utf8.AppendRune(r.scratch, 0xF000+rune(c))
		}
	case len(b) == 1 && p.leads != nil && p.leads[b[0]]:
		// Half a character: a western one, from a writer that forgot the font.
		r.scratch = append(r.scratch, textenc.Decode(textenc.Windows1252, b)...)
	case r.pendingCP == textenc.UTF8:
		r.decoded(textenc.Decode(0, b), b) // or 1252, where it is no UTF-8
	case r.pendingRaw && (p.single == nil || utf8.Valid(b)):
		// RTF is a 7-bit format; raw bytes come from writers that may have
		// forgotten to convert from UTF-8.
		r.decoded(textenc.DecodeGuess(r.pendingCP, b), b)
	case p.single != nil:
		for _, c := range b {
			r.scratch = append(r.scratch, p.single[c]...)
		}
	default:
		r.decoded(textenc.Decode(r.pendingCP, b), b)
	}
	r.out.write(r.scratch)
}

// decoded takes the text that b was decoded to. A double-byte page is read in
// several steps, for each of which there was a buffer.
func (r *reader) decoded(s string, b []byte) {
	r.scratch = append(r.scratch, s...)
	r.spent += 3*len(b) + len(s)
	if r.page(r.pendingCP).leads != nil {
		r.spent += 2 * len(b)
	}
}

// symbolPage is the code page of symbol fonts.
const symbolPage = 42

// page is what is known about a code page.
type page struct {
	leads  *[256]bool   // its lead bytes; nil where it has none
	single *[256]string // the characters of a single-byte page; nil for others
}

// page returns what is known about a code page.
func (r *reader) page(cp int) *page {
	p := r.pages[cp]
	if p == nil {
		p = newPage(cp)
		r.pages[cp] = p
	}
	return p
}

func newPage(cp int) *page {
	p := &page{}
	var leads [256]bool
	for i := range leads {
		if leads[i] = textenc.IsLeadByte(cp, byte(i)); leads[i] {
			p.leads = &leads
		}
	}
	if p.leads != nil || cp == textenc.UTF8 || !textenc.Known(cp) || !textenc.ASCIISuperset(cp) {
		return p
	}
	p.single = new([256]string)
	for i := range p.single {
		p.single[i] = textenc.Decode(cp, []byte{byte(i)})
	}
	return p
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
	r.scratch = utf8.AppendRune(r.scratch[:0], c)
	r.out.write(r.scratch)
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
	r.loneSurrogate()
	r.out.char(name)
}

// word takes a control word.
func (r *reader) word(t token) {
	c := controls[string(t.text)]
	starred, opening := r.starred, r.opening
	r.starred = false
	if r.skip > 0 {
		if c != nil && c.char && len(c.name) > 4 { // \rquote and the like: a fallback
			r.skip--
			return
		}
		r.skip = 0
	}
	if starred || opening {
		if d := r.destination(c); d != destNone {
			r.flush()
			r.enter(d, c, t)
			return
		}
		if starred && !r.st.dest.keepsStarred(c) { // an optional destination that nobody here knows
			r.st.dest = destSkip
			return
		}
	}
	switch {
	case r.st.dest == destFonts || r.st.dest == destColors:
		r.table.word(r, t)
	case r.st.dest == destStyles || r.st.dest == destLists:
		r.out.word(c, t)
	case c == nil:
		r.flush()
	case c.char:
		r.emit(c.name)
	case c.header != nil:
		if !c.inText {
			r.flush()
		}
		c.header(r, t)
	default:
		r.flush()
		r.out.word(c, t)
	}
}

// destination says what kind of group a control word begins, destNone for one
// that begins none.
func (r *reader) destination(c *control) destination {
	if c == nil {
		return destNone
	}
	return r.dest(c)
}

// keepsStarred reports whether a starred control word belongs to what the group
// around is for: {\*\cs10 Strong;} in the style sheet.
func (d destination) keepsStarred(c *control) bool {
	return d == destStyles && c != nil && c.style
}

// enter makes the rest of this group belong to a destination.
func (r *reader) enter(d destination, c *control, t token) {
	if d == destFonts || d == destColors {
		r.table = tableParser{}
	}
	r.st.dest = d
	r.out.word(c, t)
}
