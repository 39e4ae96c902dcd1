package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
)

func TestCommand(t *testing.T) {
	s, err := fakemta.Start(fakemta.Options{Hostname: "mx.contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("01-good.smtp", "S: 220 mx.contoso.com\nC: EHLO x\nS: 250\nC: MAIL FROM:<{from}>\nS: 250\nC: RCPT TO:<postmaster@{domain}>\nS: 250\nC: QUIT\nS: 221\nX\n")
	other := write("02-other.smtp", "== one\nS: 220\nC: EHLO x\nS: 299 impossible\n== two\nfrom: onprem\nS: 220\n")
	down := write("04-down.smtp", "server: no-directory\nS: 220\n")
	broken := write("03-broken.smtp", "S: 220\nnonsense\n")
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		out    string
	}{
		{"passes", []string{s.Addr(), good, "--to", "a@fabrikam.com"}, 0, "1 passed, 0 differ, 0 skipped"},
		{"differs", []string{s.Addr(), good, other}, 1, "02-other.smtp:4: 02-other: one\n\twant 299 impossible\n\tgot  250 "},
		{"skips", []string{s.Addr(), other}, 1, "skipped: needs a client onprem"},
		{"a named client", []string{s.Addr(), other, "--client", "onprem=127.0.1.1"}, 1, "1 passed, 1 differ, 0 skipped"},
		{"skips a server", []string{s.Addr(), down}, 0, "skipped: needs a server no-directory"},
		{"a named server", []string{"127.0.0.1:1", down, "--server", "no-directory=" + s.Addr()}, 0, "1 passed, 0 differ, 0 skipped"},
		{"shows the dialogue", []string{s.Addr(), good, "-v", "--domain", "other.example"}, 0, "> RCPT TO:<postmaster@other.example>"},
		{"broken file", []string{s.Addr(), broken}, 2, `03-broken.smtp:2: "nonsense" is not a step`},
		{"no server", []string{"127.0.0.1:1", good}, 1, "connecting"},
		{"no STARTTLS", []string{s.Addr(), good, "--starttls"}, 1, "starting TLS"},
		{"no file", []string{s.Addr()}, 2, "expected"},
		{"help", []string{"--help"}, 0, "Exit status"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if status := run(t.Context(), tt.args, &out, &out); status != tt.status || !strings.Contains(out.String(), tt.out) {
				t.Errorf("status %d, want %d, with %q:\n%s", status, tt.status, tt.out, out.String())
			}
		})
	}
}
