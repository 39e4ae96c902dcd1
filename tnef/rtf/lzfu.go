package rtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
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
	p, err := openPacked(src)
	if err != nil {
		return nil, nil, err
	}
	if p.z == nil {
		return limit(p.plain, max), p.warnings, nil
	}
	rtf = p.z.inflateAll(int(min(p.rawSize, 1<<30)), max)
	if max > 0 && len(rtf) > max {
		return rtf[:max], append(p.warnings, fmt.Sprintf("compressed RTF: cut at %d bytes", max)), nil
	}
	if w := p.z.verdict(p.header); w != "" {
		p.warnings = append(p.warnings, w)
	}
	return rtf, p.warnings, nil
}

// packed is a PidTagRtfCompressed value that is ready to be read: either plain
// RTF, or tokens.
type packed struct {
	header
	plain    []byte
	z        *inflater
	warnings []string
}

func openPacked(src []byte) (packed, error) {
	if bytes.HasPrefix(src, []byte(`{\rtf`)) {
		return packed{plain: src, warnings: []string{"RTF is stored without the compression header"}}, nil
	}
	if len(src) < headerSize {
		return packed{}, fmt.Errorf("%w: %d bytes are less than its header", ErrNotCompressedRTF, len(src))
	}
	p := packed{header: parseHeader(src)}
	if uint64(p.compSize)+4 != uint64(len(src)) {
		p.warn("compressed RTF: header says %d bytes, there are %d", uint64(p.compSize)+4, len(src))
	}
	switch p.compType {
	case compMELA:
		p.plain = src[headerSize:]
		if uint64(p.rawSize) < uint64(len(p.plain)) {
			p.plain = p.plain[:p.rawSize]
		} else if uint64(p.rawSize) > uint64(len(p.plain)) {
			p.warn("uncompressed RTF: %d of %d bytes are there", len(p.plain), p.rawSize)
		}
	case compLZFu:
		if got := checksum(p.contents(src)); got != p.crc {
			p.warn("compressed RTF: checksum is %08X, header says %08X", got, p.crc)
		}
		p.z = &inflater{src: src[headerSize:]}
	default:
		return packed{}, fmt.Errorf("%w: unknown type 0x%08X", ErrNotCompressedRTF, p.compType)
	}
	return p, nil
}

func (p *packed) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// verdict compares what was read with what the header says; "" when they agree.
func (z *inflater) verdict(h header) string {
	switch {
	case !z.ended:
		return fmt.Sprintf("compressed RTF ends early, after %d of %d bytes", z.total, h.rawSize)
	case uint64(z.total) != uint64(h.rawSize):
		return fmt.Sprintf("compressed RTF: header says %d bytes of RTF, there are %d", h.rawSize, z.total)
	}
	return ""
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

// inflater decompresses LZFu tokens ([MS-OXRTFCP] 2.2.3), piece by piece.
//
// The dictionary is a ring of the last 4096 bytes written, so the output
// itself serves as the dictionary: it follows the ring's first state in one
// buffer (newWindow), whose last 4096 bytes must stay there between two pieces.
type inflater struct {
	src   []byte
	pos   int
	total int  // bytes written so far
	ended bool // the end marker was read
}

// groupMax is the most that one control byte's tokens can write.
const groupMax = 8 * maxMatch

// newWindow returns a buffer that holds the first state of the dictionary and
// has room for size bytes after it.
func newWindow(size int) []byte {
	buf := make([]byte, dictSize, dictSize+max(size, groupMax))
	copy(buf[dictSize-len(presetDict):], presetDict)
	return buf
}

// done reports that nothing more will come.
func (z *inflater) done() bool { return z.ended || z.pos >= len(z.src) }

// rest is the most that may still come.
func (z *inflater) rest() int {
	if z.ended {
		return 0
	}
	return (len(z.src)-z.pos)*(maxMatch-1)/2 + groupMax // two bytes and a bit give 17
}

// inflate appends to buf as long as the tokens of a whole control byte fit into
// its capacity, which it never grows.
func (z *inflater) inflate(buf []byte) []byte {
	before := len(buf)
	src, pos := z.src, z.pos
	// The ring's write position is 207 when nothing but the preset was written.
	ring := z.total + len(presetDict) - len(buf)
groups:
	for pos < len(src) && !z.ended && cap(buf)-len(buf) >= groupMax {
		control := src[pos]
		pos++
		if control == 0 && len(src)-pos >= 8 { // eight literals at once
			buf = append(buf, src[pos:pos+8]...)
			pos += 8
			continue
		}
		for bit := 0; bit < 8; bit++ {
			if control&(1<<bit) == 0 {
				if pos >= len(src) {
					break groups
				}
				buf = append(buf, src[pos])
				pos++
				continue
			}
			if len(src)-pos < 2 {
				pos = len(src)
				break groups
			}
			ref := int(src[pos])<<8 | int(src[pos+1])
			pos += 2
			distance := (ring + len(buf) - ref>>4) & (dictSize - 1)
			if distance == 0 { // [MS-OXRTFCP] 2.2.3: the end marker
				z.ended = true
				break groups
			}
			buf = appendMatch(buf, distance, ref&15+minMatch)
		}
	}
	z.pos = pos
	z.total += len(buf) - before
	return buf
}

// drain reads to the end of the tokens, for the sake of total and ended.
func (z *inflater) drain() {
	if z.done() {
		return
	}
	buf := newWindow(min(windowSize, z.rest()))
	for !z.done() {
		// What the tokens say does not matter any more, only how much it is.
		buf = z.inflate(buf[:dictSize])
	}
}

// inflateAll decompresses at most limit bytes; hint is how long the result
// claims to be.
func (z *inflater) inflateAll(hint, limit int) []byte {
	most := z.rest()
	if limit > 0 {
		most = min(most, limit)
	}
	buf := newWindow(min(hint, most) + groupMax)
	for {
		buf = z.inflate(buf)
		if n := len(buf) - dictSize; z.done() || limit > 0 && n > limit {
			return buf[dictSize:]
		}
		buf = slices.Grow(buf, min(len(buf), z.rest())+groupMax)
	}
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
