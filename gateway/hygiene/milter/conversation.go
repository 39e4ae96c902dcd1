package milter

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/emersion/go-milter"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// conversation tells a filter about one message, step by step as the SMTP session went.
type conversation struct {
	*milter.ClientSession
	s Session
}

// run goes through the steps. The first answer other than "continue" ends it.
func (c *conversation) run(msg []byte) ([]milter.ModifyAction, *milter.Action, error) {
	for _, step := range []func() (*milter.Action, error){c.connect, c.helo, c.mail, c.recipients} {
		if a, err := step(); err != nil || a.Code != milter.ActContinue {
			return nil, a, err
		}
	}
	if a, err := c.header(msg); err != nil || a.Code != milter.ActContinue {
		return nil, a, err
	}
	_, bodyStart := rawmime.HeaderEnd(msg)
	if a, err := c.body(msg[bodyStart:]); err != nil || a.Code != milter.ActContinue {
		return nil, a, err
	}
	if err := c.Macros(milter.CodeEOB, "i", c.s.ID); err != nil {
		return nil, nil, err
	}
	return c.End()
}

// next is the answer where there is nothing to tell.
func next() *milter.Action { return &milter.Action{Code: milter.ActContinue} }

func (c *conversation) connect() (*milter.Action, error) {
	client := c.s.Client.Unmap()
	name := word(c.s.Name)
	if name == "" {
		name = "[" + client.String() + "]" // as Sendmail names a client without one
	}
	err := c.Macros(milter.CodeConn, "j", c.s.Hostname, "{daemon_name}", "coexist", "v", "coexist",
		"{client_addr}", client.String(), "{client_name}", name, "{client_port}", strconv.Itoa(int(c.s.Port)))
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
		if err := c.Macros(milter.CodeHelo, "{tls_version}", c.s.TLSVersion, "{cipher}", c.s.Cipher); err != nil {
			return nil, err
		}
	}
	return c.Helo(word(c.s.Helo))
}

func (c *conversation) mail() (*milter.Action, error) {
	sender := word(c.s.Envelope.ReversePath)
	if err := c.Macros(milter.CodeMail, "i", c.s.ID, "{mail_addr}", sender); err != nil {
		return nil, err
	}
	return c.Mail(sender, mailArguments(c.s.Envelope))
}

// mailArguments are the parameters of MAIL (RFC 5321 4.1.1.11).
func mailArguments(e message.Envelope) (arguments []string) {
	if e.Body != "" {
		arguments = append(arguments, "BODY="+word(e.Body))
	}
	if e.UTF8 {
		arguments = append(arguments, "SMTPUTF8")
	}
	return arguments
}

// recipients tells all of them. The message is one for all of them by now: a filter that refuses one refuses it.
func (c *conversation) recipients() (*milter.Action, error) {
	for _, r := range c.s.Envelope.Recipients {
		address := word(r.Address)
		if err := c.Macros(milter.CodeRcpt, "i", c.s.ID, "{rcpt_addr}", address); err != nil {
			return nil, err
		}
		a, err := c.Rcpt(address, nil)
		if err != nil || a.Code != milter.ActContinue {
			return a, err
		}
	}
	return next(), nil
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
