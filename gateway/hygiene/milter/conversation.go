package milter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-milter"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// conversation tells a filter about one message, step by step as the SMTP session went.
type conversation struct {
	*milter.ClientSession
	s       Session
	conn    net.Conn
	version int           // of the protocol: 2 or 6
	answer  time.Duration // how long one answer may take
}

// run goes through the steps. The first answer other than "continue" ends it.
func (c *conversation) run(msg []byte) ([]milter.ModifyAction, *milter.Action, error) {
	if a, err := c.envelope(); err != nil || a.Code != milter.ActContinue {
		return nil, a, err
	}
	for _, step := range []func() (*milter.Action, error){c.data, func() (*milter.Action, error) { return c.header(msg) }} {
		if a, err := step(); err != nil || a.Code != milter.ActContinue {
			return nil, a, err
		}
	}
	_, bodyStart := rawmime.HeaderEnd(msg)
	if a, err := c.body(msg[bodyStart:]); err != nil || a.Code != milter.ActContinue {
		return nil, a, err
	}
	if err := c.macros(milter.CodeEOB, "i", c.s.ID); err != nil {
		return nil, nil, err
	}
	return c.End()
}

// runEnvelope goes through the steps up to the recipient.
func (c *conversation) runEnvelope() ([]milter.ModifyAction, *milter.Action, error) {
	a, err := c.envelope()
	return nil, a, err
}

func (c *conversation) envelope() (*milter.Action, error) {
	for _, step := range []func() (*milter.Action, error){c.connect, c.helo, c.mail, c.recipients} {
		if a, err := step(); err != nil || a.Code != milter.ActContinue {
			return a, err
		}
	}
	return next(), nil
}

// macros tells the macros of a step, as name and value; those without a value are left out.
func (c *conversation) macros(code milter.Code, pairs ...string) error {
	given := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := word(pairs[i+1]); value != "" {
			given = append(given, pairs[i], value)
		}
	}
	return c.Macros(code, given...)
}

// next is the answer where there is nothing to tell.
func next() *milter.Action { return &milter.Action{Code: milter.ActContinue} }

func (c *conversation) connect() (*milter.Action, error) {
	client := c.s.Client.Unmap()
	name := word(c.s.Name)
	if name == "" {
		name = "[" + client.String() + "]" // as Sendmail names a client without one
	}
	host, port, _ := net.SplitHostPort(c.s.Listener)
	err := c.macros(milter.CodeConn, "j", c.s.Hostname, "v", "coexist", "{daemon_name}", "coexist", "{daemon_addr}", host, "{daemon_port}", port,
		"{client_addr}", client.String(), "{client_name}", name, "{client_ptr}", name, "{client_port}", strconv.Itoa(int(c.s.Port)))
	if err != nil {
		return nil, err
	}
	family := milter.FamilyUnknown
	switch {
	case client.Is4():
		family = milter.FamilyInet
	case client.Is6():
		family = milter.FamilyInet6
	}
	return c.Conn(name, family, c.s.Port, client.WithZone("").String())
}

func (c *conversation) helo() (*milter.Action, error) {
	if c.s.TLSVersion != "" {
		err := c.macros(milter.CodeHelo, "{tls_version}", c.s.TLSVersion, "{cipher}", c.s.Cipher, "{cipher_bits}", cipherBits(c.s.Cipher),
			"{cert_subject}", c.s.CertSubject, "{cert_issuer}", c.s.CertIssuer)
		if err != nil {
			return nil, err
		}
	}
	return c.Helo(word(c.s.Helo))
}

// cipherBits is the length of the key of a cipher suite, by its name (RFC 8446 B.4 and the registry of TLS).
func cipherBits(suite string) string {
	for _, known := range []struct{ in, bits string }{{"AES_128", "128"}, {"AES_256", "256"}, {"CHACHA20", "256"}, {"3DES", "112"}} {
		if strings.Contains(suite, known.in) {
			return known.bits
		}
	}
	return ""
}

func (c *conversation) mail() (*milter.Action, error) {
	sender := word(c.s.Envelope.ReversePath)
	method := ""
	if c.s.AuthUser != "" {
		method = "PLAIN"
	}
	err := c.macros(milter.CodeMail, "i", c.s.ID, "{mail_addr}", sender, "{mail_host}", domain(sender), "{mail_mailer}", "smtp",
		"{auth_type}", method, "{auth_authen}", c.s.AuthUser)
	if err != nil {
		return nil, err
	}
	return c.Mail(sender, mailArguments(c.s.Envelope))
}

