package fakemta

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience is how long a test waits for what should come at once.
const patience = 10 * time.Second

func start(t testing.TB, options Options) *Server {
	t.Helper()
	s, err := Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func rules(t testing.TB, texts ...string) []Rule {
	t.Helper()
	all, err := ParseRules(strings.Join(texts, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// client is a raw connection.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func dial(t testing.TB, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &client{t, conn, bufio.NewReader(conn)}
}

// reply reads a whole reply; its lines are separated by |.
func (c *client) reply() string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, line+err.Error()), "|")
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "|")
		}
	}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// say sends a line and returns the reply.
func (c *client) say(line string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.reply()
}

// expect says lines, and compares the beginning of each reply.
func (c *client) expect(dialog ...string) {
	c.t.Helper()
	for i := 0; i+1 < len(dialog); i += 2 {
		got := ""
		if dialog[i] == "" {
			got = c.reply()
		} else {
			got = c.say(dialog[i])
		}
		if !strings.HasPrefix(got, dialog[i+1]) {
			c.t.Fatalf("%q was answered %q, expected %q", dialog[i], got, dialog[i+1])
		}
	}
}

// toData goes up to the 354.
func (c *client) toData() {
	c.t.Helper()
	c.expect("", "220 ", "EHLO client.example", "250", "MAIL FROM:<a@contoso.com>", "250 2.1.0", "RCPT TO:<b@fabrikam.com>", "250 2.1.5", "DATA", "354")
}

