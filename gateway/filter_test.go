package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/gateway/config"
	"github.com/coexist-mail/coexist/gateway/gatewaytest"
	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/hygiene/lookup/dnstest"
	"github.com/coexist-mail/coexist/gateway/inbound/users"
	"github.com/coexist-mail/coexist/routing"
)

const zone = `
9.2.0.192.bl.fabrikam.com. 60 IN A 127.0.0.2
9.2.0.192.bl.fabrikam.com. 60 IN TXT "see fabrikam.com"
fabrikam.com. 60 IN TXT "v=spf1 -all"
_dmarc.fabrikam.com. 60 IN TXT "v=DMARC1; p=reject"
`

func TestBlocklist(t *testing.T) {
	dns := dnstest.Start(t, zone)
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Hygiene.Resolver, c.Hygiene.Blocklists = dns.Address, []string{"bl.fabrikam.com"}
		c.Listeners[0].ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}})
	for client, want := range map[string]string{"192.0.2.9": "550 5.7.1", "192.0.2.10": "250 2.1.5"} {
		nc, err := g.Dial(routing.Internet)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "PROXY TCP4 %s 192.0.2.1 1025 25\r\nEHLO x\r\nMAIL FROM:<%s>\r\nRCPT TO:<adelev@contoso.com>\r\nQUIT\r\n", client, sender)
		if out, _ := io.ReadAll(nc); !strings.Contains(string(out), "\r\n"+want) {
			t.Errorf("%s: no %s in\n%s", client, want, out)
		}
	}
}

// Without hygiene.resolver the system's is asked: a gateway that names none starts. No question is put here, since loopback is on no list.
func TestHygieneWithoutResolver(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Hygiene.Authenticate, c.Hygiene.Blocklists = "report", []string{"bl.fabrikam.com"}
	}})
	_, err := g.TrySend(routing.Internet, sender, []string{"nobody@contoso.com"}, "x\r\n")
	if got := code(err); !strings.HasPrefix(got, "550 5.1.1") {
		t.Errorf("reply %q", got)
	}
}

func TestGreylist(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) { c.Hygiene.Greylist = true }})
	_, err := g.TrySend(routing.Internet, sender, []string{"adelev@contoso.com"}, "x\r\n")
	if got := code(err); !strings.HasPrefix(got, "451 4.7.1") {
		t.Errorf("reply %q", got)
	}
	_, err = g.TrySend(routing.Internet, sender, []string{"nobody@contoso.com"}, "x\r\n") // the router's answer comes first
	if got := code(err); !strings.HasPrefix(got, "550 5.1.1") {
		t.Errorf("reply %q", got)
	}
}

// Forged results are taken out, our own are put on top, over the spool too.
func TestAuthenticationResults(t *testing.T) {
	dns := dnstest.Start(t, zone)
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Hygiene.Resolver, c.Hygiene.Authenticate, c.Delivery.AckAfter = dns.Address, "report", 0
	}})
	msg := "Authentication-Results: gw1.contoso.com; spf=pass\r\nFrom: <" + sender + ">\r\nSubject: x\r\n\r\nbody\r\n"
	g.Send(routing.Internet, sender, []string{"adelev@contoso.com"}, msg)
	got := string(g.WaitOnPrem(1)[0].Data)
	if strings.Count(got, "Authentication-Results: gw1.contoso.com") != 1 || !strings.Contains(got, "spf=fail") || strings.Contains(got, "spf=pass") {
		t.Errorf("got\n%s", got)
	}
	if rest := below(t, []byte(got)); rest != strings.SplitAfterN(msg, "\r\n", 2)[1] {
		t.Errorf("below the trace fields: %q", rest)
	}
}

func TestDMARCReject(t *testing.T) {
	dns := dnstest.Start(t, zone)
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Hygiene.Resolver, c.Hygiene.Authenticate = dns.Address, "reject"
	}})
	_, err := g.TrySend(routing.Internet, sender, []string{"adelev@contoso.com"}, "From: <"+sender+">\r\nSubject: x\r\n\r\nbody\r\n")
	if got := code(err); !strings.HasPrefix(got, "550 5.7.") {
		t.Errorf("reply %q", got)
	}
}

// Mail that Exchange Online sends for another tenant is mail from the internet.
func TestTenant(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) { c.Cloud.CheckTenant = true }})
	foreign := "X-OriginatorOrg: fabrikam.com\r\nSubject: x\r\n\r\nbody\r\n"
	_, err := g.TrySend(routing.Cloud, "meganb@contoso.com", []string{"other@fabrikam.com"}, foreign)
	if got := code(err); !strings.HasPrefix(got, "550 5.7.64") {
		t.Errorf("relaying for another tenant: %q", got)
	}
	g.Send(routing.Cloud, sender, []string{"adelev@contoso.com"}, foreign)
	g.WaitOnPrem(1)
	g.Send(routing.Cloud, "meganb@contoso.com", []string{"other@fabrikam.com"}, "X-OriginatorOrg: contoso.com\r\nSubject: x\r\n\r\nbody\r\n")
	g.WaitInternet(1)
}

