package calendar

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// maxLine is the most octets of a line, without its ending (RFC 5545 3.1).
const maxLine = 75

// param is a property parameter (RFC 5545 3.2).
type param struct{ name, value string }

// writer writes content lines (RFC 5545 3.1).
type writer struct{ bytes.Buffer }

// raw writes a line whose value needs no escaping, or has it.
func (w *writer) raw(name, value string, params ...param) {
	var b strings.Builder
	b.WriteString(name)
	for _, p := range params {
		b.WriteString(";" + p.name + "=" + paramValue(p.value))
	}
	b.WriteString(":" + value)
	w.fold(b.String())
}

// text writes a line with a TEXT value; none when it is empty.
func (w *writer) text(name, value string, params ...param) {
	if value != "" {
		w.raw(name, escapeText(value), params...)
	}
}

// texts writes a line with a list of TEXT values; none when it is empty.
func (w *writer) texts(name string, values []string) {
	var list []string
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			list = append(list, escapeText(v))
		}
	}
	if len(list) > 0 {
		w.raw(name, strings.Join(list, ","))
	}
}

func (w *writer) begin(component string) { w.raw("BEGIN", component) }
func (w *writer) end(component string)   { w.raw("END", component) }

// int writes a line with an INTEGER value.
func (w *writer) int(name string, v int64) { w.raw(name, fmt.Sprint(v)) }

// bool writes a line with a BOOLEAN value.
func (w *writer) bool(name string, v bool) {
	s := "FALSE"
	if v {
		s = "TRUE"
	}
	w.raw(name, s)
}

// utc writes a line with a DATE-TIME value in form 2, UTC (RFC 5545 3.3.5); none for the zero time.
func (w *writer) utc(name string, t time.Time) {
	if !t.IsZero() {
		w.raw(name, formatUTC(t))
	}
}

// fold writes a line, divided so that no part is longer than maxLine octets and none ends within a character.
func (w *writer) fold(s string) {
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

// escapeText writes a TEXT value (RFC 5545 3.3.11). Line ends of all kinds become \n; control characters, which no TEXT may have, go.
func escapeText(s string) string {
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
		case r < ' ' && r != '\t', r == 0x7f:
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

const (
	layoutDate  = "20060102"
	layoutLocal = "20060102T150405"
	layoutUTC   = "20060102T150405Z"
)

func formatUTC(t time.Time) string { return t.UTC().Format(layoutUTC) }