func TestEnvelope(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, s)
	c.expect(
		"", "220 mta.example ESMTP",
		"EHLO client.example", "250-mta.example|250-PIPELINING|250-SIZE|250-8BITMIME|250-SMTPUTF8|250-CHUNKING|250-DSN|250 ENHANCEDSTATUSCODES",
		"MAIL FROM:<a@contoso.com> SIZE=100 body=8bitmime RET=HDRS ENVID=x SMTPUTF8", "250 2.1.0",
		`RCPT TO:<"b > c"@fabrikam.com> NOTIFY=NEVER`, "250 2.1.5",
		"rcpt to:<ö@contoso.com>", "250 2.1.5",
		"DATA", "354",
		"Subject: x\r\n\r\n..dot\r\n.", "250 2.0.0 ok 1.1",
		"MAIL FROM:<>", "250",
		"RCPT TO:<Postmaster>", "250",
		"DATA", "354",
		".", "250 2.0.0 ok 1.2",
		"QUIT", "221 2.0.0",
	)
	got, err := s.Wait(2, patience)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i].Started.IsZero() || got[i].Received.Before(got[i].Started) {
			t.Errorf("times: %v %v", got[i].Started, got[i].Received)
		}
		got[i].Started, got[i].Received = time.Time{}, time.Time{}
	}
	remote := c.conn.LocalAddr().String()
	want := []Message{{
		Number: 1, Connection: 1, Transaction: 1, Remote: remote, Helo: "client.example", Greeting: "EHLO",
		Sender: "a@contoso.com", SenderParams: []string{"SIZE=100", "body=8bitmime", "RET=HDRS", "ENVID=x", "SMTPUTF8"},
		Recipients: []string{`"b > c"@fabrikam.com`, "ö@contoso.com"}, RecipientParams: [][]string{{"NOTIFY=NEVER"}, {}},
		Size: 20, Data: []byte("Subject: x\r\n\r\n.dot\r\n"),
	}, {
		Number: 2, Connection: 1, Transaction: 2, Remote: remote, Helo: "client.example", Greeting: "EHLO",
		SenderParams: []string{}, Recipients: []string{"Postmaster"}, RecipientParams: [][]string{{}}, Data: []byte{},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	stats := s.Stats()
	wantCommands := map[Verb]int{Connect: 1, EHLO: 1, Mail: 2, Rcpt: 3, Data: 2, Body: 2, EOD: 2, Quit: 1}
	if diff := cmp.Diff(wantCommands, stats.Commands); diff != "" || stats.Connections != 1 || stats.MaxConcurrent != 1 || stats.Messages != 2 || stats.Octets != 20 {
		t.Errorf("%+v %s", stats, diff)
	}
}

// bodies are messages as they are sent after the 354, up to the dot, and what has to be kept of them.
var bodies = []struct {
	name, sent, want string
	cr, lf           bool
}{
	{"empty", ".\r\n", "", false, false},
	{"one line", "a\r\n.\r\n", "a\r\n", false, false},
	{"stuffed", "..\r\n...\r\n..a\r\n.\r\n", ".\r\n..\r\n.a\r\n", false, false},
	{"dot not doubled", ".a\r\n.\r\n", "a\r\n", false, false},
	{"dot inside", "a.\r\n.\r\n", "a.\r\n", false, false},
	{"bare LF before a dot", "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", false, true},
	{"dot and bare LF", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", false, true},
	{"LF dot LF", "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", false, true},
	{"CR dot CR", "a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", true, false},
	{"CR CR LF", "a\r\r\n.\r\n", "a\r\r\n", true, false},
	{"CR LF LF", "a\r\n\n.\r\n.\r\n", "a\r\n\n.\r\n", false, true},
	{"dot CR", ".\ra\r\n.\r\n", "\ra\r\n", true, false},
	{"dot CR CR LF", ".\r\r\n.\r\n", "\r\r\n", true, false},
	{"NUL and 8 bits", "\x00\xff\r\n.\r\n", "\x00\xff\r\n", false, false},
	{"long line", strings.Repeat("x", 200_000) + "\r\n.\r\n", strings.Repeat("x", 200_000) + "\r\n", false, false},
	{"long line with the CR at the end of the buffer", strings.Repeat("x", bufferSize-1) + "\r\n..\r\n.\r\n", strings.Repeat("x", bufferSize-1) + "\r\n.\r\n", false, false},
	{"long line with a bare CR at the end of the buffer", strings.Repeat("x", bufferSize-1) + "\ry\r\n.\r\n", strings.Repeat("x", bufferSize-1) + "\ry\r\n", true, false},
}

func TestDataIsKeptAsSent(t *testing.T) {
	s := start(t, Options{})
	for _, test := range bodies {
		t.Run(test.name, func(t *testing.T) {
			s.Reset()
			c := dial(t, s)
			c.toData()
			c.send(test.sent + "NOOP\r\n")
			c.expect("", "250 2.0.0 ok", "", "250 2.0.0")
			m := s.Messages()[0]
			if string(m.Data) != test.want || m.BareCR != test.cr || m.BareLF != test.lf || m.Size != int64(len(test.want)) {
				t.Errorf("got %.80q CR %v LF %v size %d", m.Data, m.BareCR, m.BareLF, m.Size)
			}
		})
	}
}

// fakeConn gives a session its input from a reader.
type fakeConn struct {
	net.Conn
	in io.Reader
}

func (c fakeConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c fakeConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c fakeConn) SetWriteDeadline(time.Time) error { return nil }
func (c fakeConn) Close() error                     { return nil }
func (c fakeConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// receive reads one DATA from in, without a network.
func receive(s *Server, in io.Reader) (body, error) {
	c := newSession(s, fakeConn{in: in}, 1)
	c.message = &Message{}
	err := c.readData()
	return c.body, err
}

func TestDataInAnyPieces(t *testing.T) {
	s := start(t, Options{})
	for _, test := range bodies {
		for name, cut := range map[string]func(io.Reader) io.Reader{"bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with EOF": iotest.DataErrReader} {
			got, err := receive(s, cut(strings.NewReader(test.sent)))
			if err != nil || string(got.data) != test.want || got.bareCR != test.cr || got.bareLF != test.lf {
				t.Errorf("%s in %s: got %.80q CR %v LF %v, %v", test.name, name, got.data, got.bareCR, got.bareLF, err)
			}
		}
	}
}

// unstuff is RFC 5321 4.5.2 octet by octet, to compare with.
func unstuff(sent []byte) (data []byte, complete bool) {
	start := true // after CRLF
	for i := 0; i < len(sent); i++ {
		if start && sent[i] == '.' {
			if bytes.HasPrefix(sent[i:], []byte(".\r\n")) {
				return data, true
			}
			start = false
			continue
		}
		data = append(data, sent[i])
		start = sent[i] == '\n' && i > 0 && sent[i-1] == '\r'
	}
	return data, false
}

func FuzzReadData(f *testing.F) {
	for _, test := range bodies[:14] {
		f.Add([]byte(test.sent))
	}
	s := start(f, Options{})
	f.Fuzz(func(t *testing.T, sent []byte) {
		want, complete := unstuff(sent)
		got, err := receive(s, bytes.NewReader(sent))
		if complete != (err == nil) {
			t.Fatalf("complete %v, error %v", complete, err)
		}
		if !complete {
			return
		}
		if !bytes.Equal(got.data, want) {
			t.Errorf("got %q, want %q", got.data, want)
		}
		rest := bytes.ReplaceAll(got.data, []byte("\r\n"), nil)
		// Removing CRLF can join "\r" and "\n" that did not belong together, but never hides either.
		if got.bareCR != bytes.Contains(rest, []byte("\r")) || got.bareLF != bytes.Contains(rest, []byte("\n")) {
			t.Errorf("%q: CR %v LF %v", got.data, got.bareCR, got.bareLF)
		}
	})
}

// FuzzSession feeds a whole session with anything: it must end, and keep nothing that had no recipient.
func FuzzSession(f *testing.F) {
	f.Add([]byte("EHLO a\r\nMAIL FROM:<a@b> SIZE=3\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"))
	f.Add([]byte("HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\n\r\n"))
	f.Add([]byte("EHLO a\r\nBDAT 99999999999999999999\r\nBDAT -1\r\nMAIL FROM:<\"\\\">\"@b>\r\nRSET\r\nNOOP\nVRFY\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		s := &Server{options: Options{}, offered: map[string]bool{"CHUNKING": true, "SIZE": true}, arrived: make(chan struct{}), done: make(chan struct{})}
		setDefaults(&s.options)
		s.script.Store(newScript(nil))
		newSession(s, fakeConn{in: bytes.NewReader(sent)}, 1).run()
		for _, m := range s.messages {
			if len(m.Recipients) == 0 || m.Helo == "" || m.Size != int64(len(m.Data)) || len(m.Data) > len(sent) {
				t.Errorf("%+v", m)
			}
		}
	})
}

func TestBDAT(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, s)
	c.expect("", "220", "EHLO a", "250", "BDAT 5\r\nabc", "503 5.5.1", "MAIL FROM:<a@contoso.com>", "250", "BDAT 5\r\nabc", "554 5.5.1", "RCPT TO:<b@contoso.com>", "250")
	c.send("BDAT 4\r\na\r\n.BDAT 3\r\n\r\nbBDAT 0\r\nBDAT 2 LAST\r\n\n\r")
	c.expect("", "250 2.0.0 4 octets", "", "250 2.0.0 3 octets", "", "250 2.0.0 0 octets", "", "250 2.0.0 ok 1.1")
	big := strings.Repeat("0123456789\r\n", 50_000)
	c.expect("MAIL FROM:<a@contoso.com>", "250", "RCPT TO:<b@contoso.com>", "250")
	c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(big), big))
	c.expect("", "250 2.0.0 ok 1.2", "MAIL FROM:<a@contoso.com>", "250", "RCPT TO:<b@contoso.com>", "250", "BDAT 3\r\nx", "250", "DATA", "503 5.5.1")
	c.expect("BDAT x", "501")
	if got := c.reply(); got != "EOF" {
		t.Errorf("after a chunk of unknown size: %q", got)
	}
	got := s.Messages()
	if m := got[0]; string(m.Data) != "a\r\n.\r\nb\n\r" || !m.Chunked || !m.BareCR || !m.BareLF {
		t.Errorf("got %q %+v", m.Data, m)
	}
	if m := got[1]; string(m.Data) != big || m.BareCR || m.BareLF {
		t.Errorf("the large message differs, or has bare CR or LF: %v %v", m.BareCR, m.BareLF)
	}
}

