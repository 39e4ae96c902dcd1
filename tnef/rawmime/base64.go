package rawmime

import (
	"encoding/binary"
	"sync"
)

// decodeTable maps two characters, the first in the low octet, to twelve bits; notBase64 marks pairs with anything else in them. A
// message uses 12 KiB of its 128: it stays in a first-level cache.
type decodeTable [1 << 16]uint16

const notBase64 = 0xFFFF

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" // RFC 4648 4

var decodePairs = sync.OnceValue(func() *decodeTable {
	t := new(decodeTable)
	for i := range t {
		t[i] = notBase64
	}
	for a := range 64 {
		for b := range 64 {
			t[int(alphabet[a])|int(alphabet[b])<<8] = uint16(a<<6 | b)
		}
	}
	return t
})

// encodePairs maps twelve bits to two characters, the first in the low octet.
var encodePairs = sync.OnceValue(func() *[1 << 12]uint16 {
	t := new([1 << 12]uint16)
	for i := range t {
		t[i] = uint16(alphabet[i>>6]) | uint16(alphabet[i&63])<<8
	}
	return t
})

// decodeOne maps one character to six bits: 64 for the pad, 255 for what RFC 2045 6.8 says to ignore.
var decodeOne = sync.OnceValue(func() *[256]byte {
	t := new([256]byte)
	for i := range t {
		t[i] = 255
	}
	for i := range 64 {
		t[alphabet[i]] = byte(i)
	}
	t['='] = 64
	return t
})

// Base64Len is the room that DecodeBase64 needs at most for n characters.
func Base64Len(n int) int { return n/4*3 + 14 }

// DecodeBase64 appends the octets that src encodes to dst. As RFC 2045 6.8 asks, characters outside the alphabet are
// skipped. A pad ends a quantum, and decoding goes on behind it: some programs put encoded blocks one after the other. Bits of an
// unfinished last quantum are dropped. clean is false if src had anything but the alphabet, pads at its end, and line endings.
func DecodeBase64(dst, src []byte) (out []byte, clean bool) {
	start := len(dst)
	if need := Base64Len(len(src)); cap(dst)-start < need {
		dst = append(make([]byte, 0, start+need), dst...)
	}
	var d Base64Decoder
	buf := dst[:cap(dst)]
	n := start + d.Decode(buf[start:], src)
	n += d.Finish(buf[n:])
	return buf[:n], d.Clean()
}

// Base64Decoder decodes base64 that comes in pieces, as DecodeBase64 does. The zero value is ready.
type Base64Decoder struct {
	acc    uint32 // the characters of an unfinished quantum
	have   int    // how many
	total  int    // octets written
	padEnd int    // 1 + total when the last pad was seen
	dirty  bool
}

// Clean is false if the text had anything but the alphabet, pads at its end, and line endings.
func (d *Base64Decoder) Clean() bool { return !d.dirty && (d.padEnd == 0 || d.total == d.padEnd-1) }

// Finish writes what an unfinished last quantum holds, two octets at most.
func (d *Base64Decoder) Finish(dst []byte) int {
	if d.have == 0 {
		return 0
	}
	d.dirty = true
	n := flushQuantum(dst, d.acc, d.have)
	d.acc, d.have = 0, 0
	d.total += n
	return n
}

// Decode writes the octets that src encodes to dst, which must have room for Base64Len(len(src)), and returns their number.
func (d *Base64Decoder) Decode(dst, src []byte) int {
	pairs, one := decodePairs(), decodeOne()
	n, i := 0, 0
	acc, have := d.acc, d.have
	for i < len(src) {
		if have == 0 {
			// Eight characters at a time. The store is wider than its six octets; the next one overwrites the rest.
			for len(src)-i >= 8 && len(dst)-n >= 8 {
				x := binary.LittleEndian.Uint64(src[i:])
				a, b, c, e := pairs[uint16(x)], pairs[uint16(x>>16)], pairs[uint16(x>>32)], pairs[uint16(x>>48)]
				if (a|b|c|e)&0xF000 != 0 {
					break
				}
				binary.BigEndian.PutUint64(dst[n:], uint64(a)<<52|uint64(b)<<40|uint64(c)<<28|uint64(e)<<16)
				n += 6
				i += 8
			}
			// The rest of a line: 76 characters are nine times eight, and four.
			if len(src)-i >= 4 && len(dst)-n >= 4 {
				x := binary.LittleEndian.Uint32(src[i:])
				a, b := pairs[uint16(x)], pairs[uint16(x>>16)]
				if (a|b)&0xF000 == 0 {
					binary.BigEndian.PutUint32(dst[n:], uint32(a)<<20|uint32(b)<<8)
					n += 3
					i += 4
				}
			}
			if len(src)-i >= 2 && src[i] == '\r' && src[i+1] == '\n' {
				i += 2
				continue
			}
			if i == len(src) {
				break
			}
		}
		c := src[i]
		i++
		switch v := one[c]; {
		case v < 64:
			acc = acc<<6 | uint32(v)
			if have++; have == 4 {
				dst[n], dst[n+1], dst[n+2] = byte(acc>>16), byte(acc>>8), byte(acc)
				n += 3
				acc, have = 0, 0
			}
		case v == 64:
			if d.padEnd != 0 && d.total+n > d.padEnd-1 {
				d.dirty = true
			}
			n += flushQuantum(dst[n:], acc, have)
			acc, have = 0, 0
			d.padEnd = d.total + n + 1
		case c != '\r' && c != '\n':
			d.dirty = true
		}
	}
	d.acc, d.have = acc, have
	d.total += n
	return n
}