func domain(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// mailArguments are the parameters of MAIL (RFC 5321 4.1.1.11).
func mailArguments(e message.Envelope) (arguments []string) {
	if e.Body != "" {
		arguments = append(arguments, "BODY="+word(e.Body))
	}
	if e.UTF8 {
		arguments = append(arguments, "SMTPUTF8")
	}
	if e.Return != "" { // RFC 3461 4.3 and 4.4
		arguments = append(arguments, "RET="+word(e.Return))
	}
	if e.EnvelopeID != "" {
		arguments = append(arguments, "ENVID="+word(e.EnvelopeID))
	}
	return arguments
}

// recipientArguments are the parameters of RCPT (RFC 3461 4.1).
func recipientArguments(r message.Recipient) (arguments []string) {
	if len(r.Notify) > 0 {
		arguments = append(arguments, "NOTIFY="+word(strings.Join(r.Notify, ",")))
	}
	if r.ORcpt != "" {
		arguments = append(arguments, "ORCPT="+word(r.ORcptType)+";"+word(r.ORcpt))
	}
	return arguments
}

// recipients tells all of them. The message is one for all of them by now: a filter that refuses one refuses it.
func (c *conversation) recipients() (*milter.Action, error) {
	for _, r := range c.s.Envelope.Recipients {
		address := word(r.Address)
		err := c.macros(milter.CodeRcpt, "i", c.s.ID, "{rcpt_addr}", address, "{rcpt_host}", domain(address), "{rcpt_mailer}", "smtp")
		if err != nil {
			return nil, err
		}
		a, err := c.Rcpt(address, recipientArguments(r))
		if err != nil || a.Code != milter.ActContinue {
			return a, err
		}
	}
	return next(), nil
}

// data tells that the message begins: a step that the library does not have, and that filters of version 6 know.
func (c *conversation) data() (*milter.Action, error) {
	if c.version < 6 || c.ProtocolOption(milter.OptNoData) {
		return next(), nil
	}
	if err := c.macros(milter.CodeData, "i", c.s.ID); err != nil {
		return nil, err
	}
	c.conn.SetDeadline(time.Now().Add(c.answer))
	defer c.conn.SetDeadline(time.Time{})
	if _, err := c.conn.Write([]byte{0, 0, 0, 1, byte(milter.CodeData)}); err != nil {
		return nil, fmt.Errorf("milter: data: %w", err)
	}
	if c.ProtocolOption(milter.OptNoDataReply) {
		return next(), nil
	}
	return c.readAnswer()
}

// maxAnswer is far more than the answer to a step needs: a reply of a few lines.
const maxAnswer = 64 << 10

// readAnswer reads the answer to a step.
func (c *conversation) readAnswer() (*milter.Action, error) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return nil, fmt.Errorf("milter: data: %w", err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if n == 0 || n > maxAnswer {
			return nil, fmt.Errorf("milter: data: an answer of %d octets", n)
		}
		packet := make([]byte, n)
		if _, err := io.ReadFull(c.conn, packet); err != nil {
			return nil, fmt.Errorf("milter: data: %w", err)
		}
		switch code := milter.ActionCode(packet[0]); code {
		case 'p': // it is still working
		case milter.ActReplyCode:
			text, _, _ := strings.Cut(string(packet[1:]), "\x00")
			status, err := strconv.Atoi(text[:min(3, len(text))])
			if err != nil || len(text) < 5 {
				return nil, fmt.Errorf("milter: data: malformed reply %q", text)
			}
			return &milter.Action{Code: code, SMTPCode: status, SMTPText: text[4:]}, nil
		default:
			return &milter.Action{Code: code}, nil // decide knows those that there are
		}
	}
}

// header tells the fields as they stand: folds as LF, without the space after the colon. What is no field is not told.
func (c *conversation) header(msg []byte) (*milter.Action, error) {
	for f := range rawmime.Fields(msg) {
		if f.Name == nil {
			continue
		}
		if a, err := c.HeaderField(string(f.Name), fieldValue(f.Value)); err != nil || a.Code != milter.ActContinue {
			return a, err
		}
	}
	if err := c.macros(milter.CodeEOH, "i", c.s.ID); err != nil {
		return nil, err
	}
	return c.HeaderEnd()
}

func fieldValue(v []byte) string {
	v = bytes.TrimPrefix(v, []byte(" "))
	v = bytes.ReplaceAll(v, []byte("\r\n"), []byte("\n"))
	if len(v) > maxValue {
		v = v[:maxValue]
	}
	return strings.ReplaceAll(string(v), "\x00", "") // the protocol ends strings with NUL
}

// maxValue keeps a field within a packet of any filter (libmilter reads 1 MiB, older ones 64 KiB).
const maxValue = 60 << 10

func (c *conversation) body(body []byte) (*milter.Action, error) {
	for len(body) > 0 {
		n := min(len(body), milter.MaxBodyChunk)
		a, err := c.BodyChunk(body[:n])
		if err != nil || a.Code != milter.ActContinue {
			return a, err
		}
		if c.ProtocolOption(milter.OptNoBody) {
			break
		}
		body = body[n:]
	}
	return next(), nil
}

// word makes a string of the envelope fit for the protocol, whose strings end with NUL.
func word(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
}