func TestSequence(t *testing.T) {
	s := start(t, Options{MaxSize: 10})
	c := dial(t, s)
	c.expect(
		"", "220", "MAIL FROM:<a@b>", "503 5.5.1", "EHLO", "501", "EHLO a", "250-mta.example|250-PIPELINING|250-SIZE 10",
		"RCPT TO:<a@b>", "503", "DATA", "503", "MAIL FROM:a@b", "501", "MAIL FROM:<a@b", "501", "MAIL FROM:<a@b>x", "501",
		"MAIL FROM:<a@b> SIZE=11", "552 5.3.4", "MAIL FROM:<a@b> SIZE=x", "555", "MAIL FROM:<a@b> FOO=1", "555 5.5.4", "MAIL FROM:<a@b> BODY=BINARYMIME", "555",
		"MAIL FROM:<ä@b>", "553 5.6.7", "MAIL FROM: <a@b>", "250", "MAIL FROM:<a@b>", "503", "RCPT TO:<>", "501", "RCPT TO:<ä@b>", "553", "RCPT TO:<c@d> RET=FULL", "555",
		"DATA", "554 5.5.1", "RCPT TO:<c@d>", "250", "DATA x", "501", "DATA", "354", strings.Repeat("y", 11)+"\r\n.", "552 5.3.4", "MAIL FROM:<a@b>", "250",
		"RSET", "250", "RCPT TO:<c@d>", "503", "STARTTLS", "502", "FOO", "500 5.5.1", "NOOP x", "250", "VRFY a", "252", "HELP", "214",
	)
	if n := len(s.Messages()); n != 0 {
		t.Errorf("%d messages were kept", n)
	}
}

