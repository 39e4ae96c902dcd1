package outbound

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// body is the content of a message with what there is to know before it is sent.
type body struct {
	segments [][]byte
	size     int64 // octets
	eightBit bool  // has octets over 127
	bare     bool  // has a CR or LF that is not part of CRLF
	dots     bool  // has a line that starts with a dot
	open     bool  // does not end with a line end
}

// newBody reads through the content once.
func newBody(segments [][]byte) *body {
	s := scanner{prev: '\n'}
	for _, seg := range segments {
		s.segment(seg)
	}
	return &body{segments: segments, size: s.size, eightBit: s.eightBit, dots: s.dots,
		bare: s.crs != s.crlfs || s.lfs != s.crlfs, open: s.prev != '\n'}
}

// scanner carries what it needs to know of earlier segments.
type scanner struct {
	size            int64
	crs, lfs, crlfs int
	prev            byte // the last octet; LF before the first
	eightBit        bool
	dots            bool
}

func (s *scanner) segment(seg []byte) {
	if len(seg) == 0 {
		return
	}
	s.dots = s.dots || s.prev == '\n' && seg[0] == '.'
	s.eightBit = s.eightBit || hasEightBit(seg)
	s.crs += bytes.Count(seg, cr)
	s.lines(seg)
	s.size += int64(len(seg))
	s.prev = seg[len(seg)-1]
}

var cr = []byte{'\r'}

// lines counts line ends and notes dots after them.
func (s *scanner) lines(seg []byte) {
	for start := 0; ; {
		i := bytes.IndexByte(seg[start:], '\n')
		if i < 0 {
			return
		}
		end := start + i
		s.lfs++
		if end > 0 && seg[end-1] == '\r' || end == 0 && s.prev == '\r' {
			s.crlfs++
		}
		if start = end + 1; start < len(seg) && seg[start] == '.' {
			s.dots = true
		}
	}
}

// headerEightBit reports whether the header, up to the first empty line, has octets over 127.
func (b *body) headerEightBit() bool {
	length := 0 // of the current line
	for _, seg := range b.segments {
		for _, c := range seg {
			switch {
			case c >= 0x80:
				return true
			case c == '\n' && length == 0:
				return false
			case c == '\n':
				length = 0
			case c != '\r':
				length++
			}
		}
	}
	return false
}

// hasEightBit looks at eight octets at a time.
func hasEightBit(p []byte) bool {
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// normalised is the content with every lone CR or LF made CRLF: RFC 5321 2.3.8 forbids to send them, and a host that takes
// them for line ends could be made to see commands where there is content.
func (b *body) normalised() *body {
	if !b.bare {
		return b
	}
	out := make([]byte, 0, b.size+b.size/32)
	pending := false // a CR that waits for its LF
	for _, seg := range b.segments {
		for _, c := range seg {
			switch {
			case c == '\n':
				out, pending = append(out, '\r', '\n'), false
				continue
			case pending:
				out = append(out, '\r', '\n')
			}
			if pending = c == '\r'; !pending {
				out = append(out, c)
			}
		}
	}
	if pending {
		out = append(out, '\r', '\n')
	}
	return newBody([][]byte{out})
}

// stuffed appends to bufs the content as it follows DATA: dots doubled (RFC 5321 4.5.2), the end of the last line supplied,
// and the final dot. Octets are never copied.
func (b *body) stuffed(bufs [][]byte) [][]byte {
	if !b.dots {
		bufs = append(bufs, b.segments...)
	} else {
		lineStart := true
		for _, seg := range b.segments {
			if len(seg) == 0 {
				continue
			}
			bufs = stuffSegment(bufs, seg, lineStart)
			lineStart = seg[len(seg)-1] == '\n'
		}
	}
	if b.open && b.size > 0 {
		return append(bufs, crlfDot)
	}
	return append(bufs, dotCRLF)
}

var (
	crlfDot = []byte("\r\n.\r\n")
	dotCRLF = []byte(".\r\n")
	dot     = []byte(".")
	lfDot   = []byte("\n.")
)

func stuffSegment(bufs [][]byte, seg []byte, lineStart bool) [][]byte {
	if lineStart && seg[0] == '.' {
		bufs = append(bufs, dot)
	}
	for {
		i := bytes.Index(seg, lfDot)
		if i < 0 {
			return append(bufs, seg)
		}
		bufs = append(bufs, seg[:i+1], dot)
		seg = seg[i+1:]
	}
}

// bodies are the forms that one message may need, each made once.
type bodies struct {
	original   *body
	normalised func() *body
	sevenBit   func() (*body, error)
	// Of a binary message, for a host that takes none.
	binarySevenBit, binaryEightBit func() (*body, error)
}

func newBodies(content [][]byte, downgrade func([][]byte) ([][]byte, error)) *bodies {
	b := &bodies{original: newBody(content)}
	b.normalised = sync.OnceValue(b.original.normalised)
	b.sevenBit = sync.OnceValues(func() (*body, error) { return b.downgraded(sevenBitData, downgrade) })
	b.binarySevenBit = sync.OnceValues(func() (*body, error) { return b.downgraded(sevenBitData, binaryTo(sevenBitData)) })
	b.binaryEightBit = sync.OnceValues(func() (*body, error) { return b.downgraded(eightBitData, binaryTo(eightBitData)) })
	return b
}

// downgraded is the content in a form of less, and an error when octets are left that cannot be in it: they are where no part is.
func (b *bodies) downgraded(to domain, downgrade func([][]byte) ([][]byte, error)) (*body, error) {
	out, err := downgrade(b.original.segments)
	if err != nil {
		return nil, err
	}
	text := newBody(out).normalised()
	if to == sevenBitData && text.eightBit {
		return nil, errNoDowngrade
	}
	for _, seg := range text.segments {
		if bytes.IndexByte(seg, 0) >= 0 {
			return nil, errNoDowngrade
		}
	}
	return text, nil
}
