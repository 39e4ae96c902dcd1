package dialog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A text is what a line sends or expects, with its braces read. It is written piece by piece: a dialog may send gigabytes.
type text []piece

// A piece is literal text, a variable, a body, or a repetition, by the field that is set.
type piece struct {
	literal  string
	variable string
	body     *count
	times    *count
	repeated text
}

// A count is a number, or the size limit of the server and a number.
type count struct {
	ofSize bool
	n      int64
}

func (c count) value(vars map[string]string) (int64, error) {
	if !c.ofSize {
		return c.n, nil
	}
	size, err := strconv.ParseInt(vars["size"], 10, 64)
	if err != nil || size <= 0 {
		return 0, errNoSize
	}
	return size + c.n, nil
}

var (
	errNoSize = errors.New("the server offers no SIZE with a limit")
	errBrace  = errors.New("a brace is not closed")
)

// maxCount bounds repetitions and bodies, so that a slip of the finger does not send for days.
const maxCount = 1 << 34

func parseCount(s string) (c count, err error) {
	s = strings.TrimSpace(s)
	number, ofSize := strings.CutPrefix(s, "size")
	if ofSize && number == "" {
		return count{ofSize: true}, nil
	}
	c = count{ofSize: ofSize}
	if ofSize != (number != "" && (number[0] == '+' || number[0] == '-')) {
		return c, fmt.Errorf("%q is neither a number nor size with one added", s)
	}
	if c.n, err = strconv.ParseInt(number, 10, 64); err != nil || c.n > maxCount || c.n < -maxCount {
		return c, fmt.Errorf("%q is neither a number nor size with one added", s)
	}
	return c, nil
}

// parseText reads s. With escapes, backslashes count.
func parseText(s string, escapes bool) (text, error) {
	t, rest, err := parsePieces(s, escapes, false)
	if err == nil && rest != "" {
		err = errBrace
	}
	return t, err
}

// parsePieces reads up to the end, or inside braces up to the closing one, which it takes off.
func parsePieces(s string, escapes, inside bool) (t text, rest string, err error) {
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			t = append(t, piece{literal: string(literal)})
			literal = nil
		}
	}
	for s != "" {
		switch {
		case strings.HasPrefix(s, "{{"):
			literal, s = append(literal, '{'), s[2:]
		case s[0] == '{':
			flush()
			var p piece
			if p, s, err = parseBrace(s[1:], escapes); err != nil {
				return nil, "", err
			}
			t = append(t, p)
		case s[0] == '}' && inside:
			flush()
			return t, s[1:], nil
		case s[0] == '\\' && escapes:
			var c byte
			if c, s, err = unescape(s); err != nil {
				return nil, "", err
			}
			literal = append(literal, c)
		default:
			literal, s = append(literal, s[0]), s[1:]
		}
	}
	flush()
	if inside {
		return nil, "", errBrace
	}
	return t, "", nil
}

// parseBrace reads what follows an opening brace.
func parseBrace(s string, escapes bool) (p piece, rest string, err error) {
	end := strings.IndexAny(s, "*}")
	if end < 0 {
		return p, "", errBrace
	}
	word := s[:end]
	if s[end] == '*' {
		c, err := parseCount(word)
		if err != nil {
			return p, "", err
		}
		p.times = &c
		p.repeated, rest, err = parsePieces(s[end+1:], escapes, true)
		return p, rest, err
	}
	rest = s[end+1:]
	if n, ok := strings.CutPrefix(word, "body "); ok {
		c, err := parseCount(n)
		p.body = &c
		return p, rest, err
	}
	if strings.HasPrefix(word, "size") && word != "size" {
		c, err := parseCount(word)
		p.variable = "size"
		p.body, p.times, p.repeated = nil, &c, nil
		return p, rest, err
	}
	if word == "" || strings.ContainsAny(word, " {\\") {
		return p, "", fmt.Errorf("{%s} is not known", word)
	}
	p.variable = word
	return p, rest, nil
}

var escapeLetters = map[byte]byte{'r': '\r', 'n': '\n', 't': '\t', '0': 0, '\\': '\\'}

// unescape reads the escape that s begins with.
func unescape(s string) (c byte, rest string, err error) {
	if len(s) >= 4 && s[1] == 'x' {
		n, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			return 0, "", fmt.Errorf(`\x%s is not an octet`, s[2:4])
		}
		return byte(n), s[4:], nil
	}
	if len(s) >= 2 {
		if c, ok := escapeLetters[s[1]]; ok {
			return c, s[2:], nil
		}
	}
	return 0, "", fmt.Errorf(`%.2q is not one of \r \n \t \0 \\ \xHH`, s)
}

// write writes t with the variables put in.
func (t text) write(w io.Writer, vars map[string]string, number int64) error {
	for _, p := range t {
		if err := p.write(w, vars, number); err != nil {
			return err
		}
	}
	return nil
}

func (p piece) write(w io.Writer, vars map[string]string, number int64) (err error) {
	switch {
	case p.variable == "size" && p.times != nil:
		n, err := p.times.value(vars)
		if err == nil {
			_, err = io.WriteString(w, strconv.FormatInt(n, 10))
		}
		return err
	case p.times != nil:
		n, err := p.times.value(vars)
		if err == nil && len(p.repeated) == 1 && p.repeated[0].literal != "" {
			return writeRepeated(w, p.repeated[0].literal, n)
		}
		for i := int64(1); err == nil && i <= n; i++ {
			err = p.repeated.write(w, vars, i)
		}
		return err
	case p.body != nil:
		n, err := p.body.value(vars)
		if err == nil {
			err = writeBody(w, n)
		}
		return err
	case p.variable == "#":
		_, err = io.WriteString(w, strconv.FormatInt(number, 10))
	case p.variable != "":
		value, ok := vars[p.variable]
		if !ok && p.variable == "size" {
			return errNoSize
		}
		if !ok {
			return fmt.Errorf("{%s} has no value", p.variable)
		}
		_, err = io.WriteString(w, value)
	default:
		_, err = io.WriteString(w, p.literal)
	}
	return err
}

// writeRepeated writes s n times, in blocks.
func writeRepeated(w io.Writer, s string, n int64) error {
	block := strings.Repeat(s, int(min(max(n, 0), int64(1+(32<<10)/len(s)))))
	for size := int64(len(block) / len(s)); n > 0; n -= size {
		if n < size {
			block = block[:n*int64(len(s))]
		}
		if _, err := io.WriteString(w, block); err != nil {
			return err
		}
	}
	return nil
}

const bodyLine = "the quick brown fox jumps over the lazy dog, and so say we all\r\n"

// writeBody writes n octets of lines; the last one is as long as it must be.
func writeBody(w io.Writer, n int64) error {
	for ; n >= 2*int64(len(bodyLine)); n -= int64(len(bodyLine)) {
		if _, err := io.WriteString(w, bodyLine); err != nil {
			return err
		}
	}
	if n < 2 {
		_, err := io.WriteString(w, "x"[:max(n, 0)])
		return err
	}
	_, err := io.WriteString(w, strings.Repeat("x", int(n-2))+"\r\n")
	return err
}

// string is t as one string, for expectations.
func (t text) string(vars map[string]string) (string, error) {
	var b bytes.Buffer
	err := t.write(&b, vars, 0)
	return b.String(), err
}
