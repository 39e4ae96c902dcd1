package peers_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// smuggled is a second message that an attacker hopes is taken for one.
const smuggled = "MAIL FROM:<smuggled@fabrikam.com>\r\nRCPT TO:<adelev@contoso.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n.\r\n"

// falseEnds are the octet sequences that one server or another has taken for the end of a message, and every other that is made of the same
// pieces: what ends the line before the dot, the dot, and what ends its own line.
func falseEnds() (ends []string) {
	before := []string{"\n", "\r", "\r\n", "\r\r\n", "\r\n\r", "\r\n\n", "\n\n", "\r\n\x00", "\x00\r\n", "\r\n ", "\r\n\t", "\x0b", "\x0c", "\u0085", "\u2028", ""}
	dots := []string{".", ".\x00", "..", ". ", "\uff0e"}
	after := []string{"\n", "\r", "\r\n", "\r\r\n", "\n\r\n", "\n\n", "\x00\r\n", "\r\x00\n", " \r\n"}
	for _, b := range before {
		for _, d := range dots {
			for _, a := range after {
				if end := b + d + a; !strings.Contains(end, "\r\n.\r\n") {
					ends = append(ends, end)
				}
			}
		}
	}
	return ends
}

// classics are the false ends that servers were found to take.
var classics = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\r\n", "\n\n.\r\n", "\r\n.\n\r\n",
}

// endsOf are all false ends for the first way, and for the others the classics and an eighth of the rest.
func endsOf(way int) (ends []string) {
	for i, end := range falseEnds() {
		if way == 0 || i%8 == way || slices.Contains(classics, end) {
			ends = append(ends, end)
		}
	}
	return ends
}

// A way is how the octets of an attack get to the server.
type way struct {
	name      string
	tls       bool
	pipelined bool // the message comes before the reply to DATA
	pieces    bool // each octet of the false end in a segment of its own
}

var ways = []way{{name: "one write"}, {name: "pipelined", pipelined: true}, {name: "octet by octet", pieces: true}, {name: "TLS", tls: true}}

// attack sends a message with a false end and a second message behind it, and returns the replies that come after the 354.
func attack(addr, from, to, end string, w way) (replies []string, err error) {
	nc, err := dialFrom(addr, from)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	c := &replyReader{nc: nc}
	if err := c.skip(1); err != nil {
		return nil, err
	}
	if w.tls {
		if c, err = c.startTLS(); err != nil {
			return nil, err
		}
	}
	io.WriteString(c.nc, "EHLO client.example\r\nMAIL FROM:<first@fabrikam.com>\r\nRCPT TO:<"+to+">\r\nDATA\r\n")
	if !w.pipelined {
		if err := c.skip(4); err != nil {
			return nil, err
		}
	}
	io.WriteString(c.nc, "Subject: first\r\n\r\nfirst")
	if w.pieces {
		for i := range len(end) {
			time.Sleep(time.Millisecond)
			io.WriteString(c.nc, end[i:i+1])
		}
		time.Sleep(time.Millisecond)
		end = ""
	}
	io.WriteString(c.nc, end+smuggled+"QUIT\r\n")
	if w.pipelined {
		if err := c.skip(4); err != nil {
			return nil, err
		}
	}
	for {
		reply, err := c.reply()
		if err != nil {
			return replies, err
		}
		if reply == "" {
			return replies, nil
		}
		replies = append(replies, reply)
	}
}

// replyReader reads replies, and has errors for results instead of a test: it is used by many at once.
type replyReader struct {
	nc   net.Conn
	rest string
}

// reply is the last line of the next reply; empty at the end of the connection.
func (c *replyReader) reply() (string, error) {
	for b := make([]byte, 4096); ; {
		for line, rest, ok := strings.Cut(c.rest, "\r\n"); ok; line, rest, ok = strings.Cut(c.rest, "\r\n") {
			if c.rest = rest; len(line) < 4 || line[3] != '-' {
				return line, nil
			}
		}
		n, err := c.nc.Read(b)
		c.rest += string(b[:n])
		switch {
		case n > 0:
		case err == io.EOF, strings.Contains(err.Error(), "reset by peer"):
			return "", nil
		default:
			return "", err
		}
	}
}

// skip reads replies that must be good ones.
func (c *replyReader) skip(n int) error {
	for range n {
		if reply, err := c.reply(); err != nil || reply == "" || reply[0] > '3' {
			return fmt.Errorf("reply %q, %v", reply, err)
		}
	}
	return nil
}

func (c *replyReader) startTLS() (*replyReader, error) {
	io.WriteString(c.nc, "EHLO client.example\r\nSTARTTLS\r\n")
	if err := c.skip(2); err != nil {
		return nil, err
	}
	secure := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
	return &replyReader{nc: secure}, secure.Handshake()
}

