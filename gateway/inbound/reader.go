package inbound

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// commandBuffer holds one command line: RFC 5321 4.5.3.1.4 asks for 512 octets, the extensions add some 1,500 (an ORCPT in xtext
// of a long IMCEAEX address), and a pipelined group fits as well. dataBuffer is what a message is read through, or crowdedBuffer where many
// are read at once.
const (
	commandBuffer = 4 << 10
	dataBuffer    = 64 << 10
	crowdedBuffer = 8 << 10
)

var errLineTooLong = errors.New("line too long")

var (
	dataBuffers    = sync.Pool{New: func() any { b := make([]byte, dataBuffer); return &b }}
	crowdedBuffers = sync.Pool{New: func() any { b := make([]byte, crowdedBuffer); return &b }}
	commandBuffers = sync.Pool{New: func() any { b := make([]byte, commandBuffer); return &b }}
)

// reader is the buffered input of a connection. Unlike bufio.Reader it can grow for the time of a message, needs no buffer while
// nothing comes, and gives its buffer away without copying.
type reader struct {
	src        io.Reader // sets deadlines on its own
	buf        []byte    // one of the following, or nil
	small, big *[]byte   // from the pools; big while a message is read
	bigFrom    *sync.Pool
	r, w       int
	parked     bool // the next octet is waited for without a buffer
	first      [1]byte
	tooLong    bool // the line that is being read is
}

func newReader(src io.Reader) *reader { return &reader{src: src} }

// buffered is the number of octets that came and are not consumed.
func (b *reader) buffered() int { return b.w - b.r }

// discard forgets what is buffered (RFC 3207 4.2: nothing sent before TLS counts after it).
func (b *reader) discard() { b.r, b.w = 0, 0 }

// grow makes room for a message, from dataBuffers or crowdedBuffers; shrink goes back to the small buffer as soon as what is left fits.
func (b *reader) grow(from *sync.Pool) {
	if b.big != nil {
		return
	}
	b.bigFrom = from
	b.big = from.Get().(*[]byte)
	b.move(*b.big)
	b.dropSmall()
}

func (b *reader) shrink() {
	if b.big == nil || b.buffered() > commandBuffer {
		return
	}
	b.small = commandBuffers.Get().(*[]byte)
	b.move(*b.small)
	b.dropBig()
}

func (b *reader) move(to []byte) {
	n := copy(to, b.buf[b.r:b.w])
	b.buf, b.r, b.w = to, 0, n
}

func (b *reader) dropSmall() {
	if b.small != nil {
		commandBuffers.Put(b.small)
		b.small = nil
	}
}

func (b *reader) dropBig() {
	if b.big != nil {
		b.bigFrom.Put(b.big)
		b.big = nil
	}
}

// park gives the buffer back while nothing comes. The next read is of one octet.
func (b *reader) park() {
	if b.buffered() == 0 {
		b.release()
		b.parked = true
	}
}

// release gives the buffers back.
func (b *reader) release() {
	b.dropSmall()
	b.dropBig()
	b.buf, b.r, b.w = nil, 0, 0
}

// unpark waits for the first octet.
func (b *reader) unpark() error {
	n, err := b.src.Read(b.first[:])
	if n == 0 {
		if err == nil {
			err = io.ErrNoProgress
		}
		return err
	}
	b.parked = false
	b.small = commandBuffers.Get().(*[]byte)
	b.buf, b.r, b.w = *b.small, 0, 1
	b.buf[0] = b.first[0]
	return nil
}

// fill reads once. It never reads when the buffer is full: then it returns errLineTooLong.
func (b *reader) fill() error {
	if b.parked {
		return b.unpark()
	}
	if b.buf == nil {
		b.small = commandBuffers.Get().(*[]byte)
		b.buf = *b.small
	}
	if b.r > 0 {
		if b.r == b.w {
			b.r, b.w = 0, 0
		} else if b.w == len(b.buf) {
			b.w = copy(b.buf, b.buf[b.r:b.w])
			b.r = 0
		}
	}
	if b.w == len(b.buf) {
		return errLineTooLong
	}
	n, err := b.src.Read(b.buf[b.w:])
	b.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line returns the next command line without its line ending. A bare LF ends a command too: only DATA is strict, where it matters.
// The slice is valid until the next call. A line that does not fit is consumed whole and reported as errLineTooLong. After a timeout
// it may be called again.
func (b *reader) line() ([]byte, error) {
	from := 0
	for {
		if i := bytes.IndexByte(b.buf[b.r+from:b.w], '\n'); i >= 0 {
			line := b.buf[b.r : b.r+from+i]
			b.r += from + i + 1
			if b.tooLong {
				b.tooLong = false
				return nil, errLineTooLong
			}
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		from = b.buffered()
		if err := b.fill(); err == errLineTooLong {
			b.tooLong = true
			b.discard()
			from = 0
		} else if err != nil {
			return nil, err
		}
	}
}

var crlfDot = []byte("\r\n.")

// dotReader yields the octets of a message after DATA: leading dots taken off (RFC 5321 4.5.2), ended by CRLF.CRLF and by nothing
// else (4.1.1.4). Whatever other line endings the message has are passed on as they are, for the session to judge.
type dotReader struct {
	b         *reader
	lineStart bool // what came before ended with CRLF
	done      bool
	err       error
	n         int64 // octets yielded
}

// next returns the next octets of the message, valid until the next call; io.EOF after the end-of-data.
func (d *dotReader) next() ([]byte, error) {
	for {
		if d.done {
			return nil, io.EOF
		}
		if d.err != nil {
			return nil, d.err
		}
		p := d.b.buf[d.b.r:d.b.w]
		if d.lineStart && len(p) > 0 && p[0] == '.' {
			switch {
			case len(p) >= 3 && p[1] == '\r' && p[2] == '\n':
				d.b.r += 3
				d.done = true
				continue
			case len(p) >= 3, len(p) == 2 && p[1] != '\r':
				d.b.r++
				d.lineStart = false
				continue
			}
		} else if n := d.take(p); n > 0 {
			d.b.r += n
			d.n += int64(n)
			return p[:n], nil
		}
		if err := d.b.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			d.err = err
		}
	}
}

// take says how many octets of p, which does not begin with a dot that counts, can be yielded now.
func (d *dotReader) take(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	if i := bytes.Index(p, crlfDot); i >= 0 {
		d.lineStart = true
		return i + 2
	}
	n := len(p)
	switch {
	case n >= 2 && p[n-2] == '\r' && p[n-1] == '\n':
		d.lineStart = true // the dot may come with the next read
		return n
	case p[n-1] == '\r':
		n--
	}
	if n > 0 {
		d.lineStart = false
	}
	return n
}

// content is a message that arrives piece by piece, as io.Reader for any session and as io.WriterTo for the fast way.
type content struct {
	next func() ([]byte, error) // the next octets, valid until the next call; io.EOF at the end
	rest []byte                 // what a Read had no room for
}

func (c *content) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		chunk, err := c.next()
		if err != nil {
			return 0, err
		}
		c.rest = chunk
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *content) WriteTo(w io.Writer) (total int64, err error) {
	for {
		chunk := c.rest
		if c.rest = nil; len(chunk) == 0 {
			if chunk, err = c.next(); err == io.EOF {
				return total, nil
			} else if err != nil {
				return total, err
			}
		}
		n, err := w.Write(chunk)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}
