package inbound

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// Submission is one message as a client gave it.
type Submission struct {
	// ID and Received are the handler's, set by Begin.
	ID       string
	Received time.Time
	Client   Client
	Side     routing.Side // where it comes from
	Envelope message.Envelope
	// Decisions has the router's answer for each of Envelope.Recipients, in the same order: relay or expand.
	Decisions []routing.Decision
	// Body holds what Begin put on top, Trace octets, and then the message. Accept may Retain it; the session closes its own hold
	// after Accept returned.
	Body     *message.Buffer
	Trace    int
	Findings message.Findings // of the message alone
}

// Handler is what a Session needs of the gateway.
type Handler interface {
	// Route decides about one recipient.
	Route(from routing.Side, sender, recipient string) routing.Decision
	// Room is nil when there is room for a message of size octets (0: unknown), else the reply.
	Room(size int64) *smtp.SMTPError
	// CheckRecipient is asked about a recipient that the router accepts: nil lets it in.
	CheckRecipient(c Client, from routing.Side, sender, recipient string) *smtp.SMTPError
	// Refused is told of each recipient that was not accepted, for log and metrics.
	Refused(c Client, from routing.Side, sender string, d routing.Decision)
	// Begin names a message whose envelope is complete, and gives room for it: a buffer that begins with the trace fields of the
	// gateway. An error means that there is no room, and the client hears 452.
	Begin(*Submission) (*message.Buffer, error)
	// Accept takes a message, and returns the reply: 250 when it is delivered or durable. It may put another buffer in the place of
	// Submission.Body, and then closes the one that was there.
	Accept(*Submission) *smtp.SMTPError
}

// Session is the go-smtp session of a client: it asks the router about each recipient, reads the message, judges its line endings,
// and hands it on.
type Session struct {
	handler     Handler
	client      Client
	side        routing.Side
	maxSize     int64
	envelope    message.Envelope
	decisions   []routing.Decision
	transaction bool
}

// NewSessionFor makes the session of a client that belongs to a side. maxSize is the limit on a message in octets, 0 for none.
func NewSessionFor(h Handler, c Client, side routing.Side, maxSize int64) *Session {
	return &Session{handler: h, client: c, side: side, maxSize: maxSize}
}

// Trusted implements Truster: clients of the two systems are known.
func (s *Session) Trusted() bool { return s.side != routing.Internet }

// Mail begins a transaction.
func (s *Session) Mail(from string, opts *smtp.MailOptions) error {
	if s.transaction {
		return fail(503, 5, 5, 1, "A transaction is open; RSET ends it")
	}
	if s.maxSize > 0 && opts.Size > s.maxSize {
		return tooBig(s.maxSize)
	}
	if err := checkAddress(from); err != nil {
		return fail(501, 5, 1, 7, "Bad sender address: "+err.Error())
	}
	if err := s.handler.Room(opts.Size); err != nil {
		return err
	}
	s.transaction = true
	s.envelope = message.Envelope{
		ReversePath: from,
		Body:        string(opts.Body),
		UTF8:        opts.UTF8,
		EnvelopeID:  opts.EnvelopeID,
		Return:      string(opts.Return),
		RequireTLS:  opts.RequireTLS,
	}
	if opts.RequireTLS { // RFC 8689 5: RET=FULL does not count
		s.envelope.Return = string(smtp.DSNReturnHeaders)
	}
	return nil
}

// Rcpt asks the router.
func (s *Session) Rcpt(to string, opts *smtp.RcptOptions) error {
	if err := checkAddress(to); err != nil {
		return fail(501, 5, 1, 3, "Bad recipient address: "+err.Error())
	}
	if !s.envelope.UTF8 && !isASCII(to) {
		return fail(553, 5, 6, 7, "The address needs SMTPUTF8") // RFC 6531 3.5
	}
	d := s.handler.Route(s.side, s.envelope.ReversePath, to)
	if d.Action != routing.Relay && d.Action != routing.Expand {
		s.handler.Refused(s.client, s.side, s.envelope.ReversePath, d)
		return Reply(d.Reply)
	}
	if refusal := s.handler.CheckRecipient(s.client, s.side, s.envelope.ReversePath, to); refusal != nil {
		return refusal
	}
	r := message.Recipient{Address: to, ORcptType: string(opts.OriginalRecipientType), ORcpt: opts.OriginalRecipient}
	for _, n := range opts.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	s.envelope.Recipients = append(s.envelope.Recipients, r)
	s.decisions = append(s.decisions, d)
	return nil
}

