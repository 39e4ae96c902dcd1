// Package milter asks content filters about a message by the milter protocol, as Sendmail and Postfix do: rspamd, clamav-milter and
// the like. Each message is a session of its own, held when the message has been read and before it is acknowledged; where that is wanted,
// each recipient is one too, held at RCPT. A filter that is dead is not waited for each time.
package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/hygiene/reply"
	"github.com/coexist-mail/coexist/gateway/message"
)

// Fallback says what becomes of a message when a filter cannot be asked.
type Fallback string

const (
	// TempFail puts the message off: 451 4.7.1.
	TempFail Fallback = "tempfail"
	// Accept lets it go on as if there were no filter.
	Accept Fallback = "accept"
)

// Filter is one milter.
type Filter struct {
	// Address is where it listens: host:port, or the path of a Unix socket.
	Address string
	// Fallback is TempFail when empty.
	Fallback Fallback
	// Connect bounds the connection, 5 s; Answer one answer, 30 s; Total the whole session, 60 s.
	Connect, Answer, Total time.Duration
	// Failures is how often in a row the filter may not be reached before it is not asked for Pause; 3, and 10 s.
	Failures int
	Pause    time.Duration
	// Clock tells when the pause is over; time.Now when nil.
	Clock func() time.Time
}

// filter is a Filter at work.
type filter struct {
	Filter
	breaker  breaker
	counters counters
	// blind is true once the filter has said that it looks at no step of the envelope: then it need not be asked at RCPT.
	blind atomic.Bool
}

// Session is how a message came.
type Session struct {
	Client netip.Addr
	Port   uint16
	// Name is the client's host name by DNS; empty: unknown.
	Name, Helo string
	// TLSVersion and Cipher are empty in clear text.
	TLSVersion, Cipher string
	// CertSubject and CertIssuer are the common names in the client's certificate; empty without.
	CertSubject, CertIssuer string
	// AuthUser is who authenticated by SMTP AUTH; empty: nobody.
	AuthUser string
	// Listener is the address that the client connected to; it may be empty.
	Listener string
	// Hostname is the gateway's, ID the message's; there is none at RCPT.
	Hostname, ID string
	Envelope     message.Envelope
}

// Verdict is what the filters say of a message.
type Verdict struct {
	// Reply refuses the message or puts it off; nil: it goes on.
	Reply *smtp.SMTPError
	// Discard is true when the client is to hear that the message was accepted, and nobody gets it.
	Discard bool
	// Quarantine is why the message is to be held; empty: it is not.
	Quarantine string
	// Message is the message as the filters changed it: nil where they did not. Octets that they did not change are shared with
	// the message given.
	Message message.Content
	// By is the address of the filter whose Reply, Discard or Quarantine it is.
	By string
	// Down is true when Reply is there because that filter could not be asked.
	Down bool
	// Failed lists the errors of filters that could not be asked, each naming its filter; Ignored what filters asked for and the
	// gateway does not do: other envelope addresses.
	Failed  []error
	Ignored []string
}

// Chain is a list of filters.
type Chain struct{ filters []*filter }

