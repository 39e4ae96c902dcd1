package rtf

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLists caps the lists, overrides and \pn of a document, together. Word
	// has a limit of 2047 lists.
	maxLists = 8192
	// maxListDepth is how deep lists nest in RTF (nine levels).
	maxListDepth = 9
	// maxLevelText is more than any template of a number needs, in bytes.
	maxLevelText = 128
	// maxNumber is the highest number of an item.
	maxNumber = 1 << 30
)

// listLevel is how the items of one level of a list are numbered.
type listLevel struct {
	nfc       int
	start     int
	left      int32  // its indent, in twips
	text      []byte // the label: characters, and for the numbers of levels the bytes 0 to 8
	noRestart bool   // \levelnorestart: goes on behind an item of a higher level
	legal     bool   // \levellegal: the numbers of all levels are decimal
}

// list is an entry of \listtable.
type list struct {
	levels []*listLevel
	// next are the numbers that the next items have, by level; 0 for "the
	// first", since what a list begins with may be overridden.
	next [maxListDepth]int
}

// override is an entry of \listoverridetable: what \ls refers to.
type override struct {
	list   int // its \listid
	levels [maxListDepth]*listLevel
	starts [maxListDepth]int // \levelstartat, and one; 0 where it is not overridden
	used   [maxListDepth]bool
	level  int // the level that is being read, and one
}

// listTable holds the lists of a document, and what is being read of them.
type listTable struct {
	lists     map[int]*list
	overrides map[int]*override
	list      *list
	override  *override
	level     *listLevel
	pn        *listLevel // \pn
	after     bool       // \pntxta is being read
	count     int        // lists, overrides and \pn so far
}

// listWords are the control words inside \listtable, \listoverridetable and \pn.
var listWords = map[string]func(x *renderer, t token){
	"list":         func(x *renderer, _ token) { x.lists.beginList() },
	"listlevel":    func(x *renderer, _ token) { x.lists.beginLevel() },
	"listid":       func(x *renderer, t token) { x.lists.identify(t.param) },
	"listoverride": func(x *renderer, _ token) { x.lists.beginListOverride() },
	"lfolevel":     func(x *renderer, _ token) { x.lists.beginOverride() },
	"ls":           func(x *renderer, t token) { x.lists.endOverride(t.param) },
	"levelnfc":     level(func(l *listLevel, t token) { l.nfc = t.param }),
	"levelnfcn":    level(func(l *listLevel, t token) { l.nfc = t.param }),
	"levelstartat": func(x *renderer, t token) { x.lists.startAt(t.param) },
	"levelnorestart": level(func(l *listLevel, t token) {
		l.noRestart = toggle(t)
	}),
	"levellegal": level(func(l *listLevel, t token) { l.legal = toggle(t) }),
	"leveltext":  level(func(l *listLevel, _ token) { l.text = l.text[:0] }),
	"li":         level(func(l *listLevel, t token) { l.left = int32(t.param) }),
	"lin":        level(func(l *listLevel, t token) { l.left = int32(t.param) }),

	"pn":        func(x *renderer, _ token) { x.lists.beginPn() },
	"pnlvlblt":  numbered(nfcBullet),
	"pnlvlcont": numbered(nfcNone),
	"pncard":    numbered(6),
	"pndec":     numbered(0),
	"pnucrm":    numbered(nfcUpperRoman),
	"pnlcrm":    numbered(nfcLowerRoman),
	"pnucltr":   numbered(nfcUpperLetter),
	"pnlcltr":   numbered(nfcLowerLetter),
	"pnord":     numbered(nfcOrdinal),
	"pnordt":    numbered(7),
	"pndbnum":   numbered(10),
	"pndbnumd":  numbered(11),
	"pnaiu":     numbered(12),
	"pnaiueo":   numbered(12),
	"pniroha":   numbered(13),
	"pndecd":    numbered(14),
	"pndbnuml":  numbered(16),
	"pndbnumt":  numbered(16),
	"pndbnumk":  numbered(17),
	"pncnum":    numbered(18),
	"pnaiud":    numbered(20),
	"pnaiueod":  numbered(20),
	"pnirohad":  numbered(21),
	"pnganada":  numbered(24),
	"pnchosung": numbered(25),
	"pngbnum":   numbered(26),
	"pngbnumd":  numbered(27),
	"pngbnuml":  numbered(28),
	"pngbnumk":  numbered(29),
	"pnzodiac":  numbered(30),
	"pnzodiacd": numbered(31),
	"pnzodiacl": numbered(32),
	"pnbidia":   numbered(46),
	"pnbidib":   numbered(48),
	"pnstart":   level(func(l *listLevel, t token) { l.start = clampNumber(t.param) }),
	"pntxta":    func(x *renderer, _ token) { x.lists.after = true },
	"pntxtb":    func(x *renderer, _ token) { x.lists.after = false },
}

