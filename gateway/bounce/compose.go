package bounce

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// ReturnLimit is the size in octets up to which an original is returned whole. Of larger ones only the header is returned,
// and of that no more than this.
const ReturnLimit = 50_000

// Errors of Compose.
var (
	ErrNullReversePath = errors.New("bounce: a message with the null reverse-path gets no DSN (RFC 5321 4.5.5)")
	ErrAddress         = errors.New("bounce: an address that cannot be written in a header")
	ErrParams          = errors.New("bounce: a DSN of no kind or about no recipient")
)

// Compose writes the DSN and the envelope to send it with: from the null reverse-path to the original's. The same Params
// give the same octets.
func Compose(p Params) ([]byte, message.Envelope, error) {
	if err := check(p); err != nil {
		return nil, message.Envelope{}, err
	}
	o, err := readOriginal(p)
	if err != nil {
		return nil, message.Envelope{}, err
	}
	c := composer{p: p, original: o, utf8: needsUTF8(p, o)}
	c.boundary = c.newBoundary()
	msg := c.message()
	env := message.Envelope{
		Recipients: []message.Recipient{{Address: p.Envelope.ReversePath}},
		UTF8:       c.utf8,
		RequireTLS: p.Envelope.RequireTLS, // RFC 8689 5: a DSN is protected as what it is about
	}
	if !isASCII(msg) {
		env.Body = "8BITMIME"
	}
	return msg, env, nil
}

func check(p Params) error {
	if p.Envelope.ReversePath == "" {
		return ErrNullReversePath
	}
	if _, ok := wordings[p.Kind]; !ok || len(p.Recipients) == 0 {
		return fmt.Errorf("%w: kind %q, %d recipients", ErrParams, p.Kind, len(p.Recipients))
	}
	for _, a := range []string{p.Envelope.ReversePath, p.Postmaster} {
		if !writable(a) {
			return fmt.Errorf("%w: %q", ErrAddress, a)
		}
	}
	return nil
}

// needsUTF8 says whether the DSN can only be written with UTF-8 in header fields (RFC 6533): then the sender has SMTPUTF8,
// or could not have sent what it refers to.
func needsUTF8(p Params, o original) bool {
	if !isASCII([]byte(p.Envelope.ReversePath)) || !isASCII([]byte(p.Postmaster)) {
		return true
	}
	if !p.Envelope.UTF8 {
		return false
	}
	for _, r := range p.Recipients {
		if !isASCII([]byte(r.Address)) || !isASCII([]byte(r.ORcpt)) {
			return true
		}
	}
	return !isASCII(o.header) && utf8.Valid(o.header)
}

// original is what of the original message goes into the DSN.
type original struct {
	header []byte // at most ReturnLimit octets, fit to be sent
	whole  []byte // nil when only the header is returned
	id     string // its Message-ID
	title  string // its Subject, decoded, made one line
}

func readOriginal(p Params) (original, error) {
	start, err := io.ReadAll(io.LimitReader(p.Original.NewReader(), ReturnLimit+1))
	if err != nil {
		return original{}, fmt.Errorf("bounce: reading the original: %w", err)
	}
	o := original{header: fitHeader(headerOf(start)), id: message.Inspect(start).MessageID}
	if f, ok := rawmime.Find(start, "Subject"); ok {
		o.title = decodeTitle(f.Value)
	}
	if p.returnsWhole() && len(start) <= ReturnLimit && canEmbed(start) {
		o.whole = start
	}
	return o, nil
}

// headerOf is the header of a message that starts so, in whole lines up to ReturnLimit.
func headerOf(start []byte) []byte {
	end, _ := rawmime.HeaderEnd(start)
	if end <= ReturnLimit {
		return start[:end]
	}
	cut := start[:ReturnLimit]
	return cut[:bytes.LastIndexByte(cut, '\n')+1]
}

// returnsWhole says what RET asks for. It counts for failures only (RFC 3461 4.3); without it the choice is ours. With REQUIRETLS there is
// none: as little as can be returns by a way that may not be protected (RFC 8689 5).
func (p *Params) returnsWhole() bool {
	return p.Kind == Failure && !strings.EqualFold(p.Envelope.Return, "HDRS") && !p.Envelope.RequireTLS
}

// canEmbed says whether msg can stand in a message/rfc822 part, which allows no encoding but 7bit and 8bit (RFC 2046 5.2.1). A message of
// a BINARYMIME transaction can if it has no binary data: some clients give all their mail in such.
func canEmbed(msg []byte) bool {
	var s message.Scanner
	_, _ = s.Write(msg)
	f := s.Findings()
	return !f.NUL && !f.BareCR && !f.BareLF && f.LongestLine <= maxLine
}

// maxLine is the longest line that may be sent, without CRLF (RFC 5322 2.1.1).
const maxLine = 998

// fitHeader makes a header fit to be sent: endings CRLF, no NUL, and no line over the limit: such are cut.
func fitHeader(header []byte) []byte {
	header = message.NormalizeCRLF(nil, header)
	out := make([]byte, 0, len(header)+2)
	for line := range bytes.Lines(header) {
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		out = append(out, line[:min(len(line), maxLine)]...)
		out = append(out, '\r', '\n')
	}
	return bytes.ReplaceAll(out, []byte{0}, []byte("?"))
}