// Reply turns the router's reply into go-smtp's.
func Reply(r routing.Reply) *smtp.SMTPError {
	e := &smtp.SMTPError{Code: r.Code, Message: r.Text}
	if n, err := fmt.Sscanf(r.Enhanced, "%d.%d.%d", &e.EnhancedCode[0], &e.EnhancedCode[1], &e.EnhancedCode[2]); n != 3 || err != nil {
		e.EnhancedCode = smtp.EnhancedCodeNotSet
	}
	return e
}

// Data reads the message and hands it on. The error is always the reply: code 250 when the message was accepted.
func (s *Session) Data(r io.Reader) error {
	sub := &Submission{Client: s.client, Side: s.side, Envelope: s.envelope, Decisions: s.decisions}
	body, err := s.handler.Begin(sub)
	if err != nil {
		return s.refuse(noRoom)
	}
	sub.Body, sub.Trace = body, int(body.Size())
	defer func() { sub.Body.Close() }()
	binary := s.envelope.IsBinary()
	sink := &sink{body: body, max: s.maxSize, binary: binary, normalize: s.side == routing.OnPrem && !binary}
	if _, err = io.Copy(onlyWriter{sink}, r); err == nil {
		err = sink.finish()
	}
	var reply *smtp.SMTPError
	switch {
	case err != nil && sink.err == nil:
		return fmt.Errorf("reading the message: %w", err) // the connection is lost; nobody reads a reply
	case errors.As(sink.err, &reply):
		s.refuse(reply)
		return sink.err
	case sink.err != nil:
		return s.refuse(noRoom)
	}
	sub.Findings = sink.scan.Findings()
	return s.handler.Accept(sub)
}

// refuse tells the gateway, for log and trace, that all recipients of a message hear this.
func (s *Session) refuse(reply *smtp.SMTPError) error {
	e := reply.EnhancedCode
	said := routing.Reply{Code: reply.Code, Enhanced: fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2]), Text: reply.Message}
	for _, r := range s.envelope.Recipients {
		s.handler.Refused(s.client, s.side, s.envelope.ReversePath, routing.Decision{Recipient: r.Address, Reason: routing.Message, Why: "the message was refused while it was read", Reply: said})
	}
	return reply
}

// noRoom is our trouble, mostly a full disk: the client keeps the message and tries again.
var noRoom = fail(452, 4, 3, 1, "Cannot store the message now, try again later")

// Reset ends the transaction.
func (s *Session) Reset() {
	s.transaction, s.envelope, s.decisions = false, message.Envelope{}, nil
}

// Logout ends the session.
func (s *Session) Logout() error { return nil }

// onlyWriter hides everything but Write, so that io.Copy lets the reader drive.
type onlyWriter struct{ io.Writer }

func tooBig(limit int64) *smtp.SMTPError {
	return fail(552, 5, 3, 4, "Message too big: the limit is "+strconv.FormatInt(limit, 10)+" octets")
}

// sink stores a message while it is read, and stops at the first thing that makes it unacceptable.
type sink struct {
	body      *message.Buffer
	max       int64
	binary    bool // only the header has lines (RFC 3030 3)
	normalize bool // line endings are made CRLF, else a bare CR or LF is refused
	fixer     message.Normalizer
	scan      message.Scanner
	header    headerGuard
	top       headerScan // of a binary message
	scratch   []byte
	err       error
}

func (s *sink) Write(p []byte) (int, error) {
	n := len(p)
	if s.normalize {
		s.scratch = s.fixer.Append(s.scratch[:0], p)
		p = s.scratch
	}
	if s.err = s.store(p); s.err != nil {
		return 0, s.err
	}
	return n, nil
}

func (s *sink) finish() error {
	if s.err == nil && s.normalize {
		s.err = s.store(s.fixer.Finish(s.scratch[:0]))
	}
	if f := s.lines(); s.err == nil && f.BareCR {
		s.err = bareLineEnding(f)
	}
	return s.err
}

