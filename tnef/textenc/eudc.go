package textenc

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
)

// userRange is a range of double-byte codes that a code page leaves to its
// users, and the private characters that Windows gives them in order.
type userRange struct {
	firstLead, lastLead byte
	trails              []span
	base                rune
}

// span is a range of trail bytes.
type span struct{ first, last byte }

// userDefined lists the user-defined ranges by code page (the mappings of
// Windows' best-fit tables).
var userDefined = map[int][]userRange{
	932: {{0xF0, 0xF9, []span{{0x40, 0x7E}, {0x80, 0xFC}}, 0xE000}},
	936: {
		{0xAA, 0xAF, []span{{0xA1, 0xFE}}, 0xE000},
		{0xF8, 0xFE, []span{{0xA1, 0xFE}}, 0xE234},
		{0xA1, 0xA7, []span{{0x40, 0x7E}, {0x80, 0xA0}}, 0xE4C6},
	},
	949: {{0xC9, 0xC9, []span{{0xA1, 0xFE}}, 0xE000}, {0xFE, 0xFE, []span{{0xA1, 0xFE}}, 0xE05E}},
	950: {
		{0xFA, 0xFE, []span{{0x40, 0x7E}, {0xA1, 0xFE}}, 0xE000},
		{0x8E, 0xA0, []span{{0x40, 0x7E}, {0xA1, 0xFE}}, 0xE311},
		{0x81, 0x8D, []span{{0x40, 0x7E}, {0xA1, 0xFE}}, 0xEEB8},
	},
}

// char returns the private character of a code, 0 when it is not in the range.
func (u userRange) char(lead, trail byte) rune {
	if lead < u.firstLead || lead > u.lastLead {
		return 0
	}
	index, width := -1, 0
	for _, s := range u.trails {
		if trail >= s.first && trail <= s.last {
			index = width + int(trail-s.first)
		}
		width += int(s.last-s.first) + 1
	}
	if index < 0 {
		return 0
	}
	return u.base + rune(lead-u.firstLead)*rune(width) + rune(index)
}

// decodeDouble decodes a double-byte page. Codes that the table does not have
// are looked for in the user-defined ranges.
func decodeDouble(codepage int, e encoding.Encoding, b []byte) string {
	s := decodeEncoding(e, b)
	if codepage == 950 {
		// Windows' one difference from the Encoding Standard's Big5 (0xF9FE).
		s = strings.ReplaceAll(s, "\uFFED", "\u2593")
	}
	ranges := userDefined[codepage]
	if len(ranges) == 0 || !strings.ContainsRune(s, utf8.RuneError) {
		return s
	}
	var out strings.Builder
	known := e.NewDecoder()
	var char [utf8.UTFMax * 2]byte
	start := 0 // of what the table decodes
	flush := func(end int) {
		if end > start {
			out.WriteString(decodeEncoding(e, b[start:end]))
		}
	}
	for i := 0; i < len(b); i++ {
		if !IsLeadByte(codepage, b[i]) || i+1 == len(b) {
			continue
		}
		if c := userChar(ranges, b[i], b[i+1]); c != 0 {
			known.Reset()
			n, _, _ := known.Transform(char[:], b[i:i+2], true)
			if r, _ := utf8.DecodeRune(char[:n]); r == utf8.RuneError {
				flush(i)
				out.WriteRune(c)
				start = i + 2
			}
		}
		i++
	}
	flush(len(b))
	return out.String()
}

func userChar(ranges []userRange, lead, trail byte) rune {
	for _, u := range ranges {
		if c := u.char(lead, trail); c != 0 {
			return c
		}
	}
	return 0
}