// composer writes one DSN.
type composer struct {
	p        Params
	original original
	utf8     bool
	boundary string
	out      bytes.Buffer
}

func (c *composer) message() []byte {
	c.header()
	c.part(c.text())
	c.part(c.status())
	c.part(c.returned())
	c.line("--" + c.boundary + "--")
	return c.out.Bytes()
}

func (c *composer) line(s string) {
	c.out.WriteString(s)
	c.out.WriteString("\r\n")
}

// part writes a MIME part: the fields of its header and its body.
func (c *composer) part(header []string, body []byte) {
	c.line("--" + c.boundary)
	for _, h := range header {
		c.line(h)
	}
	c.line("")
	c.out.Write(body)
	c.line("") // belongs to the boundary (RFC 2046 5.1.1)
}

func (c *composer) header() {
	p := &c.p
	c.line("Date: " + date(p.Time))
	c.line("From: Mail Delivery System <" + p.Postmaster + ">")
	c.line("To: <" + p.Envelope.ReversePath + ">")
	c.line(subject(wordings[p.Kind].subject, c.original.title))
	c.line("Message-ID: " + p.MessageID())
	if id := c.original.id; id != "" && len(id) <= maxReply && (c.utf8 || isASCII([]byte(id))) {
		c.line("In-Reply-To: " + id)
		c.line("References: " + id)
	}
	c.line("Auto-Submitted: auto-replied")  // RFC 3834 5
	c.line("X-Auto-Response-Suppress: All") // [MS-OXCMAIL]: Exchange answers no out-of-office message
	c.line("MIME-Version: 1.0")
	c.line("Content-Type: multipart/report; report-type=delivery-status;") // RFC 6522 3
	c.line("\tboundary=\"" + c.boundary + "\"")
	c.line("")
	c.line("This is a delivery status notification in MIME format.")
	c.line("")
}

// status is the second part: the fields for a program (RFC 3464 2.1, RFC 6533 4).
func (c *composer) status() (header []string, body []byte) {
	p := &c.p
	var b fields
	b.add("Reporting-MTA", "dns; "+domain(p.Hostname))
	if p.Envelope.EnvelopeID != "" {
		b.add("Original-Envelope-Id", c.clean(p.Envelope.EnvelopeID, maxValue))
	}
	b.date("Arrival-Date", p.Arrival)
	for i := range p.Recipients {
		b.WriteString("\r\n")
		c.recipient(&b, &p.Recipients[i])
	}
	header = []string{"Content-Type: message/delivery-status", "Content-Description: Delivery report"}
	if c.utf8 {
		header[0] = "Content-Type: message/global-delivery-status"
	}
	return append(header, encoding(b.Bytes())...), b.Bytes()
}

// recipient writes the fields of one recipient, in the order of RFC 3464 2.3.
func (c *composer) recipient(b *fields, r *Recipient) {
	if r.ORcpt != "" {
		b.add("Original-Recipient", c.address(r.ORcptType, r.ORcpt))
	}
	b.add("Final-Recipient", c.address("rfc822", r.Address))
	b.add("Action", string(c.p.Kind))
	b.add("Status", r.status(c.p.Kind))
	if !r.own() { // RFC 3464 2.3.5: the MTA that reported the status to this one
		b.add("Remote-MTA", "dns; "+r.remoteHost())
	}
	if reply := c.clean(r.Reply, maxReply); reply != "" {
		b.add("Diagnostic-Code", r.diagnosticType(reply)+"; "+reply)
	}
	b.date("Last-Attempt-Date", r.LastAttempt)
	if c.p.Kind == Delay {
		b.date("Will-Retry-Until", r.RetryUntil)
	}
}

// returned is the third part: the original, or its header (RFC 6522 3 and 4; RFC 6533 4).
func (c *composer) returned() (header []string, body []byte) {
	kind, content := "text/rfc822-headers", c.original.header
	switch whole := c.original.whole; {
	case whole != nil && c.utf8:
		kind, content = "message/global", whole
	case whole != nil:
		kind, content = "message/rfc822", whole
	case c.utf8:
		kind = "message/global-headers"
	}
	header = []string{"Content-Type: " + kind, "Content-Description: Undelivered message"}
	if c.original.whole == nil {
		header[1] = "Content-Description: Header of the message"
	}
	return append(header, encoding(content)...), content
}

// encoding is the Content-Transfer-Encoding of content that stands as it is: none for 7bit (RFC 2045 6.1).
func encoding(content []byte) []string {
	if isASCII(content) {
		return nil
	}
	return []string{"Content-Transfer-Encoding: 8bit"}
}

// newBoundary makes a boundary that does not occur in the original, from the DSN's id.
func (c *composer) newBoundary() string {
	for n := 0; ; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", c.p.ID, n))
		b := "=_" + hex.EncodeToString(sum[:12])
		if !bytes.Contains(c.original.whole, []byte(b)) && !bytes.Contains(c.original.header, []byte(b)) {
			return b
		}
	}
}

// fields writes the fields of the second part.
type fields struct{ bytes.Buffer }

func (b *fields) add(name, value string) {
	fmt.Fprintf(b, "%s: %s\r\n", name, value)
}

func (b *fields) date(name string, t time.Time) {
	if !t.IsZero() {
		b.add(name, date(t))
	}
}

// date writes t as RFC 5322 3.3 has it.
func date(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }
