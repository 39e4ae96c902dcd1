package peertest

import (
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
)

func TestMainCf(t *testing.T) {
	o := PostfixOptions{Hostname: "mx.fabrikam.com", Relay: "127.0.0.1:2525", Settings: []string{"mynetworks = 127.0.1.0/24", "x = a = b", "mydestination="}}
	got := o.mainCf("/var/tmp/x")
	for _, want := range []string{
		"myhostname = mx.fabrikam.com\n", "relayhost = [127.0.0.1]:2525\n", "mynetworks = 127.0.1.0/24\n", "x = a = b\n", "maillog_file = /var/tmp/x/log\n",
		"mydestination = \n",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("main.cf has %d lines %q:\n%s", strings.Count(got, want), want, got)
		}
	}
	if strings.Contains(got, "mynetworks = 127.0.0.0/8") {
		t.Error("the setting of the package stayed beside that of the test")
	}
	if settings["mynetworks"] != "127.0.0.0/8" {
		t.Error("the settings of the package were changed")
	}
}

func TestFreeAddr(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		addr := FreeAddr(t, "127.0.4.1")
		if seen[addr] {
			t.Fatalf("%s came twice", addr)
		}
		seen[addr] = true
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

func TestCertificate(t *testing.T) {
	cert, key := Certificate(t, t.TempDir(), "gw1.contoso.com")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Leaf.VerifyHostname("gw1.contoso.com"); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key is open to others: %v, %v", info.Mode(), err)
	}
}

func TestProgram(t *testing.T) {
	if Program("sh") == "" {
		t.Error("no sh is found")
	}
	if got := Program("no-such-program"); got != "" {
		t.Errorf("found %s", got)
	}
}

// TestPostfix: an instance passes mail on, uses its tables, stops, starts with another configuration, and leaves nothing behind.
func TestPostfix(t *testing.T) {
	sink, err := fakemta.Start(fakemta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	var p *Postfix
	t.Run("runs", func(t *testing.T) {
		p = StartPostfix(t, PostfixOptions{
			Relay: sink.Addr(), Tables: map[string]string{"recipients": "adelev@contoso.com x\n"},
			Settings: []string{"relay_domains = contoso.com", "relay_recipient_maps = hash:$config_directory/recipients", "smtpd_relay_restrictions = reject_unauth_destination"},
		})
		if p.MasterPID() == 0 || p.Version == "" {
			t.Errorf("pid %d, version %q", p.MasterPID(), p.Version)
		}
		if got := rcpt(t, p.Addr, "adelev@contoso.com"); !strings.HasPrefix(got, "250 ") {
			t.Errorf("reply %q", got)
		}
		if got := rcpt(t, p.Addr, "nobody@contoso.com"); !strings.HasPrefix(got, "550 5.1.1 ") {
			t.Errorf("reply %q", got)
		}
		p.Stop()
		if p.MasterPID() != 0 {
			t.Error("it runs after Stop")
		}
		p.Set("smtpd_relay_restrictions = reject")
		p.Start()
		if got := rcpt(t, p.Addr, "adelev@contoso.com"); !strings.HasPrefix(got, "554 5.7.1 ") {
			t.Errorf("with the other configuration: reply %q", got)
		}
		if !strings.Contains(p.Log(), "User unknown") {
			t.Errorf("the log has no word of the refusal:\n%s", p.Log())
		}
	})
	if p == nil {
		t.Skip("no Postfix here")
	}
	if p.MasterPID() != 0 {
		t.Error("it runs after its test")
	}
	if _, err := os.Stat(p.dir); err == nil {
		t.Errorf("%s is left", p.dir)
	}
}

// rcpt is the last line of the replies to a recipient.
func rcpt(t *testing.T, addr, recipient string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	nc.Write([]byte("EHLO client.example\r\nMAIL FROM:<someone@fabrikam.com>\r\nRCPT TO:<" + recipient + ">\r\n"))
	var got string
	for b := make([]byte, 4096); ; {
		n, err := nc.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got += string(b[:n])
		if _, after, found := strings.Cut(got, " 2.1.0 Ok\r\n"); found && strings.HasSuffix(after, "\r\n") {
			return after
		}
	}
}