// New returns a Chain of filters, asked in this order. Its errors are about the filters.
func New(filters ...Filter) (*Chain, error) {
	c := &Chain{}
	for _, f := range filters {
		if _, _, err := endpoint(f.Address); err != nil {
			return nil, err
		}
		switch f.Fallback {
		case "":
			f.Fallback = TempFail
		case TempFail, Accept:
		default:
			return nil, fmt.Errorf("milter %s: fallback %q, want tempfail or accept", f.Address, f.Fallback)
		}
		setDefault(&f.Connect, 5*time.Second)
		setDefault(&f.Answer, 30*time.Second)
		setDefault(&f.Total, 60*time.Second)
		setDefault(&f.Failures, 3)
		setDefault(&f.Pause, 10*time.Second)
		if f.Clock == nil {
			f.Clock = time.Now
		}
		c.filters = append(c.filters, &filter{Filter: f, breaker: breaker{limit: f.Failures, pause: f.Pause, now: f.Clock}})
	}
	return c, nil
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// endpoint tells a Unix socket, which has a slash, from host:port.
func endpoint(address string) (network, target string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok || strings.Contains(address, "/") {
		return "unix", path, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return "", "", fmt.Errorf("milter %q: want host:port or the path of a Unix socket", address)
	}
	return "tcp", address, nil
}

// Examine asks the filters one after the other about msg, the message as it came. Each one sees what those before it made of it;
// the first that refuses or discards it is the last that is asked.
func (c *Chain) Examine(ctx context.Context, s Session, msg []byte) Verdict {
	var v Verdict
	for _, f := range c.filters {
		o, err := f.ask(ctx, func(k *conversation) ([]milter.ModifyAction, *milter.Action, error) { return k.run(msg) }, s)
		if !v.take(f, o, err) {
			return v
		}
		if changed, ok := o.edits.apply(msg); ok {
			v.Message = changed
			msg = changed.Bytes()
		}
	}
	return v
}

// Recipient asks the filters about the one recipient of s.Envelope: they hear of the client, the sender and the recipient, and that the
// transaction ends there. What they say holds for the recipient; only a refusal counts here, since the message itself is still to come.
func (c *Chain) Recipient(ctx context.Context, s Session) Verdict {
	var v Verdict
	for _, f := range c.filters {
		if f.blind.Load() {
			continue
		}
		o, err := f.ask(ctx, (*conversation).runEnvelope, s)
		o.discard, o.quarantine = false, ""
		if !v.take(f, o, err) {
			return v
		}
	}
	return v
}

// take adds what a filter said, and says whether the next one is to be asked.
func (v *Verdict) take(f *filter, o outcome, err error) bool {
	if err != nil {
		v.Failed = append(v.Failed, fmt.Errorf("milter %s: %w", f.Address, err))
		if f.Fallback == TempFail {
			v.Reply = reply.New(451, smtp.EnhancedCode{4, 7, 1}, "A content filter is not available, try again later")
			v.By, v.Down = f.Address, true
		}
		return v.Reply == nil
	}
	v.Ignored = append(v.Ignored, o.ignored...)
	if o.quarantine != "" && v.Quarantine == "" {
		v.Quarantine, v.By = o.quarantine, f.Address
	}
	if o.reply != nil || o.discard {
		v.Reply, v.Discard, v.By = o.reply, o.discard, f.Address
		return false
	}
	return true
}

// outcome is what one filter said.
type outcome struct {
	reply      *smtp.SMTPError
	discard    bool
	quarantine string
	ignored    []string
	edits      edits
}

// ask holds a session with a filter, unless it is dead.
func (f *filter) ask(ctx context.Context, run func(*conversation) ([]milter.ModifyAction, *milter.Action, error), s Session) (o outcome, err error) {
	if err := f.breaker.allow(); err != nil {
		f.counters.add(NotAsked, 0)
		return o, err
	}
	start := time.Now()
	o, err = f.hold(ctx, run, s)
	word := o.word()
	if err != nil {
		word = Broken
	}
	f.counters.add(word, time.Since(start))
	return o, err
}

// negotiationTime is how long a filter may take to say what it can do: one that hangs takes connections all the same, since the kernel does.
const negotiationTime = 15 * time.Second

// hold holds a session.
func (f *filter) hold(parent context.Context, run func(*conversation) ([]milter.ModifyAction, *milter.Action, error), s Session) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(parent, f.Total)
	defer cancel()
	d := &dialer{ctx: ctx, timeout: f.Connect}
	defer d.close() // the library leaves a connection open whose negotiation or farewell failed
	hung := time.AfterFunc(negotiationTime, cancel)
	session, version, err := f.connect(d)
	hung.Stop()
	f.breaker.reached(err, parent.Err() == nil)
	if err != nil {
		return o, err
	}
	f.blind.Store(session.ProtocolOption(milter.OptNoConnect) && session.ProtocolOption(milter.OptNoHelo) &&
		session.ProtocolOption(milter.OptNoMailFrom) && session.ProtocolOption(milter.OptNoRcptTo))
	modifications, action, err := run(&conversation{ClientSession: session, s: s, conn: d.conn, version: version, answer: f.Answer})
	if err != nil {
		return o, err
	}
	session.Close()
	for _, m := range modifications {
		o.take(m)
	}
	return o, o.decide(action)
}

