package rtf

import "bytes"

// tokenKind is the kind of a token.
type tokenKind int

const (
	tokEOF    tokenKind = iota
	tokOpen             // {
	tokClose            // }
	tokWord             // \word or \word123
	tokSymbol           // \ and one character that is no letter; not \'
	tokHex              // \'hh
	tokText             // bytes as they stand; never CR, LF, NUL
	tokBinary           // \binN and its N bytes
)

// token is one piece of RTF. Its slices point into the source.
type token struct {
	kind     tokenKind
	param    int // tokWord: the number, saturated to 32 bits
	hasParam bool
	char     byte   // tokSymbol: the character; tokHex: the value
	text     []byte // tokText, tokBinary: the bytes; tokWord: the letters
	more     bool   // tokBinary: goes on what the token before began
}

// lexer splits RTF into tokens. Where z is set, src is a window on what comes
// out of it, and tokens are good until the next call of next.
type lexer struct {
	src    []byte
	pos    int
	z      *inflater
	binary int // bytes of \bin that are still to come
}

const (
	// windowSize is how much of a compressed document is in memory at a time.
	windowSize = 64 << 10
	// lookahead is how much of it the lexer sees beyond pos, at least; but for
	// the end of the document.
	lookahead = 1 << 10
	// maxWord is how many letters, and how many digits, a control word may
	// have. The RTF specification ("Control Word") allows 32 letters.
	maxWord = 250
)

// newLexer reads plain RTF, or what z decompresses.
func newLexer(src []byte, z *inflater) lexer {
	if z == nil {
		return lexer{src: src}
	}
	l := lexer{src: newWindow(min(windowSize, z.rest())), pos: dictSize, z: z}
	l.refill()
	return l
}

// refill gets more of a compressed document, where less than lookahead is left.
func (l *lexer) refill() { l.refillFor(lookahead) }

// refillFor gets as much as the window takes, where less than n bytes are left
// of it, keeping what the lexer and the inflater still need.
func (l *lexer) refillFor(n int) {
	for len(l.src)-l.pos < n && l.z != nil && !l.z.done() {
		keep := min(l.pos, len(l.src)-dictSize)
		kept := copy(l.src, l.src[keep:])
		l.src, l.pos = l.z.inflate(l.src[:kept]), l.pos-keep
		n = min(n, lookahead)
	}
}

// rest is what can be seen of the document from pos on.
func (l *lexer) rest() []byte { return l.src[l.pos:] }

// special are the bytes that end a run of text.
var special = [256]bool{'\\': true, '{': true, '}': true, '\r': true, '\n': true, 0: true}

// next returns the next token.
func (l *lexer) next() token {
	if l.z != nil && len(l.src)-l.pos < lookahead {
		l.refill()
	}
	if l.binary > 0 {
		t := l.takeBinary()
		t.more = true
		return t
	}
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		switch c {
		case '{':
			l.pos++
			return token{kind: tokOpen}
		case '}':
			l.pos++
			return token{kind: tokClose}
		case '\\':
			l.pos++
			return l.control()
		case '\r', '\n', 0: // not text: lines of RTF source, and padding
			l.pos++
			if l.z != nil && len(l.src)-l.pos < lookahead {
				l.refill()
			}
		default:
			return l.text()
		}
	}
	return token{kind: tokEOF}
}

// text takes bytes up to a special one. In a window, text that is longer than
// it is taken in pieces: neither a character reference is split, nor does a
// piece reach the end, so that the reader can always look at what follows.
func (l *lexer) text() token {
	n := plainLen(l.rest())
	if n == len(l.rest()) && l.z != nil && !l.z.done() {
		l.refillFor(len(l.src))
		if n = plainLen(l.rest()); n == len(l.rest()) && !l.z.done() {
			n--
			if i := bytes.LastIndexByte(l.rest()[n-longestReference:n], '&'); i >= 0 {
				n += i - longestReference
			}
		}
	}
	t := token{kind: tokText, text: l.rest()[:n]}
	l.pos += n
	return t
}

// plainLen is how many bytes there are before a special one.
func plainLen(b []byte) int {
	for i, c := range b {
		if special[c] {
			return i
		}
	}
	return len(b)
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// control reads what follows a backslash.
func (l *lexer) control() token {
	if l.pos >= len(l.src) {
		return token{kind: tokEOF}
	}
	c := l.src[l.pos]
	switch {
	case isLetter(c):
		return l.word()
	case c == '\'':
		return l.hex()
	}
	l.pos++
	if c == '\r' && l.pos < len(l.src) && l.src[l.pos] == '\n' {
		l.pos++ // a backslash before a line end is \par: count CRLF once
	}
	return token{kind: tokSymbol, char: c}
}

// hex reads \'hh. Fewer than two digits (which some writers leave behind when
// they cut a text) give what is there.
func (l *lexer) hex() token {
	l.pos++
	v := 0
	digits := 0
	for digits < 2 && l.pos < len(l.src) {
		d := hexValue(l.src[l.pos])
		if d < 0 {
			break
		}
		v = v<<4 | d
		digits++
		l.pos++
	}
	if digits == 0 {
		return token{kind: tokText, text: nil}
	}
	return token{kind: tokHex, char: byte(v)}
}

func hexValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

const maxParam = 1<<31 - 1

// word reads a control word, its number and the space that ends it.
func (l *lexer) word() token {
	t := token{kind: tokWord}
	src, i := l.src, l.pos
	start, end := i, min(len(src), i+maxWord)
	for i < end && isLetter(src[i]) {
		i++
	}
	t.text = src[start:i]
	negative := false
	if i+1 < len(src) && src[i] == '-' && isDigit(src[i+1]) {
		negative = true
		i++
	}
	for end = min(len(src), i+maxWord); i < end && isDigit(src[i]); i++ {
		t.hasParam = true
		if t.param <= maxParam/10-1 {
			t.param = t.param*10 + int(src[i]-'0')
		} else {
			t.param = maxParam
		}
	}
	if negative {
		t.param = -t.param
	}
	if i < len(src) && src[i] == ' ' {
		i++
	}
	l.pos = i
	if t.hasParam && string(t.text) == "bin" {
		l.binary = max(0, t.param)
		return l.takeBinary()
	}
	return t
}

// takeBinary takes what a window holds of the data of \bin.
func (l *lexer) takeBinary() token {
	n := min(l.binary, len(l.src)-l.pos)
	t := token{kind: tokBinary, text: l.src[l.pos : l.pos+n]}
	l.pos += n
	l.binary -= n
	if l.pos >= len(l.src) && (l.z == nil || l.z.done()) {
		l.binary = 0
	}
	return t
}
