package inbound

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/routing"
)

// printers knows one user; "broken" is a user whose check fails for reasons of the server.
type printers struct{}

func (printers) Authenticate(user, password string) (string, bool, error) {
	if user == "broken" {
		return "", false, errors.New("no file")
	}
	return user, user == "printer" && password == "printer-password", nil
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// withAuth offers AUTH, and makes those who authenticated on-prem clients.
func withAuth(t *testing.T, more ...func(*Config, *Listener)) func(*Config, *Listener) {
	return func(c *Config, l *Listener) {
		withTLS(t, false, false)(c, l)
		c.Authenticator = printers{}
		for _, m := range more {
			m(c, l)
		}
	}
}

func secure(t *testing.T, ts *testServer) *client {
	t.Helper()
	c := ts.hello(t)
	c.say("STARTTLS")
	c.want("220 ")
	c = c.startTLS()
	c.say("EHLO client.fabrikam.com")
	if reply := c.want("250 "); !strings.Contains(reply, "AUTH PLAIN LOGIN") {
		t.Fatalf("AUTH is not offered: %q", reply)
	}
	return c
}

func TestAuth(t *testing.T) {
	right := b64("\x00printer\x00printer-password")
	for _, tt := range []struct{ name, dialog string }{ // C sent, S expected, X closed
		{"PLAIN at once", "C AUTH PLAIN " + right + "\nS 235 2.7.0"},
		{"in lower case", "C auth plain " + right + "\nS 235 2.7.0"},
		{"PLAIN in a second line", "C AUTH PLAIN\nS 334 \nC " + right + "\nS 235 2.7.0"},
		{"PLAIN as oneself", "C AUTH PLAIN " + b64("printer\x00printer\x00printer-password") + "\nS 235 2.7.0"},
		{"PLAIN as somebody else", "C AUTH PLAIN " + b64("admin\x00printer\x00printer-password") + "\nS 535 5.7.8"},
		{"PLAIN of two parts", "C AUTH PLAIN " + b64("printer\x00printer-password") + "\nS 535 5.7.8"},
		{"LOGIN", "C AUTH LOGIN\nS 334 VXNlcm5hbWU6\nC " + b64("printer") + "\nS 334 UGFzc3dvcmQ6\nC " + b64("printer-password") + "\nS 235 2.7.0"},
		{"LOGIN with the name at once", "C AUTH LOGIN " + b64("printer") + "\nS 334 UGFzc3dvcmQ6\nC " + b64("printer-password") + "\nS 235 2.7.0"},
		{"a wrong password", "C AUTH PLAIN " + b64("\x00printer\x00x") + "\nS 535 5.7.8\nC NOOP\nS 250"},
		{"an unknown user", "C AUTH PLAIN " + b64("\x00nobody\x00x") + "\nS 535 5.7.8"},
		{"an empty response", "C AUTH PLAIN =\nS 535 5.7.8"},
		{"bad base64 at once", "C AUTH PLAIN !!!\nS 501 5.5.2\nC NOOP\nS 250"},
		{"bad base64 in a second line", "C AUTH LOGIN\nS 334\nC ***\nS 501 5.5.2\nC NOOP\nS 250"},
		{"base64 with a tail", "C AUTH PLAIN " + right + "x\nS 501 5.5.2"},
		{"cancelled", "C AUTH PLAIN\nS 334\nC *\nS 501 5.0.0\nC NOOP\nS 250"},
		{"cancelled at the password", "C AUTH LOGIN\nS 334\nC " + b64("printer") + "\nS 334\nC *\nS 501 5.0.0\nC NOOP\nS 250"},
		{"a response that is too long", "C AUTH PLAIN\nS 334\nC " + strings.Repeat("A", 9000) + "\nS 500 5.5.6\nC NOOP\nS 250"},
		{"another mechanism", "C AUTH CRAM-MD5\nS 504 5.5.4"},
		{"no mechanism", "C AUTH\nS 501 5.5.4"},
		{"twice", "C AUTH PLAIN " + right + "\nS 235\nC AUTH PLAIN " + right + "\nS 503 5.5.1"},
		{"in a transaction", "C MAIL FROM:<a@b.c>\nS 250\nC AUTH PLAIN " + right + "\nS 503 5.5.1"},
		{"the server's trouble", "C AUTH PLAIN " + b64("\x00broken\x00x") + "\nS 454 4.7.0\nC NOOP\nS 250"},
		{"three failures", "C AUTH PLAIN =\nS 535\nC AUTH PLAIN =\nS 535\nC AUTH PLAIN =\nS 535\nS 421 4.7.0\nX"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := secure(t, startServer(t, routing.Internet, withAuth(t)))
			for step := range strings.SplitSeq(tt.dialog, "\n") {
				kind, text, _ := strings.Cut(step, " ")
				switch kind {
				case "C":
					c.say(text)
				case "S":
					c.want(text)
				case "X":
					c.wantClosed()
				}
			}
		})
	}
}

