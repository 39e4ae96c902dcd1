package inbound

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// ErrRefusedContent may be wrapped by the error that a session's sink gives while a message is read: the rest is not waited for
// longer than a moment, the reply is given, and the connection is closed. It is for content that may be an attempt to smuggle a
// second message past us: a sender that thinks the message ended will not send the real end.
var ErrRefusedContent = errors.New("refused content")

// refusedPatience is how long a client that sent refused content may pause before it gets its reply.
const refusedPatience = 2 * time.Second

// A source is a message on its way in.
type source interface {
	next() ([]byte, error) // as content.next
	// skip reads past what is left of the message, or of the chunk that is being read, so that none of it is taken for a command.
	// It says whether it came to the end.
	skip() bool
	// abandoned is the command by which the client gave the message up, if it did.
	abandoned() []byte
}

// data answers DATA (RFC 5321 4.1.1.4).
func (c *conn) data(arg string) {
	switch {
	case arg != "":
		c.protocolError(fail(501, 5, 5, 4, "DATA takes no argument"))
		return
	case !c.mail:
		c.protocolError(fail(503, 5, 5, 1, "MAIL first"))
		return
	case c.binary:
		c.protocolError(fail(503, 5, 5, 1, "BODY=BINARYMIME needs BDAT")) // RFC 3030 3
		return
	case c.rcpts == 0:
		c.protocolError(fail(554, 5, 5, 1, "No valid recipients")) // RFC 5321 3.3
		return
	}
	if c.in.buffered() > 0 && c.early() {
		return
	}
	c.text(354, "Go ahead")
	c.transfer(&dotReader{b: c.in, lineStart: true})
}

// transfer gives the message to the session and answers.
func (c *conn) transfer(src source) {
	pace := c.beginPace()
	defer c.endPace()
	err := c.session.Data(&content{next: c.recorded(src.next)})
	if errors.Is(err, ErrRefusedContent) {
		pace.patience = refusedPatience
	}
	whole := src.skip()
	c.reset()
	if tookMessage(err) {
		c.idle = 0
	}
	switch {
	case errors.Is(err, ErrRefusedContent):
		c.replyError(err)
		c.ending = true
	case src.abandoned() != nil:
		c.command(src.abandoned())
	case !whole:
		c.cut(pace.err)
	case err == nil:
		c.ok(0, 0, "OK")
	default:
		c.replyError(err)
	}
}

// tookMessage says whether a session's answer to a message is that it has it.
func tookMessage(err error) bool {
	var e *smtp.SMTPError
	return err == nil || errors.As(err, &e) && e.Code/100 == 2
}

// cut ends a connection in the middle of a message: nothing that follows can be trusted to be a command, and the client may try
// the message again.
func (c *conn) cut(err error) {
	c.ending = true
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.server.config.Refused("timeout")
		c.reply(fail(451, 4, 4, 2, "Timeout while the message was read"))
	case errors.Is(err, errFlood):
		c.server.config.Refused("size")
		c.reply(fail(552, 5, 3, 4, "Message too big: the limit is "+strconv.FormatInt(c.limits.MessageSize, 10)+" octets"))
	}
}

func (d *dotReader) skip() bool {
	for {
		if _, err := d.next(); err != nil {
			return d.done
		}
	}
}

func (d *dotReader) abandoned() []byte { return nil }

// floodSlack is how far past the size limit a message is read to its end, so that the client gets to hear 552 in good order.
const floodSlack = 64 << 20

var errFlood = errors.New("message far over the size limit")

// manyMessages is how many messages that are read at once get a large buffer each.
const manyMessages = 256

func (c *conn) beginPace() *pace {
	buffers := &dataBuffers
	if c.server.reading.Add(1) > manyMessages {
		buffers = &crowdedBuffers
	}
	c.in.grow(buffers)
	p := &pace{c: c, start: time.Now()}
	c.in.src = readFunc(p.read)
	return p
}

func (c *conn) endPace() {
	c.server.reading.Add(-1)
	c.in.src = readFunc(func(p []byte) (int, error) { return c.nc.Read(p) })
}

// pace is the source of a message: it sends what is queued before it waits, and cuts a client that trickles.
type pace struct {
	c        *conn
	start    time.Time
	n        int64
	patience time.Duration
	err      error
}