func level(set func(l *listLevel, t token)) func(x *renderer, t token) {
	return func(x *renderer, t token) {
		if l := x.lists.level; l != nil {
			set(l, t)
		}
	}
}

// numbered sets the kind of numbers of \pn. The kinds are those of \levelnfc.
func numbered(nfc int) func(x *renderer, t token) {
	return level(func(l *listLevel, _ token) { l.nfc = nfc })
}

func clampNumber(n int) int { return max(0, min(n, maxNumber)) }

// room reports whether there may be another list, override or \pn.
func (lt *listTable) room() bool {
	lt.list, lt.override, lt.level = nil, nil, nil
	lt.count++
	return lt.count <= maxLists
}

func (lt *listTable) beginList() {
	if lt.room() {
		lt.list = &list{}
	}
}

func (lt *listTable) beginListOverride() {
	if lt.room() {
		lt.override = &override{}
	}
}

func (lt *listTable) beginPn() {
	lt.pn = nil
	if lt.room() {
		lt.pn = &listLevel{start: 1, text: []byte{0}}
		lt.level = lt.pn
	}
}

// beginLevel begins a level of a list, or of an override that has one of its own.
func (lt *listTable) beginLevel() {
	lt.level = nil
	switch o := lt.override; {
	case lt.list != nil && len(lt.list.levels) < maxListDepth:
		lt.level = &listLevel{start: 1}
		lt.list.levels = append(lt.list.levels, lt.level)
	case o != nil && o.level >= 1 && o.level <= maxListDepth && o.levels[o.level-1] == nil:
		lt.level = &listLevel{start: 1}
		o.levels[o.level-1] = lt.level
	}
}

func (lt *listTable) beginOverride() {
	if lt.override != nil {
		lt.override.level++
		lt.level = nil
	}
}

// startAt takes \levelstartat: of the level, or of what overrides it.
func (lt *listTable) startAt(n int) {
	n = clampNumber(n)
	if lt.level != nil {
		lt.level.start = n
	}
	if o := lt.override; o != nil && o.level >= 1 && o.level <= maxListDepth {
		o.starts[o.level-1] = n + 1
	}
}

// identify takes \listid, which names a list, or the list of an override.
func (lt *listTable) identify(id int) {
	switch {
	case lt.override != nil:
		lt.override.list = id
	case lt.list != nil:
		if lt.lists == nil {
			lt.lists = make(map[int]*list)
		}
		lt.lists[id] = lt.list
		lt.level = nil
	}
}

// endOverride takes \ls, the number by which paragraphs refer to an override.
func (lt *listTable) endOverride(n int) {
	if lt.override != nil {
		if lt.overrides == nil {
			lt.overrides = make(map[int]*override)
		}
		lt.overrides[n] = lt.override
	}
}

// addText takes text of a label: \leveltext, \pntxtb or \pntxta.
func (lt *listTable) addText(b []byte) {
	l := lt.level
	if l == nil || len(l.text)+len(b) > maxLevelText {
		return
	}
	if l == lt.pn && !lt.after { // stands before the number
		l.text = append(append([]byte(nil), b...), l.text...)
		return
	}
	l.text = append(l.text, b...)
}

// template is the label of a level. \leveltext begins with the number of its
// characters, and ends with a semicolon.
func (l *listLevel) template() string {
	if len(l.text) == 0 {
		return ""
	}
	n, chars := int(l.text[0]), []rune(string(l.text[1:]))
	return string(chars[:min(n, len(chars))])
}

// levelOf returns the level that a paragraph's number is of, and where its list
// keeps count; nil when the paragraph is in no list.
func (lt *listTable) levelOf(p *paraFormat) (*list, *override, *listLevel) {
	o := lt.overrides[int(p.list)]
	if o == nil {
		return nil, nil, nil
	}
	l := lt.lists[o.list]
	if l == nil {
		return nil, nil, nil
	}
	return l, o, l.level(o, int(p.listLevel))
}

// level returns the level i, as the override has it; nil when there is none.
func (l *list) level(o *override, i int) *listLevel {
	if o.levels[i] != nil {
		return o.levels[i]
	}
	if i < len(l.levels) {
		return l.levels[i]
	}
	return nil
}

