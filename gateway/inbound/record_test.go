package inbound

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/routing"
)

// Secrets stay out of a recording however a client spells AUTH, and when it goes on with its responses although AUTH was refused.
func TestRecordingHasNoSecrets(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	rec := NewRecording(&out, WithBodies)
	c := startServer(t, routing.Internet, func(c *Config, _ *Listener) {
		c.Record = func(netip.Addr) *Recording { return rec }
	}).hello(t)
	secret := b64("\x00printer\x00secret")
	for _, line := range []string{
		"AUTH PLAIN " + secret, "auth plain " + secret, "AUTH\tPLAIN\t" + secret, " AUTH PLAIN " + secret, "AUTH LOGIN", b64("printer"), b64("secret"),
		strings.TrimRight(b64("printer-password"), "="), "NOOP",
	} {
		c.say(line)
		if _, err := c.read(); err != nil {
			t.Fatal(err)
		}
	}
	got := out.String()
	for _, s := range []string{secret, b64("printer"), b64("secret"), strings.TrimRight(b64("printer-password"), "=")} {
		if strings.Contains(got, s) {
			t.Errorf("%q is recorded:\n%s", s, got)
		}
	}
	for _, want := range []string{"C: AUTH PLAIN (not shown)\n", "C: AUTH plain (not shown)\n", "C: (no command, not shown)\n", "C: NOOP\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
