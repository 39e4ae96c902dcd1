package inbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// recorder is a Handler that keeps what it accepts.
type recorder struct {
	mu       sync.Mutex
	accepted []accepted
	refused  []string
	reply    *smtp.SMTPError
	dir      string
	slow     chan struct{} // when set, Accept waits for it
}

type accepted struct {
	Submission
	data string
}

func (r *recorder) Route(_ routing.Side, _, recipient string) routing.Decision {
	if strings.HasPrefix(recipient, "nobody") {
		return routing.Decision{Recipient: recipient, Action: routing.Reject, Reason: routing.Unknown,
			Reply: routing.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such recipient"}}
	}
	return routing.Decision{Recipient: recipient, Action: routing.Relay, Side: routing.OnPrem, Address: recipient}
}

func (r *recorder) Room(int64) *smtp.SMTPError { return nil }

func (r *recorder) CheckRecipient(_ Client, _ routing.Side, _, recipient string) *smtp.SMTPError {
	if strings.HasPrefix(recipient, "later") {
		return fail(451, 4, 7, 1, "Greylisted")
	}
	return nil
}

func (r *recorder) Refused(_ Client, _ routing.Side, _ string, d routing.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, d.Recipient)
}

func (r *recorder) Begin(*Submission) (*message.Buffer, error) {
	b := message.NewBuffer(r.dir, 1<<20)
	_, err := b.Write([]byte("Received: by gw1\r\n"))
	return b, err
}

func (r *recorder) Accept(s *Submission) *smtp.SMTPError {
	if r.slow != nil {
		<-r.slow
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted = append(r.accepted, accepted{*s, string(s.Body.Bytes()[s.Trace:])})
	if r.reply != nil {
		return r.reply
	}
	return fail(250, 2, 0, 0, fmt.Sprintf("ID%d queued", len(r.accepted)))
}

func (r *recorder) messages() []accepted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]accepted(nil), r.accepted...)
}

// testServer is a server on loopback. side is what every client belongs to.
type testServer struct {
	*recorder
	server *Server
	addr   string
}

func startServer(t *testing.T, side routing.Side, change func(*Config, *Listener)) *testServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{recorder: &recorder{dir: t.TempDir()}, addr: l.Addr().String()}
	limits := Limits{MessageSize: 1 << 20, Recipients: 100}
	config := Config{Hostname: "gw1.contoso.com", Limits: func() Limits { return limits }}
	listener := Listener{Listener: l}
	if change != nil {
		change(&config, &listener)
	}
	if config.NewSession == nil {
		size := config.Limits().MessageSize
		config.NewSession = func(c Client) (smtp.Session, error) { return NewSessionFor(ts.recorder, c, side, size), nil }
	}
	ts.server = New(config)
	done := make(chan error, 1)
	go func() { done <- ts.server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ts.server.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ts
}

// client is one end of a raw dialogue.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (ts *testServer) dial(t *testing.T) *client {
	t.Helper()
	nc, err := net.Dial("tcp", ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, nc, bufio.NewReader(nc)}
}

// hello is a dialled client after EHLO.
func (ts *testServer) hello(t *testing.T) *client {
	t.Helper()
	c := ts.dial(t)
	c.want("220 ")
	c.say("EHLO client.fabrikam.com")
	c.want("250 ")
	return c
}

// rcpt is a client with a transaction of one recipient open.
func (ts *testServer) rcpt(t *testing.T) *client {
	t.Helper()
	c := ts.hello(t)
	c.say("MAIL FROM:<a@fabrikam.com>")
	c.want("250 2.1.0")
	c.say("RCPT TO:<b@contoso.com>")
	c.want("250 2.1.5")
	return c
}

func (c *client) say(line string) { c.raw(line + "\r\n") }

