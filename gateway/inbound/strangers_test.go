package inbound

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/routing"
)

// reasons collects what a server refuses.
type reasons struct {
	mu  sync.Mutex
	all []string
}

func (r *reasons) add(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, reason)
}

func (r *reasons) count(reason string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.all {
		if a == reason {
			n++
		}
	}
	return n
}

// watched is a change of the configuration: why gets the reasons of refusals.
func watched(why *reasons, limits Limits, more ...func(*Config, *Listener)) func(*Config, *Listener) {
	return func(c *Config, l *Listener) {
		c.Refused = why.add
		c.Limits = func() Limits { return limits }
		for _, m := range more {
			m(c, l)
		}
	}
}

func TestHarvest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		side   routing.Side
		limits Limits
		tries  int
		last   string // the reply behind the tries
		closed bool
	}{
		{"a stranger", routing.Internet, Limits{RefusedRecipients: 20, RefusalDelay: time.Millisecond}, 20, "421 4.7.0", true},
		{"up to the limit", routing.Internet, Limits{RefusedRecipients: 20, RefusalDelay: time.Millisecond}, 19, "250 2.0.0", false},
		{"without a limit", routing.Internet, Limits{RefusedRecipients: -1, RefusalDelay: -1}, 300, "250 2.0.0", false},
		{"on-prem", routing.OnPrem, Limits{RefusedRecipients: 20}, 300, "250 2.0.0", false},
		{"the cloud", routing.Cloud, Limits{RefusedRecipients: 20}, 300, "250 2.0.0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var why reasons
			c := startServer(t, tt.side, watched(&why, tt.limits)).hello(t)
			c.say("MAIL FROM:<a@fabrikam.com>")
			c.want("250 ")
			for i := range tt.tries {
				c.say(fmt.Sprintf("RCPT TO:<nobody%d@contoso.com>", i))
				c.want("550 5.1.1 ")
			}
			if !tt.closed {
				c.say("NOOP")
			}
			c.want(tt.last)
			if tt.closed {
				c.wantClosed()
			}
			if got := why.count("harvest") > 0; got != tt.closed {
				t.Errorf("reported: %v", why.all)
			}
		})
	}
}

// The replies to a client that guesses get slower, and accepted recipients buy refused ones.
func TestRefusalDelayGrows(t *testing.T) {
	t.Parallel()
	c := startServer(t, routing.Internet, watched(&reasons{}, Limits{RefusalDelay: 20 * time.Millisecond})).rcpt(t)
	var took []time.Duration
	for range 20 {
		start := time.Now()
		c.say("RCPT TO:<nobody@contoso.com>")
		c.want("550 5.1.1 ")
		took = append(took, time.Since(start))
	}
	for i, want := range map[int]time.Duration{12: 20 * time.Millisecond, 15: 80 * time.Millisecond, 19: 160 * time.Millisecond} {
		if took[i] < want {
			t.Errorf("reply %d took %v, want at least %v", i+1, took[i], want)
		}
	}
}

// Pipelined guesses wait as well, and what was answered is sent before.
func TestRefusalDelayOfPipelinedCommands(t *testing.T) {
	t.Parallel()
	c := startServer(t, routing.Internet, watched(&reasons{}, Limits{RefusalDelay: time.Second})).rcpt(t)
	c.raw(strings.Repeat("RCPT TO:<nobody@contoso.com>\r\n", 12))
	start := time.Now()
	for range 11 { // one was accepted before
		c.want("550 ")
	}
	if d := time.Since(start); d > 900*time.Millisecond {
		t.Errorf("what costs nothing waited %v", d)
	}
	c.want("550 ")
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("the twelfth refusal took %v", d)
	}
}

func TestScoreOverConnections(t *testing.T) {
	t.Parallel()
	var why reasons
	ts := startServer(t, routing.Internet, watched(&why, Limits{ClientScore: 30, RefusalDelay: -1}))
	forgetNothing(ts.server)
	for range 3 {
		c := ts.hello(t)
		c.say("MAIL FROM:<a@fabrikam.com>")
		c.want("250 ")
		for range 9 {
			c.say("RCPT TO:<nobody@contoso.com>")
			c.want("550 ")
		}
		c.Close()
	}
	c := ts.hello(t)
	for range 2 {
		c.say("JUNK")
		c.want("500 ")
	}
	c.say("MAIL FROM:<a@fabrikam.com>")
	c.want("250 ")
	c.say("RCPT TO:<nobody@contoso.com>")
	c.want("550 ")
	c.want("421 4.7.0 ")
	c.wantClosed()
	again := ts.dial(t)
	again.want("421 4.7.0 ")
	again.wantClosed()
	if why.count("client-score") != 1 {
		t.Errorf("reported: %v", why.all)
	}
}

// forgetNothing stops the clocks of the scores, so that they are what was counted on a machine that is slow as well.
func forgetNothing(s *Server) {
	for _, sc := range []*scores{s.scores, s.networkScores} {
		sc.mu.Lock()
		sc.now = func() time.Time { return time.Unix(1e9, 0) }
		sc.mu.Unlock()
	}
}

