package inbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// conn is one SMTP connection.
type conn struct {
	server   *Server
	listener *Listener
	limits   Limits
	client   Client

	peer    netip.Addr      // the other end of the socket, whatever PROXY and XCLIENT say
	proxied bool            // what comes is from a client behind it
	network netip.Prefix    // that the connection counts for, if any
	record  *Recording      // nil: not recorded
	nc      net.Conn        // TLS after STARTTLS
	raw     syscall.RawConn // of the socket, to sleep on; nil: cannot
	in      *reader
	out     []byte // replies not yet written: a pipelined group is answered in one write (RFC 2920 3.2)
	ending  bool   // close after the replies are out
	session smtp.Session

	mail      bool // a transaction is open
	binary    bool // its message comes by BDAT, and may hold any octets
	rcpts     int  // recipients accepted
	rcptTried int
	errors    int // commands that made no sense

	// Of strangers: see Limits.
	accepted, refused int // recipients of all messages
	idle              int // commands since the last message
	authFailures      int
	wasEarly          bool
	secret            bool        // what is read now is a password
	trusted           atomic.Bool // by the session

	mu      sync.Mutex // guards waiting and since, for wake and hurry
	waiting bool       // for a command, so that a shutdown may interrupt
	since   time.Time  // when the wait began
	slept   bool       // in that wait
	entered bool       // counted by Server.enter
}

