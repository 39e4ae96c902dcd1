package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/config"
)

// extensions are what a host offered in its EHLO reply.
type extensions struct {
	pipelining bool // RFC 2920
	chunking   bool // RFC 3030
	binary     bool // BINARYMIME, RFC 3030
	eightBit   bool // RFC 6152
	utf8       bool // RFC 6531
	dsn        bool // RFC 3461
	starttls   bool // RFC 3207
	requireTLS bool // RFC 8689; counts inside TLS only
	hasSize    bool // RFC 1870
	size       int64
}

// keywords sets what an EHLO keyword (in upper case) says.
var keywords = map[string]func(e *extensions, arg string){
	"PIPELINING": func(e *extensions, _ string) { e.pipelining = true },
	"CHUNKING":   func(e *extensions, _ string) { e.chunking = true },
	"BINARYMIME": func(e *extensions, _ string) { e.binary = true },
	"8BITMIME":   func(e *extensions, _ string) { e.eightBit = true },
	"SMTPUTF8":   func(e *extensions, _ string) { e.utf8 = true },
	"DSN":        func(e *extensions, _ string) { e.dsn = true },
	"STARTTLS":   func(e *extensions, _ string) { e.starttls = true },
	"REQUIRETLS": func(e *extensions, _ string) { e.requireTLS = true },
	"SIZE": func(e *extensions, arg string) {
		e.hasSize = true
		if n, err := strconv.ParseInt(arg, 10, 64); err == nil && n > 0 { // RFC 1870 4: 0 or nothing is no fixed limit
			e.size = n
		}
	},
}

func parseExtensions(r reply) extensions {
	var e extensions
	for i, line := range r.lines {
		if i == 0 {
			continue // the name and greeting (RFC 5321 4.1.1.1)
		}
		word, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		if set := keywords[strings.ToUpper(word)]; set != nil {
			set(&e, strings.TrimSpace(arg))
		}
	}
	return e
}

// conn is one SMTP session. Only one goroutine uses it at a time; abort may be called by any.
type conn struct {
	hop        *hop
	nc         net.Conn // what is spoken on: the socket, or TLS over it
	socket     net.Conn
	br         *bufio.Reader
	bw         *bufio.Writer // over TLS
	addr       string
	tls        string
	name       string // that it gave in its reply to EHLO
	ext        extensions
	generation int
	timeouts   Timeouts
	born       time.Time
	used       time.Time // when it last became idle
	uses       int       // transactions begun on this connection
	messages   int       // taken by the peer on this connection
	refusals   int       // 4xx and 5xx replies on this connection
	endless    bool      // a reply did not end
	needReset  bool      // a transaction was left open
	out        []byte    // commands to be written, reused

	mu      sync.Mutex
	aborted bool
}

// connect makes a session with the first of the host's addresses that gives one.
func (h *hop) connect(ctx context.Context, s *settings, to target) (*conn, *hopError) {
	addrs, herr := h.addresses(ctx, s, to)
	if herr != nil {
		return nil, herr
	}
	for i, a := range addrs {
		var c *conn
		c, herr = h.connectAddr(ctx, s, a, to.hurry || i < len(addrs)-1)
		if herr == nil {
			return c, nil
		}
		s.Logger.Debug("no session", "next_hop", h.key.String(), "addr", a, "stage", herr.stage, "error", herr.err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, herr
}

// connectAddr makes a session with one address, in clear where TLS is opportunistic and fails.
func (h *hop) connectAddr(ctx context.Context, s *settings, a netip.Addr, hurry bool) (*conn, *hopError) {
	if hurry {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeouts.Failover, errTimeout)
		defer cancel()
	}
	c, herr := h.session(ctx, s, a, h.key.tls)
	if herr != nil && herr.stage == StageSTARTTLS && h.key.tls == config.SideTLSOpportunistic && ctx.Err() == nil {
		s.Logger.Info("TLS failed, trying in clear", "next_hop", h.key.String(), "addr", a, "error", herr.err)
		c, herr = h.session(ctx, s, a, config.SideTLSNone)
	}
	return c, herr
}

var errTimeout = errors.New("no answer in time")

// session connects and goes through greeting, EHLO and STARTTLS.
func (h *hop) session(ctx context.Context, s *settings, a netip.Addr, policy config.SideTLS) (*conn, *hopError) {
	addr := netip.AddrPortFrom(a, h.key.port).String()
	dctx, cancel := context.WithTimeoutCause(ctx, s.Timeouts.Connect, errTimeout)
	nc, err := s.DialContext(dctx, "tcp", addr)
	cancel()
	if err != nil {
		enhanced := smtp.EnhancedCode{4, 4, 1} // RFC 3463 3.5: no answer from host
		if ctx.Err() != nil {
			enhanced = smtp.EnhancedCode{4, 4, 2}
		}
		return nil, &hopError{stage: StageConnect, enhanced: enhanced, addr: addr, slow: isTimeout(err), err: err}
	}
	now := s.Clock()
	c := &conn{hop: h, nc: nc, socket: nc, br: bufio.NewReader(nc), addr: addr, generation: s.generation,
		timeouts: s.Timeouts, born: now, used: now}
	stop := context.AfterFunc(ctx, c.abort)
	stage, enhanced, err := c.handshake(ctx, s, policy)
	loop := errors.Is(err, errSelf)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, &hopError{stage: stage, enhanced: enhanced, addr: addr, loop: loop, slow: isTimeout(err), err: err}
	}
	return c, nil
}

// errSelf: the peer is this gateway, or another of its name.
var errSelf = errors.New("the host answers EHLO with the name of this gateway")

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errTimeout) ||
		errors.Is(err, syscall.ETIMEDOUT)
}

func (c *conn) handshake(ctx context.Context, s *settings, policy config.SideTLS) (Stage, smtp.EnhancedCode, error) {
	unreachable := smtp.EnhancedCode{4, 4, 1}
	r, err := c.read(c.timeouts.Greeting)
	if err != nil {
		return StageConnect, smtp.EnhancedCode{4, 4, 2}, fmt.Errorf("waiting for the greeting: %w", err)
	}
	if r.code != 220 { // not the recipients' fault, be it 4xx or 5xx
		return StageConnect, unreachable, fmt.Errorf("greeted with %s", replyString(r.smtpError()))
	}
	if err := c.hello(s.Hostname); err != nil {
		return StageEHLO, unreachable, err
	}
	if s.self.greets(c.name) { // behind an address that is not known as ours: a load balancer, NAT
		return StageEHLO, unreachable, errSelf
	}
	if policy == config.SideTLSNone || policy == config.SideTLSOpportunistic && !c.ext.starttls {
		return "", unreachable, nil
	}
	if enhanced, err := c.startTLS(ctx, s, policy); err != nil {
		return StageSTARTTLS, enhanced, err
	}
	if err := c.hello(s.Hostname); err != nil { // RFC 3207 4.2: what was learnt in clear is forgotten
		return StageEHLO, unreachable, err
	}
	return "", unreachable, nil
}

// hello says EHLO, or HELO to a host that does not know it (RFC 5321 3.2).
func (c *conn) hello(name string) error {
	r, err := c.command("EHLO " + name)
	if err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	if r.positive() {
		c.ext = parseExtensions(r)
		c.ext.requireTLS = c.ext.requireTLS && c.tls != ""
		c.name, _, _ = strings.Cut(strings.TrimSpace(r.lines[0]), " ") // RFC 5321 4.1.1.1: its own name
		return nil
	}
	if r.code/100 != 5 {
		return fmt.Errorf("EHLO was answered with %s", replyString(r.smtpError()))
	}
	if r, err = c.command("HELO " + name); err != nil {
		return fmt.Errorf("HELO: %w", err)
	}
	if !r.positive() {
		return fmt.Errorf("HELO was answered with %s", replyString(r.smtpError()))
	}
	c.ext = extensions{}
	return nil
}

// errTLSLater: the host has no TLS at the moment.
var errTLSLater = errors.New("no TLS at present")

func (c *conn) startTLS(ctx context.Context, s *settings, policy config.SideTLS) (smtp.EnhancedCode, error) {
	security := smtp.EnhancedCode{4, 7, 4} // RFC 3463 3.8: security features not supported
	if !c.ext.starttls {
		return security, errors.New("TLS is demanded and the host does not offer STARTTLS")
	}
	r, err := c.command("STARTTLS")
	if err != nil {
		return security, fmt.Errorf("STARTTLS: %w", err)
	}
	if r.code/100 == 4 { // RFC 3207 4: for a temporary reason
		return security, fmt.Errorf("%w: STARTTLS was answered with %s", errTLSLater, replyString(r.smtpError()))
	}
	if r.code != 220 {
		return security, fmt.Errorf("STARTTLS was answered with %s", replyString(r.smtpError()))
	}
	if c.br.Buffered() > 0 { // octets that an attacker put in front of the handshake
		return security, errors.New("the host sent clear text after its reply to STARTTLS")
	}
	if err := c.arm(c.timeouts.Command); err != nil {
		return security, err
	}
	tc := tls.Client(c.socket, c.hop.tlsConfig(s, policy))
	if err := tc.HandshakeContext(ctx); err != nil {
		return smtp.EnhancedCode{4, 7, 5}, fmt.Errorf("TLS handshake: %w", err) // cryptographic failure
	}
	c.nc, c.tls = tc, tlsName(tc.ConnectionState().Version)
	c.br.Reset(tc)
	return security, nil
}

// command sends one command and reads its reply.
func (c *conn) command(line string) (reply, error) {
	if err := c.arm(c.timeouts.Command); err != nil {
		return reply{}, err
	}
	if _, err := c.nc.Write([]byte(line + "\r\n")); err != nil {
		return reply{}, err
	}
	return c.read(c.timeouts.Command)
}

// read reads one reply within d.
func (c *conn) read(d time.Duration) (reply, error) {
	if c.br.Buffered() == 0 {
		if err := c.arm(d); err != nil {
			return reply{}, err
		}
	}
	if c.endless {
		return reply{}, errEndless
	}
	r, err := readReply(c.br)
	if err == nil && r.code >= 400 {
		c.refusals++
	}
	c.endless = r.endless
	return r, err
}

// maxRefusals is after how many refusals a connection is not kept: servers slow a client down that hears many (Postfix after 10, by a
// second a command), or hang up on it (after 20).
const maxRefusals = 8

// arm gives the next step d. It fails once the connection was aborted.
func (c *conn) arm(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		return os.ErrDeadlineExceeded
	}
	return c.socket.SetDeadline(time.Now().Add(d)) // real time: the kernel knows no other clock
}

// abort makes the step in progress, and every later one, fail at once.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	// Of the past, so that it takes effect now; its error would only say that the socket is closed.
	_ = c.socket.SetDeadline(time.Unix(1, 0))
}

func (c *conn) wasAborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aborted
}

func (c *conn) close() {
	_ = c.socket.Close() // nothing is owed to the peer, and nothing can be done about an error
}

// quit ends the session politely, in the background: QUIT, the reply, close (RFC 5321 4.1.1.10).
func (c *conn) quit() {
	polite := func() {
		defer c.nc.Close() // with TLS it says goodbye too
		const patience = time.Second
		if c.arm(patience) != nil {
			return
		}
		if _, err := c.nc.Write([]byte("QUIT\r\n")); err == nil {
			_, _ = c.read(patience) // whatever it says
		}
	}
	if !c.hop.t.background(polite) {
		polite()
	}
}

// fresh reports whether the connection may carry another message under the settings.
func (c *conn) fresh(s *settings) bool {
	return c.generation == s.generation && !c.endless && c.refusals < maxRefusals && s.Clock().Sub(c.born) < s.Timeouts.Age &&
		(s.MessagesPerConnection <= 0 || c.messages < s.MessagesPerConnection)
}

// usable reports whether a kept connection can be used now: not too old, not idle too long, nothing unexpected read (a 421
// before the peer closes it), not closed.
func (c *conn) usable(s *settings) bool {
	return c.fresh(s) && s.Clock().Sub(c.used) < s.Timeouts.Idle && c.br.Buffered() == 0 && quiet(c.socket)
}

// quiet looks at a socket without waiting: true when the peer has neither closed it nor sent anything. Where it cannot
// look (a connection of the caller's own making) it says true.
func quiet(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
	})
	return err == nil && open
}