func TestBinaryMIME(t *testing.T) {
	s := start(t, Options{Extensions: append(Extensions(), "BINARYMIME")})
	c := dial(t, s)
	c.expect("", "220", "EHLO a", "250", "MAIL FROM:<a@b> BODY=BINARYMIME", "250", "RCPT TO:<c@d>", "250", "DATA", "503 5.5.1",
		"BDAT 5 LAST\r\n\x00\n\r", "250", "MAIL FROM:<a@b> REQUIRETLS", "555 5.5.4")
	if m := s.Messages(); len(m) != 1 || string(m[0].Data) != "\x00\n\r\r\n" {
		t.Errorf("got %+v", m)
	}
}

// TestRequireTLS: it is offered, and taken, inside TLS only.
func TestRequireTLS(t *testing.T) {
	certificate, pool, err := NewCertificate("mta.example")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Extensions: append(Extensions(), "REQUIRETLS")})
	c := dial(t, s)
	c.expect("", "220", "EHLO a", "250", "MAIL FROM:<a@b> REQUIRETLS", "555 5.5.4")
	sc, err := smtp.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	if ok, _ := sc.Extension("REQUIRETLS"); ok {
		t.Error("offered in clear text")
	}
	if err := sc.StartTLS(&tls.Config{ServerName: "mta.example", RootCAs: pool}); err != nil {
		t.Fatal(err)
	}
	if ok, _ := sc.Extension("REQUIRETLS"); !ok {
		t.Error("not offered inside TLS")
	}
	if id, err := sc.Text.Cmd("MAIL FROM:<a@b> REQUIRETLS"); err != nil {
		t.Error(err)
	} else {
		sc.Text.StartResponse(id)
		if _, _, err := sc.Text.ReadResponse(250); err != nil {
			t.Error(err)
		}
	}
}

func TestLines(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, s)
	c.expect("", "220")
	c.send("NOOP\nNOOP\r\n" + "NOOP " + strings.Repeat("x", 3*bufferSize) + "\r\nNOOP\r\n")
	c.expect("", "500 5.5.2 the line does not end", "", "250", "", "500 5.5.2 the line is too long", "", "250")
}

func TestExtensionsThatAreNotOffered(t *testing.T) {
	s := start(t, Options{Extensions: []string{}})
	c := dial(t, s)
	c.expect("", "220", "EHLO a", "250 mta.example", "MAIL FROM:<a@b> SIZE=1", "555 SIZE is not offered", "MAIL FROM:<a@b> SMTPUTF8", "555", "MAIL FROM:<a@b> RET=FULL", "555",
		"MAIL FROM:<a@b> BODY=8BITMIME", "555", "MAIL FROM:<a@b>", "250 ok", "RCPT TO:<c@d>", "250 ok", "BDAT 5\r\nabc", "502")
	c.send("NOOP\r\nDATA\r\nx\r\n.\r\n")
	c.expect("", "250 ok", "", "354", "", "250 ok 1.1")
	if m := s.Messages()[0]; string(m.Data) != "x\r\n" {
		t.Errorf("got %q: octets of the refused chunk", m.Data)
	}
	if got := s.Stats().Unannounced; got != 2 {
		t.Errorf("%d commands were sent ahead, expected 2", got)
	}
}

// TestRepliesAreBatched counts the writes that answer one batch of commands.
func TestRepliesAreBatched(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, s)
	c.expect("", "220", "EHLO a", "250")
	c.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n")
	buffer := make([]byte, 4096)
	n, err := c.conn.Read(buffer)
	if err != nil || strings.Count(string(buffer[:n]), "\r\n") != 4 {
		t.Errorf("one read returned %q, %v", buffer[:n], err)
	}
}