func (c *client) raw(s string) {
	c.t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read returns the next reply, its lines joined by LF.
func (c *client) read() (string, error) {
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, line), "\n"), err
		}
		if !strings.HasSuffix(line, "\r\n") {
			c.t.Errorf("reply %q does not end with CRLF", line)
		}
		line = strings.TrimRight(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// want reads a reply whose last line begins with prefix.
func (c *client) want(prefix string) string {
	c.t.Helper()
	reply, err := c.read()
	if err != nil {
		c.t.Fatalf("waiting for %q: got %q, %v", prefix, reply, err)
	}
	if last := reply[strings.LastIndexByte(reply, '\n')+1:]; !strings.HasPrefix(last, prefix) {
		c.t.Fatalf("reply %q, want %q", reply, prefix)
	}
	return reply
}

// wantClosed reads up to the end of the connection.
func (c *client) wantClosed() {
	c.t.Helper()
	if reply, err := c.read(); err == nil {
		c.t.Fatalf("reply %q, want the connection closed", reply)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection stays open")
	}
}

func TestDialogue(t *testing.T) {
	for _, tt := range []struct {
		name   string
		dialog string // C: lines sent, S: prefixes of the replies, X: closed
	}{
		{"hello first", "C MAIL FROM:<a@b.c>\nS 503 5.5.1"},
		{"helo", "C HELO client\nS 250 gw1.contoso.com\nC MAIL FROM:<a@b.c>\nS 250 2.1.0"},
		{"hello without a name", "C EHLO\nS 501 5.5.4"},
		{"lower case", "C ehlo x\nS 250 \nC mail from:<a@b.c>\nS 250 2.1.0\nC rcpt to:<b@contoso.com>\nS 250 2.1.5\nC data\nS 354"},
		{"space after the colon", "C EHLO x\nS 250 \nC MAIL FROM: <a@b.c>\nS 250\nC RCPT TO: <b@contoso.com>\nS 250"},
		{"no angle brackets", "C EHLO x\nS 250 \nC MAIL FROM:a@b.c\nS 250\nC RCPT TO:b@contoso.com\nS 250"},
		{"source route is dropped", "C EHLO x\nS 250 \nC MAIL FROM:<@h.example,@i.example:a@b.c>\nS 250"},
		{"second MAIL", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c>\nS 250\nC MAIL FROM:<d@e.f>\nS 503 5.5.1"},
		{"RCPT before MAIL", "C EHLO x\nS 250 \nC RCPT TO:<b@contoso.com>\nS 503 5.5.1"},
		{"DATA before RCPT", "C EHLO x\nS 250 \nC MAIL FROM:<>\nS 250\nC DATA\nS 554 5.5.1"},
		{"DATA before MAIL", "C EHLO x\nS 250 \nC DATA\nS 503 5.5.1"},
		{"DATA with an argument", "C EHLO x\nS 250 \nC DATA now\nS 501 5.5.4"},
		{"postmaster without a domain", "C EHLO x\nS 250 \nC MAIL FROM:<>\nS 250\nC RCPT TO:<Postmaster>\nS 250 2.1.5"},
		{"no domain", "C EHLO x\nS 250 \nC MAIL FROM:<a>\nS 501 5.1.7\nC MAIL FROM:<>\nS 250\nC RCPT TO:<b>\nS 501 5.1.3"},
		{"empty recipient", "C EHLO x\nS 250 \nC MAIL FROM:<>\nS 250\nC RCPT TO:<>\nS 501 5.1.3"},
		{"unknown recipient", "C EHLO x\nS 250 \nC MAIL FROM:<>\nS 250\nC RCPT TO:<nobody@contoso.com>\nS 550 5.1.1"},
		{"recipient that a filter puts off", "C EHLO x\nS 250 \nC MAIL FROM:<>\nS 250\nC RCPT TO:<later@contoso.com>\nS 451 4.7.1\nC DATA\nS 554"},
		{"quoted local part", "C EHLO x\nS 250 \nC MAIL FROM:<\"a b>\"@b.c>\nS 250 2.1.0"},
		{"half a quoted local part", "C EHLO x\nS 250 \nC MAIL FROM:<\"a@b.c>\nS 501 5.1.7"},
		{"angle bracket inside", "C EHLO x\nS 250 \nC MAIL FROM:<a>b@b.c>\nS 501"},
		{"control character", "C EHLO x\nS 250 \nC MAIL FROM:<a\x01@b.c>\nS 501 5.1.7"},
		{"NUL", "C EHLO x\nS 250 \nC MAIL FROM:<a\x00@b.c>\nS 501 5.5.2"},
		{"CR in a quoted local part", "C EHLO x\nS 250 \nC MAIL FROM:<\"a\rb\"@b.c>\nS 501 5.5.2"},
		{"UTF-8 without SMTPUTF8", "C EHLO x\nS 250 \nC MAIL FROM:<ä@b.c>\nS 553 5.6.7"},
		{"UTF-8 with SMTPUTF8", "C EHLO x\nS 250 \nC MAIL FROM:<ä@b.c> SMTPUTF8\nS 250\nC RCPT TO:<ö@contoso.com>\nS 250"},
		{"invalid UTF-8", "C EHLO x\nS 250 \nC MAIL FROM:<\xff@b.c> SMTPUTF8\nS 501 5.1.7"},
		{"SIZE at the limit", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> SIZE=1048576\nS 250"},
		{"SIZE over the limit", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> SIZE=1048577\nS 552 5.3.4"},
		{"SIZE of many digits", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> SIZE=99999999999999999999\nS 552 5.3.4"},
		{"SIZE is no number", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> SIZE=-1\nS 501 5.5.4"},
		{"parameter twice", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> SIZE=1 SIZE=2\nS 501 5.5.4"},
		{"unknown parameter", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> FOO=1\nS 555 5.5.4"},
		{"BODY", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> BODY=FOO\nS 501 5.5.4\nC MAIL FROM:<a@b.c> BODY=8bitmime\nS 250"},
		{"DSN parameters", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> RET=HDRS ENVID=a+2Bb\nS 250\nC RCPT TO:<b@contoso.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@contoso.com\nS 250"},
		{"bad DSN parameters", "C EHLO x\nS 250 \nC MAIL FROM:<a@b.c> RET=NO\nS 501\nC MAIL FROM:<a@b.c>\nS 250\nC RCPT TO:<b@contoso.com> NOTIFY=NEVER,DELAY\nS 501 5.5.4\nC RCPT TO:<b@contoso.com> ORCPT=rfc822;a+0D+0Ab\nS 501"},
		{"VRFY and EXPN", "C EHLO x\nS 250 \nC VRFY postmaster\nS 252 2.5.0\nC EXPN staff\nS 502 5.5.1"},
		{"NOOP, RSET, HELP", "C NOOP\nS 250 2.0.0\nC RSET\nS 250 2.0.0\nC HELP\nS 214 2.0.0"},
		{"unknown command", "C XYZZY\nS 500 5.5.1"},
		{"STARTTLS that is not offered", "C EHLO x\nS 250 \nC STARTTLS\nS 502 5.5.1\nC STARTTLSX\nS 500 5.5.1"},
		{"HTTP", "C POST / HTTP/1.1\nS 421 4.7.0\nX"},
		{"quit", "C QUIT\nS 221 2.0.0\nX"},
		{"BDAT without a size", "C EHLO x\nS 250 \nC BDAT\nS 501 5.5.4\nX"},
		{"BDAT of a negative size", "C EHLO x\nS 250 \nC BDAT -1 LAST\nS 501 5.5.4\nX"},
		{"BDAT without a transaction", "C EHLO x\nS 250 \nR BDAT 6 LAST\r\nQUIT\r\n\nS 503 5.5.1\nC NOOP\nS 250"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ts := startServer(t, routing.Internet, nil)
			c := ts.dial(t)
			c.want("220 gw1.contoso.com ESMTP")
			for step := range strings.SplitSeq(strings.ReplaceAll(tt.dialog, "\r\n", "\x02"), "\n") {
				kind, text, _ := strings.Cut(step, " ")
				switch kind {
				case "C":
					c.say(text)
				case "R":
					c.raw(strings.ReplaceAll(text, "\x02", "\r\n"))
				case "S":
					c.want(text)
				case "X":
					c.wantClosed()
				}
			}
		})
	}
}

// Every variant of an end-of-data that some server takes for one. Only CRLF.CRLF is.
var smuggling = []struct{ name, eod string }{
	{"LF.LF", "\n.\n"}, {"LF.CRLF", "\n.\r\n"}, {"CRLF.LF", "\r\n.\n"}, {"CR.CR", "\r.\r"}, {"CRLF.CR", "\r\n.\r"},
	{"CR.CRLF", "\r.\r\n"}, {"LF.CR", "\n.\r"}, {"CRCRLF.CRLF", "\r\r\n.\r\n"}, {"CRLF NUL.CRLF", "\r\n\x00.\r\n"}, {"CRLF.NUL CRLF", "\r\n.\x00\r\n"},
}

func TestSmugglingFromTheInternet(t *testing.T) {
	for _, side := range []routing.Side{routing.Internet, routing.Cloud} {
		for _, tt := range smuggling {
			t.Run(string(side)+" "+tt.name, func(t *testing.T) {
				ts := startServer(t, side, nil)
				c := ts.rcpt(t)
				c.say("DATA")
				c.want("354 ")
				c.raw("Subject: a\r\n\r\nbody" + tt.eod + "MAIL FROM:<evil@fabrikam.com>\r\nRCPT TO:<victim@contoso.com>\r\nDATA\r\nsmuggled\r\n.\r\nQUIT\r\n")
				reply := c.want("")
				for _, m := range ts.messages() {
					if m.Envelope.ReversePath != "a@fabrikam.com" {
						t.Fatalf("smuggled: %+v", m.Envelope)
					}
				}
				if strings.Contains(tt.eod, "\x00") { // passes as content, in one message
					if !strings.HasPrefix(reply, "250 ") || len(ts.messages()) != 1 || !strings.Contains(ts.messages()[0].data, "smuggled") {
						t.Fatalf("reply %q, %d messages", reply, len(ts.messages()))
					}
					return
				}
				if !strings.HasPrefix(reply, "550 5.5.2 ") || len(ts.messages()) != 0 {
					t.Fatalf("reply %q, %d messages", reply, len(ts.messages()))
				}
				c.wantClosed()
			})
		}
	}
}

// A sender that believes that its message ended waits for a reply, and gets one soon.
func TestSmugglerDoesNotHang(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	c := ts.rcpt(t)
	c.say("DATA")
	c.want("354 ")
	c.raw("body\n.\n")
	c.want("550 5.5.2 ")
	c.wantClosed()
}

func TestLineEndingsFromOnPremAreNormalized(t *testing.T) {
	for _, tt := range smuggling {
		t.Run(tt.name, func(t *testing.T) {
			ts := startServer(t, routing.OnPrem, nil)
			c := ts.rcpt(t)
			c.say("DATA")
			c.want("354 ")
			c.raw("Subject: a\r\n\r\nbody" + tt.eod + "more\r\n.\r\n")
			if reply := c.want("250 "); !strings.Contains(reply, "ID1") {
				t.Errorf("reply %q", reply)
			}
			if strings.HasPrefix(tt.eod, "\r\r\n") { // that is CR, and then the true end
				c.want("500 ")
				c.want("500 ")
			}
			data := ts.messages()[0].data
			if bare := strings.ReplaceAll(data, "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
				t.Errorf("bare line ending in %q", data)
			}
		})
	}
}

// The octets of a message arrive as they were sent, dots taken off, wherever the reads fall.
func TestDataIsByteExact(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct{ name, wire, want string }{
		{"empty", ".\r\n", ""},
		{"plain", "a\r\n.\r\n", "a\r\n"},
		{"dots", "..\r\n...\r\n.x\r\na.b\r\n.\r\n", ".\r\n..\r\nx\r\na.b\r\n"},
		{"dot before CR", "..\r\n..\r\n.\r\n", ".\r\n.\r\n"},
		{"empty lines", "\r\n\r\n.\r\n", "\r\n\r\n"},
		{"8 bit", "\xff\xfe\r\n.\r\n", "\xff\xfe\r\n"},
		{"line of 5000", long + "\r\n.\r\n", long + "\r\n"},
		{"line of 64 KiB", strings.Repeat("y", 64<<10) + "\r\n.\r\n", strings.Repeat("y", 64<<10) + "\r\n"},
	} {
		for _, step := range []int{1, 2, 3, 7, 1 << 20} {
			if len(tt.wire) > 6000 && step < 7 || len(tt.wire) > 100 && step == 1 {
				continue
			}
			t.Run(fmt.Sprintf("%s by %d", tt.name, step), func(t *testing.T) {
				src := strings.NewReader(tt.wire + "NEXT")
				in := newReader(readFunc(func(p []byte) (int, error) { return src.Read(p[:min(len(p), step)]) }))
				in.grow(&dataBuffers)
				defer in.release()
				d := &dotReader{b: in, lineStart: true}
				var got bytes.Buffer
				if _, err := (&content{next: d.next}).WriteTo(&got); err != nil {
					t.Fatal(err)
				}
				if got.String() != tt.want {
					t.Errorf("got %.100q, want %.100q", got.String(), tt.want)
				}
				if rest := string(in.buf[in.r:in.w]); !strings.HasPrefix("NEXT", rest) {
					t.Errorf("left over: %.100q", rest)
				}
			})
		}
	}
}

func TestLongLines(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	c := ts.rcpt(t)
	c.say("DATA")
	c.want("354 ")
	c.raw(strings.Repeat("x", 64<<10+1) + "\r\n.\r\n")
	c.want("550 5.6.0 ")
	c.say("NOOP " + strings.Repeat("x", 10000))
	c.want("500 5.5.2 ")
	c.say("NOOP")
	c.want("250 ")
}

func TestMessageSizeLimit(t *testing.T) {
	limit := 100000
	small := func(c *Config, _ *Listener) {
		c.Limits = func() Limits { return Limits{MessageSize: int64(limit)} }
	}
	body := strings.Repeat(strings.Repeat("x", 98)+"\r\n", limit/100)
	for _, tt := range []struct {
		name, body, want string
	}{
		{"exactly the limit", body, "250 2.0.0"},
		{"one more", "y" + body, "552 5.3.4"},
		{"ten times", strings.Repeat(body, 10), "552 5.3.4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ts := startServer(t, routing.Internet, small)
			c := ts.rcpt(t)
			c.say("DATA")
			c.want("354 ")
			c.raw(tt.body + ".\r\n")
			c.want(tt.want)
			c.say("MAIL FROM:<a@fabrikam.com>") // the dialogue goes on
			c.want("250 ")
			c.say("RCPT TO:<b@contoso.com>")
			c.want("250 ")
			c.raw(fmt.Sprintf("BDAT %d LAST\r\n%s", len(tt.body), tt.body))
			c.want(tt.want)
			c.say("NOOP")
			c.want("250 ")
		})
	}
}

func TestPipelining(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	c := ts.hello(t)
	c.raw("MAIL FROM:<a@fabrikam.com>\r\nRCPT TO:<nobody@contoso.com>\r\nRCPT TO:<b@contoso.com>\r\nDATA\r\n")
	buf := make([]byte, 4096)
	var got string
	for !strings.Contains(got, "354 ") {
		n, err := c.r.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += string(buf[:n])
	}
	want := []string{"250 2.1.0", "550 5.1.1", "250 2.1.5", "354 "}
	for i, line := range strings.Split(strings.TrimSpace(got), "\r\n") {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("reply %d: %q, want %q", i, line, want[i])
		}
	}
	c.raw("hello\r\n.\r\nMAIL FROM:<a@fabrikam.com>\r\nQUIT\r\n")
	c.want("250 2.0.0 ID1")
	c.want("250 2.1.0")
	c.want("221 ")
}

func TestAllRecipientsRefusedThenPipelinedData(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	c := ts.hello(t)
	c.raw("MAIL FROM:<a@fabrikam.com>\r\nRCPT TO:<nobody@contoso.com>\r\nDATA\r\nQUIT\r\n")
	c.want("250 ")
	c.want("550 5.1.1")
	c.want("554 5.5.1")
	c.want("221 ")
	if len(ts.messages()) != 0 {
		t.Error("a message was taken")
	}
}

func TestBdat(t *testing.T) {
	for _, tt := range []struct {
		name, wire string
		replies    []string
		want       string // the message, "-" for none
	}{
		{"one chunk", "BDAT 5 LAST\r\na\r\nb\n"[:len("BDAT 5 LAST\r\n")] + "a\r\nb.", []string{"250 2.0.0 ID1"}, "a\r\nb."},
		{"two chunks", "BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n", []string{"250 2.0.0 3 octets", "250 2.0.0 ID1"}, "a\r\nb\r\n"},
		{"empty last chunk", "BDAT 3\r\na\r\nBDAT 0 LAST\r\n", []string{"250", "250 2.0.0 ID1"}, "a\r\n"},
		{"nothing at all", "BDAT 0 LAST\r\n", []string{"250 2.0.0 ID1"}, ""},
		{"CRLF cut by chunks", "BDAT 2\r\na\rBDAT 2 LAST\r\n\nb", []string{"250", "250 2.0.0 ID1"}, "a\r\nb"},
		{"NOOP between", "BDAT 3\r\na\r\nNOOP\r\nBDAT 0 LAST\r\n", []string{"250", "250 2.0.0 OK", "250 2.0.0 ID1"}, "a\r\n"},
		{"RSET between", "BDAT 3\r\na\r\nRSET\r\nBDAT 3 LAST\r\nxxxNOOP\r\n", []string{"250", "250 2.0.0 OK", "503 5.5.1", "250"}, "-"},
		{"DATA between", "BDAT 3\r\na\r\nDATA\r\nBDAT 0 LAST\r\n", []string{"250", "503 5.5.1", "250 2.0.0 ID1"}, "a\r\n"},
		{"QUIT between", "BDAT 3\r\na\r\nQUIT\r\n", []string{"250", "221"}, "-"},
		{"bare LF", "BDAT 4 LAST\r\na\nb\n", []string{"550 5.5.2"}, "-"},
		{"commands inside are content", "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", []string{"250 2.0.0 ID1", "250 2.0.0 OK"}, "QUIT\r\n"},
		{"long line in a pipelined chunk", "BDAT 5002 LAST\r\n" + strings.Repeat("x", 5000) + "\r\n", []string{"250 2.0.0 ID1"}, strings.Repeat("x", 5000) + "\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ts := startServer(t, routing.Internet, nil)
			c := ts.rcpt(t)
			c.raw(tt.wire)
			for _, reply := range tt.replies {
				c.want(reply)
			}
			got := "-"
			if m := ts.messages(); len(m) == 1 {
				got = m[0].data
			}
			if got != tt.want {
				t.Errorf("message %.80q, want %.80q", got, tt.want)
			}
		})
	}
}

// A BDAT after its recipients were all refused is consumed, so that its octets are no commands.
func TestBdatAfterRefusedRecipients(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	c := ts.hello(t)
	c.raw("MAIL FROM:<a@b.c>\r\nRCPT TO:<nobody@contoso.com>\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n")
	c.want("250 ")
	c.want("550 5.1.1")
	c.want("503 5.5.1")
	c.want("250 2.0.0 OK")
}

func TestConnectionCutInTheMessage(t *testing.T) {
	for _, begin := range []string{"DATA\r\nhalf", "BDAT 100 LAST\r\nhalf", "BDAT 4\r\nhalf"} {
		t.Run(begin[:4], func(t *testing.T) {
			ts := startServer(t, routing.Internet, nil)
			c := ts.rcpt(t)
			c.raw(begin)
			c.Conn.(*net.TCPConn).CloseWrite()
			for {
				if _, err := c.read(); err != nil {
					break
				}
			}
			if n := len(ts.messages()); n != 0 {
				t.Errorf("%d messages accepted", n)
			}
		})
	}
}

// A time-out in the message is temporary, and nothing after it is a command.
func TestTimeoutInData(t *testing.T) {
	ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) { c.Timeouts.Data = 300 * time.Millisecond })
	c := ts.rcpt(t)
	c.say("DATA")
	c.want("354 ")
	c.raw("half a message\r\n")
	c.want("451 4.4.2 ")
	c.wantClosed()
}

// A client that trickles is cut, however often it sends an octet.
func TestTrickle(t *testing.T) {
	ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) {
		c.Timeouts.Data = 500 * time.Millisecond
		limits := c.Limits()
		limits.MinDataRate = 1 << 20
		c.Limits = func() Limits { return limits }
	})
	c := ts.rcpt(t)
	c.say("DATA")
	c.want("354 ")
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				c.Write([]byte("x"))
			}
		}
	}()
	c.want("451 4.4.2 ")
}

