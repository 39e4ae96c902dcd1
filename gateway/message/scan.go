package message

import (
	"bytes"
	"encoding/binary"
)

// MaxLine is the longest line, in octets without its CRLF, that passes unchanged. RFC 5321 4.5.3.1.6 lets a server stop at
// 998; older systems write whole paragraphs as one line.
const MaxLine = 64 << 10

// Findings is what a Scanner saw.
type Findings struct {
	Size        int64
	LongestLine int64 // octets, without the line's ending
	BareCR      bool  // a CR with no LF after it (RFC 5321 2.3.8 forbids it)
	BareLF      bool  // an LF with no CR before it (the same)
	NUL         bool  // an octet 0 (RFC 5322 4.1: obsolete; RFC 2045 2.7 and 2.8: neither 7bit nor 8bit data has it)
	EightBit    bool  // an octet above 127: needs 8BITMIME (RFC 6152)
	Unfinished  bool  // the last line has no ending
}

// Scanner looks at every octet of a message while it is read, in chunks as they come: write them all, then ask for Findings.
// The zero value is ready.
type Scanner struct {
	found Findings
	line  int64 // octets of the line so far, CR included
	cr    bool  // the chunk before ended with CR
}

// scanBlock is how much is looked at for one thing before it is looked at for the next: it stays in the processor's cache.
const scanBlock = 16 << 10

// Write scans p. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		block := p[:min(len(p), scanBlock)]
		p = p[len(block):]
		s.scan(block)
	}
	return n, nil
}

// Findings tells what was seen, taking what was written so far as the whole: a CR at its end is a bare one.
func (s *Scanner) Findings() Findings {
	f := s.found
	f.BareCR = f.BareCR || s.cr
	f.LongestLine = max(f.LongestLine, s.line)
	f.Unfinished = s.line > 0
	return f
}

// Reset makes the Scanner ready for the next message.
func (s *Scanner) Reset() { *s = Scanner{} }

func (s *Scanner) scan(block []byte) {
	s.found.Size += int64(len(block))
	s.lines(block)
	if !s.found.EightBit {
		s.found.EightBit = hasEightBit(block)
	}
	if !s.found.NUL {
		s.found.NUL = bytes.IndexByte(block, 0) >= 0
	}
}

// lines looks for bare CR and LF and for the longest line. Each LF is looked at for the CR before it; the CRs are counted:
// there are bare ones when there are more than those.
func (s *Scanner) lines(block []byte) {
	crs := bytes.Count(block, []byte{'\r'})
	if s.cr {
		crs++
	}
	pairs, start := 0, 0
	for {
		i := bytes.IndexByte(block[start:], '\n')
		if i < 0 {
			break
		}
		length := s.line + int64(i)
		at := start + i
		if at > 0 && block[at-1] == '\r' || at == 0 && s.cr {
			pairs++
			length--
		} else {
			s.found.BareLF = true
		}
		s.found.LongestLine = max(s.found.LongestLine, length)
		s.line = 0
		start = at + 1
	}
	s.line += int64(len(block) - start)
	s.cr = block[len(block)-1] == '\r'
	if s.cr {
		crs-- // it is judged by what comes next
	}
	s.found.BareCR = s.found.BareCR || crs > pairs
}

// hasEightBit looks at 32 octets at a time.
func hasEightBit(p []byte) bool {
	const high = 0x8080808080808080
	for len(p) >= 32 {
		a, b := binary.NativeEndian.Uint64(p), binary.NativeEndian.Uint64(p[8:])
		c, d := binary.NativeEndian.Uint64(p[16:]), binary.NativeEndian.Uint64(p[24:])
		if (a|b|c|d)&high != 0 {
			return true
		}
		p = p[32:]
	}
	var or byte
	for _, c := range p {
		or |= c
	}
	return or >= 0x80
}

// Normalizer turns bare CR and bare LF into CRLF, for senders that are known and old. It is fed chunks as they come. The zero
// value is ready.
type Normalizer struct {
	cr bool // the last octet was a CR, which is not written before it is known what follows
}

// Append appends src to dst with each line ending made CRLF, and returns dst. A CR at the end of src is kept back.
func (n *Normalizer) Append(dst, src []byte) []byte {
	if len(src) == 0 {
		return dst
	}
	if n.cr {
		n.cr = false
		dst = append(dst, '\r', '\n')
		if src[0] == '\n' {
			src = src[1:]
		}
	}
	if len(src) > 0 && src[len(src)-1] == '\r' {
		n.cr = true
		src = src[:len(src)-1]
	}
	return appendCRLF(dst, src)
}

// Finish appends the line ending that was kept back, if any, and makes n ready for the next message.
func (n *Normalizer) Finish(dst []byte) []byte {
	if n.cr {
		n.cr = false
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// NormalizeCRLF appends all of src to dst with each bare CR and bare LF made CRLF.
func NormalizeCRLF(dst, src []byte) []byte {
	var n Normalizer
	return n.Finish(n.Append(dst, src))
}

// appendCRLF copies runs of good lines in one go. src does not end with CR.
func appendCRLF(dst, src []byte) []byte {
	clean, at := 0, 0 // src[clean:at] is good and not copied yet
	for at < len(src) {
		i := bytes.IndexByte(src[at:], '\n')
		end := at + i
		if i < 0 {
			end = len(src)
		}
		switch cr := bytes.IndexByte(src[at:end], '\r'); {
		case cr >= 0 && at+cr < end-1, cr >= 0 && i < 0: // a bare CR
			dst = append(append(dst, src[clean:at+cr]...), '\r', '\n')
			at += cr + 1
			clean = at
		case i < 0: // an unfinished line
			at = end
		case cr < 0: // a bare LF
			dst = append(append(dst, src[clean:end]...), '\r', '\n')
			at = end + 1
			clean = at
		default:
			at = end + 1
		}
	}
	return append(dst, src[clean:]...)
}