func TestRules(t *testing.T) {
	tests := []struct {
		name   string
		rules  string
		dialog []string // after the connection was made
		kept   int
	}{
		{"greeting", "CONNECT reply 554 5.3.2 no", []string{"", "554 5.3.2 no", "EHLO a", "503", "quit", "221"}, 0},
		{"greeting of another client", "CONNECT 10.* reply 554 5.3.2 no", []string{"", "220"}, 0},
		{"greeting and close", "CONNECT 127.* reply-close 421 4.3.2 later", []string{"", "421 4.3.2 later", "", "EOF"}, 0},
		{"greeting of several lines", `CONNECT reply 220-one\n220 two`, []string{"", "220-one|220 two", "EHLO a", "250"}, 0},
		{"EHLO", "EHLO bad.* reply 550 5.7.1 no", []string{"", "220", "EHLO bad.example", "550 5.7.1 no", "EHLO good.example", "250"}, 0},
		{"only HELO", "EHLO times 1 reply 502 5.5.1 what?", []string{"", "220", "EHLO a", "502", "HELO a", "250 mta.example"}, 0},
		{"own EHLO reply", `EHLO reply 250 x\nSIZE 5`, []string{"", "220", "EHLO a", "250-x|250 SIZE 5", "MAIL FROM:<a@b>", "250"}, 0},
		{"MAIL", "MAIL *@contoso.com reply 451 4.7.1 greylisted", []string{"", "220", "EHLO a", "250", "MAIL FROM:<x@Contoso.com>", "451 4.7.1 greylisted", "MAIL FROM:<x@b>", "250"}, 0},
		{"MAIL of nobody", "MAIL *@* reply 550 5.7.1 no", []string{"", "220", "EHLO a", "250", "MAIL FROM:<>", "250"}, 0},
		{"RCPT by address", "RCPT *@contoso.com reply 450 4.2.0 busy\nRCPT gone@* reply 550 5.1.1 unknown", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250",
			"RCPT TO:<a@contoso.com>", "450 4.2.0 busy", "RCPT TO:<gone@d>", "550 5.1.1 unknown", "RCPT TO:<ok@d>", "250", "DATA", "354", ".", "250"}, 1},
		{"RCPT, second only", "RCPT nth 2 reply 450 4.2.0 busy", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "RCPT TO:<2@d>", "450", "RCPT TO:<3@d>", "250"}, 0},
		{"RCPT, first two", "RCPT times 2 reply 450 4.2.0 busy", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "450", "RCPT TO:<2@d>", "450", "RCPT TO:<3@d>", "250"}, 0},
		{"first rule that acts", "RCPT times 1 reply 450 4.2.0 one\nRCPT times 1 reply 451 4.2.0 two", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "450", "RCPT TO:<2@d>", "451", "RCPT TO:<3@d>", "250"}, 0},
		{"positive reply", "RCPT reply 251 2.1.5 forwarded", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "251 2.1.5 forwarded", "DATA", "354", ".", "250"}, 1},
		{"DATA", "DATA *@d reply 451 4.3.0 no", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "DATA", "451 4.3.0 no", "RSET", "250"}, 0},
		{"EOD", "EOD 2@d reply 554 5.6.0 spam", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "RCPT TO:<2@d>", "250", "DATA", "354", ".", "554 5.6.0 spam", "MAIL FROM:<a@b>", "250"}, 0},
		{"EOD of BDAT", "EOD reply 452 4.3.1 full", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "BDAT 3 LAST\r\nx", "452 4.3.1 full"}, 0},
		{"own text of 250", "EOD reply 250 2.0.0 queued as 77", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "DATA", "354", ".", "250 2.0.0 queued as 77"}, 1},
		{"BDAT", "BDAT reply 451 4.3.0 no", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "BDAT 3\r\nx", "451", "MAIL FROM:<a@b>", "250"}, 0},
		{"RSET, NOOP and QUIT", "RSET reply 421 4.3.2 a\nNOOP reply 421 4.3.2 b\nQUIT times 1 reply 500 5.5.1 c", []string{"", "220", "RSET", "421 4.3.2 a", "NOOP", "421 4.3.2 b", "QUIT", "500 5.5.1 c", "QUIT", "221", "", "EOF"}, 0},
		{"STARTTLS", "STARTTLS reply 454 4.7.0 no", []string{"", "220", "EHLO a", "250", "STARTTLS", "454 4.7.0 no"}, 0},
		{"drop at RCPT", "RCPT drop", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "EOF"}, 0},
		{"drop at the end", "EOD drop", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "DATA", "354", "x\r\n.", "EOF"}, 0},
		{"drop at the end, kept", "EOD keep-drop", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "DATA", "354", "x\r\n.", "EOF"}, 1},
		{"drop inside the message", "BODY after 4 drop", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "DATA", "354", "a\r\nb\r\n", "EOF"}, 0},
		{"reply inside the message", "BODY reply-close 421 4.3.0 disk", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "DATA", "354", "", "421 4.3.0 disk", "", "EOF"}, 0},
		{"half", "EOD half 250 2.0.0 ok", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "250", "RCPT TO:<1@d>", "250", "DATA", "354", ".", "250 2.EOF"}, 0},
		{"garbage", "MAIL garbage", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "\x00\xff\xfe", "NOOP", "250"}, 0},
		{"hang for a while", "MAIL hang 50ms", []string{"", "220", "EHLO a", "250", "MAIL FROM:<a@b>", "EOF"}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := Options{Rules: rules(t, test.rules)}
			s := start(t, options)
			c := dial(t, s)
			c.expect(test.dialog...)
			if got := len(s.Messages()); got != test.kept {
				t.Errorf("%d messages were kept, expected %d", got, test.kept)
			}
		})
	}
}

