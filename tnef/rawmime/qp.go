package rawmime

import "bytes"

// DecodeQP appends the octets that src encodes as quoted-printable (RFC 2045 6.7) to dst. White space at the end of lines is dropped, as it
// must have been added on the way; malformed escapes stay as they are. clean is false when there were any.
func DecodeQP(dst, src []byte) (out []byte, clean bool) {
	clean = true
	for len(src) > 0 {
		line, ending, rest := cutLine(src)
		src = rest
		line = bytes.TrimRight(line, " \t")
		soft := len(line) > 0 && line[len(line)-1] == '='
		if soft {
			line = line[:len(line)-1]
		}
		for {
			i := bytes.IndexByte(line, '=')
			if i < 0 {
				dst = append(dst, line...)
				break
			}
			dst = append(dst, line[:i]...)
			if i+2 < len(line) {
				if h, l := hexVal(line[i+1]), hexVal(line[i+2]); h >= 0 && l >= 0 {
					dst = append(dst, byte(h<<4|l))
					line = line[i+3:]
					continue
				}
			}
			clean = false
			dst = append(dst, '=')
			line = line[i+1:]
		}
		if !soft {
			dst = append(dst, ending...)
		}
	}
	return dst, clean
}

// cutLine takes the first line and its ending (CRLF or LF) from b.
func cutLine(b []byte) (line, ending, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil, nil
	}
	j := i
	if j > 0 && b[j-1] == '\r' {
		j--
	}
	return b[:j], b[j : i+1], b[i+1:]
}

const hexDigits = "0123456789ABCDEF"

// AppendQP appends text, whose lines end with CRLF or LF, as quoted-printable to dst: lines of at most 76 characters that end with CRLF.
// A "--" at the beginning of a line is encoded, so that the result never holds a delimiter line, and so are "From " and a lone
// period, which old programs change. Unless text ends with a line ending, the result has none either.
func AppendQP(dst, text []byte) []byte {
	var e QPEncoder
	return e.Append(dst, text, true)
}

// QPEncoder encodes text that comes in pieces, as AppendQP does. The zero value is ready.
type QPEncoder struct {
	col int
}

// Cut returns how much of text, at most max octets, can be given to Append as a piece: it ends behind a line ending, between two
// letters, or at least between two octets that need nothing known of what follows. Where there are none, as in a long row of blanks or
// dashes, a piece of 1 KiB or more ends anywhere, and its last octet may be encoded though it need not be.
func (*QPEncoder) Cut(text []byte, max int) int {
	const anywhere = 1 << 10
	if len(text) <= max {
		return len(text)
	}
	for n := max; n > max/2; n-- {
		if text[n-1] == '\n' || isLower(text[n-1]) && isLower(text[n]) {
			return n
		}
	}
	for n := max; n > 1; n-- {
		if text[n-1] == '\n' || isInner(text[n-1]) && isInner(text[n]) {
			return n
		}
	}
	if max < anywhere {
		return len(text)
	}
	if text[max-1] == '\r' {
		max--
	}
	return max
}

// isInner tells of octets that mean the same wherever they stand in a line.
func isInner(c byte) bool { return c > ' ' && c != '-' && c != '.' && c != 'F' }

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

// Append encodes a piece, which is the last one if final is set.
func (e *QPEncoder) Append(dst, text []byte, final bool) []byte {
	col := e.col
	for i := 0; i < len(text); i++ {
		if col > 0 {
			n := plainRun(text[i:], 75-col)
			dst = append(dst, text[i:i+n]...)
			col += n
			if i += n; i == len(text) {
				break
			}
		}
		c := text[i]
		if c == '\n' || c == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			if c == '\r' {
				i++
			}
			dst = append(dst, '\r', '\n')
			col = 0
			continue
		}
		literal := c >= '!' && c <= '~' && c != '='
		switch {
		case isSpace(c):
			literal = i+1 < len(text) && text[i+1] != '\r' && text[i+1] != '\n'
		case col == 0 && (c == '-' || c == '.' || c == 'F'):
			cut := i+1 == len(text) && !final // what follows may make it one of these
			literal = !bytes.HasPrefix(text[i:], dashes) && !bytes.HasPrefix(text[i:], fromSpace) && c != '.' && !cut
		}
		width := 1
		if !literal {
			width = 3
		}
		// The 76th character is needed for the soft break unless the line ends here.
		if col+width > 75 && !(col+width <= 76 && lineEndsAt(text, i+1, final)) {
			dst = append(dst, '=', '\r', '\n')
			col = 0
			if literal && (c == '-' || c == '.' || c == 'F') {
				literal, width = false, 3
			}
		}
		if literal {
			dst = append(dst, c)
		} else {
			dst = append(dst, '=', hexDigits[c>>4], hexDigits[c&15])
		}
		col += width
	}
	e.col = col
	return dst
}

var fromSpace = []byte("From ")

// plainRun counts octets that stand for themselves anywhere in a line, up to limit: spaces too if text follows.
func plainRun(text []byte, limit int) int {
	n := 0
	for n < limit && n < len(text) && (qpPlain[text[n]] || text[n] == ' ' && n+1 < len(text) && qpPlain[text[n+1]]) {
		n++
	}
	return n
}

// qpPlain: RFC 2045 6.7, rule 2.
var qpPlain = func() (t [256]bool) {
	for c := '!'; c <= '~'; c++ {
		t[c] = c != '='
	}
	return t
}()

// lineEndsAt tells whether a line ends at i: with a line ending, or with the whole text.
func lineEndsAt(text []byte, i int, final bool) bool {
	if i >= len(text) {
		return final
	}
	return text[i] == '\n' || text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n'
}
