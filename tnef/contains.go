package tnef

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// scanWindow is looked through for one octet after the other while it is in the first-level cache.
const scanWindow = 16 << 10

// Contains tells whether a message could hold TNEF: false means that it surely holds none that [ConvertMessage] would find. It is
// a scan for the media types and file names by octets that base64 does not have.
func Contains(msg []byte) bool {
	if i, plain := textHeader(msg); plain {
		return scan(msg[:i])
	}
	return scan(msg)
}

// textHeader tells whether a message is text by its Content-Type, and nothing else can be in it than its header, which ends at i, says.
func textHeader(msg []byte) (i int, plain bool) {
	i, _ = rawmime.HeaderEnd(msg)
	f, ok := rawmime.Find(msg[:i], "Content-Type")
	const text = "text/"
	v := f.Value
	for len(v) > 0 && isWhite(v[0]) {
		v = v[1:]
	}
	return i, !ok || len(v) > len(text) && foldEqual(v[:len(text)], text)
}

// scan looks through a window for one octet after the other, which is fastest where they are rare, as in base64. Where one turned out
// to be frequent, as in text, it looks for all pairs at once, and tries the other way again some windows later.
func scan(msg []byte) bool {
	dense := 0
	for start := 0; start < len(msg); start += scanWindow {
		end := min(len(msg), start+scanWindow)
		if dense > 0 {
			dense--
			if scanPairs(msg, start, end) {
				return true
			}
			continue
		}
		for i := range marks {
			found, frequent := marks[i].in(msg, start, end)
			if found || frequent && scanPairs(msg, start, end) {
				return true
			}
			if frequent {
				dense = 16
				break
			}
		}
	}
	return false
}

// One octet, eight times over; and the high bits.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scanPairs looks for the octet of every mark together with the one behind it, at eight places at a time.
func scanPairs(msg []byte, start, end int) bool {
	i := start
	for b := msg[start:]; len(b) >= 17 && i < end; b = b[16:] {
		le := binary.LittleEndian
		if pairs(le.Uint64(b[:8]), le.Uint64(b[1:9]))|pairs(le.Uint64(b[8:16]), le.Uint64(b[9:17])) != 0 && anyMark(msg, i, i+16) {
			return true
		}
		i += 16
	}
	return anyMark(msg, i, end)
}

// pairs sets the high bit of every octet of x that is one of the marks' with the right one in y, which holds what follows each: XOR makes
// what is equal zero, and (z-1)&^z has the high bit of an octet set if that is zero (and, rarely, if it follows one: the closer look decides).
func pairs(x, y uint64) uint64 {
	y |= 0x20 * ones
	yd := y ^ 'd'*ones
	a := (x ^ '-'*ones) | (y ^ 't'*ones)
	b := (x ^ '.'*ones) | yd
	c := (x ^ '%'*ones) | (y ^ '2'*ones)
	d := (x ^ '?'*ones) | yd
	return ((a-ones)&^a | (b-ones)&^b | (c-ones)&^c | (d-ones)&^d) & highs
}

// anyMark looks at every place from i up to end.
func anyMark(msg []byte, i, end int) bool {
	for ; i < end; i++ {
		for k := range marks {
			if msg[i] == marks[k].octet && marks[k].at(msg, i) {
				return true
			}
		}
	}
	return false
}

// mark is text that has octet at some place in it: before and after are what stands around it, in lower case.
type mark struct {
	octet         byte
	before, after string
	exact         bool // case matters: base64
}

var marks = [...]mark{
	{octet: '-', before: "ms", after: "tnef"},              // application/ms-tnef, application/vnd.ms-tnef
	{octet: '.', after: "dat"},                             // winmail.dat, win.dat, also where RFC 2231 3 divides the name
	{octet: '%', after: "2edat"},                           // RFC 2231 4
	{octet: '?', before: "?b", after: "d2lu", exact: true}, // RFC 2047: =?utf-8?B?d2lubWFpbC5kYXQ=?=
}

// in looks for the mark whose octet is in msg[start:end]. It gives up when the octet is too frequent for that.
func (m *mark) in(msg []byte, start, end int) (found, frequent bool) {
	hits := 0
	for i := start; i < end; i++ {
		n := bytes.IndexByte(msg[i:end], m.octet)
		if n < 0 {
			return false, false
		}
		i += n
		if i+1 < len(msg) && msg[i+1]|0x20 == m.after[0] && m.at(msg, i) {
			return true, false
		}
		if hits++; hits > scanWindow/256 {
			return false, true
		}
	}
	return false, false
}

// at compares what stands around the octet at i.
func (m *mark) at(msg []byte, i int) bool {
	before, after := i-len(m.before), i+1+len(m.after)
	if before < 0 || after > len(msg) {
		return false
	}
	if m.exact && !bytes.HasPrefix(msg[i+1:], []byte(m.after)) {
		return false
	}
	return foldEqual(msg[before:i], m.before) && (m.exact || foldEqual(msg[i+1:after], m.after))
}

// foldEqual compares with lower-case US-ASCII.
func foldEqual(b []byte, s string) bool {
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// isTNEFType tells whether a media type says TNEF.
func isTNEFType(mediaType string) bool {
	return mediaType == "application/ms-tnef" || mediaType == "application/vnd.ms-tnef"
}

// isTNEFName tells whether a file name is one that Outlook and Exchange give to TNEF.
func isTNEFName(name string) bool {
	return strings.EqualFold(name, "winmail.dat") || strings.EqualFold(name, "win.dat")
}