// What the gateway offers to do, and which steps it can leave out. Recipients and sender are offered as well, though they are not
// changed: a filter built with libmilter refuses to work with less than it asks for.
const (
	actions2 = milter.OptAddHeader | milter.OptChangeBody | milter.OptAddRcpt | milter.OptRemoveRcpt | milter.OptChangeHeader |
		milter.OptQuarantine
	steps2 = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo | milter.OptNoBody | milter.OptNoHeaders |
		milter.OptNoEOH
	// OptSkip is not among them: the library takes that answer for an error.
	actions6 = actions2 | milter.OptChangeFrom
	steps6   = steps2 | milter.OptNoUnknown | milter.OptNoData | milter.OptNoHeaderReply | milter.OptNoConnReply |
		milter.OptNoHeloReply | milter.OptNoMailReply | milter.OptNoRcptReply | milter.OptNoDataReply |
		milter.OptNoUnknownReply | milter.OptNoEOHReply | milter.OptNoBodyReply
)

// connect negotiates version 6 of the protocol, or version 2 with a filter that knows no other.
func (f *filter) connect(d *dialer) (session *milter.ClientSession, version int, err error) {
	network, target, err := endpoint(f.Address)
	if err != nil {
		return nil, 0, err
	}
	o := milter.ClientOptions{Dialer: d, ReadTimeout: f.Answer, WriteTimeout: f.Answer, ActionMask: actions6, ProtocolMask: steps6}
	session, err = milter.NewClientWithOptions(network, target, o).Session()
	if !errors.Is(err, milter.ErrUnsupportedMilterVersion) {
		return session, 6, err
	}
	d.close()
	o.ActionMask, o.ProtocolMask = actions2, steps2
	session, err = milter.NewClientWithOptions(network, target, o).Session()
	return session, 2, err
}

// take notes one modification.
func (o *outcome) take(m milter.ModifyAction) {
	switch m.Code {
	case milter.ActQuarantine:
		if o.quarantine = reply.Text(m.Reason); o.quarantine == "" {
			o.quarantine = "quarantined by a content filter"
		}
	case milter.ActAddRcpt, milter.ActDelRcpt:
		o.ignored = append(o.ignored, "recipient "+string(m.Code)+reply.Text(m.Rcpt))
	case milter.ActChangeFrom:
		o.ignored = append(o.ignored, "sender "+reply.Text(m.From))
	default:
		o.edits = append(o.edits, m)
	}
}

// decide takes the action that ends a session.
func (o *outcome) decide(a *milter.Action) error {
	const refused, later = "Message refused by a content filter", "Message put off by a content filter, try again later"
	switch a.Code {
	case milter.ActContinue, milter.ActAccept:
	case milter.ActDiscard:
		o.discard = true
	case milter.ActReject:
		o.reply = reply.New(550, smtp.EnhancedCode{5, 7, 1}, refused)
	case milter.ActTempFail:
		o.reply = reply.New(451, smtp.EnhancedCode{4, 7, 1}, later)
	case milter.ActReplyCode:
		if a.SMTPCode >= 400 && a.SMTPCode < 500 {
			o.reply = reply.Parse(a.SMTPCode, 451, a.SMTPText, later)
		} else {
			o.reply = reply.Parse(a.SMTPCode, 550, a.SMTPText, refused)
		}
	default:
		return fmt.Errorf("answers %q", a.Code)
	}
	return nil
}

// dialer makes the one connection of a session, which ends with ctx whatever the filter does.
type dialer struct {
	ctx     context.Context
	timeout time.Duration
	conn    net.Conn
	stop    func() bool
}

// Dial implements milter.Dialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: d.timeout}).DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.conn = conn
	d.stop = context.AfterFunc(d.ctx, func() { conn.Close() })
	return onceReader{conn}, nil
}

func (d *dialer) close() {
	if d.conn != nil {
		d.stop()
		d.conn.Close()
	}
}

// onceReader tells an end of the connection in the middle of an answer from one that was expected: none is.
type onceReader struct{ net.Conn }

func (c onceReader) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
