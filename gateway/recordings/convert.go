package recordings

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLine is the longest line of a recording: a chunk of a message, quoted.
const maxLine = 4 << 20

// Convert writes the text of a recording as a dialog (see gateway/inbound/dialog): a section for each connection, with what the client
// sent, and the codes of the replies that it got. Messages that were not recorded are replaced by others of the same size. What follows an
// AUTH cannot be played again, since passwords are not recorded, and becomes comment.
func Convert(w io.Writer, r io.Reader) error {
	c := converter{sections: map[string]*section{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		c.line(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading a recording: %w", err)
	}
	var out bytes.Buffer
	for _, s := range c.order {
		if !s.expects {
			continue // a section must expect something
		}
		fmt.Fprintf(&out, "== %s\n%s\n", s.name, s.out.String())
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("writing a dialog: %w", err)
	}
	return nil
}

type converter struct {
	sections map[string]*section
	order    []*section
}

// section is one connection.
type section struct {
	name      string
	out       strings.Builder
	expects   bool
	starting  bool // STARTTLS was said
	chunked   bool // the message comes by BDAT
	bodies    bool // the octets of the message are recorded
	lineStart bool // of the octets of DATA that were written
	secret    bool // AUTH was said: the rest is comment
	ended     bool // the server said that it ends the connection
}

// line takes a line of the recording: time, client, mark, text.
func (c *converter) line(line string) {
	at, rest, ok := strings.Cut(line, " ")
	client, rest, ok2 := strings.Cut(rest, " ")
	if strings.HasPrefix(line, "#") || !ok || !ok2 || client == "" || len(rest) < 2 {
		return
	}
	s := c.sections[client]
	if s == nil || s.ended { // the port is used again
		name := fmt.Sprintf("%d %s %s", len(c.order)+1, client, at)
		s = &section{name: name, lineStart: true}
		c.sections[client] = s
		c.order = append(c.order, s)
	}
	mark, text := rest[:2], strings.TrimPrefix(rest[2:], " ")
	switch mark {
	case "S:":
		s.reply(text)
	case "C:":
		s.command(raw(text))
	case "D:":
		s.octets(rawOctets(text))
	case "= ":
		s.message(text)
	}
}

// raw undoes the quoting of lines that would command a terminal.
func raw(text string) string {
	if !strings.HasPrefix(text, `"`) {
		return text
	}
	if s, err := strconv.Unquote(text); err == nil && strconv.Quote(s) == text {
		return s
	}
	return text
}

// rawOctets undoes the quoting of octets of a message: twice where they hold U+FFFD, which counts as unfit for a terminal.
func rawOctets(text string) string {
	once := raw(text)
	if strings.ContainsRune(once, utf8.RuneError) {
		return raw(once)
	}
	return once
}

func (s *section) step(format string, args ...any) {
	if s.secret {
		s.out.WriteString("# ")
	}
	fmt.Fprintf(&s.out, format+"\n", args...)
}

// reply takes a line of a reply: its last one is the step.
func (s *section) reply(text string) {
	if len(text) < 3 || len(text) > 3 && text[3] == '-' || strings.Trim(text[:3], "0123456789") != "" || text[0] < '2' || text[0] > '5' {
		return
	}
	code := text[:3]
	if words := strings.Fields(text[3:]); len(words) > 0 && isEnhanced(words[0]) {
		code += " " + words[0]
	}
	s.step("S: %s", code)
	s.expects = s.expects || !s.secret
	if s.starting && strings.HasPrefix(code, "220") {
		s.step("T")
	}
	s.starting = false
	if strings.HasPrefix(code, "221") || strings.HasPrefix(code, "421") {
		s.step("X")
		s.ended = true
	}
}

// isEnhanced tells an enhanced status code (RFC 3463 2).
func isEnhanced(word string) bool {
	return strings.Count(word, ".") == 2 && strings.Trim(word, "0123456789.") == ""
}

func (s *section) command(text string) {
	verb, arg, _ := strings.Cut(text, " ")
	verb = strings.ToUpper(verb)
	if verb == "AUTH" && !s.secret {
		s.out.WriteString("# passwords are not recorded: from here on it cannot be played\n")
		s.secret = true
	}
	s.starting = verb == "STARTTLS"
	if plain(text) {
		s.step("C: %s", strings.ReplaceAll(text, "{", "{{"))
	} else {
		s.step("C< %s", escape(text+"\r\n"))
	}
	s.bodies = false
	switch size := strings.Fields(arg); verb {
	case "DATA":
		s.chunked = false
	case "BDAT":
		s.chunked = true
		if n := number(size); n > 0 {
			s.step("C< {body %d}", n)
		}
	}
}

// number is the size of a BDAT.
func number(words []string) (n int64) {
	if len(words) > 0 {
		n, _ = strconv.ParseInt(words[0], 10, 64)
	}
	return n
}

// octets takes a run of a message. Chunks by BDAT are replaced by others of their size: where one ends is not in a recording.
func (s *section) octets(data string) {
	if s.chunked || data == "" {
		return
	}
	if !s.bodies {
		s.bodies, s.lineStart = true, true
	}
	for part := range strings.Lines(data) { // transparency (RFC 5321 4.5.2)
		dot := ""
		if s.lineStart && strings.HasPrefix(part, ".") {
			dot = "."
		}
		s.pieces(dot + part)
		s.lineStart = strings.HasSuffix(part, "\n")
	}
}

// maxPiece keeps the steps of a dialog short enough to be read.
const maxPiece = 4 << 10

func (s *section) pieces(octets string) {
	for len(octets) > 0 {
		n := min(len(octets), maxPiece)
		s.step("C< %s", escape(octets[:n]))
		octets = octets[n:]
	}
}

// message takes the end of a message: "message of N octets: EOF", or another error where it did not come to its end.
func (s *section) message(text string) {
	var n int64
	var end string
	if _, err := fmt.Sscanf(text, "message of %d octets: %s", &n, &end); err != nil || s.chunked {
		return
	}
	if !s.bodies && n > 0 {
		s.step("C< {body %d}", n)
	}
	switch {
	case end != "EOF":
		s.step("K")
	case s.bodies && !s.lineStart, !s.bodies && n == 1: // one octet is no line
		s.step(`C< \r\n.\r\n`)
	default:
		s.step("C: .")
	}
	s.bodies = false
}

// plain says whether a text can be written as it is.
func plain(text string) bool {
	return utf8.ValidString(text) && strings.TrimSpace(text) == text && text != "" &&
		!strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// escape writes octets as "C<" reads them.
func escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\\':
			b.WriteString(`\\`)
		case c == '{':
			b.WriteString("{{")
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c == ' ' && (i == 0 || i == len(text)-1):
			b.WriteString(`\x20`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
