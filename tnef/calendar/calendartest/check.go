// Package calendartest checks iCalendar objects in tests: against the grammar of RFC 5545, and with the parsers of other projects.
package calendartest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Line is an unfolded content line.
type Line struct {
	Name   string
	Params map[string]string // without quotes
	Value  string            // as it stands, escaped
	Path   string            // of components: VCALENDAR/VEVENT
}

var lineForm = regexp.MustCompile(`^([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+=(?:"[^"\x00-\x08\x0a-\x1f]*"|[^";:,\x00-\x08\x0a-\x1f]*))*):(.*)$`)

// Parse unfolds and divides an object strictly; it fails the test on whatever RFC 5545 3.1 does not allow.
func Parse(t testing.TB, data []byte) []Line {
	t.Helper()
	s := string(data)
	if !utf8.ValidString(s) {
		t.Fatalf("not UTF-8: %q", s)
	}
	if !strings.HasSuffix(s, "\r\n") || strings.Contains(strings.ReplaceAll(s, "\r\n", ""), "\n") || strings.Contains(strings.ReplaceAll(s, "\r\n", ""), "\r") {
		t.Fatalf("lines do not all end with CRLF:\n%q", s)
	}
	for _, l := range strings.Split(s, "\r\n") {
		if len(l) > 75 || !utf8.ValidString(l) {
			t.Errorf("line of %d octets, or cut within a character: %q", len(l), l)
		}
	}
	var out []Line
	var path []string
	for _, l := range strings.Split(strings.TrimSuffix(strings.ReplaceAll(s, "\r\n ", ""), "\r\n"), "\r\n") {
		m := lineForm.FindStringSubmatch(l)
		if m == nil {
			t.Fatalf("no content line: %q", l)
		}
		line := Line{Name: m[1], Value: m[3], Params: map[string]string{}, Path: strings.Join(path, "/")}
		for _, p := range splitParams(m[2]) {
			k, v, _ := strings.Cut(p, "=")
			line.Params[k] = strings.Trim(v, `"`)
		}
		switch line.Name {
		case "BEGIN":
			path = append(path, line.Value)
		case "END":
			if len(path) == 0 || path[len(path)-1] != line.Value {
				t.Fatalf("END:%s in %v", line.Value, path)
			}
			path = path[:len(path)-1]
		}
		out = append(out, line)
	}
	if len(path) != 0 {
		t.Fatalf("not ended: %v", path)
	}
	return out
}

// splitParams divides parameters at the semicolons outside quotes.
func splitParams(s string) []string {
	var list []string
	quoted := false
	start := 0
	for i, c := range s {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			if i > start {
				list = append(list, s[start:i])
			}
			start = i + 1
		}
	}
	if start < len(s) {
		list = append(list, s[start:])
	}
	return list
}

// once are the properties that a component has at most one of (RFC 5545 3.6).
var once = []string{
	"UID", "DTSTAMP", "DTSTART", "DTEND", "DUE", "RRULE", "SUMMARY", "LOCATION", "DESCRIPTION", "STATUS", "TRANSP", "CLASS", "PRIORITY", "SEQUENCE",
	"ORGANIZER", "RECURRENCE-ID", "CREATED", "LAST-MODIFIED", "COMPLETED",
}

var (
	dateForm     = regexp.MustCompile(`^\d{8}$`)
	dateTimeForm = regexp.MustCompile(`^\d{8}T\d{6}Z?$`)
)

// Check parses an object and checks what RFC 5545 and RFC 5546 ask of it.
func Check(t testing.TB, data []byte) []Line {
	t.Helper()
	lines := Parse(t, data)
	method, zones := "", map[string]bool{}
	for _, l := range lines {
		switch {
		case l.Name == "METHOD":
			method = l.Value
		case l.Name == "TZID" && l.Path == "VCALENDAR/VTIMEZONE":
			zones[l.Value] = true
		}
	}
	for _, l := range lines {
		if tz, ok := l.Params["TZID"]; ok && !zones[tz] {
			t.Errorf("%s refers to a time zone that is not there: %q", l.Name, tz)
		}
		checkTime(t, l)
	}
	for i, c := range components(lines) {
		checkComponent(t, fmt.Sprintf("component %d", i+1), method, c)
	}
	return lines
}

