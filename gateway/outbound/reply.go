package outbound

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// Limits on a reply: what is kept of it, and what is read of it at all before the peer counts as broken.
const (
	maxReplyKept  = 8 << 10
	maxReplyRead  = 4 << 20
	maxReplyLine  = 2 << 10
	maxReplyText  = 2 << 10 // of the text that is passed on
	minReplyDigit = '2'
	maxReplyDigit = '5'
)

// errProtocol is wrapped by every error about a peer that does not speak SMTP.
var errProtocol = errors.New("not an SMTP reply")

// errEndless is of a reply that goes on after maxReplyRead.
var errEndless = fmt.Errorf("%w: longer than %d octets", errProtocol, maxReplyRead)

// reply is one reply as read: the texts of its lines after code and separator.
type reply struct {
	code    int
	lines   []string
	endless bool // its end was not read: nothing more can be read of this connection
}

func (r reply) positive() bool { return r.code/100 == 2 }

// smtpError is the reply in go-smtp's type, its text made safe and capped.
func (r reply) smtpError() *smtp.SMTPError {
	enhanced, found := smtp.EnhancedCode{r.code / 100, 0, 0}, ""
	if len(r.lines) > 0 {
		if code, prefix, ok := parseEnhanced(r.lines[0]); ok && code[0] == r.code/100 {
			enhanced, found = code, prefix
		}
	}
	lines := make([]string, 0, len(r.lines))
	for _, l := range r.lines {
		if found != "" && strings.HasPrefix(l, found) { // every line repeats it (RFC 2034 4)
			l = strings.TrimLeft(l[len(found):], " ")
		}
		lines = append(lines, l)
	}
	return &smtp.SMTPError{Code: r.code, EnhancedCode: enhanced, Message: safeText(strings.Join(lines, "\n"))}
}

// parseEnhanced takes an enhanced status code (RFC 3463 2) off the start of a text. prefix is the part that it is written in.
func parseEnhanced(text string) (code smtp.EnhancedCode, prefix string, ok bool) {
	word, _, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return code, "", false
	}
	for i, p := range parts {
		if len(p) == 0 || len(p) > 3 {
			return code, "", false
		}
		for _, d := range []byte(p) {
			if d < '0' || d > '9' {
				return code, "", false
			}
			code[i] = code[i]*10 + int(d-'0')
		}
	}
	return code, word, code[0] == 2 || code[0] == 4 || code[0] == 5
}

// safeText makes text from a peer fit for logs, DSNs and replies: no control characters but the "\n" between lines, valid
// UTF-8, at most maxReplyText octets.
func safeText(s string) string {
	if len(s) > maxReplyText {
		s = s[:maxReplyText] + "..."
	}
	clean := func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0:
			return '?'
		}
		return r
	}
	return strings.Map(clean, s)
}

// readReply reads one reply (RFC 5321 4.2). Lines may end in a bare LF. What exceeds the limits is read and dropped. A reply without end is what its lines so far say: all
// lines of a reply have the same code (RFC 5321 4.2.1), and a message that was taken must not be sent again and again because of the text.
func readReply(br *bufio.Reader) (reply, error) {
	var r reply
	kept, read := 0, 0
	for {
		line, n, err := readLine(br, maxReplyRead-read)
		if errors.Is(err, errEndless) && len(r.lines) > 0 {
			r.endless = true
			return r, nil
		}
		if err != nil {
			return reply{}, err
		}
		read += n
		code, last, text, err := parseReplyLine(line)
		if err != nil {
			return reply{}, err
		}
		r.code = code // of the last line, should a peer change its mind
		if kept < maxReplyKept {
			r.lines = append(r.lines, text)
			kept += len(text) + 2
		}
		if last {
			return r, nil
		}
	}
}

// readLine reads a line without its end; only its first maxReplyLine octets are kept. n is what it took from the peer.
func readLine(br *bufio.Reader, limit int) (line string, n int, err error) {
	var kept []byte
	for {
		part, err := br.ReadSlice('\n')
		n += len(part)
		if room := maxReplyLine - len(kept); room > 0 {
			kept = append(kept, part[:min(room, len(part))]...)
		}
		switch {
		case n > limit:
			return "", n, errEndless
		case err == nil:
			return string(bytes.TrimRight(kept, "\r\n")), n, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && n > 0:
			return "", n, io.ErrUnexpectedEOF
		default:
			return "", n, err
		}
	}
}

func parseReplyLine(line string) (code int, last bool, text string, err error) {
	bad := func() (int, bool, string, error) {
		return 0, false, "", fmt.Errorf("%w: %q", errProtocol, line[:min(len(line), 80)])
	}
	if len(line) < 3 || line[0] < minReplyDigit || line[0] > maxReplyDigit {
		return bad()
	}
	for _, d := range []byte(line[:3]) {
		if d < '0' || d > '9' {
			return bad()
		}
		code = code*10 + int(d-'0')
	}
	switch {
	case len(line) == 3:
		return code, true, "", nil
	case line[3] == ' ':
		return code, true, line[4:], nil
	case line[3] == '-':
		return code, false, line[4:], nil
	}
	return bad()
}
