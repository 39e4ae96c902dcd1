package inbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// discard accepts everything and keeps nothing.
type discard struct{ recorder }

func (d *discard) Accept(*Submission) *smtp.SMTPError { return fail(250, 2, 0, 0, "ID queued") }

func (d *discard) Begin(*Submission) (*message.Buffer, error) {
	return message.NewBuffer(d.dir, message.DefaultMemory), nil
}

// The same sessions run on the library's server: this adapter is all that it takes.
func libraryBackend(h Handler, maxSize int64) smtp.Backend {
	return smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		addr, port := addrOf(c.Conn().RemoteAddr())
		return NewSessionFor(h, Client{Addr: addr, Port: port, Helo: c.Hostname(), ESMTP: true}, routing.Internet, maxSize), nil
	})
}

func startLibrary(tb testing.TB, h Handler) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := newLibraryServer(h)
	go s.Serve(l)
	tb.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func newLibraryServer(h Handler) *smtp.Server {
	s := smtp.NewServer(libraryBackend(h, 64<<20))
	s.Domain, s.EnableSMTPUTF8, s.EnableDSN, s.MaxLineLength = "gw1.contoso.com", true, true, 1<<20
	return s
}

func startOwn(tb testing.TB, h Handler) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := New(Config{Hostname: "gw1.contoso.com", NewSession: func(c Client) (smtp.Session, error) {
		return NewSessionFor(h, c, routing.Internet, 64<<20), nil
	}})
	go s.Serve(Listener{Listener: l})
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return l.Addr().String()
}

// startSink is Postfix's smtp-sink, the measure of what a listener that keeps nothing can do.
func startSink(tb testing.TB) (addr string, pid int) {
	tb.Helper()
	path, err := exec.LookPath("smtp-sink")
	if err != nil {
		tb.Skip("smtp-sink is not installed: apt-get install postfix")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	cmd := exec.Command(path, "-u", "nobody", addr, "100")
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 100 {
		if nc, err := net.Dial("tcp", addr); err == nil {
			nc.Close()
			return addr, cmd.Process.Pid
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Fatal("smtp-sink does not listen")
	return "", 0
}

// BenchmarkServers accepts and discards messages over 20 kept sessions. Each server is a process of its own; its processor time a
// message is measured without that of the clients, which are this process.
func BenchmarkServers(b *testing.B) {
	for _, size := range []int{10 << 10, 1 << 20} {
		for _, name := range []string{"own", "own-tls", "go-smtp", "smtp-sink"} {
			b.Run(fmt.Sprintf("%s/%dKB", name, size>>10), func(b *testing.B) {
				addr, pid := startContender(b, name)
				body := append([]byte("Subject: x\r\n\r\n"), bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog.\r\n"), size/46)...)
				body = append(body, ".\r\n"...)
				b.SetBytes(int64(len(body)))
				b.SetParallelism(20 / runtime.GOMAXPROCS(0))
				before := cpuOf(b, pid)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					if err := load(addr, body, name == "own-tls", pb.Next); err != nil {
						b.Error(err)
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64((cpuOf(b, pid)-before).Microseconds())/float64(b.N), "server-us/msg")
			})
		}
	}
}

func startContender(b *testing.B, name string) (addr string, pid int) {
	b.Helper()
	switch name {
	case "smtp-sink":
		return startSink(b)
	case "own":
		name = "plain"
	case "own-tls":
		name = "tls"
	}
	p := startProcess(b, name)
	return p.addr, p.cmd.Process.Pid
}

// load sends messages over one connection.
func load(addr string, body []byte, withTLS bool, next func() bool) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { nc.Close() }()
	r := bufio.NewReader(nc)
	reply := func() error {
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return err
			}
			if line[0] > '3' {
				return fmt.Errorf("refused: %s", line)
			}
			if line[3] == ' ' {
				return nil
			}
		}
	}
	say := func(s []byte) error {
		if _, err := nc.Write(s); err != nil {
			return err
		}
		return reply()
	}
	if err := reply(); err != nil {
		return err
	}
	if err := say([]byte("EHLO load.fabrikam.com\r\n")); err != nil {
		return err
	}
	if withTLS {
		if err := say([]byte("STARTTLS\r\n")); err != nil {
			return err
		}
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		r.Reset(nc)
		if err := say([]byte("EHLO load.fabrikam.com\r\n")); err != nil {
			return err
		}
	}
	for next() {
		for _, s := range [][]byte{[]byte("MAIL FROM:<a@fabrikam.com>\r\n"), []byte("RCPT TO:<b@contoso.com>\r\n"), []byte("DATA\r\n"), body} {
			if err := say(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// What a Session does is the same on both servers.
func TestSessionOnTheLibraryServer(t *testing.T) {
	for name, start := range map[string]func(testing.TB, Handler) string{"own": startOwn, "go-smtp": startLibrary} {
		t.Run(name, func(t *testing.T) {
			h := &recorder{dir: t.TempDir()}
			nc, err := net.Dial("tcp", start(t, h))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			c := &client{t, nc, bufio.NewReader(nc)}
			c.want("220 ")
			for _, step := range [][2]string{
				{"EHLO x", "250 "}, {"MAIL FROM:<a@fabrikam.com>", "250 2."}, {"RCPT TO:<nobody@contoso.com>", "550 5.1.1"},
				{"RCPT TO:<b@contoso.com> NOTIFY=NEVER", "250 2."}, {"DATA", "354 "}, {"hello\r\n.", "250 2.0.0 ID1"}, {"QUIT", "221 "},
			} {
				c.say(step[0])
				c.want(step[1])
			}
			if m := h.messages(); len(m) != 1 || m[0].data != "hello\r\n" || m[0].Envelope.Recipients[0].Notify[0] != "NEVER" {
				t.Errorf("got %+v", m)
			}
			io.Copy(io.Discard, nc)
		})
	}
}
