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
}

// lexer splits RTF into tokens.
type lexer struct {
	src []byte
	pos int
}

// special are the bytes that end a run of text.
var special = [256]bool{'\\': true, '{': true, '}': true, '\r': true, '\n': true, 0: true}

// next returns the next token.
func (l *lexer) next() token {
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
		default:
			return l.text()
		}
	}
	return token{kind: tokEOF}
}

func (l *lexer) text() token {
	start := l.pos
	for l.pos < len(l.src) && !special[l.src[l.pos]] {
		l.pos++
	}
	return token{kind: tokText, text: l.src[start:l.pos]}
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
	start := l.pos
	for l.pos < len(l.src) && isLetter(l.src[l.pos]) {
		l.pos++
	}
	t.text = l.src[start:l.pos]
	negative := false
	if l.pos+1 < len(l.src) && l.src[l.pos] == '-' && isDigit(l.src[l.pos+1]) {
		negative = true
		l.pos++
	}
	for l.pos < len(l.src) && isDigit(l.src[l.pos]) {
		t.hasParam = true
		if t.param <= maxParam/10-1 {
			t.param = t.param*10 + int(l.src[l.pos]-'0')
		} else {
			t.param = maxParam
		}
		l.pos++
	}
	if negative {
		t.param = -t.param
	}
	if l.pos < len(l.src) && l.src[l.pos] == ' ' {
		l.pos++
	}
	if t.hasParam && bytes.Equal(t.text, []byte("bin")) {
		return l.binary(t.param)
	}
	return t
}

func (l *lexer) binary(n int) token {
	n = max(0, min(n, len(l.src)-l.pos))
	t := token{kind: tokBinary, text: l.src[l.pos : l.pos+n]}
	l.pos += n
	return t
}
