package calendar

import (
	"fmt"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
)

// writer writes the content lines of iCalendar.
type writer struct{ contentline.Writer }

type param = contentline.Param

func with(name, value string) param { return param{Name: name, Value: value} }

// int writes a line with an INTEGER value.
func (w *writer) int(name string, v int64) { w.Raw(name, fmt.Sprint(v)) }

// bool writes a line with a BOOLEAN value.
func (w *writer) bool(name string, v bool) {
	s := "FALSE"
	if v {
		s = "TRUE"
	}
	w.Raw(name, s)
}

// utc writes a line with a DATE-TIME value in form 2, UTC (RFC 5545 3.3.5); none for the zero time.
func (w *writer) utc(name string, t time.Time) {
	if !t.IsZero() {
		w.Raw(name, formatUTC(t))
	}
}

const (
	layoutDate  = "20060102"
	layoutLocal = "20060102T150405"
	layoutUTC   = "20060102T150405Z"
)

func formatUTC(t time.Time) string { return t.UTC().Format(layoutUTC) }