func TestAuthIsNotOfferedInClear(t *testing.T) {
	t.Parallel()
	c := startServer(t, routing.Internet, withAuth(t)).dial(t)
	c.want("220 ")
	c.say("EHLO x")
	if reply := c.want("250 "); strings.Contains(reply, "AUTH") {
		t.Errorf("AUTH is offered in clear: %q", reply)
	}
	c.say("AUTH PLAIN " + b64("\x00printer\x00printer-password"))
	c.want("538 5.7.11 ")
	c.say("MAIL FROM:<a@b.c>")
	c.want("250 ")
	none := startServer(t, routing.Internet, nil).hello(t)
	none.say("AUTH PLAIN AAAA")
	none.want("502 5.5.1 ")
}

// The session after AUTH is that of a client with a name, and STARTTLS or EHLO after it lose nothing of that.
func TestAuthUserReachesTheSession(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var users []string
	ts := startServer(t, routing.Internet, withAuth(t, func(c *Config, _ *Listener) {
		r := &recorder{dir: t.TempDir()}
		c.NewSession = func(cl Client) (smtp.Session, error) {
			mu.Lock()
			defer mu.Unlock()
			users = append(users, cl.AuthUser)
			side := routing.Internet
			if cl.AuthUser != "" {
				side = routing.OnPrem
			}
			return NewSessionFor(r, cl, side, 1<<20), nil
		}
	}))
	c := secure(t, ts)
	c.say("AUTH PLAIN " + b64("\x00printer\x00printer-password"))
	c.want("235 ")
	c.say("MAIL FROM:<a@contoso.com>")
	c.want("250 ")
	c.say("RSET")
	c.want("250 ")
	c.say("EHLO again")
	c.want("250 ")
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(users, ","); got != ",,printer,printer" {
		t.Errorf("sessions of %q", got)
	}
}

func withXClient(networks ...string) func(*Config, *Listener) {
	return func(_ *Config, l *Listener) {
		for _, n := range networks {
			l.XClient = append(l.XClient, netip.MustParsePrefix(n))
		}
	}
}