func newConn(s *Server, nc net.Conn, l *Listener) *conn {
	c := &conn{server: s, listener: l, nc: nc, limits: s.config.Limits().withDefaults()}
	c.client.Listener = l.Addr().String()
	c.in = newReader(readFunc(func(p []byte) (int, error) { return c.nc.Read(p) }))
	c.in.park() // many wait for a long time before they say anything
	c.raw = rawConn(nc)
	return c
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// refuse greets with a 4xx and closes. A client that begins with TLS hears nothing: a handshake is what there is no room for.
func (c *conn) refuse(reply *smtp.SMTPError) {
	if c.listener.Implicit {
		return
	}
	c.reply(reply)
	c.flush()
	c.lingerClose()
}

// A step is a piece of a connection's life, and says whether the connection sleeps at its end. One that does is to be woken.
type step func(*conn) (asleep bool)

// run does a step, and ends the connection unless it sleeps.
func (c *conn) run(do step) {
	asleep := false
	defer func() {
		if r := recover(); r != nil {
			// Our bug is our trouble: 4xx, and the client tries again.
			c.server.config.Logger.Error("bug in the SMTP dialogue", "client", c.client.Addr, "panic", r, "stack", string(debug.Stack()))
			c.reply(fail(421, 4, 3, 0, "Internal error, try again later"))
			c.flush()
			asleep = false
		}
		if !asleep {
			c.end()
		}
	}()
	asleep = do(c)
}

// begin is the life of a connection up to its first sleep.
func (c *conn) begin() (asleep bool) {
	// The address may come from a PROXY header, which is read here and not in the accept loop.
	c.client.Addr, c.client.Port = addrOf(c.nc.RemoteAddr())
	c.peer = proxyAddr(c.nc)
	c.proxied = c.listener.Proxied != nil && c.listener.Proxied(c.nc)
	c.record = c.server.recording(c.client.Addr)
	if refusal := c.server.enter(c); refusal != nil {
		c.refuse(refusal)
		return false
	}
	if c.listener.Implicit && !c.handshake() {
		return false
	}
	if c.awaitTurn() {
		c.greet()
	}
	return c.dialogue()
}

// end gives back what a connection holds.
func (c *conn) end() {
	defer c.server.wg.Done()
	defer c.nc.Close()
	if c.session != nil {
		c.session.Logout()
	}
	c.in.release()
	if c.entered {
		c.server.leave(c)
	}
}

func (c *conn) greet() { c.text(220, c.server.config.Hostname+" ESMTP coexist") }

// dialogue answers commands until the connection ends, which it sees to, or has been idle for so long that it may sleep.
func (c *conn) dialogue() (asleep bool) {
	for !c.ending {
		line, err := c.readLine(c.raw != nil)
		switch {
		case errors.Is(err, errAsleep):
			c.sleep()
			return true
		case errors.Is(err, errLineTooLong): // it was consumed whole, so the dialogue can go on
			c.protocolError(fail(500, 5, 5, 2, "Line too long"))
		case err != nil:
			c.fatal(err)
			c.ending = true
		default:
			c.command(line)
		}
	}
	c.flush()
	c.lingerClose()
	return false
}

// readLine waits for a command. Replies go out before it blocks, and not before. With maySleep it returns errAsleep when nothing came
// for a moment, and goes on with the same wait when it is called again.
func (c *conn) readLine(maySleep bool) ([]byte, error) {
	if c.in.buffered() == 0 || bytes.IndexByte(c.in.buf[c.in.r:c.in.w], '\n') < 0 {
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	c.in.shrink()
	c.await(!c.slept)
	defer func() {
		c.mu.Lock()
		c.waiting = c.slept // a sleeper waits for its command all the same
		c.mu.Unlock()
	}()
	if c.server.draining.Load() {
		c.slept = false
		return nil, errDraining
	}
	line, err := c.in.line()
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.slept && time.Since(c.since) < c.patience(c.server.config.Timeouts.Command) && !c.server.draining.Load() {
		c.await(false)
		if maySleep && c.in.buffered() == 0 {
			c.slept = true
			return nil, errAsleep
		}
		c.in.park()
		line, err = c.in.line()
	}
	c.slept = false
	if err != nil && c.server.draining.Load() {
		return nil, errDraining
	}
	if err == nil {
		c.noteCommand(line)
	}
	return line, err
}

// parkAfter is how long a connection keeps its buffer and its goroutine while it waits for a command.
const parkAfter = time.Second

// await sets the deadline of the wait for a command: at first until the buffer is given back, and then to the end.
func (c *conn) await(first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = true
	wait := c.patience(c.server.config.Timeouts.Command)
	if first {
		c.since = time.Now()
		wait = min(wait, c.server.config.Timeouts.park)
	}
	deadline := c.since.Add(wait)
	if c.server.draining.Load() { // looked at with the lock held, so that no wake is lost
		deadline = time.Unix(1, 0)
	}
	c.nc.SetReadDeadline(deadline)
}

var errDraining = errors.New("shutting down")

// wake interrupts a connection that waits for a command.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// hangUp closes the connection under whoever uses it.
func (c *conn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tc, ok := c.nc.(*tls.Conn); ok {
		tc.NetConn().Close() // without a farewell, which may take 5 seconds
		return
	}
	c.nc.Close()
}

// fatal says why the dialogue ends, where the client may still listen.
func (c *conn) fatal(err error) {
	switch {
	case errors.Is(err, errDraining):
		c.reply(fail(421, 4, 3, 2, c.server.config.Hostname+" is shutting down"))
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.server.config.Refused("timeout")
		c.reply(fail(421, 4, 4, 2, "Timeout, closing the connection"))
	}
}

// lingerClose closes so that the last reply is read: closing with unread input makes TCP reset the connection, and the reply is
// lost on the way. So: no more output, then swallow a little input.
func (c *conn) lingerClose() {
	if tc, ok := c.nc.(*tls.Conn); ok {
		tc.CloseWrite()
	} else if hc, ok := c.nc.(interface{ CloseWrite() error }); ok {
		hc.CloseWrite()
	}
	c.nc.SetReadDeadline(time.Now().Add(time.Second))
	io.CopyN(io.Discard, c.nc, 1<<20)
	c.nc.Close()
}

// handshake starts TLS (RFC 3207 4, RFC 8314 3). After a failure nothing more is said.
func (c *conn) handshake() bool {
	tc := tls.Server(&helloConn{Conn: c.nc}, c.listener.TLS())
	ctx, cancel := context.WithTimeout(context.Background(), c.server.config.Timeouts.Handshake)
	defer cancel()
	c.nc.SetDeadline(time.Now().Add(c.server.config.Timeouts.Handshake))
	// In a goroutine of its own, whose stack is given back: a handshake makes it four times as large as the dialogue needs, and a
	// stack shrinks slowly.
	done := make(chan error, 1)
	go func() { done <- tc.HandshakeContext(ctx) }()
	if err := <-done; err != nil {
		c.server.config.Refused("tls")
		c.server.config.Logger.Info("TLS handshake failed", "client", c.client.Addr, "error", err)
		c.ending = true
		c.nc.Close()
		return false
	}
	c.nc.SetDeadline(time.Time{})
	c.mu.Lock() // Shutdown closes what is there
	c.nc = tc
	c.mu.Unlock()
	state := tc.ConnectionState()
	c.client.TLS = &state
	return true
}

// Replies.

// text queues a reply without enhanced code: 220, 221, 354 and the lines of EHLO (RFC 2034 4).
func (c *conn) text(code int, lines ...string) {
	for i, line := range lines {
		sep := byte('-')
		if i == len(lines)-1 {
			sep = ' '
		}
		c.out = strconv.AppendInt(c.out, int64(code), 10)
		c.out = append(c.out, sep)
		c.out = append(c.out, line...)
		c.out = append(c.out, "\r\n"...)
		if c.record != nil {
			c.note("S:", []byte(strconv.Itoa(code)+string(sep)+line))
		}
	}
}

// reply queues a reply with its enhanced code on each line (RFC 2034 4).
func (c *conn) reply(e *smtp.SMTPError) {
	enhanced := e.EnhancedCode
	if enhanced == smtp.EnhancedCodeNotSet || enhanced[0] != e.Code/100 {
		enhanced = smtp.EnhancedCode{e.Code / 100, 0, 0}
	}
	prefix := strconv.Itoa(enhanced[0]) + "." + strconv.Itoa(enhanced[1]) + "." + strconv.Itoa(enhanced[2]) + " "
	lines := strings.Split(strings.ReplaceAll(e.Message, "\r", ""), "\n")
	for i, line := range lines {
		lines[i] = prefix + line
	}
	c.text(e.Code, lines...)
	if f := c.server.config.Replied; f != nil && e.Code >= 400 {
		f(e.Code, enhanced)
	}
	if e.Code == 421 {
		c.ending = true
	}
}

func (c *conn) ok(y, z int, text string) { c.reply(fail(250, 2, y, z, text)) }

// replyError answers what a session said: its SMTPError, or 451 for any other error, since only the session knows better.
func (c *conn) replyError(err error) {
	var e *smtp.SMTPError
	if !errors.As(err, &e) {
		c.server.config.Logger.Error("internal error in a session", "client", c.client.Addr, "error", err)
		e = fail(451, 4, 3, 0, "Internal error, try again later")
	}
	c.reply(e)
}

// protocolError answers a command that made no sense, and closes after too many (RFC 5321 7.8 leaves it to us).
func (c *conn) protocolError(e *smtp.SMTPError) {
	c.reply(e)
	c.errors++
	if !c.trusted.Load() {
		c.gather(1)
	}
	if c.tooManyErrors() {
		c.server.config.Refused("junk")
		c.reply(fail(421, 4, 7, 0, "Too many errors, closing the connection"))
	}
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.nc.SetWriteDeadline(time.Now().Add(c.server.config.Timeouts.Write))
	_, err := c.nc.Write(c.out)
	if cap(c.out) > 8<<10 {
		c.out = nil
	}
	c.out = c.out[:0]
	if err != nil {
		c.ending = true
	}
	return err
}

// Commands.

// verb is a row of the command table.
type verb struct {
	handle     func(*conn, string)
	needsHello bool // 503 before HELO or EHLO
	idle       bool // leads to no message by itself
}

func commandTable() map[string]verb {
	return map[string]verb{
		"HELO":     {handle: func(c *conn, arg string) { c.hello(arg, false) }, idle: true},
		"EHLO":     {handle: func(c *conn, arg string) { c.hello(arg, true) }, idle: true},
		"STARTTLS": {handle: (*conn).startTLS, needsHello: true},
		"AUTH":     {handle: (*conn).auth, needsHello: true, idle: true},
		"XCLIENT":  {handle: (*conn).xclient, needsHello: true, idle: true},
		"MAIL":     {handle: (*conn).mailFrom, needsHello: true},
		"RCPT":     {handle: (*conn).rcptTo, needsHello: true},
		"DATA":     {handle: (*conn).data, needsHello: true},
		"BDAT":     {handle: (*conn).bdat, needsHello: true},
		"RSET":     {handle: func(c *conn, _ string) { c.reset(); c.ok(0, 0, "OK") }, idle: true},
		"NOOP":     {handle: func(c *conn, _ string) { c.ok(0, 0, "OK") }, idle: true},
		"QUIT":     {handle: func(c *conn, _ string) { c.reply(fail(221, 2, 0, 0, "Bye")); c.ending = true }},
		"HELP":     {handle: func(c *conn, _ string) { c.reply(fail(214, 2, 0, 0, "See RFC 5321")) }, idle: true},
		// RFC 5321 3.5.3: a server need not tell whether an address exists.
		"VRFY": {handle: func(c *conn, _ string) {
			c.reply(fail(252, 2, 5, 0, "Cannot verify, but will take a message and try"))
		}, needsHello: true, idle: true},
		"EXPN": {handle: func(c *conn, _ string) { c.protocolError(fail(502, 5, 5, 1, "EXPN is not offered")) }, idle: true},
	}
}

// notSMTP are first words of other protocols: a browser that was tricked into talking to us (cross-protocol attack), or a scanner.
var notSMTP = map[string]bool{"GET": true, "POST": true, "PUT": true, "HEAD": true, "CONNECT": true, "OPTIONS": true, "DELETE": true, "HOST:": true}

func (c *conn) command(line []byte) {
	name, arg, _ := strings.Cut(string(line), " ")
	name = strings.ToUpper(name)
	v, known := c.server.verbs[name]
	switch {
	case notSMTP[name]:
		c.server.config.Refused("junk")
		c.reply(fail(421, 4, 7, 0, "This is SMTP, closing the connection"))
	case strings.ContainsAny(arg, "\x00\r"):
		c.protocolError(fail(501, 5, 5, 2, "Control character in the command"))
	case !known:
		c.protocolError(fail(500, 5, 5, 1, "Command not known"))
	case v.needsHello && c.session == nil:
		c.protocolError(fail(503, 5, 5, 1, "Say EHLO first"))
	case v.idle && c.idleCommand():
	default:
		v.handle(c, arg)
	}
}

// hello answers HELO and EHLO (RFC 5321 4.1.1.1): it begins the session anew.
func (c *conn) hello(arg string, esmtp bool) {
	name, _, _ := strings.Cut(strings.TrimSpace(arg), " ")
	if !validHello(name) {
		c.protocolError(fail(501, 5, 5, 4, "A host name is expected after the command"))
		return
	}
	c.endSession()
	c.client.Helo, c.client.ESMTP = name, esmtp
	session, err := c.server.config.NewSession(c.client)
	if err != nil {
		c.replyError(err)
		return
	}
	c.setSession(session)
	if c.in.buffered() > 0 && c.early() {
		return
	}
	if !esmtp {
		c.text(250, c.server.config.Hostname)
		return
	}
	c.text(250, c.extensions()...)
}

// validHello says whether a name can be the argument of HELO or EHLO. What is no domain is common, and harmless where it is only
// written down.
func validHello(name string) bool {
	return name != "" && len(name) <= maxDomain && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// extensions are the lines of the reply to EHLO.
func (c *conn) extensions() []string {
	lines := append(make([]string, 0, 16), c.server.config.Hostname, "PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", "ENHANCEDSTATUSCODES")
	if c.limits.MessageSize > 0 {
		lines = append(lines, "SIZE "+strconv.FormatInt(c.limits.MessageSize, 10))
	} else {
		lines = append(lines, "SIZE")
	}
	if c.limits.Recipients > 0 {
		lines = append(lines, "LIMITS RCPTMAX="+strconv.Itoa(c.limits.Recipients)) // RFC 9422 4
	}
	if c.listener.TLS != nil && c.client.TLS == nil {
		lines = append(lines, "STARTTLS")
	}
	if c.client.TLS != nil {
		lines = append(lines, "REQUIRETLS") // RFC 8689 2: inside TLS only
	}
	if c.server.config.Authenticator != nil && c.client.TLS != nil {
		lines = append(lines, "AUTH "+mechanismNames)
	}
	if c.xclientAllowed() {
		lines = append(lines, "XCLIENT "+xclientNames)
	}
	return lines
}

// setSession begins a session.
func (c *conn) setSession(s smtp.Session) {
	c.session = s
	t, ok := s.(Truster)
	c.trusted.Store(ok && t.Trusted())
}

func (c *conn) endSession() {
	c.reset()
	if c.session != nil {
		c.session.Logout()
		c.session = nil
	}
}

// reset ends a transaction.
func (c *conn) reset() {
	if c.session != nil && c.mail {
		c.session.Reset()
	}
	c.mail, c.rcpts, c.rcptTried = false, 0, 0
}

func (c *conn) startTLS(arg string) {
	switch {
	case arg != "":
		c.protocolError(fail(501, 5, 5, 4, "STARTTLS takes no argument"))
	case c.listener.TLS == nil:
		c.protocolError(fail(502, 5, 5, 1, "TLS is not offered"))
	case c.client.TLS != nil:
		c.protocolError(fail(503, 5, 5, 1, "TLS is already in use"))
	default:
		if c.in.buffered() > 0 && c.early() {
			return
		}
		c.in.discard() // what was pipelined after STARTTLS came in clear text and is not believed (RFC 3207 4.2, RFC 2920 3.1)
		c.reply(fail(220, 2, 0, 0, "Ready to start TLS"))
		if c.flush() == nil && c.handshake() {
			c.endSession() // RFC 3207 4.2: as after the greeting
		}
	}
}

// mailFrom answers MAIL (RFC 5321 4.1.1.2).
func (c *conn) mailFrom(arg string) {
	rest, ok := cutFold(arg, "FROM:")
	switch {
	case !ok:
		c.protocolError(fail(501, 5, 5, 4, "Expected MAIL FROM:<address>"))
		return
	case c.mail:
		c.protocolError(fail(503, 5, 5, 1, "A transaction is open; RSET ends it")) // RFC 5321 4.1.4
		return
	case c.listener.Required && c.client.TLS == nil:
		c.reply(fail(530, 5, 7, 0, "STARTTLS is required first")) // RFC 3207 4
		return
	}
	from, rest, err := parsePath(rest)
	if err != nil {
		c.protocolError(fail(501, 5, 1, 7, "Bad sender address: "+err.Error()))
		return
	}
	opts, refusal := parseMailParams(rest)
	if refusal == nil {
		refusal = c.checkMail(from, opts)
	}
	if refusal != nil {
		c.reply(refusal)
		return
	}
	if err := c.session.Mail(from, opts); err != nil {
		c.replyError(err)
		return
	}
	c.mail, c.binary = true, opts.Body == smtp.BodyBinaryMIME
	c.ok(1, 0, "Sender OK")
}

func (c *conn) checkMail(from string, opts *smtp.MailOptions) *smtp.SMTPError {
	_, _, hasDomain := splitAddress(from)
	switch {
	case from != "" && !hasDomain:
		return fail(501, 5, 1, 7, "The sender address has no domain")
	case c.limits.MessageSize > 0 && opts.Size > c.limits.MessageSize:
		c.server.config.Refused("size")
		return fail(552, 5, 3, 4, "Message too big: the limit is "+strconv.FormatInt(c.limits.MessageSize, 10)+" octets") // RFC 1870 6.1
	case opts.RequireTLS && c.client.TLS == nil: // RFC 8689 2: it is not offered; RFC 3207 4 has 530, RFC 8689 4.2.1 the enhanced code
		return fail(530, 5, 7, 10, "REQUIRETLS needs TLS: STARTTLS first")
	case !opts.UTF8 && !isASCII(from):
		return fail(553, 5, 6, 7, "The address needs SMTPUTF8") // RFC 6531 3.5
	}
	return nil
}

// rcptTo answers RCPT (RFC 5321 4.1.1.3).
func (c *conn) rcptTo(arg string) {
	rest, ok := cutFold(arg, "TO:")
	switch {
	case !ok:
		c.protocolError(fail(501, 5, 5, 4, "Expected RCPT TO:<address>"))
		return
	case !c.mail:
		c.protocolError(fail(503, 5, 5, 1, "MAIL first"))
		return
	}
	to, rest, err := parsePath(rest)
	_, _, hasDomain := splitAddress(to)
	switch {
	case err != nil:
		c.protocolError(fail(501, 5, 1, 3, "Bad recipient address: "+err.Error()))
		return
	case to == "":
		c.protocolError(fail(501, 5, 1, 3, "The recipient address is empty"))
		return
	case !hasDomain && !strings.EqualFold(to, "postmaster"): // RFC 5321 4.5.1
		c.reply(fail(501, 5, 1, 3, "The recipient address has no domain"))
		return
	}
	opts, refusal := parseRcptParams(rest)
	if refusal != nil {
		c.reply(refusal)
		return
	}
	if c.limits.Recipients > 0 && c.rcptTried >= c.limits.Recipients {
		c.server.config.Refused("recipients")
		c.reply(fail(452, 4, 5, 3, "Too many recipients: the limit is "+strconv.Itoa(c.limits.Recipients))) // RFC 5321 4.5.3.1.10
		return
	}
	c.rcptTried++
	if err := c.session.Rcpt(to, opts); err != nil {
		c.refusedRecipient(err)
		return
	}
	c.rcpts++
	c.acceptedRecipient()
	c.ok(1, 5, "Recipient OK")
}

func cutFold(s, prefix string) (string, bool) {
	s = strings.TrimLeft(s, " \t")
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}
