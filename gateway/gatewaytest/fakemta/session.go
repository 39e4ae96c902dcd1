package fakemta

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// bufferSize is that of a connection's reader and writer, and the longest command line, in octets.
const bufferSize = 64 << 10

// linger is how long a connection that is closed after a reply waits for the client to read it.
const linger = 500 * time.Millisecond

// session is one SMTP connection.
type session struct {
	server *Server
	raw    net.Conn // the TCP connection
	conn   net.Conn // raw, or TLS over it
	r      *bufio.Reader
	w      *bufio.Writer
	number int
	remote string

	tls          *TLS
	helo         string
	greeting     string
	refused      bool     // the greeting was 4xx or 5xx: only QUIT is accepted (RFC 5321 3.1)
	message      *Message // the transaction; nil before MAIL
	utf8         bool     // MAIL had SMTPUTF8
	body         body     // what came of the message so far
	transactions int      // accepted
	override     string   // the reply that a rule wants in place of the next positive one
}

func newSession(s *Server, conn net.Conn, number int) *session {
	return &session{
		server: s,
		raw:    conn,
		conn:   conn,
		r:      bufio.NewReaderSize(conn, bufferSize),
		w:      bufio.NewWriterSize(conn, bufferSize),
		number: number,
		remote: conn.RemoteAddr().String(),
	}
}

// outcome is what a rule left to do.
type outcome int

const (
	proceed outcome = iota // carry the command out
	replied                // the command was answered, and is not carried out
	closed                 // the connection is to be closed, or is already
	unsure                 // keep the message, then close without a reply
)

// errClosed ends a session that a rule closed.
var errClosed = errors.New("closed by a rule")

func (c *session) run() {
	defer c.w.Flush()
	if c.server.options.ImplicitTLS && !c.secure() {
		return
	}
	if !c.greet() {
		return
	}
	for {
		line, err := c.readLine()
		if err != nil {
			c.readFailed(err)
			return
		}
		if !c.command(line) {
			return
		}
	}
}

func (c *session) greet() bool {
	host, _, err := net.SplitHostPort(c.remote)
	if err != nil {
		host = c.remote
	}
	switch c.act(Connect, host) {
	case proceed:
		c.reply(220, "", c.server.options.Hostname+" ESMTP fakemta")
	case replied:
		c.refused = true
	default:
		return false
	}
	return true
}

// readFailed answers a client that was silent for too long (RFC 5321 4.5.3.2.7).
func (c *session) readFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.reply(421, "4.4.2", "nothing came for too long")
	}
}

// ready is called before each read: when the read would wait, all replies so far go out first, in one write.
func (c *session) ready() error {
	if c.r.Buffered() > 0 {
		return nil
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	return c.conn.SetReadDeadline(time.Now().Add(c.server.options.IdleTimeout))
}

// readLine returns a command line without its CRLF. A line that does not fit is answered, and left out.
func (c *session) readLine() (string, error) {
	for {
		if err := c.ready(); err != nil {
			return "", err
		}
		line, err := c.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if err := c.skipLine(); err != nil {
				return "", err
			}
			c.reply(500, "5.5.2", "the line is too long")
			continue
		}
		if err != nil {
			return "", err
		}
		if len(line) < 2 || line[len(line)-2] != '\r' {
			c.reply(500, "5.5.2", "the line does not end with CRLF")
			continue
		}
		return string(line[:len(line)-2]), nil
	}
}

func (c *session) skipLine() error {
	for {
		_, err := c.r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if err := c.ready(); err != nil {
			return err
		}
	}
}

// handlers are the commands; each returns false when the connection is to be closed.
var handlers = []struct {
	name   string
	handle func(c *session, arg string) bool
}{
	{"RCPT", (*session).rcpt}, // the most frequent first
	{"MAIL", (*session).mail},
	{"DATA", (*session).data},
	{"BDAT", (*session).bdat},
	{"RSET", (*session).rset},
	{"QUIT", (*session).quit},
	{"EHLO", func(c *session, arg string) bool { return c.hello("EHLO", arg) }},
	{"HELO", func(c *session, arg string) bool { return c.hello("HELO", arg) }},
	{"STARTTLS", (*session).startTLS},
	{"NOOP", (*session).noop},
	{"VRFY", func(c *session, _ string) bool { return c.reply(252, "2.5.0", "send some mail, it will be tried") }},
	{"HELP", func(c *session, _ string) bool { return c.reply(214, "2.0.0", "RFC 5321") }},
}

