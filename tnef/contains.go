package tnef

import (
	"bytes"
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

func scan(msg []byte) bool {
	for start := 0; start < len(msg); start += scanWindow {
		end := min(len(msg), start+scanWindow)
		for i := range marks {
			if marks[i].in(msg, start, end) {
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

// in looks for the mark whose octet is in msg[start:end].
func (m *mark) in(msg []byte, start, end int) bool {
	for i := start; i < end; i++ {
		n := bytes.IndexByte(msg[i:end], m.octet)
		if n < 0 {
			return false
		}
		i += n
		if i+1 < len(msg) && msg[i+1]|0x20 == m.after[0] && m.at(msg, i) {
			return true
		}
		// Where the octet is frequent, as in lines of dashes, calls cost more than looking.
		for i+1 < end && msg[i+1] == m.octet {
			i++
			if i+1 < len(msg) && msg[i+1]|0x20 == m.after[0] && m.at(msg, i) {
				return true
			}
		}
	}
	return false
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