// flushQuantum writes the whole octets of a quantum with have characters (RFC 4648 4).
func flushQuantum(dst []byte, acc uint32, have int) int {
	switch have {
	case 2:
		dst[0] = byte(acc >> 4)
		return 1
	case 3:
		dst[0], dst[1] = byte(acc>>10), byte(acc>>2)
		return 2
	}
	return 0
}

// lineOctets and lineChars: RFC 2045 6.8 allows 76 characters a line, which hold 57 octets.
const (
	lineOctets = 57
	lineChars  = 76
)

// EncodedLen is the length of what AppendBase64 adds for n octets.
func EncodedLen(n int) int {
	lines := (n + lineOctets - 1) / lineOctets
	return (n+2)/3*4 + 2*lines
}

// AppendBase64 appends src in base64 to dst, in lines of 76 characters, each ending with CRLF, the last one too.
func AppendBase64(dst, src []byte) []byte {
	start := len(dst)
	need := EncodedLen(len(src))
	if cap(dst)-start < need {
		dst = append(make([]byte, 0, start+need), dst...)
	}
	dst = dst[:start+need]
	encodeBase64(dst[start:], src)
	return dst
}

func encodeBase64(dst, src []byte) {
	pairs := encodePairs()
	for len(src) >= lineOctets+7 && len(dst) >= lineChars+2 {
		in := (*[lineOctets + 7]byte)(src) // the loads of eight octets reach beyond the line
		out := (*[lineChars + 2]byte)(dst)
		for k := 0; k < 9; k++ {
			x := binary.BigEndian.Uint64(in[k*6 : k*6+8])
			y := uint64(pairs[x>>52]) | uint64(pairs[x>>40&0xFFF])<<16 | uint64(pairs[x>>28&0xFFF])<<32 | uint64(pairs[x>>16&0xFFF])<<48
			binary.LittleEndian.PutUint64(out[k*8:k*8+8], y)
		}
		x := binary.BigEndian.Uint32(in[54:58])
		binary.LittleEndian.PutUint32(out[72:76], uint32(pairs[x>>20])|uint32(pairs[x>>8&0xFFF])<<16)
		out[76], out[77] = '\r', '\n'
		src, dst = src[lineOctets:], dst[lineChars+2:]
	}
	for len(src) > 0 {
		n := encodeLine(dst, src[:min(len(src), lineOctets)])
		dst = dst[n:]
		src = src[min(len(src), lineOctets):]
	}
}

// encodeLine writes one line with its ending and returns its length.
func encodeLine(dst, src []byte) int {
	n := 0
	for ; len(src) >= 3; src = src[3:] {
		x := uint(src[0])<<16 | uint(src[1])<<8 | uint(src[2])
		dst[n], dst[n+1], dst[n+2], dst[n+3] = alphabet[x>>18], alphabet[x>>12&63], alphabet[x>>6&63], alphabet[x&63]
		n += 4
	}
	switch len(src) {
	case 1:
		dst[n], dst[n+1], dst[n+2], dst[n+3] = alphabet[src[0]>>2], alphabet[src[0]&3<<4], '=', '='
		n += 4
	case 2:
		dst[n], dst[n+1], dst[n+2], dst[n+3] = alphabet[src[0]>>2], alphabet[src[0]&3<<4|src[1]>>4], alphabet[src[1]&15<<2], '='
		n += 4
	}
	dst[n], dst[n+1] = '\r', '\n'
	return n + 2
}