// However steadily a message comes, it comes to an end.
func TestMessageTimeout(t *testing.T) {
	for _, verb := range []string{"DATA\r\n", "BDAT 1000000\r\n"} {
		ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) { c.Timeouts.Message = 300 * time.Millisecond })
		c := ts.rcpt(t)
		c.raw(verb)
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					c.Write([]byte("line\r\n"))
				}
			}
		}()
		reply, err := c.read()
		if strings.HasPrefix(reply, "354 ") {
			reply, err = c.read()
		}
		if !strings.HasPrefix(reply, "451 4.4.2 ") {
			t.Errorf("%q: reply %q, %v", verb, reply, err)
		}
		close(stop)
	}
}

func TestCommandTimeout(t *testing.T) {
	ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) { c.Timeouts.Command = 100 * time.Millisecond })
	c := ts.dial(t)
	c.want("220 ")
	c.want("421 4.4.2 ")
	c.wantClosed()
}

func TestErrorLimit(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	c := ts.dial(t)
	c.want("220 ")
	for range 20 {
		c.say("JUNK")
		c.want("500 ")
	}
	c.want("421 4.7.0 ")
	c.wantClosed()
}

func TestConnectionLimits(t *testing.T) {
	ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) {
		c.Limits = func() Limits { return Limits{Connections: 2, ConnectionsPerClient: 5} }
	})
	a, b := ts.dial(t), ts.dial(t)
	a.want("220 ")
	b.want("220 ")
	c := ts.dial(t)
	c.want("421 4.3.2 ")
	c.wantClosed()
	a.say("QUIT")
	a.want("221 ")
	a.wantClosed()
	for deadline := time.Now().Add(5 * time.Second); ts.server.Connections() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection is still counted")
		}
	}
	d := ts.dial(t)
	d.want("220 ")

	one := startServer(t, routing.Internet, func(c *Config, _ *Listener) {
		c.Limits = func() Limits { return Limits{ConnectionsPerClient: 1} }
	})
	one.dial(t).want("220 ")
	one.dial(t).want("421 4.7.0 ")
}