// TestSmuggling ends a message with what some servers take for the end and others do not, and puts a second one behind it.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	sink := mta(t)
	cert, key := peertest.Certificate(t, t.TempDir(), "gw1.contoso.com")
	g := start(t, setup{
		OnPrem: []string{sink.Addr()}, Cloud: []string{sink.Addr()}, Limits: "connections_per_client = 500",
		Listener: fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key),
	})
	var mu sync.Mutex
	attacks, accepted := 0, 0
	for _, side := range []struct{ name, from, to string }{
		{"internet", internet, "adelev@contoso.com"}, {"onprem", onprem, "meganb@contoso.com"}, {"cloud", cloud, "adelev@contoso.com"},
	} {
		for n, w := range ways {
			t.Run(side.name+", "+w.name, func(t *testing.T) {
				work := make(chan string)
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for end := range work {
							replies, err := attack(g.addr, side.from, side.to, end, w)
							good := err == nil && oneReply(replies, side.from == onprem)
							if !good {
								t.Errorf("%q: replies %q, %v", end, replies, err)
							}
							if len(replies) > 0 && replies[0][0] == '2' {
								mu.Lock()
								accepted++
								mu.Unlock()
							}
						}
					})
				}
				for _, end := range endsOf(n) {
					work <- end
					attacks++
				}
				close(work)
				wg.Wait()
			})
		}
	}
	messages := waitFor(t, sink, accepted)
	t.Logf("%d attacks, of which %d were passed on as one message each", attacks, accepted)
	if len(messages) != accepted {
		t.Errorf("%d messages came out of %d that were accepted", len(messages), accepted)
	}
	for _, m := range messages {
		checkWhole(t, m)
	}
	g.alive()
}

// oneReply tells whether the replies after DATA are those to one message, which ended where the second one ends: it was taken, and then QUIT
// was; or it was refused and the connection closed. A client on the own network may not be refused.
func oneReply(replies []string, trusted bool) bool {
	switch {
	case len(replies) == 2:
		return matches(replies[0], "250 2.0.0 ") && matches(replies[1], "221 2.0.0 ")
	case len(replies) == 1:
		return !trusted && matches(replies[0], "550 5.5.2 ")
	}
	return false
}

// checkWhole checks that a message is the first one, with the second inside.
func checkWhole(t *testing.T, m fakemta.Message) {
	t.Helper()
	switch {
	case m.Sender != "first@fabrikam.com":
		t.Errorf("a message of %s came out: %.300q", m.Sender, m.Data)
	case m.BareCR || m.BareLF:
		t.Errorf("a bare CR or LF was passed on: %.300q", m.Data)
	case !strings.Contains(string(m.Data), "Subject: smuggled\r\n\r\nsmuggled\r\n"):
		t.Errorf("the message is not whole: %.300q", m.Data)
	}
}

// TestFalseEnds: the classics are among the false ends, and no true one is.
func TestFalseEnds(t *testing.T) {
	all := falseEnds()
	for _, end := range classics {
		if !slices.Contains(all, end) {
			t.Errorf("%q is missing", end)
		}
	}
	for _, end := range all {
		if strings.Contains(end, "\r\n.\r\n") {
			t.Errorf("%q is a true end", end)
		}
	}
}

// TestSmugglingByChunks: a chunk may hold what ends a message after DATA. The next hop, which may know no chunks, gets one message.
func TestSmugglingByChunks(t *testing.T) {
	t.Parallel()
	plain := mtaWith(t, fakemta.Options{Extensions: []string{"PIPELINING", "SIZE", "8BITMIME"}})
	chunked := mta(t)
	g := start(t, setup{OnPrem: []string{plain.Addr()}, Cloud: []string{chunked.Addr()}})
	content := "Subject: first\r\n\r\n.\r\n..\r\n.\r\n" + smuggled + ".\r\n"
	for _, tt := range []struct {
		name string
		cut  int // the first chunk has so many octets
	}{{"one chunk", 0}, {"cut before the dot", 18}, {"cut behind the dot", 19}, {"cut behind its CR", 20}, {"cut behind its line", 21}} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, g.addr, internet)
			c.ehlo()
			c.say("MAIL FROM:<first@fabrikam.com>", "250")
			c.say("RCPT TO:<adelev@contoso.com>", "250")
			c.say("RCPT TO:<meganb@contoso.com>", "250")
			if tt.cut > 0 {
				c.send(fmt.Sprintf("BDAT %d\r\n%s", tt.cut, content[:tt.cut]))
				c.expect("250")
			}
			c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content)-tt.cut, content[tt.cut:]))
			c.expect("250 2.0.0 ")
			c.say("QUIT", "221")
		})
	}
	for name, hop := range map[string]*fakemta.Server{"a hop without CHUNKING": plain, "a hop with it": chunked} {
		messages := waitFor(t, hop, 5)
		if len(messages) != 5 {
			t.Errorf("%s got %d messages, want 5", name, len(messages))
		}
		for _, m := range messages {
			checkWhole(t, m)
			if got := below(t, m.Data); got != content {
				t.Errorf("%s got %q", name, got)
			}
		}
	}
}