func TestDelay(t *testing.T) {
	s := start(t, Options{Rules: rules(t, "NOOP times 1 delay 100ms", "NOOP delay 100ms reply 450 4.0.0 late")})
	c := dial(t, s)
	c.expect("", "220")
	for _, want := range []string{"250", "450 4.0.0 late"} {
		before := time.Now()
		c.expect("NOOP", want)
		if waited := time.Since(before); waited < 100*time.Millisecond {
			t.Errorf("waited %v", waited)
		}
	}
}

func TestHugeReply(t *testing.T) {
	s := start(t, Options{Rules: rules(t, "NOOP after 100000 huge 250")})
	c := dial(t, s)
	c.expect("", "220")
	if got := c.say("NOOP"); len(got) < 100_000 || !strings.Contains(got, "|250 and on") {
		t.Errorf("%d octets, ending with %q", len(got), got[max(0, len(got)-80):])
	}
	c.expect("RSET", "250 2.0.0 ok")
}

func TestChance(t *testing.T) {
	s := start(t, Options{Rules: rules(t, "NOOP chance 0.5 reply 450 4.0.0 no")})
	c := dial(t, s)
	c.expect("", "220")
	c.send(strings.Repeat("NOOP\r\n", 1000))
	refused := 0
	for range 1000 {
		if strings.HasPrefix(c.reply(), "450") {
			refused++
		}
	}
	if refused < 350 || refused > 650 { // 9 standard deviations
		t.Errorf("%d of 1000 were refused", refused)
	}
}

// TestHang needs the server's Close to end it, and the client's.
func TestHang(t *testing.T) {
	s := start(t, Options{Rules: rules(t, "NOOP hang")})
	c := dial(t, s)
	c.expect("", "220")
	c.send("NOOP\r\n")
	c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := c.r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, expected nothing", err)
	}
	c.conn.Close()
	waitFor(t, func() bool { return s.Stats().Open == 0 })
	other := dial(t, s)
	other.expect("", "220")
	other.send("NOOP\r\n")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := other.reply(); !strings.HasSuffix(got, "EOF") && !strings.Contains(got, "reset") {
		t.Errorf("got %q after Close", got)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

func TestSetRulesWhileRunning(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, s)
	c.expect("", "220", "NOOP", "250")
	if err := s.SetRules(Rule{Verb: NOOP, Reply: "450 4.2.0 busy", Times: 1}); err != nil {
		t.Fatal(err)
	}
	c.expect("NOOP", "450 4.2.0 busy", "NOOP", "250")
	if err := s.SetRules(Rule{Verb: "NOPE"}); err == nil {
		t.Error("a wrong rule was taken")
	}
	if err := s.SetRules(); err != nil {
		t.Fatal(err)
	}
	c.expect("NOOP", "250")
}

