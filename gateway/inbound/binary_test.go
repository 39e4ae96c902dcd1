package inbound

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// octets has each octet there is, and endings of lines that are none.
func octets() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b) + "\r\n.\r\n\n.\n\r.\r\r\n" + string(b)
}

// binaryMail is a client with a transaction for binary content open.
func (ts *testServer) binaryMail(t *testing.T) *client {
	t.Helper()
	c := ts.hello(t)
	c.say("MAIL FROM:<a@fabrikam.com> BODY=BINARYMIME")
	c.want("250 2.1.0")
	c.say("RCPT TO:<b@contoso.com>")
	c.want("250 2.1.5")
	return c
}

func (c *client) bdat(content, last string) {
	c.t.Helper()
	c.raw(fmt.Sprintf("BDAT %d%s\r\n%s", len(content), last, content))
}

// TestBinaryMIME: what comes in a BINARYMIME transaction is kept octet by octet, but for its header, which has lines (RFC 3030 3).
func TestBinaryMIME(t *testing.T) {
	const header = "Subject: x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
	for _, tt := range []struct {
		name   string
		chunks []string
		want   string
	}{
		{"any octets", []string{header + octets()}, "250 2.0.0"},
		{"in chunks", []string{header, octets(), "", octets()}, "250 2.0.0"},
		{"in chunks that cut CRLF", []string{"Subject: x\r", "\n\r", "\n\r", "\r", "\n"}, "250 2.0.0"},
		{"the last octet is CR", []string{header + "x\r"}, "250 2.0.0"},
		{"a line of 2 MiB", []string{header + strings.Repeat("x", 2<<20)}, "250 2.0.0"},
		{"no body", []string{header}, "250 2.0.0"},
		{"a header without an end", []string{"Subject: x\r\n"}, "250 2.0.0"},
		{"nothing", []string{""}, "250 2.0.0"},
		{"bare LF in the header", []string{"Subject: x\nY: z\r\n\r\n"}, "550 5.5.2"},
		{"bare CR in the header", []string{"Subject: x\rY: z\r\n\r\n"}, "550 5.5.2"},
		{"bare CR at a cut", []string{"Subject: x\r", "Y: z\r\n\r\n"}, "550 5.5.2"},
		{"bare LF ends the header", []string{"Subject: x\r\n\nbody"}, "550 5.5.2"},
		{"the header ends with CR", []string{"Subject: x\r"}, "550 5.5.2"},
		{"NUL in the header", []string{"Subject: \x00\r\n\r\n"}, "550 5.6.0"},
		{"a header that is none", []string{octets()}, "550 5.5.2"},
		{"a long line in the header", []string{"Subject: " + strings.Repeat("x", message.MaxLine) + "\r\n\r\n"}, "550 5.6.0"},
		{"too big", []string{header + strings.Repeat("\x00", 4<<20)}, "552 5.3.4"},
	} {
		for _, side := range []routing.Side{routing.Internet, routing.OnPrem} {
			t.Run(fmt.Sprintf("%s from %s", tt.name, side), func(t *testing.T) {
				t.Parallel()
				ts := startServer(t, side, func(c *Config, _ *Listener) { c.Limits = func() Limits { return Limits{MessageSize: 3 << 20} } })
				c := ts.binaryMail(t)
				for i, chunk := range tt.chunks {
					if i == len(tt.chunks)-1 {
						c.bdat(chunk, " LAST")
						break
					}
					c.bdat(chunk, "")
					if tt.want == "250 2.0.0" {
						c.want("250 2.0.0")
					}
				}
				reply := ""
				for reply = c.want(""); strings.Contains(reply, "octets received"); {
					reply = c.want("")
				}
				if !strings.HasPrefix(reply, tt.want) {
					t.Fatalf("reply %q, want %s", reply, tt.want)
				}
				m := ts.messages()
				if got := len(m); got != map[bool]int{true: 1, false: 0}[tt.want == "250 2.0.0"] {
					t.Fatalf("%d messages were taken", got)
				}
				if len(m) == 1 && (m[0].data != strings.Join(tt.chunks, "") || !m[0].Envelope.IsBinary()) {
					t.Errorf("BODY=%s, %d octets, want %d", m[0].Envelope.Body, len(m[0].data), len(strings.Join(tt.chunks, "")))
				}
			})
		}
	}
}

// DATA cannot carry it, and what is not said to be binary must not be (RFC 3030 3).
func TestBinaryMIMERules(t *testing.T) {
	ts := startServer(t, routing.Internet, nil)
	c := ts.binaryMail(t)
	c.say("DATA")
	c.want("503 5.5.1 ")
	c.bdat("Subject: x\r\n\r\n\x00\n", " LAST") // the transaction is as it was
	c.want("250 2.0.0 ")
	c.say("MAIL FROM:<a@fabrikam.com> BODY=BINARY")
	c.want("501 5.5.4 ")
	c.say("MAIL FROM:<a@fabrikam.com> body=binarymime")
	c.want("250 2.1.0")
	c.say("RSET")
	c.want("250 ")
	c.say("MAIL FROM:<a@fabrikam.com>") // DATA is for this one
	c.want("250 2.1.0")
	c.say("RCPT TO:<b@contoso.com>")
	c.want("250 2.1.5")
	c.say("DATA")
	c.want("354 ")
	c.raw("Subject: x\r\n\r\n.\r\n")
	c.want("250 2.0.0 ")
	for _, body := range []string{"", " BODY=7BIT", " BODY=8BITMIME"} {
		c := ts.hello(t)
		c.say("MAIL FROM:<a@fabrikam.com>" + body)
		c.want("250 2.1.0")
		c.say("RCPT TO:<b@contoso.com>")
		c.want("250 2.1.5")
		c.bdat("Subject: x\r\n\r\na\nb\r\n", " LAST")
		c.want("550 5.5.2 ")
		c.wantClosed()
	}
	if n := len(ts.messages()); n != 2 {
		t.Errorf("%d messages", n)
	}
	offered := ts.dial(t)
	offered.want("220 ")
	offered.say("EHLO x")
	if lines := strings.Split(offered.want("250 "), "\n"); !slices.Contains(lines, "250-BINARYMIME") || !slices.Contains(lines, "250-CHUNKING") {
		t.Errorf("offered: %q", lines)
	}
}

// TestRequireTLS is about what the listener does of RFC 8689.
func TestRequireTLS(t *testing.T) {
	cert := testCert(t, "gw1.contoso.com")
	ts := startServer(t, routing.Internet, func(_ *Config, l *Listener) {
		l.TLS = func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
	})
	c := ts.dial(t)
	c.want("220 ")
	c.say("EHLO x")
	if reply := c.want("250 "); strings.Contains(reply, "REQUIRETLS") {
		t.Errorf("offered in clear text: %q", reply)
	}
	c.say("MAIL FROM:<a@fabrikam.com> REQUIRETLS")
	c.want("530 5.7.10 ")
	c.say("STARTTLS")
	c.want("220 ")
	c = c.startTLS()
	c.say("EHLO x")
	if lines := strings.Split(c.want("250 "), "\n"); !slices.ContainsFunc(lines, func(s string) bool { return strings.TrimLeft(s, "250- ") == "REQUIRETLS" }) {
		t.Errorf("not offered: %q", lines)
	}
	c.say("MAIL FROM:<a@fabrikam.com> REQUIRETLS=yes")
	c.want("501 5.5.4 ")
	for _, tt := range []struct {
		mail     string
		required bool
		ret      string
	}{
		{"MAIL FROM:<a@fabrikam.com> REQUIRETLS", true, "HDRS"},
		{"MAIL FROM:<a@fabrikam.com> RET=FULL requiretls", true, "HDRS"}, // RFC 8689 5
		{"MAIL FROM:<> REQUIRETLS", true, "HDRS"},
		{"MAIL FROM:<a@fabrikam.com> RET=FULL", false, "FULL"},
	} {
		c.say(tt.mail)
		c.want("250 2.1.0")
		c.say("RCPT TO:<b@contoso.com>")
		c.want("250 2.1.5")
		c.bdat("Subject: x\r\n\r\n", " LAST")
		c.want("250 2.0.0 ")
		m := ts.messages()
		if e := m[len(m)-1].Envelope; e.RequireTLS != tt.required || e.Return != tt.ret {
			t.Errorf("%s: %+v", tt.mail, e)
		}
	}
}

// FuzzBinary: whatever comes as binary, what is let in is what came, and its header has no line endings but CRLF, wherever the reads fall.
func FuzzBinary(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\n\x00\n\r"), []byte{0, 3})
	f.Add([]byte("Subject: x\nY: z\r\n\r\n"), []byte{7})
	f.Add([]byte("\r\n\n"), []byte{})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content, cuts []byte) {
		rec := &recorder{dir: dir}
		s := NewSessionFor(rec, Client{}, routing.OnPrem, 1<<16)
		if err := s.Mail("a@fabrikam.com", &smtp.MailOptions{Body: smtp.BodyBinaryMIME}); err != nil {
			t.Fatal(err)
		}
		err := s.Data(&pieces{stream: content, cuts: cuts})
		m := rec.messages()
		var reply *smtp.SMTPError
		if !errors.As(err, &reply) || (len(m) == 1) != (reply.Code == 250) {
			t.Fatalf("%d messages were taken, reply %v", len(m), err)
		}
		if len(m) == 0 {
			return
		}
		if m[0].data != string(content) {
			t.Fatalf("%q became %q", content, m[0].data)
		}
		header := string(content)
		if i := strings.Index("\r\n"+header, "\r\n\r\n"); i >= 0 {
			header = header[:i]
		}
		if strings.ContainsAny(strings.ReplaceAll(header, "\r\n", ""), "\r\n\x00") {
			t.Errorf("taken with the header %q", header)
		}
	})
}