func TestScores(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := newScores(func() time.Time { return now })
	a := netip.MustParseAddr("192.0.2.1")
	for _, step := range []struct {
		add  float64
		wait time.Duration
		want int
	}{{8, 0, 8}, {0, scoreHalfLife, 4}, {-3, 0, 1}, {-3, 0, 0}, {0, 0, 0}, {100, 0, 100}, {0, 10 * scoreHalfLife, 0}} {
		now = now.Add(step.wait)
		if got := s.add(a, step.add); got != step.want {
			t.Errorf("after %+v: %d", step, got)
		}
	}
	if len(s.m) != 0 {
		t.Errorf("%d clients are still remembered", len(s.m))
	}
	for i := range maxScores + 100 {
		s.add(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 20)
	}
	if len(s.m) > maxScores {
		t.Errorf("%d clients are remembered", len(s.m))
	}
}

func TestClientKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::1": "2001:db8:1:2::",
	} {
		if got := clientKey(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func TestEarlyTalkers(t *testing.T) {
	refuse := func(c *Config, _ *Listener) { c.EarlyTalkers = RefuseEarlyTalkers }
	delay := func(c *Config, _ *Listener) { c.GreetDelay = 200 * time.Millisecond }
	for _, tt := range []struct {
		name    string
		side    routing.Side
		change  []func(*Config, *Listener)
		wire    string
		replies []string
		early   int
	}{
		{"a polite one waits for the greeting", routing.Internet, []func(*Config, *Listener){delay, refuse}, "", []string{"220 "}, 0},
		{"before a delayed greeting, tolerated", routing.Internet, []func(*Config, *Listener){delay}, "EHLO x\r\n", []string{"220 ", "250 "}, 1},
		{"before a delayed greeting, refused", routing.Internet, []func(*Config, *Listener){delay, refuse}, "EHLO x\r\n", []string{"554 5.5.1 "}, 1},
		{"everything at once is one", routing.Internet, []func(*Config, *Listener){delay},
			"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<b@contoso.com>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n", []string{"220 ", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var why reasons
			c := startServer(t, tt.side, watched(&why, Limits{}, tt.change...)).dial(t)
			c.raw(tt.wire)
			for _, reply := range tt.replies {
				c.want(reply)
			}
			if got := why.count("early-talker"); got != tt.early {
				t.Errorf("%d early talkers", got)
			}
		})
	}
	// Behind a command that must be the last of its group (RFC 2920 3.1).
	for _, tt := range []struct {
		name, wire, refused string
		side                routing.Side
		early               int
	}{
		{"behind EHLO", "EHLO y\r\nNOOP\r\n", "554 5.5.1 ", routing.Internet, 1},
		{"behind DATA", "MAIL FROM:<a@b.c>\r\nRCPT TO:<b@contoso.com>\r\nDATA\r\nx\r\n.\r\n", "250 ", routing.Internet, 1},
		{"pipelining is allowed", "MAIL FROM:<a@b.c>\r\nRCPT TO:<b@contoso.com>\r\nDATA\r\n", "250 ", routing.Internet, 0},
		{"trusted", "EHLO y\r\nNOOP\r\n", "250 ", routing.OnPrem, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var why reasons
			c := startServer(t, tt.side, watched(&why, Limits{}, refuse)).hello(t)
			c.raw(tt.wire)
			c.want(tt.refused)
			if strings.HasPrefix(tt.wire, "MAIL") {
				c.want("250 ")
				c.want(map[int]string{1: "554 5.5.1 ", 0: "354 "}[tt.early])
			}
			if got := why.count("early-talker"); got != tt.early {
				t.Errorf("%d early talkers", got)
			}
		})
	}
}

func TestIdleCommands(t *testing.T) {
	t.Parallel()
	var why reasons
	ts := startServer(t, routing.Internet, watched(&why, Limits{IdleCommands: 10}))
	c := ts.hello(t)
	for range 2 { // a message in between makes good
		for range 5 {
			c.say("NOOP")
			c.want("250 ")
		}
		c.raw("MAIL FROM:<a@b.c>\r\nRCPT TO:<b@contoso.com>\r\nDATA\r\n")
		c.want("250 ")
		c.want("250 ")
		c.want("354 ")
		c.raw("x\r\n.\r\n")
		c.want("250 ")
	}
	for range 9 {
		c.say("RSET")
		c.want("250 ")
	}
	c.say("NOOP")
	c.want("421 4.7.0 ")
	c.wantClosed()
	if why.count("idle-commands") != 1 {
		t.Errorf("reported: %v", why.all)
	}
}

// What leads nowhere between the chunks of a message counts as well.
func TestIdleCommandsBetweenChunks(t *testing.T) {
	for _, command := range []string{"NOOP", "BDAT 0"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			var why reasons
			ts := startServer(t, routing.Internet, watched(&why, Limits{IdleCommands: 10}))
			c := ts.rcpt(t)
			c.raw("BDAT 3\r\nabc")
			c.want("250 ")
			for reply := ""; !strings.HasPrefix(reply, "421 4.7.0 "); {
				c.say(command)
				reply = c.want("")
			}
			c.wantClosed()
			if why.count("idle-commands") != 1 || len(ts.messages()) != 0 {
				t.Errorf("reported: %v; %d messages", why.all, len(ts.messages()))
			}
		})
	}
}