func TestRecipientLimit(t *testing.T) {
	ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) { c.Limits = func() Limits { return Limits{Recipients: 2} } })
	c := ts.rcpt(t)
	c.say("RCPT TO:<nobody@contoso.com>")
	c.want("550 5.1.1")
	c.say("RCPT TO:<c@contoso.com>")
	c.want("452 4.5.3")
	c.say("DATA")
	c.want("354 ")
	c.raw("x\r\n.\r\n")
	c.want("250 ")
}

func testCert(t *testing.T, name string) tls.Certificate {
	t.Helper()
	c, err := makeCert(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func makeCert(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func withTLS(t *testing.T, implicit, required bool) func(*Config, *Listener) {
	conf := &tls.Config{Certificates: []tls.Certificate{testCert(t, "gw1.contoso.com")}}
	return func(_ *Config, l *Listener) {
		l.TLS = func() *tls.Config { return conf }
		l.Implicit, l.Required = implicit, required
	}
}

func (c *client) startTLS() *client {
	c.t.Helper()
	tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return &client{c.t, tc, bufio.NewReader(tc)}
}

func TestStartTLS(t *testing.T) {
	ts := startServer(t, routing.Internet, withTLS(t, false, true))
	c := ts.dial(t)
	c.want("220 ")
	c.say("EHLO x")
	if reply := c.want("250 "); !strings.Contains(reply, "STARTTLS") {
		t.Errorf("STARTTLS is not offered: %q", reply)
	}
	c.say("MAIL FROM:<a@b.c>")
	c.want("530 5.7.0")
	c.say("STARTTLS now")
	c.want("501 ")
	c.say("STARTTLS")
	c.want("220 ")
	c = c.startTLS()
	c.say("MAIL FROM:<a@b.c>")
	c.want("503 5.5.1") // EHLO is needed again
	c.say("EHLO x")
	if reply := c.want("250 "); strings.Contains(reply, "STARTTLS") {
		t.Errorf("STARTTLS is offered inside TLS: %q", reply)
	}
	c.say("STARTTLS")
	c.want("503 ")
	c.say("MAIL FROM:<a@b.c>")
	c.want("250 ")
	c.say("RCPT TO:<b@contoso.com>")
	c.want("250 ")
	c.say("DATA")
	c.want("354 ")
	c.raw("x\r\n.\r\n")
	c.want("250 ")
	if m := ts.messages()[0]; m.Client.TLS == nil || m.Client.Helo != "x" {
		t.Errorf("client %+v", m.Client)
	}
}

// Commands that came with STARTTLS in clear text are forgotten (command injection).
func TestStartTLSDropsPipelinedCommands(t *testing.T) {
	ts := startServer(t, routing.Internet, withTLS(t, false, false))
	c := ts.hello(t)
	c.raw("STARTTLS\r\nMAIL FROM:<evil@fabrikam.com>\r\n")
	c.want("220 ")
	c = c.startTLS()
	c.say("NOOP")
	c.want("250 2.0.0 OK")
}

func TestFailedHandshakeCloses(t *testing.T) {
	ts := startServer(t, routing.Internet, withTLS(t, false, false))
	c := ts.hello(t)
	c.say("STARTTLS")
	c.want("220 ")
	c.say("MAIL FROM:<a@b.c>")
	for {
		reply, err := c.read()
		if err != nil {
			break
		}
		if strings.HasPrefix(reply, "250") {
			t.Fatalf("the dialogue went on in clear: %q", reply)
		}
	}
	hasty := startServer(t, routing.Internet, func(c *Config, l *Listener) {
		withTLS(t, false, false)(c, l)
		c.Timeouts.Handshake = 300 * time.Millisecond
	})
	slow := hasty.hello(t)
	slow.say("STARTTLS")
	slow.want("220 ")
	slow.wantClosed() // the handshake never comes
}

func TestImplicitTLS(t *testing.T) {
	ts := startServer(t, routing.Internet, withTLS(t, true, false))
	c := ts.dial(t).startTLS()
	c.want("220 ")
	c.say("EHLO x")
	c.want("250 ")
}

func TestShutdown(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	idle := ts.hello(t)
	busy := ts.rcpt(t)
	busy.say("DATA")
	busy.want("354 ")
	ts.recorder.slow = make(chan struct{})
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		done <- ts.server.Shutdown(ctx)
	}()
	idle.want("421 4.3.2 ")
	idle.wantClosed()
	if nc, err := net.Dial("tcp", ts.addr); err == nil {
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		if line, err := bufio.NewReader(nc).ReadString('\n'); err == nil && !strings.HasPrefix(line, "421 ") {
			t.Errorf("a new connection is greeted with %q", line)
		}
		nc.Close()
	}
	busy.raw("x\r\n.\r\n")
	close(ts.recorder.slow)
	busy.want("250 2.0.0 ID1")
	busy.want("421 4.3.2 ")
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A panic in a session is our bug: the client hears 4xx.
func TestPanicIsTemporary(t *testing.T) {
	ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) {
		c.NewSession = func(Client) (smtp.Session, error) { panic("bug") }
	})
	c := ts.dial(t)
	c.want("220 ")
	c.say("EHLO x")
	c.want("421 4.3.0 ")
	c.wantClosed()
}

func TestIdleConnectionIsSmall(t *testing.T) {
	in := newReader(strings.NewReader("NOOP\r\n"))
	in.grow(&dataBuffers)
	in.line()
	in.shrink()
	if cap(in.buf) > commandBuffer {
		t.Errorf("an idle connection keeps %d octets", cap(in.buf))
	}
}

func FuzzCommands(f *testing.F) {
	f.Add([]byte("EHLO x\r\nMAIL FROM:<a@b.c> SIZE=1\r\nRCPT TO:<b@contoso.com> ORCPT=rfc822;b\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"))
	f.Add([]byte("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\n"))
	f.Add([]byte("HELO x\r\nMAIL FROM:<\"a\\\"b\"@[127.0.0.1]>\r\nRSET\r\nNOOP\r\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, input []byte) {
		rec := &recorder{dir: dir}
		s := New(Config{Hostname: "gw1.contoso.com", NewSession: func(c Client) (smtp.Session, error) {
			return NewSessionFor(rec, c, routing.Internet, 1<<16), nil
		}})
		ours, theirs := net.Pipe()
		c := newConn(s, theirs, &Listener{Listener: fakeListener{}})
		done := make(chan struct{})
		s.wg.Add(1)
		go func() { c.run((*conn).begin); close(done) }()
		go func() { ours.Write(input); ours.(interface{ Close() error }).Close() }()
		buf := make([]byte, 4096)
		for {
			if _, err := ours.Read(buf); err != nil {
				break
			}
		}
		<-done
		for _, m := range rec.messages() {
			if bare := strings.ReplaceAll(m.data, "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
				t.Errorf("accepted with a bare line ending: %q", m.data)
			}
			for _, r := range m.Envelope.Recipients {
				if err := checkAddress(r.Address); err != nil {
					t.Errorf("accepted %q: %v", r.Address, err)
				}
			}
		}
	})
}

type fakeListener struct{ net.Listener }

func (fakeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }
