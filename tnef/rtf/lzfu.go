package rtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The numbers of [MS-OXRTFCP] 2.1.3.
const (
	headerSize = 16
	compLZFu   = 0x75465A4C // COMPTYPE COMPRESSED, "LZFu"
	compMELA   = 0x414C454D // COMPTYPE UNCOMPRESSED, "MELA"
	dictSize   = 4096
	minMatch   = 2
	maxMatch   = 17
)

// presetDict is the text that the dictionary begins with ([MS-OXRTFCP]
// 2.1.2.1), 207 bytes.
const presetDict = `{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}` +
	`{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArialTimes New RomanCourier` +
	`{\colortbl\red0\green0\blue0` + "\r\n" + `\par \pard\plain\f0\fs20\b\i\u\tab\tx`

// ErrNotCompressedRTF is returned for data that is not a PidTagRtfCompressed value.
var ErrNotCompressedRTF = errors.New("not compressed RTF")

// header is the beginning of a PidTagRtfCompressed value ([MS-OXRTFCP] 2.1.3.1).
type header struct {
	compSize, rawSize, compType, crc uint32
}

func parseHeader(b []byte) header {
	le := binary.LittleEndian
	return header{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

// contents returns what the checksum covers: all that follows the header, up
// to the declared size where that is sensible.
func (h header) contents(src []byte) []byte {
	end := uint64(h.compSize) + 4 // COMPSIZE does not count itself
	if end < headerSize || end > uint64(len(src)) {
		end = uint64(len(src))
	}
	return src[headerSize:end]
}

// Decompress unpacks the value of PidTagRtfCompressed ([MS-OXRTFCP]), both the
// compressed (LZFu) and the plain form (MELA). Bare RTF is passed through.
//
// The result is at most max bytes long (0 or less: no limit but the eightfold
// that the format itself allows). The sizes in the header are checked but never
// relied on; damage (a wrong checksum, a wrong size, a missing end) is told in
// warnings and what could be read is returned. The error wraps
// ErrNotCompressedRTF when src has no header to go by.
func Decompress(src []byte, max int) (rtf []byte, warnings []string, err error) {
	if bytes.HasPrefix(src, []byte(`{\rtf`)) {
		return limit(src, max), []string{"RTF is stored without the compression header"}, nil
	}
	if len(src) < headerSize {
		return nil, nil, fmt.Errorf("%w: %d bytes are less than its header", ErrNotCompressedRTF, len(src))
	}
	h := parseHeader(src)
	body := h.contents(src)
	warn := func(format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf(format, args...))
	}
	if uint64(h.compSize)+4 != uint64(len(src)) {
		warn("compressed RTF: header says %d bytes, there are %d", uint64(h.compSize)+4, len(src))
	}
	switch h.compType {
	case compMELA:
		rtf = src[headerSize:]
		if uint64(h.rawSize) < uint64(len(rtf)) {
			rtf = rtf[:h.rawSize]
		} else if uint64(h.rawSize) > uint64(len(rtf)) {
			warn("uncompressed RTF: %d of %d bytes are there", len(rtf), h.rawSize)
		}
		return limit(rtf, max), warnings, nil
	case compLZFu:
	default:
		return nil, nil, fmt.Errorf("%w: unknown type 0x%08X", ErrNotCompressedRTF, h.compType)
	}
	if got := checksum(body); got != h.crc {
		warn("compressed RTF: checksum is %08X, header says %08X", got, h.crc)
	}
	rtf, ended := inflate(src[headerSize:], int(min(h.rawSize, 1<<30)), max)
	switch {
	case max > 0 && len(rtf) == max && !ended:
		warn("compressed RTF: cut at %d bytes", max)
	case !ended:
		warn("compressed RTF ends early, after %d of %d bytes", len(rtf), h.rawSize)
	case uint64(len(rtf)) != uint64(h.rawSize):
		warn("compressed RTF: header says %d bytes of RTF, there are %d", h.rawSize, len(rtf))
	}
	return rtf, warnings, nil
}

func limit(b []byte, max int) []byte {
	if max > 0 && len(b) > max {
		return b[:max]
	}
	return b
}

// checksum is the CRC of [MS-OXRTFCP] 2.1.3.2: the polynomial of CRC-32, but
// starting from 0 and without the final complement.
func checksum(b []byte) uint32 {
	return ^crc32.Update(^uint32(0), crc32.IEEETable, b)
}

// inflate decompresses LZFu tokens ([MS-OXRTFCP] 2.2.3). ended tells that the
// end marker was found. hint is how long the result claims to be.
//
// The dictionary is a ring of the last 4096 bytes written, so the output, with
// the ring's first state put before it, serves as the dictionary itself.
func inflate(src []byte, hint, max int) (out []byte, ended bool) {
	most := len(src) * (maxMatch + 1) / 2 // two bytes give at most 17
	if max > 0 && most > max {
		most = max
	}
	buf := make([]byte, dictSize, dictSize+min(hint, most)+maxMatch)
	copy(buf[dictSize-len(presetDict):], presetDict)
	stop := dictSize + most
	pos := 0
	for pos < len(src) {
		control := src[pos]
		pos++
		if control == 0 && len(src)-pos >= 8 && len(buf)+8 <= stop { // eight literals at once
			buf = append(buf, src[pos:pos+8]...)
			pos += 8
			continue
		}
		for bit := 0; bit < 8; bit++ {
			if control&(1<<bit) == 0 {
				if pos >= len(src) || len(buf) >= stop {
					return buf[dictSize:], false
				}
				buf = append(buf, src[pos])
				pos++
				continue
			}
			if len(src)-pos < 2 {
				return buf[dictSize:], false
			}
			ref := int(src[pos])<<8 | int(src[pos+1])
			pos += 2
			length := ref&15 + minMatch
			// The ring's write position is 207 when buf holds just the preset.
			distance := (len(buf) + len(presetDict) - ref>>4) & (dictSize - 1)
			if distance == 0 { // [MS-OXRTFCP] 2.2.3: the end marker
				return buf[dictSize:], true
			}
			if length > stop-len(buf) {
				length = stop - len(buf)
			}
			buf = appendMatch(buf, distance, length)
			if len(buf) >= stop && max > 0 && most == max {
				return buf[dictSize:], false
			}
		}
	}
	return buf[dictSize:], false
}

// appendMatch appends length bytes from distance back; the two may overlap, in
// which case what was just written is read again.
func appendMatch(buf []byte, distance, length int) []byte {
	from := len(buf) - distance
	if distance >= length {
		return append(buf, buf[from:from+length]...)
	}
	for i := range length {
		buf = append(buf, buf[from+i])
	}
	return buf
}

// Compress packs RTF as a value of PidTagRtfCompressed in the LZFu form
// ([MS-OXRTFCP] 2.1.3.1), with a right header and checksum.
func Compress(rtf []byte) []byte {
	out := make([]byte, headerSize, headerSize+len(rtf)+len(rtf)/8+3)
	out = deflate(out, rtf)
	le := binary.LittleEndian
	le.PutUint32(out, uint32(len(out)-4))
	le.PutUint32(out[4:], uint32(len(rtf)))
	le.PutUint32(out[8:], compLZFu)
	le.PutUint32(out[12:], checksum(out[headerSize:]))
	return out
}

// maxChain is how many earlier occurrences deflate looks at for a longer match.
const maxChain = 64

// deflate appends rtf as LZFu tokens and the end marker.
func deflate(out, rtf []byte) []byte {
	buf := append([]byte(presetDict), rtf...)
	m := newMatcher(buf)
	for i := range len(presetDict) {
		m.add(i)
	}
	control, bit := 0, 8
	token := func(reference bool) {
		if bit == 8 {
			control, bit = len(out), 0
			out = append(out, 0)
		}
		if reference {
			out[control] |= 1 << bit
		}
		bit++
	}
	for pos := len(presetDict); pos < len(buf); {
		from, length := m.find(pos)
		if length > minMatch {
			token(true)
			ref := (from&(dictSize-1))<<4 | (length - minMatch)
			out = append(out, byte(ref>>8), byte(ref))
		} else {
			length = 1
			token(false)
			out = append(out, buf[pos])
		}
		for range length {
			m.add(pos)
			pos++
		}
	}
	token(true)
	end := (len(buf) & (dictSize - 1)) << 4
	return append(out, byte(end>>8), byte(end))
}

// hashBits is the size of the matcher's table.
const hashBits = 14

// matcher finds earlier occurrences by a hash of the three bytes they begin
// with.
type matcher struct {
	buf  []byte
	head [1 << hashBits]int32 // the last place of a hash, plus one; 0 for none
	prev []int32              // the place before the one at i, plus one
}

func newMatcher(buf []byte) *matcher {
	return &matcher{buf: buf, prev: make([]int32, len(buf))}
}

func (m *matcher) hash(i int) (uint32, bool) {
	if i+2 >= len(m.buf) {
		return 0, false
	}
	v := uint32(m.buf[i]) | uint32(m.buf[i+1])<<8 | uint32(m.buf[i+2])<<16
	return v * 0x9E3779B1 >> (32 - hashBits), true
}

func (m *matcher) add(i int) {
	if h, ok := m.hash(i); ok {
		m.prev[i] = m.head[h]
		m.head[h] = int32(i) + 1
	}
}

// find returns the longest match for what stands at pos, within the window.
func (m *matcher) find(pos int) (from, length int) {
	h, ok := m.hash(pos)
	if !ok {
		return 0, 0
	}
	at := int(m.head[h]) - 1
	for n := 0; at >= 0 && pos-at < dictSize && n < maxChain && length < maxMatch; n++ {
		l := 0
		for l < maxMatch && pos+l < len(m.buf) && m.buf[at+l] == m.buf[pos+l] {
			l++
		}
		if l > length {
			from, length = at, l
		}
		at = int(m.prev[at]) - 1
	}
	return from, length
}