func (c *session) command(line string) bool {
	name, arg, _ := strings.Cut(line, " ")
	if !c.server.offered["PIPELINING"] && c.r.Buffered() > 0 && !strings.EqualFold(name, "BDAT") {
		c.server.unannounced.Add(1)
	}
	for i := range handlers {
		if !strings.EqualFold(handlers[i].name, name) {
			continue
		}
		if c.refused && handlers[i].name != "QUIT" {
			return c.reply(503, "5.5.1", "the connection was refused")
		}
		return handlers[i].handle(c, arg)
	}
	return c.reply(500, "5.5.1", "the command is not known")
}

// reply writes a reply, with the text of a rule in place of a positive one. It always returns true: go on.
func (c *session) reply(code int, enhanced, text string) bool {
	override := c.override
	c.override = ""
	if override != "" && code < 400 {
		c.write(override)
		return true
	}
	var buffer [8]byte
	c.w.Write(strconv.AppendInt(buffer[:0], int64(code), 10))
	c.w.WriteByte(' ')
	if enhanced != "" && c.server.offered["ENHANCEDSTATUSCODES"] {
		c.w.WriteString(enhanced)
		c.w.WriteByte(' ')
	}
	c.w.WriteString(text)
	c.w.WriteString("\r\n")
	return true
}

// write writes the reply of a rule: its code before each of its lines (RFC 5321 4.2.1).
func (c *session) write(text string) {
	code := text[:3]
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, code) {
			line = strings.TrimLeft(strings.TrimPrefix(line, code), " -")
		}
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		c.w.WriteString(code + separator + strings.TrimSuffix(line, "\r") + "\r\n")
	}
}

// act counts a moment, and does what a rule wants at it.
func (c *session) act(verb Verb, subjects ...string) outcome {
	c.count(verb)
	rule, found := c.server.script.Load().find(verb, subjects...)
	if !found {
		return proceed
	}
	return c.apply(rule)
}

func (c *session) count(verb Verb) {
	for i := range verbs {
		if verbs[i] == verb {
			c.server.commands[i].Add(1)
			return
		}
	}
}

func (c *session) apply(rule Rule) outcome {
	if rule.Delay > 0 {
		c.w.Flush()
		if !c.server.sleep(rule.Delay) {
			return closed
		}
	}
	switch rule.action() {
	case Reply:
		return c.answer(rule.Reply)
	case Huge:
		return c.answer(hugeReply(rule))
	case Garbage:
		c.w.WriteString("\x00\xff\xfe this is no reply\r\n")
		return replied
	case ReplyClose:
		c.write(rule.Reply)
		c.lingeringClose()
		return closed
	case Half:
		c.w.WriteString(rule.Reply[:(len(rule.Reply)+1)/2])
		c.lingeringClose()
		return closed
	case Hang:
		c.hang(rule.Hang)
		return closed
	case Drop:
		c.w.Flush()
		c.raw.Close()
		return closed
	case KeepDrop:
		return unsure
	}
	return proceed
}

func (c *session) answer(text string) outcome {
	if text[0] < '4' {
		c.override = text
		return proceed
	}
	c.write(text)
	return replied
}

func hugeReply(rule Rule) string {
	octets := rule.Octets
	if octets == 0 {
		octets = 1 << 20
	}
	const line = "\nand on and on and on and on and on and on and on and on and"
	return rule.Reply + strings.Repeat(line, octets/len(line)+1)
}

// lingeringClose lets the client read what was written: closing a socket with unread input would take it back (RST).
func (c *session) lingeringClose() {
	c.w.Flush()
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	c.raw.SetReadDeadline(time.Now().Add(linger))
	io.Copy(io.Discard, c.raw)
}