// start is what a level begins with.
func (l *list) start(o *override, i int) int {
	if o.starts[i] > 0 {
		return o.starts[i] - 1
	}
	if level := l.level(o, i); level != nil {
		return level.start
	}
	return 1
}

// count gives the next item of a level its number.
func (l *list) count(o *override, i int) int {
	if l.next[i] == 0 || o.starts[i] > 0 && !o.used[i] {
		l.next[i] = l.start(o, i) + 1 // an override that says where to begin begins once
	} else {
		l.next[i]++
	}
	o.used[i] = true
	l.restart(o, i)
	return l.next[i] - 1
}

// restart begins the levels below i again.
func (l *list) restart(o *override, i int) {
	for j := i + 1; j < maxListDepth; j++ {
		if level := l.level(o, j); level == nil || !level.noRestart {
			l.next[j] = 0
		}
	}
}

// agree makes the list go on behind an item whose number the writer has written
// down.
func (l *list) agree(o *override, i, number int) {
	l.next[i] = clampNumber(number) + 1
	o.used[i] = true
	l.restart(o, i)
}

// number is the number that the last item of level i has.
func (l *list) number(o *override, i int) int {
	if l.next[i] == 0 {
		return l.start(o, i)
	}
	return l.next[i] - 1
}

// label makes the label of an item, and says what kind of list shows it. plain
// tells that a list of HTML does: the label is nothing but the item's number,
// and punctuation.
func (l *list) label(o *override, i int) (label string, kind listKind, plain bool) {
	level := l.level(o, i)
	if level.nfc == nfcBullet {
		return "•", listKind{}, true
	}
	plain = true
	var s strings.Builder
	for _, c := range level.template() {
		if c >= maxListDepth {
			s.WriteRune(c)
			plain = plain && strings.ContainsRune(".():-", c)
			continue
		}
		of := l.level(o, int(c))
		if of == nil {
			continue
		}
		nfc := of.nfc
		if level.legal && nfc != nfcNone {
			nfc = 0
		}
		plain = plain && int(c) == i
		s.WriteString(writeNumber(nfc, l.number(o, int(c))))
	}
	kind, ok := orderedKind(level.nfc)
	return strings.TrimSpace(s.String()), kind, plain && ok
}

// orderedKind is the list of HTML that numbers in this way; false when none does.
func orderedKind(nfc int) (listKind, bool) {
	for _, x := range []struct {
		nfc int
		typ byte
	}{{0, '1'}, {nfcUpperRoman, 'I'}, {nfcLowerRoman, 'i'}, {nfcUpperLetter, 'A'}, {nfcLowerLetter, 'a'}} {
		if x.nfc == nfc {
			return listKind{ordered: true, typ: x.typ}, true
		}
	}
	return listKind{}, false
}

// itemLabel is what stands before the text of a paragraph.
type itemLabel struct {
	text   string
	kind   listKind
	number int
	inHTML bool // a list of HTML shows it
}

// takeLabel finds the label of the paragraph: what the writer wrote down
// (\listtext, \pntext), else what its list says. ok is false for paragraphs
// that have none.
func (x *renderer) takeLabel(p *paraFormat) (itemLabel, bool) {
	written := strings.TrimSpace(string(x.label))
	x.label = x.label[:0]
	l, o, level := x.lists.levelOf(p)
	i := int(p.listLevel)
	if written != "" {
		label := itemLabel{text: written}
		label.kind, label.number, label.inHTML = classify(written)
		if level != nil && label.kind.ordered {
			if kind, ok := orderedKind(level.nfc); ok && kind.typ|0x20 == 'a' {
				label.kind, label.number = kind, letterValue(strings.Trim(written, "().: "), label.number) // "i." after "h."
			}
			l.agree(o, i, label.number)
		} else if level != nil && level.nfc != nfcBullet && level.nfc != nfcNone {
			l.count(o, i)
			if _, ok := orderedKind(level.nfc); !ok {
				label.inHTML = false // "†" is a number there, no bullet
			}
		}
		return label, true
	}
	switch {
	case level != nil && level.nfc != nfcNone:
		label := itemLabel{number: l.count(o, i)}
		label.text, label.kind, label.inHTML = l.label(o, i)
		return label, label.text != ""
	case p.pn != nil && !x.labels && p.pn.nfc != nfcNone:
		return p.pn.item(), true
	}
	return itemLabel{}, false
}