// When most places are taken, strangers that are silent lose theirs, trusted clients do not, and errors are fewer.
func TestStress(t *testing.T) {
	t.Parallel()
	s := New(Config{Hostname: "gw1.contoso.com", Limits: func() Limits { return Limits{Connections: 10} }})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	deadlines := map[*conn]*deadlineConn{}
	var conns []*conn
	for i := range 10 {
		nc := &deadlineConn{}
		c := newConn(s, nc, &Listener{Listener: l})
		c.client.Addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		c.trusted.Store(i == 1)
		if refusal := s.enter(c); refusal != nil {
			t.Fatal(refusal)
		}
		c.waiting, c.since = true, time.Now().Add(-time.Duration(i)*time.Minute)
		conns, deadlines[c] = append(conns, c), nc
		if stressed := s.stressed(); stressed != (i >= 7) {
			t.Errorf("with %d of 10 connections: stressed %v", i+1, stressed)
		}
	}
	if d := deadlines[conns[0]].read; time.Until(d) > stressTimeout {
		t.Errorf("a silent stranger may wait until %v", d)
	}
	if d := deadlines[conns[1]].read; !d.IsZero() {
		t.Errorf("a trusted client was hurried: %v", d)
	}
	if d := deadlines[conns[5]].read; time.Until(d) > time.Second {
		t.Errorf("one that is silent for minutes may wait until %v", d)
	}
	for i, want := range map[int]time.Duration{0: stressTimeout, 1: 5 * time.Minute} {
		if got := conns[i].patience(5 * time.Minute); got != want {
			t.Errorf("patience of %d is %v, want %v", i, got, want)
		}
		conns[i].errors = 2
		if got := conns[i].tooManyErrors(); got != (i == 0) {
			t.Errorf("two errors of %d are too many: %v", i, got)
		}
	}
	for _, c := range conns[5:] {
		s.leave(c)
	}
	if s.stressed() {
		t.Error("the stress does not end")
	}
}

type deadlineConn struct {
	net.Conn
	read time.Time
}

func (d *deadlineConn) SetReadDeadline(t time.Time) error { d.read = t; return nil }

func TestHugeHeaders(t *testing.T) {
	t.Parallel()
	var why reasons
	ts := startServer(t, routing.Internet, watched(&why, Limits{MessageSize: 150 << 20}))
	for _, tt := range []struct{ name, message, want string }{
		{"10,000 fields", strings.Repeat("X: y\r\n", 10000) + "\r\nx\r\n", "250 "},
		{"10,001 fields", strings.Repeat("X: y\r\n", 10001) + "\r\nx\r\n", "550 5.6.0"},
		{"90,000 fields", strings.Repeat("X: y\r\n", 90000) + "\r\nx\r\n", "550 5.6.0"},
		{"one field of a megabyte", "Subject: x\r\n" + strings.Repeat(" "+strings.Repeat("x", 60)+"\r\n", 1<<20/63-10) + "\r\nx\r\n", "250 "},
		{"one field of more", "Subject: x\r\n" + strings.Repeat(" "+strings.Repeat("x", 60)+"\r\n", 1<<20/63+10) + "\r\nx\r\n", "550 5.6.0"},
		{"no end", strings.Repeat("Received: from a by b; c\r\n", 40000), "550 5.6.0"},
		{"a body is no header", "\r\n" + strings.Repeat("X: y\r\n", 90000), "250 "},
		{"a body without a header", strings.Repeat(strings.Repeat("x", 98)+"\r\n", 50000), "250 "},
		{"a few lines that are no fields", strings.Repeat("x\r\n", 20) + strings.Repeat("X: y\r\n", 10001), "550 5.6.0"},
		{"nothing", "", "250 "},
	} {
		c := ts.rcpt(t)
		c.say("DATA")
		c.want("354 ")
		c.raw(tt.message + ".\r\n")
		c.want(tt.want)
		c.say("NOOP")
		c.want("250 ")
		c.Close()
	}
}

// The header is the same wherever the reads fall.
func TestHeaderGuardInPieces(t *testing.T) {
	text := []byte("A: b\r\n c\r\nD: e\r\n\r\nF: g\r\n")
	for step := 1; step <= len(text); step++ {
		var h headerGuard
		for part := range slices.Chunk(text, step) {
			if !h.fits(part) {
				t.Fatal("it fits")
			}
		}
		if h.fields != 2 || !h.done || h.size != int64(len("A: b\r\n c\r\nD: e\r\n\r\n")) {
			t.Errorf("by %d: %+v", step, h)
		}
	}
}

func TestLimitsAreOffered(t *testing.T) {
	t.Parallel()
	c := startServer(t, routing.Internet, nil).dial(t)
	c.want("220 ")
	c.say("EHLO x")
	if reply := c.want("250 "); !strings.Contains(reply, "LIMITS RCPTMAX=100") {
		t.Errorf("RFC 9422: %q", reply)
	}
}