// hang reads and forgets until the client is gone, or the time is over.
func (c *session) hang(d time.Duration) {
	c.w.Flush()
	deadline := time.Time{}
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	c.raw.SetReadDeadline(deadline)
	io.Copy(io.Discard, c.raw)
}

func (c *session) hello(name, arg string) bool {
	switch c.act(EHLO, arg) {
	case replied:
		return true
	case closed:
		return false
	}
	if strings.TrimSpace(arg) == "" {
		return c.reply(501, "5.5.4", "a name is expected")
	}
	c.greeting, c.helo = name, strings.TrimSpace(arg)
	c.reset()
	if name == "HELO" {
		return c.reply(250, "", c.server.options.Hostname)
	}
	text := "250 " + c.server.options.Hostname
	for _, keyword := range c.server.keywords(c.tls != nil) {
		text += "\n" + keyword
	}
	if c.override == "" {
		c.override = text
	}
	return c.reply(250, "", "")
}

func (c *session) startTLS(string) bool {
	switch c.act(StartTLS, c.helo) {
	case replied:
		return true
	case closed:
		return false
	}
	switch {
	case !c.server.offered["STARTTLS"]:
		return c.reply(502, "5.5.1", "STARTTLS is not offered")
	case c.tls != nil:
		return c.reply(503, "5.5.1", "TLS is there already")
	}
	c.reply(220, "2.0.0", "go ahead")
	if c.w.Flush() != nil {
		return false
	}
	return c.secure()
}

// secure does the handshake. What the client said before counts no longer (RFC 3207 4.2), nor what it sent ahead.
func (c *session) secure() bool {
	conn := tls.Server(c.raw, c.server.options.TLS)
	c.raw.SetDeadline(time.Now().Add(c.server.options.IdleTimeout))
	if err := conn.Handshake(); err != nil {
		return false
	}
	c.raw.SetDeadline(time.Time{})
	c.conn, c.tls = conn, newTLS(conn.ConnectionState())
	c.r.Reset(conn)
	c.w.Reset(conn)
	c.helo, c.greeting = "", ""
	c.reset()
	return true
}

// reset forgets the transaction.
func (c *session) reset() {
	c.message, c.utf8, c.body = nil, false, body{}
}

func (c *session) mail(arg string) bool {
	address, params, ok := parsePath("FROM:", arg)
	switch c.act(Mail, address) {
	case replied:
		return true
	case closed:
		return false
	}
	switch {
	case !ok:
		return c.reply(501, "5.5.4", "MAIL FROM:<address> is expected")
	case c.helo == "":
		return c.reply(503, "5.5.1", "EHLO first")
	case c.message != nil:
		return c.reply(503, "5.5.1", "there is a sender already")
	}
	if fault := c.checkParams(mailParams, params); fault != "" {
		return c.reply(555, "5.5.4", fault)
	}
	size, utf8 := sizeAndUTF8(params)
	switch limit := c.server.options.MaxSize; {
	case limit > 0 && size > limit:
		return c.reply(552, "5.3.4", fmt.Sprintf("at most %d octets are taken", limit))
	case !utf8 && !isASCII(address):
		return c.reply(553, "5.6.7", "SMTPUTF8 is expected for this address")
	}
	c.utf8 = utf8
	c.message = &Message{
		Connection:      c.number,
		Transaction:     c.transactions + 1,
		Remote:          c.remote,
		Helo:            c.helo,
		Greeting:        c.greeting,
		Sender:          address,
		SenderParams:    params,
		Recipients:      []string{},
		RecipientParams: [][]string{},
		TLS:             c.tls,
		Started:         time.Now(),
	}
	c.body.expect(size, c.server.options.Discard)
	return c.reply(250, "2.1.0", "ok")
}

func (c *session) rcpt(arg string) bool {
	address, params, ok := parsePath("TO:", arg)
	switch c.act(Rcpt, address) {
	case replied:
		return true
	case closed:
		return false
	}
	switch {
	case !ok || address == "":
		return c.reply(501, "5.5.4", "RCPT TO:<address> is expected")
	case c.message == nil:
		return c.reply(503, "5.5.1", "MAIL first")
	case !c.utf8 && !isASCII(address):
		return c.reply(553, "5.6.7", "SMTPUTF8 is expected for this address")
	}
	if fault := c.checkParams(rcptParams, params); fault != "" {
		return c.reply(555, "5.5.4", fault)
	}
	c.message.Recipients = append(c.message.Recipients, address)
	c.message.RecipientParams = append(c.message.RecipientParams, params)
	return c.reply(250, "2.1.5", "ok")
}

