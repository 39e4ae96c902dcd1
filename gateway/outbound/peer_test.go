package outbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// TestMain fails the run when something of this package still runs in the end.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

func leaked() string {
	var found string
	for range 500 { // a lookup that nobody waits for any more takes its time
		buf := make([]byte, 1<<20)
		found = ""
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "outbound.(*") {
				found += g + "\n\n"
			}
		}
		if found == "" {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
	}
	return found
}

// act is what the peer does instead of the ordinary.
type act struct {
	reply string // sent as it is, plus CRLF unless it ends in "~"; empty: nothing is said
	close bool   // then the connection is closed
	hang  bool   // then nothing more happens until the test ends
}

// peer is an SMTP server that misbehaves as told.
type peer struct {
	ln   net.Listener
	ext  []string // EHLO keywords
	tls  *tls.Config
	lax  bool // DATA and BDAT are accepted without recipients
	done chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	script   func(c *peerConn, verb, arg string) *act
	messages []received
	conns    int
	flushes  int // times that it answered and then waited: the round trips that it saw
	verbs    []string
	open     map[net.Conn]bool
}

type received struct {
	from    string // with parameters
	to      []string
	content string
	conn    int
	tls     bool
	cert    string // common name of the client's certificate
	bdat    bool
}

type peerConn struct {
	p   *peer
	nc  net.Conn
	br  *bufio.Reader
	out bytes.Buffer
	n   int // number of the connection, from 1
	msg received
}

var allExtensions = []string{"PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES"}

func without(names ...string) (out []string) {
	for _, e := range allExtensions {
		keep := true
		for _, n := range names {
			keep = keep && !strings.HasPrefix(e, n)
		}
		if keep {
			out = append(out, e)
		}
	}
	return out
}

func newPeer(t testing.TB, script func(c *peerConn, verb, arg string) *act) *peer {
	return newPeerAt(t, "127.0.0.1:0", script)
}

func newPeerAt(t testing.TB, addr string, script func(c *peerConn, verb, arg string) *act) *peer {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	for i := 0; err != nil && i < 100; i++ { // a connection of somebody else may have the port for a moment
		time.Sleep(20 * time.Millisecond)
		ln, err = net.Listen("tcp", addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{ln: ln, ext: allExtensions, script: script, done: make(chan struct{}), open: map[net.Conn]bool{}}
	p.wg.Add(1)
	go p.serve()
	t.Cleanup(p.stop)
	return p
}

func (p *peer) addr() string { return p.ln.Addr().String() }

func (p *peer) port() uint16 { return netip.MustParseAddrPort(p.addr()).Port() }

// stop closes the listener and every connection.
func (p *peer) stop() {
	p.mu.Lock()
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	p.mu.Unlock()
	p.ln.Close()
	p.dropAll()
	p.wg.Wait()
}

func (p *peer) dropAll() {
	p.mu.Lock()
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
}

func (p *peer) set(script func(c *peerConn, verb, arg string) *act) {
	p.mu.Lock()
	p.script = script
	p.mu.Unlock()
}

func (p *peer) got() []received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]received(nil), p.messages...)
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

func (p *peer) trips() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flushes
}

func (p *peer) count(verb string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.verbs {
		if v == verb {
			n++
		}
	}
	return n
}

func (p *peer) serve() {
	defer p.wg.Done()
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns++
		p.open[nc] = true
		c := &peerConn{p: p, nc: nc, br: bufio.NewReaderSize(nc, 64<<10), n: p.conns}
		p.mu.Unlock()
		p.wg.Go(func() {
			c.run()
			nc.Close()
			p.mu.Lock()
			delete(p.open, nc)
			p.mu.Unlock()
		})
	}
}

// say queues a reply; ask flushes what is queued once there is nothing more to read.
func (c *peerConn) say(format string, a ...any) { fmt.Fprintf(&c.out, format+"\r\n", a...) }

func (c *peerConn) flush() error {
	if c.out.Len() == 0 {
		return nil
	}
	c.p.mu.Lock()
	c.p.flushes++
	c.p.mu.Unlock()
	_, err := c.out.WriteTo(c.nc)
	return err
}

// scripted does what the script says of a verb. handled: it said something; ended: the connection is over.
func (c *peerConn) scripted(verb, arg string) (a *act, ended bool) {
	c.p.mu.Lock()
	script := c.p.script
	c.p.verbs = append(c.p.verbs, verb)
	c.p.mu.Unlock()
	if script == nil {
		return nil, false
	}
	if a = script(c, verb, arg); a == nil {
		return nil, false
	}
	if part, half := strings.CutSuffix(a.reply, "~"); half {
		c.out.WriteString(part)
	} else if a.reply != "" {
		c.say("%s", a.reply)
	}
	if a.hang {
		c.flush()
		<-c.p.done
		return a, true
	}
	if a.close {
		c.flush()
		return a, true
	}
	return a, false
}

func (c *peerConn) run() {
	a, ended := c.scripted("CONNECT", "")
	if ended {
		return
	}
	if a == nil {
		c.say("220 mx.contoso.com ESMTP")
	}
	for {
		if c.br.Buffered() == 0 {
			if c.flush() != nil {
				return
			}
		}
		line, err := c.br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		if c.command(strings.ToUpper(verb), arg) {
			c.flush()
			return
		}
	}
}