// letterValue is the number that letters are in a list of letters.
func letterValue(s string, otherwise int) int {
	if len(s) == 1 && isLetter(s[0]) {
		return int(s[0]|0x20-'a') + 1
	}
	return otherwise
}

// item makes the label of a paragraph that \pn numbers, and counts.
func (l *listLevel) item() itemLabel {
	if l.nfc == nfcBullet {
		return itemLabel{text: "•", inHTML: true}
	}
	label := itemLabel{number: l.start}
	l.start = clampNumber(l.start + 1)
	n := writeNumber(l.nfc, label.number)
	label.text = strings.TrimSpace(strings.Replace(string(l.text), "\x00", n, 1))
	label.kind, label.inHTML = orderedKind(l.nfc)
	return label
}

// listKind is an element and the type of its numbers.
type listKind struct {
	ordered bool
	typ     byte // 1, a, A, i or I
}

func (k listKind) element() string {
	if k.ordered {
		return "ol"
	}
	return "ul"
}

// continues reports whether an item belongs to the open list. A letter that is
// also a Roman numeral is what the list is.
func (k listKind) continues(open *listKind, number int) bool {
	if k.ordered != open.ordered {
		return false
	}
	if k.typ == open.typ {
		return true
	}
	return k.ordered && k.typ|0x20 == 'i' && open.typ|0x20 == 'a' && number == 1
}

// number writes a number the way the list does. After z come aa and bb.
func (k listKind) number(n int) string {
	const letters = 26
	switch k.typ {
	case 'a', 'A':
		if n >= 1 && n <= letters*8 {
			return strings.Repeat(string(rune(k.typ)+rune((n-1)%letters)), (n-1)/letters+1)
		}
	case 'i':
		return strings.ToLower(roman(n))
	case 'I':
		return roman(n)
	}
	return strconv.Itoa(n)
}

// isBullet tells of one character that is no number: "o" in Courier New is one
// of Word's, and letters of Latin-1 are some of Wingdings in another font.
func isBullet(label string) bool {
	r, n := utf8.DecodeRuneInString(label)
	switch {
	case n != len(label):
		return false
	case r < utf8.RuneSelf:
		return label == "o" || !isDigit(label[0]) && !isLetter(label[0])
	}
	return r <= unicode.MaxLatin1 || !unicode.IsNumber(r) && !unicode.IsLetter(r)
}

// classify tells from a label what kind of list an item is of: "1.", "a)",
// "(iv)", or a bullet. ok is false for labels that HTML lists cannot show, such
// as "1.2".
func classify(label string) (kind listKind, number int, ok bool) {
	body := strings.TrimSpace(strings.TrimRight(strings.TrimLeft(label, "("), ".):"))
	if body == "" || isBullet(label) {
		return listKind{}, 0, true
	}
	if n, err := strconv.Atoi(body); err == nil && n >= 0 && len(body) <= 9 {
		return listKind{ordered: true, typ: '1'}, n, true
	}
	if len(body) == len(label) { // letters without "." are words
		return listKind{}, 0, false
	}
	if n := romanValue(body); n > 0 && (len(body) > 1 || body == "i" || body == "I" || body == "v" || body == "V" || body == "x" || body == "X") {
		return listKind{ordered: true, typ: 'I' | body[0]&0x20}, n, true
	}
	if len(body) == 1 && isLetter(body[0]) {
		return listKind{ordered: true, typ: 'A' | body[0]&0x20}, int(body[0]|0x20-'a') + 1, true
	}
	return listKind{}, 0, false
}

var romans = []struct {
	value int
	sign  string
}{
	{1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"},
	{50, "L"}, {40, "XL"}, {10, "X"}, {9, "IX"}, {5, "V"}, {4, "IV"}, {1, "I"},
}

// roman writes n, 1 to 3999, as a Roman numeral.
func roman(n int) string {
	if n < 1 || n > 3999 {
		return strconv.Itoa(n)
	}
	var s strings.Builder
	for _, r := range romans {
		for n >= r.value {
			n -= r.value
			s.WriteString(r.sign)
		}
	}
	return s.String()
}

// romanValue returns the value of a Roman numeral in one case, 0 for anything else.
func romanValue(s string) int {
	if len(s) > 15 || s != strings.ToUpper(s) && s != strings.ToLower(s) {
		return 0
	}
	up := strings.ToUpper(s)
	rest, n := up, 0
	for _, r := range romans {
		for strings.HasPrefix(rest, r.sign) {
			rest = rest[len(r.sign):]
			n += r.value
		}
	}
	if rest != "" || roman(n) != up {
		return 0
	}
	return n
}