func checkTime(t testing.TB, l Line) {
	t.Helper()
	switch l.Name {
	case "DTSTART", "DTEND", "DTSTAMP", "RECURRENCE-ID", "EXDATE", "RDATE", "DUE", "CREATED", "LAST-MODIFIED":
		form := dateTimeForm
		if l.Params["VALUE"] == "DATE" {
			form = dateForm
		}
		for _, v := range strings.Split(l.Value, ",") {
			if !form.MatchString(v) {
				t.Errorf("%s: %q is no time of its type", l.Name, v)
			}
			if l.Params["TZID"] != "" && strings.HasSuffix(v, "Z") {
				t.Errorf("%s has a zone and is in UTC: %q", l.Name, v)
			}
		}
	}
}

// components divides the lines of VEVENT and VTODO components.
func components(lines []Line) [][]Line {
	var list [][]Line
	var current []Line
	for _, l := range lines {
		switch {
		case l.Path == "VCALENDAR/VEVENT" || l.Path == "VCALENDAR/VTODO":
			current = append(current, l)
			if l.Name == "END" {
				list = append(list, current)
				current = nil
			}
		}
	}
	return list
}

func checkComponent(t testing.TB, where, method string, c []Line) {
	t.Helper()
	count := map[string]int{}
	value := map[string]Line{}
	for _, l := range c {
		count[l.Name]++
		value[l.Name] = l
	}
	for _, n := range once {
		if count[n] > 1 {
			t.Errorf("%s has %d %s", where, count[n], n)
		}
	}
	for _, n := range []string{"UID", "DTSTAMP"} {
		if count[n] == 0 {
			t.Errorf("%s has no %s", where, n)
		}
	}
	if count["DTSTART"] > 0 && value["DTSTART"].Params["VALUE"] != value["DTEND"].Params["VALUE"] && count["DTEND"] > 0 {
		t.Errorf("%s: DTSTART and DTEND are of different types", where)
	}
	if rule := value["RRULE"].Value; strings.Contains(rule, "UNTIL=") {
		_, until, _ := strings.Cut(rule, "UNTIL=")
		until, _, _ = strings.Cut(until, ";")
		start := value["DTSTART"]
		isDate := start.Params["VALUE"] == "DATE"
		zoned := start.Params["TZID"] != "" || strings.HasSuffix(start.Value, "Z")
		if isDate != dateForm.MatchString(until) || zoned != strings.HasSuffix(until, "Z") {
			t.Errorf("%s: UNTIL %s does not fit DTSTART %v", where, until, start)
		}
	}
	checkMethod(t, where, method, count)
}

// checkMethod checks the tables of RFC 5546 3.2.
func checkMethod(t testing.TB, where, method string, count map[string]int) {
	t.Helper()
	switch method {
	case "PUBLISH":
		if count["ATTENDEE"] > 0 {
			t.Errorf("%s: PUBLISH with attendees", where)
		}
	case "REPLY", "COUNTER":
		if count["ATTENDEE"] != 1 {
			t.Errorf("%s: %s with %d attendees", where, method, count["ATTENDEE"])
		}
	case "REQUEST", "CANCEL":
	default:
		t.Errorf("method %q", method)
	}
}

// Find returns the lines of a name in components of a path.
func Find(lines []Line, path, name string) []Line {
	var list []Line
	for _, l := range lines {
		if l.Path == path && l.Name == name {
			list = append(list, l)
		}
	}
	return list
}

// Value is the value of the first line of a name in VEVENT or VTODO components, "" when there is none.
func Value(lines []Line, name string) string {
	for _, l := range lines {
		if l.Name == name && (l.Path == "VCALENDAR/VEVENT" || l.Path == "VCALENDAR/VTODO") {
			return l.Value
		}
	}
	return ""
}
