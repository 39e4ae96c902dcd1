// Package contentline writes the content lines of iCalendar (RFC 5545 3.1) and vCard (RFC 2426 2.6, RFC 6350 3.2), which share their syntax: folded at 75
// octets, texts escaped, parameters quoted where they must be.
package contentline

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// maxLine is the most octets of a line, without its ending (RFC 5545 3.1).
const maxLine = 75

// Param is a property parameter (RFC 5545 3.2).
type Param struct{ Name, Value string }

// Writer writes content lines (RFC 5545 3.1).
type Writer struct{ bytes.Buffer }

// Raw writes a line whose value needs no escaping, or has it. What no value may hold (RFC 5545 3.1, VALUE-CHAR) is left out.
func (w *Writer) Raw(name, value string, params ...Param) {
	var b strings.Builder
	b.WriteString(name)
	for _, p := range params {
		b.WriteString(";" + p.Name + "=" + paramValue(p.Value))
	}
	b.WriteString(":" + clean(value))
	w.fold(b.String())
}

func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// Text writes a line with a TEXT value; none when it is empty.
func (w *Writer) Text(name, value string, params ...Param) {
	if value != "" {
		w.Raw(name, Escape(value), params...)
	}
}

// Texts writes a line with a list of TEXT values; none when it is empty.
func (w *Writer) Texts(name string, values []string) {
	var list []string
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			list = append(list, Escape(v))
		}
	}
	if len(list) > 0 {
		w.Raw(name, strings.Join(list, ","))
	}
}

// fold writes a line, divided so that no part is longer than maxLine octets and none ends within a character.
func (w *Writer) fold(s string) {
	limit := maxLine
	for len(s) > limit {
		cut := limit
		for cut > 1 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		w.WriteString(s[:cut])
		w.WriteString("\r\n ")
		s = s[cut:]
		limit = maxLine - 1 // the space counts
	}
	w.WriteString(s)
	w.WriteString("\r\n")
}

// Escape writes a TEXT value (RFC 5545 3.3.11). Line ends of all kinds become \n; control characters, which no TEXT may have, go.
func Escape(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/16)
	for i, r := range s {
		switch {
		case r == '\r' && strings.HasPrefix(s[i+1:], "\n"):
		case r == '\n', r == '\r', r == '\u2028', r == '\u2029':
			b.WriteString(`\n`)
		case r == '\\', r == ';', r == ',':
			b.WriteByte('\\')
			b.WriteRune(r)
		case isControl(r):
		default:
			b.WriteRune(r) // octets that are no UTF-8 become U+FFFD here
		}
	}
	return b.String()
}

// paramValue quotes a parameter's value where that is needed. A double quote can't be in one at all (RFC 5545 3.2); the encoding of
// RFC 6868 is unknown to most calendars.
func paramValue(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\r', r == '\n', r == '\t':
			return ' '
		case r < ' ', r == 0x7f:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if strings.ContainsAny(s, ":;,") {
		return `"` + s + `"`
	}
	return s
}

// Begin writes the line that begins a component or a card.
func (w *Writer) Begin(component string) { w.Raw("BEGIN", component) }

// End writes the line that ends it.
func (w *Writer) End(component string) { w.Raw("END", component) }

// OneLine makes a text of one line, without control characters.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' }), " ")
}