// lines are the findings about what must be lines: all of the message, or the header of a binary one.
func (s *sink) lines() message.Findings {
	if s.binary {
		return s.top.scan.Findings()
	}
	return s.scan.Findings()
}

func (s *sink) store(p []byte) error {
	s.scan.Write(p)
	if s.binary {
		s.top.write(p)
	}
	f := s.lines()
	endsWithCR := len(p) > 0 && p[len(p)-1] == '\r' && !s.top.done // its LF may be on the way
	switch {
	case s.max > 0 && s.scan.Findings().Size > s.max:
		return tooBig(s.max)
	case f.BareLF, f.BareCR && !endsWithCR:
		return bareLineEnding(f)
	case f.LongestLine > message.MaxLine:
		return fail(550, 5, 6, 0, "A line of the message is longer than "+strconv.Itoa(message.MaxLine)+" octets")
	case s.binary && f.NUL:
		return fail(550, 5, 6, 0, "The header has an octet 0")
	case !s.header.fits(p):
		return fail(550, 5, 6, 0, fmt.Sprintf("The header has more than %d octets or %d fields", maxHeader, maxHeaderFields))
	}
	_, err := s.body.Write(p)
	return err
}

// headerScan scans the header of a message, up to its first empty line. The zero value is ready.
type headerScan struct {
	scan message.Scanner
	line int64 // octets of the line so far
	done bool
}

func (h *headerScan) write(p []byte) {
	if !h.done {
		h.scan.Write(p[:h.part(p)])
	}
}

// part is how many octets of p are of the header.
func (h *headerScan) part(p []byte) int {
	for at := 0; ; {
		n := bytes.IndexByte(p[at:], '\n') + 1
		if n == 0 {
			h.line += int64(len(p) - at)
			return len(p)
		}
		h.line += int64(n)
		at += n
		if h.done = h.line <= int64(len("\r\n")); h.done {
			return at
		}
		h.line = 0
	}
}

// A header is larger than anything real, and small enough to be held and edited. Exchange takes 256 KB, Postfix 100 KB.
const (
	maxHeader       = 1 << 20
	maxHeaderFields = 10_000
)

// maxNoFields is how many lines that are no field a header may have before it is taken for a body: there are messages without a header.
const maxNoFields = 20

// headerGuard counts what of a message is its header while it comes. The zero value is ready.
type headerGuard struct {
	done     bool
	size     int64
	fields   int
	noFields int
	line     int64 // octets of the line so far
	folded   bool  // the line goes on with the field before it
	colon    bool  // the line has one
}

// fits takes the next octets, and says whether the header is within its limits.
func (h *headerGuard) fits(p []byte) bool {
	for !h.done && len(p) > 0 {
		n := bytes.IndexByte(p, '\n') + 1
		ended := n > 0
		if !ended {
			n = len(p)
		}
		if h.line == 0 {
			h.folded = p[0] == ' ' || p[0] == '\t'
		}
		h.colon = h.colon || !h.folded && bytes.IndexByte(p[:n], ':') >= 0
		h.line += int64(n)
		h.size += int64(n)
		p = p[n:]
		if ended {
			h.endLine()
		}
	}
	return h.done || h.within()
}

func (h *headerGuard) within() bool { return h.size <= maxHeader && h.fields <= maxHeaderFields }

func (h *headerGuard) endLine() {
	switch {
	case h.line <= int64(len("\r\n")):
		h.done = h.within()
	case h.folded:
	case h.colon:
		h.fields++
	default:
		h.noFields++
		h.done = h.noFields > maxNoFields && h.within()
	}
	h.line, h.colon = 0, false
}

// bareLineEnding refuses what RFC 5321 2.3.8 and 4.1.1.4 forbid and what smuggles messages past servers that differ about it.
func bareLineEnding(f message.Findings) error {
	what := "CR without LF"
	if f.BareLF {
		what = "LF without CR"
	}
	return fmt.Errorf("%w: %w", ErrRefusedContent, fail(550, 5, 5, 2, "The message has a "+what+" (RFC 5321 2.3.8)"))
}
