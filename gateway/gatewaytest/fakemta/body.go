package fakemta

import (
	"bufio"
	"bytes"
	"errors"
)

// maxExpected is the most that is set aside for a message because MAIL announced it, in octets.
const maxExpected = 64 << 20

// body is a message while it comes in.
type body struct {
	data    []byte
	size    int64
	discard bool

	inLine         bool // the octets so far do not end with CRLF
	cr             bool // they end with CR
	bareCR, bareLF bool
}

// expect sets memory aside for a message of the announced size.
func (b *body) expect(size int64, discard bool) {
	b.discard = discard
	if !discard && size > 0 {
		b.data = make([]byte, 0, min(size, maxExpected)+512)
	}
}

// add takes octets that hold an LF at their end, or none at all.
func (b *body) add(piece []byte) {
	if len(piece) == 0 {
		return
	}
	b.size += int64(len(piece))
	if !b.discard {
		b.data = append(b.data, piece...)
	}
	if b.cr && piece[0] != '\n' {
		b.bareCR = true
	}
	last := len(piece) - 1
	text := piece
	if piece[last] == '\n' {
		afterCR := b.cr
		if last > 0 {
			afterCR = piece[last-1] == '\r'
		}
		b.bareLF = b.bareLF || !afterCR
		b.inLine, b.cr = !afterCR, false
		text = piece[:last]
		if afterCR && last > 0 {
			text = piece[:last-1]
		}
	} else {
		b.inLine, b.cr = true, piece[last] == '\r'
		if b.cr {
			text = piece[:last]
		}
	}
	if bytes.IndexByte(text, '\r') >= 0 {
		b.bareCR = true
	}
}

// finish puts what came into the message.
func (b *body) finish(m *Message) {
	m.Data, m.Size = b.data, b.size
	m.BareCR, m.BareLF = b.bareCR || b.cr, b.bareLF
	if m.Data == nil && !b.discard {
		m.Data = []byte{}
	}
}

// readData reads up to CRLF.CRLF, and takes out the dots that the client added (RFC 5321 4.5.2). Only CRLF begins a new
// line here: a dot after a bare LF is text, whatever others make of it.
func (c *session) readData() error {
	c.count(Body)
	rule, found := c.server.script.Load().find(Body, c.message.Recipients...)
	for {
		if found && c.body.size >= int64(rule.Octets) {
			found = false
			if c.apply(rule) != proceed {
				return errClosed
			}
		}
		if err := c.ready(); err != nil {
			return err
		}
		piece, err := c.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if !c.body.inLine && piece[0] == '.' {
			if string(piece) == ".\r\n" {
				return nil
			}
			piece = piece[1:]
			c.body.inLine = true
		}
		c.body.add(piece)
		c.spill()
	}
}

// spill stops keeping a message that is larger than allowed; it is refused when it has ended.
func (c *session) spill() {
	if limit := c.server.options.MaxSize; limit > 0 && c.body.size > limit {
		c.body.discard, c.body.data = true, nil
	}
}

// readChunk reads the octets of BDAT; with keep they belong to the message.
func (c *session) readChunk(size int64, keep bool) error {
	for size > 0 {
		if err := c.ready(); err != nil {
			return err
		}
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
		chunk, err := c.r.Peek(int(min(size, int64(c.r.Buffered()))))
		if err != nil {
			return err
		}
		for rest := chunk; keep && len(rest) > 0; {
			end := bytes.IndexByte(rest, '\n') + 1
			if end == 0 {
				end = len(rest)
			}
			c.body.add(rest[:end])
			rest = rest[end:]
		}
		c.spill()
		size -= int64(len(chunk))
		if _, err := c.r.Discard(len(chunk)); err != nil {
			return err
		}
	}
	return nil
}