// command handles one line; true ends the connection.
func (c *peerConn) command(verb, arg string) bool {
	var chunk []byte
	if verb == "BDAT" { // the octets belong to the command, whatever is said of it
		n, _ := strconv.Atoi(strings.Fields(arg)[0])
		chunk = make([]byte, n)
		if _, err := io.ReadFull(c.br, chunk); err != nil {
			return true
		}
	}
	a, ended := c.scripted(verb, arg)
	if ended {
		return true
	}
	if a != nil && !strings.HasPrefix(a.reply, "2") && !strings.HasPrefix(a.reply, "354") {
		return false
	}
	said := a != nil
	say := func(format string, args ...any) {
		if !said {
			c.say(format, args...)
		}
	}
	switch verb {
	case "EHLO":
		if !said {
			lines := append([]string{"mx.contoso.com"}, c.p.ext...)
			if c.p.tls != nil && !c.msg.tls {
				lines = append(lines, "STARTTLS")
			}
			for i, l := range lines {
				sep := "-"
				if i == len(lines)-1 {
					sep = " "
				}
				c.say("250%s%s", sep, l)
			}
		}
	case "STARTTLS":
		say("220 2.0.0 go")
		return c.startTLS()
	case "MAIL":
		if c.msg.from != "" {
			c.say("503 5.5.1 nested MAIL")
			break
		}
		c.msg.from = arg
		say("250 2.1.0 ok")
	case "RCPT":
		if c.msg.from == "" {
			c.say("503 5.5.1 MAIL first")
			break
		}
		c.msg.to = append(c.msg.to, arg)
		say("250 2.1.5 ok")
	case "DATA":
		if len(c.msg.to) == 0 && !c.p.lax && !said {
			c.say("554 5.5.1 no valid recipients")
			break
		}
		say("354 go ahead")
		return c.data()
	case "BDAT":
		if len(c.msg.to) == 0 && !c.p.lax {
			c.say("503 5.5.1 no valid recipients")
			break
		}
		c.msg.content, c.msg.bdat = string(chunk), true
		c.keep()
		say("250 2.0.0 taken")
	case "RSET":
		c.reset()
		say("250 2.0.0 reset")
	case "QUIT":
		say("221 2.0.0 bye")
		return true
	default:
		say("250 2.0.0 ok")
	}
	return false
}

func (c *peerConn) reset() { c.msg = received{tls: c.msg.tls, cert: c.msg.cert} }

func (c *peerConn) keep() {
	c.msg.conn = c.n
	c.p.mu.Lock()
	c.p.messages = append(c.p.messages, c.msg)
	c.p.mu.Unlock()
	c.reset()
}

func (c *peerConn) data() bool {
	if c.flush() != nil {
		return true
	}
	var b strings.Builder
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			return true
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	c.msg.content = b.String()
	a, ended := c.scripted("EOD", "")
	if ended {
		return true
	}
	if a != nil && !strings.HasPrefix(a.reply, "2") {
		c.reset()
		return false
	}
	if len(c.msg.to) > 0 {
		c.keep()
	}
	if a == nil {
		c.say("250 2.0.0 taken")
	}
	return false
}

func (c *peerConn) startTLS() bool {
	if c.flush() != nil {
		return true
	}
	tc := tls.Server(c.nc, c.p.tls)
	if err := tc.Handshake(); err != nil {
		return true
	}
	c.nc, c.br = tc, bufio.NewReaderSize(tc, 64<<10)
	c.msg = received{tls: true}
	if certs := tc.ConnectionState().PeerCertificates; len(certs) > 0 {
		c.msg.cert = certs[0].Subject.CommonName
	}
	return false
}

// transport is a Transport whose only side has the given hops, with timeouts and back-off for tests.
func transport(t testing.TB, change func(*Options), hops ...string) *Transport {
	t.Helper()
	o := Options{Hostname: "gw1.contoso.com",
		Sides:   map[routing.Side]Side{routing.OnPrem: {Name: routing.OnPrem, Hops: hops, TLS: config.SideTLSNone}},
		Backoff: Backoff{Min: 20 * time.Millisecond, Max: 100 * time.Millisecond},
	}
	if change != nil {
		change(&o)
	}
	tr := New(o)
	t.Cleanup(tr.Close)
	return tr
}

const sample = "From: Allie Bellew <allieb@contoso.com>\r\nTo: Alex Darrow <alexd@contoso.com>\r\nSubject: test\r\n\r\nHello\r\n"

// request is a message of content to the given recipients on the on-prem side.
func request(content string, to ...string) Request {
	r := Request{ID: "test", Side: routing.OnPrem, Content: [][]byte{[]byte(content)}}
	r.ReversePath = "allieb@contoso.com"
	for _, a := range to {
		r.Recipients = append(r.Recipients, message.Recipient{Address: a})
	}
	return r
}

// deliver fails the test when the attempt takes longer than any of these tests may.
func deliver(t testing.TB, tr *Transport, r Request) []Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res := tr.Deliver(ctx, r)
	if ctx.Err() != nil {
		t.Fatalf("Deliver took too long; results: %s", summary(res))
	}
	return res
}

// summary is outcome, code, enhanced code and stage of every result.
func summary(results []Result) string {
	var out []string
	for _, r := range results {
		s := string(r.Outcome)
		if r.Reply != nil {
			e := r.Reply.EnhancedCode
			s += fmt.Sprintf(" %d %d.%d.%d", r.Reply.Code, e[0], e[1], e[2])
		}
		s += " " + string(r.Stage)
		if r.Uncertain {
			s += " uncertain"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func wantSummary(t testing.TB, got []Result, want string) {
	t.Helper()
	if s := summary(got); s != want {
		for _, r := range got {
			t.Logf("%+v reply %+v", r, r.Reply)
		}
		t.Fatalf("got  %s\nwant %s", s, want)
	}
}

// on is a script for one verb.
func on(verb string, a act) func(*peerConn, string, string) *act {
	return func(_ *peerConn, v, _ string) *act {
		if v == verb {
			return &a
		}
		return nil
	}
}