func TestXClient(t *testing.T) {
	for _, tt := range []struct {
		name, command, reply string
		want                 Client
	}{
		{"address", "XCLIENT ADDR=192.0.2.7", "220 gw1.contoso.com ", Client{Addr: netip.MustParseAddr("192.0.2.7"), Helo: "y", ESMTP: true}},
		{"all", "xclient NAME=mail.fabrikam.com addr=192.0.2.7 PORT=4711 HELO=mail.fabrikam.com PROTO=ESMTP LOGIN=printer DESTADDR=192.0.2.1 DESTPORT=25", "220 ",
			Client{Addr: netip.MustParseAddr("192.0.2.7"), Port: 4711, Helo: "y", ESMTP: true, AuthUser: "printer"}},
		{"IPv6", "XCLIENT ADDR=IPV6:2001:db8::7", "220 ", Client{Addr: netip.MustParseAddr("2001:db8::7"), Helo: "y", ESMTP: true}},
		{"not known", "XCLIENT NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL] LOGIN=[UNAVAILABLE]", "220 ", Client{Addr: netip.MustParseAddr("127.0.0.1"), Helo: "y", ESMTP: true}},
		{"xtext", "XCLIENT LOGIN=a+20b", "220 ", Client{Addr: netip.MustParseAddr("127.0.0.1"), Helo: "y", ESMTP: true, AuthUser: "a b"}},
		{"bad address", "XCLIENT ADDR=300.0.0.1", "501 5.5.4 ", Client{}},
		{"bad port", "XCLIENT PORT=70000", "501 5.5.4 ", Client{}},
		{"bad protocol", "XCLIENT PROTO=UUCP", "501 5.5.4 ", Client{}},
		{"unknown attribute", "XCLIENT FOO=1", "501 5.5.4 ", Client{}},
		{"twice", "XCLIENT ADDR=192.0.2.7 ADDR=192.0.2.8", "501 5.5.4 ", Client{}},
		{"line break", "XCLIENT LOGIN=a+0D+0Ab", "501 5.5.4 ", Client{}},
		{"nothing", "XCLIENT", "501 5.5.4 ", Client{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clients := make(chan Client, 10)
			r := &recorder{dir: t.TempDir()}
			ts := startServer(t, routing.Internet, func(c *Config, l *Listener) {
				withXClient("127.0.0.0/8")(c, l)
				c.NewSession = func(cl Client) (smtp.Session, error) {
					clients <- cl
					return NewSessionFor(r, cl, routing.Internet, 1<<20), nil
				}
			})
			c := ts.dial(t)
			c.want("220 ")
			c.say("EHLO proxy")
			if reply := c.want("250 "); !strings.Contains(reply, "XCLIENT NAME ADDR PORT PROTO HELO LOGIN") {
				t.Errorf("not offered: %q", reply)
			}
			<-clients
			c.say(tt.command)
			c.want(tt.reply)
			if !strings.HasPrefix(tt.reply, "220") {
				c.say("NOOP")
				c.want("250 ")
				return
			}
			c.say("MAIL FROM:<a@b.c>")
			c.want("503 5.5.1 ") // the dialogue is at its beginning
			c.say("EHLO y")
			c.want("250 ")
			got := <-clients
			got.Listener = ""
			if strings.Contains(tt.command, "ADDR=1") || strings.Contains(tt.command, "IPV6") {
			} else {
				got.Port = 0 // the proxy's own
			}
			if got != tt.want {
				t.Errorf("client %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestXClientIsNotForEverybody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		from  []string
		reply string
	}{{"nobody", nil, "500 5.5.1 "}, {"another network", []string{"192.0.2.0/24"}, "550 5.7.1 "}} {
		c := startServer(t, routing.Internet, withXClient(tt.from...)).dial(t)
		c.want("220 ")
		c.say("EHLO x")
		if reply := c.want("250 "); strings.Contains(reply, "XCLIENT") {
			t.Errorf("%s: offered: %q", tt.name, reply)
		}
		c.say("XCLIENT ADDR=192.0.2.7")
		c.want(tt.reply)
	}
	c := startServer(t, routing.Internet, withXClient("127.0.0.1/32")).rcpt(t)
	c.say("XCLIENT ADDR=192.0.2.7")
	c.want("503 5.5.1 ")
}

// Connections are counted for the client that a proxy names, and the counts come out even.
func TestXClientIsCounted(t *testing.T) {
	t.Parallel()
	ts := startServer(t, routing.Internet, func(c *Config, l *Listener) {
		withXClient("127.0.0.0/8")(c, l)
		c.Limits = func() Limits { return Limits{ConnectionsPerClient: 2} }
	})
	var conns []*client
	for i := range 3 {
		c := ts.hello(t)
		c.say("XCLIENT ADDR=192.0.2.7")
		if i == 2 {
			c.want("421 4.7.0 ")
			c.wantClosed()
			break
		}
		c.want("220 ")
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.say("QUIT")
		c.want("221 ")
		c.wantClosed()
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		ts.server.mu.Lock()
		left := len(ts.server.perClient)
		ts.server.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d clients are still counted", left)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestRecording(t *testing.T) {
	for _, contents := range []Contents{WithoutBodies, WithBodies} {
		t.Run(string(contents), func(t *testing.T) {
			t.Parallel()
			var out lockedBuffer
			rec := NewRecording(&out, contents)
			ts := startServer(t, routing.Internet, withAuth(t, func(c *Config, _ *Listener) {
				c.Record = func(a netip.Addr) *Recording {
					if a == netip.MustParseAddr("127.0.0.1") {
						return rec
					}
					return nil
				}
			}))
			c := secure(t, ts)
			c.say("AUTH PLAIN " + b64("\x00printer\x00secret"))
			c.want("535 ")
			c.say("AUTH LOGIN")
			c.want("334 ")
			c.say(b64("printer"))
			c.want("334 ")
			c.say(b64("printer-password"))
			c.want("235 ")
			c.say("MAIL FROM:<a@fabrikam.com>")
			c.want("250 ")
			c.say("RCPT TO:<b@contoso.com>")
			c.want("250 ")
			c.raw("BDAT 8\r\nsecret\r\nNOOP\r\nBDAT 6 LAST\r\nletter")
			c.want("250 ")
			c.want("250 ")
			c.want("250 ")
			c.say("X\x1b[31m")
			c.want("500 ")
			c.say("QUIT")
			c.want("221 ")
			c.wantClosed()
			got := out.String()
			for _, want := range []string{
				" S: 220 gw1.contoso.com", " C: EHLO client.fabrikam.com\n", " S: 250-PIPELINING\n", " C: STARTTLS\n", " C: AUTH PLAIN (not shown)\n",
				" C: (response, not shown)\n", " S: 235 2.7.0 ", " C: MAIL FROM:<a@fabrikam.com>\n", " C: BDAT 8\n", " C: NOOP\n", " C: BDAT 6 LAST\n",
				" =  message of 14 octets", " C: \"X\\x1b[31m\"\n", " C: QUIT\n", " S: 221 2.0.0 ",
			} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			for _, secret := range []string{b64("\x00printer\x00secret"), b64("printer-password"), b64("printer")} {
				if strings.Contains(got, secret) {
					t.Errorf("a password is recorded:\n%s", got)
				}
			}
			if has := strings.Contains(got, "letter"); has != (contents == WithBodies) {
				t.Errorf("the message is recorded: %v\n%s", has, got)
			}
			for line := range strings.Lines(got) {
				if _, err := time.Parse("2006-01-02T15:04:05.000Z", strings.SplitN(line, " ", 2)[0]); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
		})
	}
}

// A recording that cannot be written does not stop mail, and other clients are not recorded.
func TestRecordingThatFails(t *testing.T) {
	t.Parallel()
	ts := startServer(t, routing.Internet, func(c *Config, _ *Listener) {
		rec := NewRecording(failingWriter{}, WithBodies)
		c.Record = func(netip.Addr) *Recording { return rec }
	})
	c := ts.rcpt(t)
	c.say("DATA")
	c.want("354 ")
	c.raw("x\r\n.\r\n")
	c.want("250 ")
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

// A connection that was silent longer than its buffer is kept goes on as before, wherever the silence fell.
func TestParkedConnection(t *testing.T) {
	for _, kind := range []string{"clear", "TLS"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := startServer(t, routing.Internet, withTLS(t, false, false)).hello(t)
			if kind == "TLS" {
				c.say("STARTTLS")
				c.want("220 ")
				c = c.startTLS()
			}
			time.Sleep(parkAfter + 200*time.Millisecond)
			c.raw("NOOP\r\nNO")
			c.want("250 ")
			time.Sleep(parkAfter + 200*time.Millisecond) // in the middle of a command
			c.raw("OP\r\nNOOP " + strings.Repeat("x", 9000))
			c.want("250 ")
			time.Sleep(parkAfter + 200*time.Millisecond) // in the middle of one that is too long
			c.raw("\r\nNOOP\r\n")
			c.want("500 5.5.2 ")
			c.want("250 ")
		})
	}
}
