package tnef

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// Contains tells whether a message could hold TNEF: false means that it surely holds none that [ConvertMessage] would find. It is
// a scan for the media types and file names by octets that base64 does not have; it allocates nothing.
func Contains(msg []byte) bool {
	if !scan(msg) {
		return false
	}
	// A message that is text has no parts: its header says all, but for a file that is uuencoded in plain text.
	i, text, plain := textHeader(msg)
	return !text || scan(msg[:i]) || plain && namesUU(msg[i:])
}

// textHeader tells whether a message is text by its Content-Type, and whether that is text/plain, as it is without Content-Type. The header ends
// at i.
func textHeader(msg []byte) (i int, text, plain bool) {
	i, _ = rawmime.HeaderEnd(msg)
	f, ok := rawmime.Find(msg[:i], "Content-Type")
	v := f.Value
	for len(v) > 0 && isWhite(v[0]) {
		v = v[1:]
	}
	plain = !ok || hasPrefixFold(v, "text/plain")
	return i, plain || hasPrefixFold(v, "text/"), plain
}

func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && foldEqual(b[:len(prefix)], prefix)
}

const (
	// scanWindow is looked through for one octet after the other while it is in the first-level cache.
	scanWindow = 4 << 10
	// maxHits: an octet that is more frequent in a window than this is looked for in another way, which does not depend on it.
	maxHits = 8
	// maxDense is the most windows after which the fast way for base64 is tried again.
	maxDense = 64
)

// scan looks for every mark. '-' and '.' are rare in base64 and frequent in text: a window without them is passed with the
// fastest search there is, in another one all places are tried at eight octets a time. '%' and '?' are rare in both.
func scan(msg []byte) bool {
	dense, backoff := 0, 1
	for start := 0; start < len(msg); start += scanWindow {
		end := min(len(msg), start+scanWindow)
		if percent.in(msg, start, end) || wordIn(msg, start, end) {
			return true
		}
		if dense > 0 {
			dense--
			if scanPairs(msg, start, end) {
				return true
			}
			continue
		}
		if sparse(msg[start:end]) {
			backoff = 1
			if dash.in(msg, start, end) || dot.in(msg, start, end) {
				return true
			}
			continue
		}
		if scanPairs(msg, start, end) {
			return true
		}
		dense, backoff = backoff, min(2*backoff, maxDense)
	}
	return false
}

// sparse tells whether '-' and '.' are rare in a window.
func sparse(window []byte) bool {
	for _, c := range []byte{dash.octet, dot.octet} {
		rest := window
		for hits := 0; ; hits++ {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			if hits >= maxHits {
				return false
			}
			rest = rest[i+1:]
		}
	}
	return true
}

// One octet, eight times over; and the high bits.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scanPairs looks for dash and dot together with the octet behind them, at eight places at a time.
func scanPairs(msg []byte, start, end int) bool {
	i := start
	for b := msg[start:]; len(b) >= 33 && i < end; b = b[32:] {
		le := binary.LittleEndian
		if pairs(le.Uint64(b[:8]), le.Uint64(b[1:9]))|pairs(le.Uint64(b[8:16]), le.Uint64(b[9:17]))|
			pairs(le.Uint64(b[16:24]), le.Uint64(b[17:25]))|pairs(le.Uint64(b[24:32]), le.Uint64(b[25:33])) != 0 &&
			anyPair(msg, i, i+32) {
			return true
		}
		i += 32
	}
	return anyPair(msg, i, end)
}

// pairs sets the high bit of every octet of x that may begin a mark, with y holding what follows each. '-' and '.' agree with ',' and '/' only in
// all but their last two bits, 't' and 'd' in both cases in all but two: what agrees becomes zero, and (z-1)&^z has the high bit of an octet set if
// that is zero (and, rarely, if it follows one: the closer look decides).
func pairs(x, y uint64) uint64 {
	z := (x^'-'*ones)&(0xFC*ones) | ((y | 0x30*ones) ^ 't'*ones)
	return (z - ones) &^ z & highs
}

// anyPair looks for dash and dot at every place from i up to end.
func anyPair(msg []byte, i, end int) bool {
	for ; i < end; i++ {
		switch msg[i] {
		case dash.octet:
			if dash.at(msg, i) {
				return true
			}
		case dot.octet:
			if dot.at(msg, i) {
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
}

var (
	dash    = mark{octet: '-', before: "ms", after: "tnef"} // application/ms-tnef, application/vnd.ms-tnef
	dot     = mark{octet: '.', after: "dat"}                // winmail.dat, win.dat, also where RFC 2231 3 divides the name
	percent = mark{octet: '%', after: "2edat"}              // RFC 2231 4
)

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
	}
	return false
}

// at compares what stands around the octet at i.
func (m *mark) at(msg []byte, i int) bool {
	before, after := i-len(m.before), i+1+len(m.after)
	if before < 0 || after > len(msg) {
		return false
	}
	return foldEqual(msg[before:i], m.before) && foldEqual(msg[i+1:after], m.after)
}

// wordIn looks for an encoded word (RFC 2047) that can hold the name, at its second question mark: =?utf-8?B?d2lubWFpbC5kYXQ=?=.
func wordIn(msg []byte, start, end int) bool {
	for i := start; i < end; i++ {
		n := bytes.IndexByte(msg[i:end], '?')
		if n < 0 {
			return false
		}
		i += n
		if i+2 < len(msg) && msg[i+2] == '?' && nameWord(msg[i+1]|0x20, msg[i+3:]) {
			return true
		}
	}
	return false
}

// maxEncodedWord is the most octets of an encoded word (RFC 2047 2).
const maxEncodedWord = 75

// nameWord tells whether the text of an encoded word can be the beginning of the name, or, in the encoding "Q", have a dot that is not to be seen.
func nameWord(encoding byte, text []byte) bool {
	switch encoding {
	case 'b':
		var name [3]byte
		if len(text) < 4 {
			return false
		}
		n, err := base64.StdEncoding.Decode(name[:], text[:4])
		return err == nil && n == 3 && foldEqual(name[:], "win")
	case 'q':
		for i := range min(len(text), maxEncodedWord) {
			if text[i] == '=' && hasPrefixFold(text[i:], "=2e") {
				return true
			}
		}
	}
	return false
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