func TestWait(t *testing.T) {
	s := start(t, Options{})
	if got, err := s.Wait(1, 10*time.Millisecond); err == nil || len(got) != 0 {
		t.Errorf("got %v, %v, expected a timeout", got, err)
	}
	for range 3 {
		go func() {
			smtp.SendMail(s.Addr(), nil, "a@contoso.com", []string{"b@contoso.com"}, []byte("x\r\n"))
		}()
	}
	got, err := s.Wait(3, patience)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d, %v", len(got), err)
	}
	for i, m := range got {
		if m.Number != i+1 {
			t.Errorf("message %d has number %d", i+1, m.Number)
		}
	}
	waiting := make(chan error)
	go func() {
		_, err := s.Wait(4, patience)
		waiting <- err
	}()
	s.Close()
	if err := <-waiting; err == nil {
		t.Error("Wait did not notice Close")
	}
}

func TestCloseConnections(t *testing.T) {
	s := start(t, Options{})
	c := dial(t, s)
	c.expect("", "220")
	s.CloseConnections()
	if got := c.reply(); !strings.HasSuffix(got, "EOF") && !strings.Contains(got, "reset") {
		t.Errorf("got %q", got)
	}
	dial(t, s).expect("", "220")
}

func TestIdle(t *testing.T) {
	s := start(t, Options{IdleTimeout: 50 * time.Millisecond})
	dial(t, s).expect("", "220", "", "421 4.4.2", "", "EOF")
}

func TestOnMessage(t *testing.T) {
	s := start(t, Options{OnMessage: func(m *Message) error {
		if m.Sender == "bad@contoso.com" {
			return errors.New("disk\r\nfull")
		}
		return nil
	}})
	c := dial(t, s)
	c.expect("", "220", "EHLO a", "250", "MAIL FROM:<bad@contoso.com>", "250", "RCPT TO:<b@d>", "250", "DATA", "354", ".", "451 4.3.0 disk full", "NOOP", "250")
	if got := s.Messages(); len(got) != 0 {
		t.Errorf("%v was kept", got)
	}
}

func TestDiscard(t *testing.T) {
	s := start(t, Options{Discard: true})
	if err := smtp.SendMail(s.Addr(), nil, "a@contoso.com", []string{"b@contoso.com"}, []byte("12345678\r\n")); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Messages != 1 || stats.Octets != 10 || len(s.Messages()) != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestStartTLS(t *testing.T) {
	certificate, pool, err := NewCertificate("mta.example", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	clientCertificate, clientPool, err := NewCertificate("gw1.contoso.com", "mail.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clientPool}})
	c, err := smtp.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, _ := c.Extension("STARTTLS"); !ok {
		t.Fatal("STARTTLS is not offered")
	}
	if err := c.StartTLS(&tls.Config{ServerName: "mta.example", RootCAs: pool, Certificates: []tls.Certificate{clientCertificate}}); err != nil {
		t.Fatal(err)
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		t.Error("STARTTLS is offered inside of TLS")
	}
	if err := errors.Join(c.Mail("a@contoso.com"), c.Rcpt("b@contoso.com")); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "x\r\n")
	if err := errors.Join(w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
	got := s.Messages()[0].TLS
	want := &TLS{Version: "TLS 1.3", ServerName: "mta.example", ClientNames: []string{"gw1.contoso.com", "mail.contoso.com"}, ClientVerified: true}
	if got != nil {
		want.Cipher = got.Cipher
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNothingSentAheadOfTLS has commands behind STARTTLS in the same packet: they must not be taken as sent inside of TLS.
func TestNothingSentAheadOfTLS(t *testing.T) {
	certificate, pool, err := NewCertificate("mta.example")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	c := dial(t, s)
	c.expect("", "220", "EHLO a", "250")
	c.send("STARTTLS\r\nNOOP\r\n")
	c.expect("", "220 2.0.0")
	conn := tls.Client(c.conn, &tls.Config{ServerName: "mta.example", RootCAs: pool})
	c.r = bufio.NewReader(conn)
	if _, err := io.WriteString(conn, "RSET\r\nQUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	c.expect("", "250 2.0.0 ok", "", "221", "", "EOF")
	if n := s.Stats().Commands[NOOP]; n != 0 {
		t.Errorf("%d commands from before TLS were carried out", n)
	}
}

func TestImplicitTLS(t *testing.T) {
	certificate, pool, err := NewCertificate("mta.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Options{ImplicitTLS: true}); err == nil {
		t.Error("implicit TLS without a certificate was taken")
	}
	s := start(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, ImplicitTLS: true})
	conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{ServerName: "mta.example", RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t, conn, bufio.NewReader(conn)}
	c.expect("", "220", "EHLO a", "250", "STARTTLS", "502")
}
