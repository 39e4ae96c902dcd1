// Package reply makes SMTP replies whose text may come from strangers: a filter, a blocklist, a domain's policy record.
package reply

import (
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

// MaxText is how many octets of text a reply has at most: with code and enhanced code it stays within the 512 octets that
// RFC 5321 4.5.3.1.5 allows a reply line.
const MaxText = 400

// New returns a reply. Text is made one line of printable ASCII (RFC 5321 4.2) and cut at MaxText octets. An enhanced code whose
// class differs from that of code is corrected to code's (RFC 3463 2: the classes say the same).
func New(code int, enhanced smtp.EnhancedCode, text string) *smtp.SMTPError {
	enhanced[0] = code / 100
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: Text(text)}
}

// Text makes s fit for a reply, a log line or the unquoted part of a header: printable ASCII, runs of white space made one
// space, at most MaxText octets.
func Text(s string) string {
	s = s[:min(len(s), 4*MaxText)]
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\t', c == '\r', c == '\n':
			return ' '
		case c < ' ' || c >= 0x7f:
			return '?'
		}
		return c
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	return strings.TrimRight(s[:min(len(s), MaxText)], " ")
}

// Parse makes a reply of what another program gave as code and text, where the text may begin with an enhanced code (RFC 2034 4).
// A code that is neither 4yz nor 5yz becomes fallback; without an enhanced code, or with one of another class, it is x.7.1. An
// empty text becomes otherwise.
func Parse(code, fallback int, text, otherwise string) *smtp.SMTPError {
	if code < 400 || code > 599 || code == 421 || code == 521 {
		code = fallback // 421 and 521 would say that the gateway itself goes away (RFC 5321 3.8, RFC 7504)
	}
	enhanced := smtp.EnhancedCode{code / 100, 7, 1}
	first, rest, _ := strings.Cut(strings.TrimLeft(text, " "), " ")
	if given, ok := enhancedCode(first); ok {
		text = rest
		if given[0] == code/100 {
			enhanced = given
		}
	}
	if text = Text(text); text == "" {
		text = otherwise
	}
	return New(code, enhanced, text)
}

// enhancedCode reads class.subject.detail (RFC 3463 2).
func enhancedCode(s string) (code smtp.EnhancedCode, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return code, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 {
			return code, false
		}
		code[i] = int(n)
	}
	return code, code[0] == 2 || code[0] == 4 || code[0] == 5
}
