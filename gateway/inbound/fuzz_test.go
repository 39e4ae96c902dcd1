package inbound

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/routing"
)

// reference takes a message off the front of a stream as RFC 5321 4.5.2 says it, an octet at a time.
func reference(stream []byte) (message, rest []byte, ended bool) {
	lineStart := true
	for i := 0; i < len(stream); {
		if lineStart && stream[i] == '.' {
			if bytes.HasPrefix(stream[i:], []byte(".\r\n")) {
				return message, stream[i+3:], true
			}
			i++ // the dot that was put in front; what follows it is an octet like any other
			lineStart = false
			continue
		}
		message = append(message, stream[i])
		lineStart = stream[i] == '\n' && i > 0 && stream[i-1] == '\r'
		i++
	}
	return message, nil, false
}

// pieces reads a stream in pieces whose sizes are in cuts, over and over.
type pieces struct {
	stream []byte
	cuts   []byte
	n      int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.stream) == 0 {
		return 0, io.EOF
	}
	size := len(p.stream)
	if len(p.cuts) > 0 {
		size = int(p.cuts[p.n%len(p.cuts)]) + 1
		p.n++
	}
	n := copy(b, p.stream[:min(size, len(p.stream))])
	p.stream = p.stream[n:]
	return n, nil
}

// FuzzData holds the reader of DATA against the reference, wherever the reads fall.
func FuzzData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\nQUIT\r\n", ".\r\n", "..\r\n.\r\n", ".\r.\r\n\r\n.\r\n", "a\r\n..b\r\n.\n.\r\n.\r\n", "\r\r\n.\r\nx", ".x\r\n.\r\n", ".\rx\r\n.\r\n", "..\r\n..\r\n.\r\n"} {
		f.Add([]byte(s), []byte{0})
		f.Add([]byte(s), []byte{1, 2})
		f.Add([]byte(s), []byte{})
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		in := newReader(&pieces{stream: stream, cuts: cuts})
		in.grow(&dataBuffers)
		defer in.release()
		d := &dotReader{b: in, lineStart: true}
		var got bytes.Buffer
		_, err := (&content{next: d.next}).WriteTo(&got)
		message, rest, ended := reference(stream)
		switch {
		case ended != (err == nil) || ended != d.done:
			t.Fatalf("%q by %v: ended %v, want %v (%v)", stream, cuts, d.done, ended, err)
		case ended && !bytes.Equal(got.Bytes(), message):
			t.Fatalf("%q by %v: %q, want %q", stream, cuts, got.Bytes(), message)
		case ended && !bytes.HasPrefix(rest, in.buf[in.r:in.w]):
			t.Fatalf("%q by %v: %q is left, want the beginning of %q", stream, cuts, in.buf[in.r:in.w], rest)
		}
	})
}

// FuzzBdat cuts a message into chunks and the stream into pieces: what arrives is the message, and the command behind it is the next.
func FuzzBdat(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\nQUIT\r\n"), []byte{3, 0, 200}, []byte{0})
	f.Add([]byte(""), []byte{}, []byte{})
	f.Add([]byte("BDAT 0 LAST\r\n.\r\n"), []byte{5}, []byte{1, 7})
	f.Fuzz(func(t *testing.T, message, chunks, cuts []byte) {
		var stream bytes.Buffer
		rest := message
		for _, size := range chunks {
			n := min(int(size), len(rest))
			stream.WriteString("BDAT " + strconv.Itoa(n) + "\r\n")
			stream.Write(rest[:n])
			rest = rest[n:]
		}
		stream.WriteString("BDAT " + strconv.Itoa(len(rest)) + " LAST\r\n")
		stream.Write(rest)
		stream.WriteString("NOOP\r\n")
		in := newReader(&pieces{stream: stream.Bytes(), cuts: cuts})
		in.grow(&dataBuffers)
		defer in.release()
		c := &conn{server: New(Config{}), in: in}
		line, err := in.line()
		if err != nil {
			t.Fatal(err)
		}
		size, last, ok := parseBdat(strings.TrimPrefix(string(line), "BDAT "))
		if !ok {
			t.Fatalf("%q is refused", line)
		}
		b := &bdatReader{c: c, left: size, size: size, last: last}
		got, err := io.ReadAll(&content{next: b.next})
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%q, want %q; %v", got, message, err)
		}
		if next, err := in.line(); err != nil || string(next) != "NOOP" {
			t.Fatalf("the next command is %q, %v", next, err)
		}
	})
}

// FuzzXClient: whatever a proxy says, what comes of it can be written to logs and headers.
func FuzzXClient(f *testing.F) {
	f.Add("NAME=a ADDR=192.0.2.1 PORT=1 PROTO=ESMTP HELO=b LOGIN=c+20d")
	f.Add("ADDR=IPV6:2001:db8::1 LOGIN=[UNAVAILABLE]")
	f.Fuzz(func(t *testing.T, arg string) {
		c, refusal := parseXClient(Client{}, arg)
		if refusal != nil {
			if refusal.Code != 501 || strings.ContainsAny(refusal.Message, "\r\n\x00\x1b") {
				t.Errorf("refusal %+v", refusal)
			}
			return
		}
		if strings.ContainsFunc(c.Helo+c.AuthUser, func(r rune) bool { return r < ' ' || r == 0x7f }) || c.Addr.Zone() != "" {
			t.Errorf("%+v", c)
		}
	})
}

// FuzzAuth: no exchange lets anybody in but the one with the right password, and none takes a response for a command.
func FuzzAuth(f *testing.F) {
	f.Add("PLAIN " + b64("\x00printer\x00printer-password"))
	f.Add("PLAIN\r\n*")
	f.Add("LOGIN\r\n" + b64("printer") + "\r\n" + b64("x"))
	f.Add("LOGIN =\r\n=")
	f.Fuzz(func(t *testing.T, exchange string) {
		seen := &asked{}
		s := New(Config{Hostname: "gw1.contoso.com", Authenticator: seen, NewSession: func(c Client) (smtp.Session, error) {
			return NewSessionFor(&recorder{}, c, routing.Internet, 1<<16), nil
		}})
		c := newConn(s, &scripted{in: strings.NewReader("EHLO x\r\nAUTH " + exchange + "\r\nQUIT\r\n")}, &Listener{Listener: fakeListener{}})
		c.limits.RefusalDelay = -1
		c.client.TLS = &tls.ConnectionState{}
		c.dialogue()
		for _, pair := range seen.pairs {
			for _, word := range pair {
				if !strings.Contains(exchange, base64.StdEncoding.EncodeToString([]byte(word))) && !plainHolds(exchange+" QUIT", word) {
					t.Errorf("%q was asked for, in %q", pair, exchange)
				}
			}
		}
	})
}

// plainHolds says whether a response in the exchange, decoded, has the word in it.
func plainHolds(exchange, word string) bool {
	if word == "" {
		return true
	}
	for field := range strings.FieldsSeq(exchange) {
		if decoded, err := base64.StdEncoding.DecodeString(field); err == nil && strings.Contains(string(decoded), word) {
			return true
		}
	}
	return false
}

type asked struct{ pairs [][2]string }

func (a *asked) Authenticate(user, password string) (string, bool, error) {
	a.pairs = append(a.pairs, [2]string{user, password})
	return user, false, nil
}

// scripted is a connection whose input is given.
type scripted struct {
	deadlineConn
	in io.Reader
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*scripted)(nil)