func TestSpamHeaders(t *testing.T) {
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) { c.OnPrem.SpamHeaders = true }})
	g.Send(routing.Cloud, sender, []string{"adelev@contoso.com"}, "X-Forefront-Antispam-Report: CIP:192.0.2.1;SCL:6;SFV:SPM;\r\nSubject: x\r\n\r\nbody\r\n")
	if got := string(g.WaitOnPrem(1)[0].Data); !strings.Contains(got, "X-Spam-Flag: YES") {
		t.Errorf("got\n%s", got)
	}
}

// Two systems that send a message to each other through the gateway: it ends, and the log names them.
func TestPingPong(t *testing.T) {
	g := gatewaytest.Start(t)
	msg := "Message-ID: <pingpong@contoso.com>\r\nSubject: x\r\n\r\nbody\r\n"
	for round := 1; ; round++ {
		if _, err := g.TrySend(routing.OnPrem, "adelev@contoso.com", []string{"meganb@contoso.com"}, msg); err != nil {
			if got := code(err); !strings.HasPrefix(got, "554 5.4.6") {
				t.Errorf("reply %q", got)
			}
			break
		}
		if round > 10 {
			t.Fatal("the message runs in circles for ever")
		}
		msg = string(g.WaitCloud(round)[round-1].Data)
		if _, err := g.TrySend(routing.Cloud, "adelev@contoso.com", []string{"adelev@contoso.com"}, msg); err != nil {
			if got := code(err); !strings.HasPrefix(got, "554 5.4.6") {
				t.Errorf("reply %q", got)
			}
			break
		}
		msg = string(g.WaitOnPrem(round)[round-1].Data)
	}
}

// A device that logs in sends as on-prem, from wherever it comes, and to its own side too: it is no mail system.
func TestAuth(t *testing.T) {
	cert, pool, err := fakemta.NewCertificate("gw1.contoso.com")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hash, err := users.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	g := gatewaytest.StartWith(t, gatewaytest.Options{Configure: func(c *config.Config) {
		c.Listeners[0].TLS = config.ListenerTLSStartTLS
		c.Listeners[0].CertFile = file("tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
		c.Listeners[0].KeyFile = file("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
		c.OnPrem.UsersFile = file("users", "printer:"+hash+"\n")
	}})
	var device *smtp.Client
	for _, tt := range []struct{ password, want string }{{"wrong", "535"}, {"secret", ""}} {
		c, err := g.Client(routing.Internet)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.StartTLS(&tls.Config{RootCAs: pool, ServerName: "gw1.contoso.com"}); err != nil {
			t.Fatal(err)
		}
		err = c.Auth(smtp.PlainAuth("", "printer", tt.password, "gw1.contoso.com"))
		if tt.want != "" {
			if got := code(err); !strings.HasPrefix(got, tt.want) {
				t.Errorf("password %s: %q", tt.password, got)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		device = c
		// Its messages all have one Message-ID, as those of many devices: that is no loop.
		for range 6 {
			to := []string{"other@fabrikam.com", "meganb@contoso.com", "adelev@contoso.com", "postmaster"}
			if _, err := gatewaytest.Transact(c, "printer@contoso.com", to, "Message-ID: <1@printer.contoso.com>\r\nSubject: scan\r\n\r\nbody\r\n"); err != nil {
				t.Errorf("sending to everybody: %v", err)
			}
		}
	}
	g.WaitInternet(6)
	g.WaitCloud(6)
	scan := g.WaitOnPrem(6)[0]
	if want := []string{"AdeleV@contoso.com", "postmaster@contoso.com"}; !slices.Equal(scan.Recipients, want) {
		t.Errorf("on-prem got it for %q, want %q", scan.Recipients, want)
	}
	// The mail system does not log in: what it has back of its own is a U-turn.
	if _, err := g.TrySend(routing.OnPrem, "printer@contoso.com", []string{"adelev@contoso.com"}, "Subject: x\r\n\r\nbody\r\n"); !strings.HasPrefix(code(err), "451 4.4.6") {
		t.Errorf("from the mail system: %v, want a U-turn", err)
	}
	// Should it log in all the same, its circles end.
	circle := string(scan.Data)
	for round := 7; ; round++ {
		_, err := gatewaytest.Transact(device, "printer@contoso.com", []string{"adelev@contoso.com"}, circle)
		if strings.HasPrefix(code(err), "554 5.4.6") {
			break
		}
		if err != nil || round > 20 {
			t.Fatalf("round %d of a circle: %v, want 554 5.4.6", round, err)
		}
		circle = string(g.WaitOnPrem(round)[round-1].Data)
	}
}

// A device on-prem that gives each of its messages the same Message-ID, and writes to a group with members on its own side, or to an alias
// that is sent back under another address, is no loop.
func TestConstantMessageIDIsNoLoop(t *testing.T) {
	g := gatewaytest.Start(t)
	for range 6 {
		g.Send(routing.OnPrem, "printer@contoso.com", []string{"salesteam@contoso.com", "lidiah@contoso.com"}, "Message-ID: <1@printer.contoso.com>\r\nSubject: scan\r\n\r\nbody\r\n")
	}
}
