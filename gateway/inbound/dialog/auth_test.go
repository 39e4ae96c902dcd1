package dialog_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/inbound"
	"github.com/coexist-mail/coexist/gateway/inbound/dialog"
	"github.com/coexist-mail/coexist/gateway/inbound/users"
	"github.com/coexist-mail/coexist/gateway/message"
	"github.com/coexist-mail/coexist/routing"
)

// taker is a handler that takes everything.
type taker struct{ dir string }

func (taker) Route(_ routing.Side, _, recipient string) routing.Decision {
	return routing.Decision{Recipient: recipient, Action: routing.Relay, Side: routing.OnPrem, Address: recipient}
}

func (taker) Refused(inbound.Client, routing.Side, string, routing.Decision) {}

func (taker) CheckRecipient(inbound.Client, routing.Side, string, string) *smtp.SMTPError { return nil }

func (taker) Room(int64) *smtp.SMTPError { return nil }

func (h taker) Begin(*inbound.Submission) (*message.Buffer, error) {
	return message.NewBuffer(h.dir, message.DefaultMemory), nil
}

func (taker) Accept(*inbound.Submission) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "ID accepted"}
}

// TestAuthDialogs runs the dialogs about AUTH against the server loop with a file of users.
func TestAuthDialogs(t *testing.T) {
	t.Parallel()
	hash, err := users.Hash("printer-password")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("printer:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := users.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	addr := startLoop(t, file)
	r := runner(addr)
	d, err := dialog.ParseFile(dialogDir + "/44-auth.smtp")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range d.Sections {
		t.Run(s.Name, func(t *testing.T) {
			result, err := r.Run(t.Context(), s)
			if err != nil || result.Outcome != dialog.Passed {
				t.Errorf("%s:%d: %s: want %s, got %s; %v", d.File, result.Line, result.Outcome, result.Want, result.Got, err)
			}
		})
	}
}

// startLoop starts the server loop alone, which knows users.
func startLoop(t *testing.T, a inbound.Authenticator) string {
	t.Helper()
	cert, _, err := fakemta.NewCertificate("gw1.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := taker{t.TempDir()}
	s := inbound.New(inbound.Config{
		Hostname: "gw1.contoso.com", Authenticator: a,
		NewSession: func(c inbound.Client) (smtp.Session, error) {
			return inbound.NewSessionFor(h, c, routing.Internet, 1<<20), nil
		},
	})
	conf := &tls.Config{Certificates: []tls.Certificate{cert}}
	go s.Serve(inbound.Listener{Listener: l, TLS: func() *tls.Config { return conf }, XClient: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return l.Addr().String()
}