func (p *pace) read(b []byte) (int, error) {
	if limit := p.c.limits.MessageSize; limit > 0 && p.n > limit+floodSlack {
		p.err = errFlood
		return 0, p.err
	}
	if err := p.c.flush(); err != nil {
		p.err = err
		return 0, err
	}
	now := time.Now()
	deadline := now.Add(p.c.patience(p.c.server.config.Timeouts.Data))
	slowest := p.start.Add(p.c.server.config.Timeouts.Data + time.Duration(p.n/p.c.limits.MinDataRate)*time.Second)
	for _, other := range []time.Time{slowest, p.start.Add(p.c.server.config.Timeouts.Message)} {
		if other.Before(deadline) {
			deadline = other
		}
	}
	if p.patience > 0 && now.Add(p.patience).Before(deadline) {
		deadline = now.Add(p.patience)
	}
	p.c.nc.SetReadDeadline(deadline)
	n, err := p.c.nc.Read(b)
	p.n += int64(n)
	if err != nil {
		p.err = err
	}
	return n, err
}

// bdat answers the first BDAT of a message; the others are read by its bdatReader (RFC 3030).
func (c *conn) bdat(arg string) {
	size, last, ok := parseBdat(arg)
	if !ok {
		c.badBdat()
		return
	}
	src := &bdatReader{c: c, left: size, size: size, last: last}
	if c.mail && c.rcpts > 0 {
		c.transfer(src)
		return
	}
	pace := c.beginPace()
	defer c.endPace()
	if !src.skip() {
		c.cut(pace.err)
		return
	}
	c.protocolError(fail(503, 5, 5, 1, "No valid recipients"))
}

// badBdat closes: without a size nobody can tell where the octets that follow end.
func (c *conn) badBdat() {
	c.reply(fail(501, 5, 5, 4, "Expected BDAT octets [LAST]"))
	c.ending = true
}

func parseBdat(arg string) (size int64, last, ok bool) {
	words := strings.Fields(arg)
	if len(words) == 0 || len(words) > 2 || strings.Trim(words[0], "0123456789") != "" {
		return 0, false, false
	}
	if len(words) == 2 {
		if !strings.EqualFold(words[1], "LAST") {
			return 0, false, false
		}
		last = true
	}
	size, err := strconv.ParseInt(words[0], 10, 64)
	return size, last, err == nil
}

// bdatReader yields the octets of the chunks of a message. Between chunks it answers commands itself: another BDAT goes on, NOOP
// is answered, and anything else gives the message up.
type bdatReader struct {
	c       *conn
	left    int64 // of the current chunk
	size    int64 // of the current chunk
	last    bool
	err     error
	abandon []byte // the command that gave the message up
}

var errAbandoned = errors.New("the client gave the message up")

func (b *bdatReader) next() ([]byte, error) {
	for {
		switch {
		case b.err != nil:
			return nil, b.err
		case b.left > 0:
			if p, err := b.chunk(); err == nil {
				return p, nil
			}
		case b.last:
			b.err = io.EOF
		default:
			b.c.ok(0, 0, strconv.FormatInt(b.size, 10)+" octets received")
			b.err = b.nextChunk()
		}
	}
}

// chunk returns what came of the current chunk.
func (b *bdatReader) chunk() ([]byte, error) {
	in := b.c.in
	if in.buffered() == 0 {
		if err := in.fill(); err != nil {
			b.err = cutShort(err)
			return nil, b.err
		}
	}
	n := int(min(int64(in.buffered()), b.left))
	p := in.buf[in.r : in.r+n]
	in.r += n
	b.left -= int64(n)
	return p, nil
}

// skip ends the current chunk. The error that made it necessary is its reply; chunks that follow find no transaction.
func (b *bdatReader) skip() bool {
	for b.left > 0 && b.err == nil {
		b.chunk()
	}
	return b.left == 0 && (b.err == nil || b.err == io.EOF)
}

func (b *bdatReader) abandoned() []byte { return b.abandon }

func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// nextChunk reads the commands up to the next chunk.
func (b *bdatReader) nextChunk() error {
	for {
		line, err := b.c.in.line()
		if err != nil {
			return cutShort(err)
		}
		b.c.noteCommand(line)
		verb, arg, _ := strings.Cut(string(line), " ")
		switch strings.ToUpper(verb) {
		case "NOOP":
			if b.c.idleCommand() {
				return errAbandoned
			}
			b.c.ok(0, 0, "OK")
		case "BDAT":
			size, last, ok := parseBdat(arg)
			if !ok {
				b.abandon = append(b.abandon, line...)
				return errAbandoned
			}
			if size == 0 && !last && b.c.idleCommand() { // leads nowhere, as NOOP
				return errAbandoned
			}
			b.left, b.size, b.last = size, size, last
			return nil
		case "RSET", "QUIT", "HELO", "EHLO":
			b.abandon = append(b.abandon, line...)
			return errAbandoned
		default: // DATA too: RFC 3030 2
			b.c.protocolError(fail(503, 5, 5, 1, "Expected BDAT or RSET"))
			if b.c.ending {
				return errAbandoned
			}
		}
	}
}
