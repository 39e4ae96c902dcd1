package outbound

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// mailbox is a go-smtp backend that keeps what it takes.
type mailbox struct {
	mu   sync.Mutex
	got  []string
	to   []string
	conn int
}

func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn++
	return &mailSession{m: m}, nil
}

type mailSession struct {
	m  *mailbox
	to []string
}

func (s *mailSession) Reset()                               { s.to = nil }
func (s *mailSession) Logout() error                        { return nil }
func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "unknown") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.got = append(s.m.got, string(b))
	s.m.to = append(s.m.to, s.to...)
	return nil
}

// TestGoSMTPServer: an SMTP server that other people wrote.
func TestGoSMTPServer(t *testing.T) {
	m := &mailbox{}
	srv := smtp.NewServer(m)
	srv.Domain, srv.MaxMessageBytes = "mx.contoso.com", 8<<20
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Error(err)
		}
	})
	tr := transport(t, nil, ln.Addr().String())
	var want []string
	for i := range 5 { // few enough refusals that the connection is kept
		content := fmt.Sprintf("%s.dot %d\r\n", sample, i) + strings.Repeat("0123456789\r\n", i*i*6000)
		want = append(want, content)
		res := deliver(t, tr, request(content, "unknown@contoso.com", "alexd@contoso.com", "juliai@contoso.com"))
		if res[0].Outcome != Refused || res[0].Reply.EnhancedCode != (smtp.EnhancedCode{5, 1, 1}) || res[1].Outcome != Delivered || res[2].Outcome != Delivered {
			t.Fatalf("%s: %v", summary(res), res[1].Reply)
		}
	}
	wantSummary(t, deliver(t, tr, request(sample, "unknown@contoso.com")), "refused 550 5.1.1 rcpt")
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.got) != len(want) || len(m.to) != 2*len(want) {
		t.Fatalf("%d messages, %d recipients", len(m.got), len(m.to))
	}
	for i := range want {
		if m.got[i] != want[i] {
			t.Errorf("message %d is not as it was sent (%d octets, %d sent)", i, len(m.got[i]), len(want[i]))
		}
	}
	if m.conn != 1 {
		t.Errorf("%d sessions, want 1", m.conn)
	}
}
