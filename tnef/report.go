package tnef

import (
	"fmt"
	"strings"
)

// Report tells what a conversion found and did.
type Report struct {
	Found     int // TNEF parts
	Converted int // of them, turned into MIME
	Failed    int // of them, left as they were because they can't be read, or can't be converted without losing something
	// Classes are the message classes of the converted streams, without those of attached messages.
	Classes  []string
	Warnings []string
}

// HeaderValue sums the conversion up for a header field: "converted" or "failed", and parameters. version names the
// converting program; it is left out when empty. The result is US-ASCII and one line.
func (r Report) HeaderValue(version string) string {
	var b strings.Builder
	if r.Converted > 0 {
		b.WriteString("converted")
	} else {
		b.WriteString("failed")
	}
	if version = headerToken(version); version != "" {
		b.WriteString("; version=" + version)
	}
	for i, c := range r.Classes {
		if i == 3 {
			break
		}
		if c = headerToken(c); c != "" {
			b.WriteString("; class=" + c)
		}
	}
	if r.Converted > 0 && r.Failed > 0 {
		fmt.Fprintf(&b, "; failed=%d", r.Failed)
	}
	if n := len(r.Warnings); n > 0 {
		fmt.Fprintf(&b, "; warnings=%d", n)
	}
	return b.String()
}

// headerToken keeps what may stand in a parameter without quotes, and at most 60 characters of it.
func headerToken(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>@,;:\"[]?=`, r) {
			return r
		}
		return '_'
	}, strings.TrimSpace(s))
	return s[:min(len(s), 60)]
}

func (r *Report) warn(format string, args ...any) {
	if len(r.Warnings) < maxWarnings {
		r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
	}
}

// add puts the report of an attached message in.
func (r *Report) add(o Report) {
	for _, w := range o.Warnings {
		r.warn("attached message: %s", w)
	}
}