func (c *session) rset(string) bool {
	switch c.act(RSET) {
	case replied:
		return true
	case closed:
		return false
	}
	c.reset()
	return c.reply(250, "2.0.0", "ok")
}

func (c *session) noop(string) bool {
	switch c.act(NOOP) {
	case replied:
		return true
	case closed:
		return false
	}
	return c.reply(250, "2.0.0", "ok")
}

func (c *session) quit(string) bool {
	switch c.act(Quit) {
	case replied:
		return true
	case closed:
		return false
	}
	c.reply(221, "2.0.0", "bye")
	return false
}

// recipients are what rules for DATA and later are matched with.
func (c *session) recipients() []string {
	if c.message == nil {
		return nil
	}
	return c.message.Recipients
}

func (c *session) data(arg string) bool {
	switch c.act(Data, c.recipients()...) {
	case replied:
		return true
	case closed:
		return false
	}
	switch {
	case arg != "":
		return c.reply(501, "5.5.4", "DATA has no argument")
	case c.message == nil:
		return c.reply(503, "5.5.1", "MAIL first")
	case c.message.Chunked:
		return c.reply(503, "5.5.1", "BDAT was used before") // RFC 3030 2
	case isBinary(c.message.SenderParams):
		return c.reply(503, "5.5.1", "BODY=BINARYMIME needs BDAT") // RFC 3030 3
	case len(c.message.Recipients) == 0:
		return c.reply(554, "5.5.1", "there is no valid recipient")
	}
	c.reply(354, "", "end with CRLF.CRLF")
	if err := c.readData(); err != nil {
		c.readFailed(err)
		return false
	}
	return c.endOfData()
}

// bdat reads a chunk (RFC 3030 2). Its octets follow whatever the reply will be, so they are read first.
func (c *session) bdat(arg string) bool {
	size, last, ok := parseChunk(arg)
	if !ok {
		c.reply(501, "5.5.4", "BDAT size [LAST] is expected")
		return false // where the next command begins is not known
	}
	keep := c.server.offered["CHUNKING"] && len(c.recipients()) > 0
	if err := c.readChunk(size, keep); err != nil {
		c.readFailed(err)
		return false
	}
	switch c.act(BDAT, c.recipients()...) {
	case replied:
		c.reset()
		return true
	case closed:
		return false
	}
	switch {
	case !c.server.offered["CHUNKING"]:
		return c.reply(502, "5.5.1", "CHUNKING is not offered")
	case c.message == nil:
		return c.reply(503, "5.5.1", "MAIL first")
	case len(c.message.Recipients) == 0:
		return c.reply(554, "5.5.1", "there is no valid recipient")
	}
	c.message.Chunked = true
	if !last {
		return c.reply(250, "2.0.0", strconv.FormatInt(size, 10)+" octets")
	}
	return c.endOfData()
}

// endOfData takes the message that is complete, unless a rule or a limit refuses it.
func (c *session) endOfData() bool {
	m := c.message
	c.body.finish(m)
	what := c.act(EOD, m.Recipients...)
	c.reset()
	switch what {
	case replied:
		return true
	case closed:
		return false
	}
	if limit := c.server.options.MaxSize; limit > 0 && m.Size > limit {
		return c.reply(552, "5.3.4", fmt.Sprintf("at most %d octets are taken", limit))
	}
	m.Received = time.Now()
	if err := c.server.keep(m); err != nil {
		return c.reply(451, "4.3.0", strings.Join(strings.Fields(err.Error()), " "))
	}
	c.transactions++
	if what == unsure {
		c.raw.Close()
		return false
	}
	return c.reply(250, "2.0.0", "ok "+strconv.Itoa(c.number)+"."+strconv.Itoa(c.transactions))
}
