package peers_test

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// startPostfix starts an instance that passes everything on to a host, changing as little as Postfix can.
func startPostfix(t testing.TB, name, next string, more ...string) *peertest.Postfix {
	t.Helper()
	return peertest.StartPostfix(t, peertest.PostfixOptions{Hostname: name, Relay: next, Settings: append([]string{
		"smtp_line_length_limit = 0", "smtputf8_enable = yes", "smtputf8_autodetect_classes = all", "smtp_destination_recipient_limit = 1000",
		"minimal_backoff_time = 1s", "maximal_backoff_time = 2s", "queue_run_delay = 1s",
	}, more...)})
}

// chain is coexist between three instances of Postfix: mail goes from the outer one through the gateway to the inner ones, and from
// there to servers that keep it.
type chain struct {
	gateway              *process
	outer, onprem, cloud *peertest.Postfix
	atOnPrem, atCloud    *fakemta.Server
}

func startChain(t *testing.T, s setup, tls []string) *chain {
	t.Helper()
	peertest.Need(t, "postfix")
	c := &chain{atOnPrem: mta(t), atCloud: mta(t)}
	c.onprem = startPostfix(t, "mail.contoso.local", c.atOnPrem.Addr(), tls...)
	c.cloud = startPostfix(t, "cloud.contoso.com", c.atCloud.Addr(), tls...)
	_, cloudPort, _ := net.SplitHostPort(c.cloud.Addr)
	s.OnPrem, s.Cloud = []string{c.onprem.Addr}, []string{"localhost:" + cloudPort}
	c.gateway = start(t, s)
	if tls != nil {
		tls = []string{"smtp_tls_security_level = encrypt"}
	}
	c.outer = startPostfix(t, "mx.fabrikam.com", c.gateway.addr, append(tls, "smtp_bind_address = "+internet)...)
	return c
}

// contents are messages that are easily damaged, from 1 KB to 40 MB.
func contents() map[string]string {
	header := "From: <someone@fabrikam.com>\r\nTo: <adelev@contoso.com>\r\nDate: Tue, 3 Nov 2026 09:00:00 +0000\r\nMessage-ID: <%s@fabrikam.com>\r\nSubject: x\r\n"
	text := func(name, body string) string { return fmt.Sprintf(header, strings.ReplaceAll(name, " ", "-")) + body }
	return map[string]string{
		"1 KB":       text("1 KB", "\r\n"+strings.Repeat("0123456789abcdef\r\n", 50)),
		"40 MB":      text("40 MB", "\r\n"+strings.Repeat(strings.Repeat("x", 74)+"\r\n", 40<<20/76)),
		"3 MB":       text("3 MB", "\r\n"+bigMessage(3<<20)),
		"8 bit":      text("8 bit", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4\xf6\xfc\xff\x80\r\n"),
		"dots":       text("dots", "\r\n.\r\n..\r\n...\r\n.x\r\n\r\n.\r\n"),
		"long lines": text("long lines", "\r\n"+strings.Repeat("y", 998)+"\r\n"+strings.Repeat("z", 5000)+"\r\n"+strings.Repeat(".", 60000)+"\r\n"),
		"white":      text("white", "\r\n  \t \r\n\r\n\r\ntrailing \t\r\n\t\r\n\r\n\r\n"),
		"folded":     text("folded", "X-Folded: a\r\n\tb\r\n   c\r\nx-case:  z \r\n\r\nbody\r\n"),
	}
}

// TestPostfixAround sends messages from Postfix through the gateway to Postfix, to both sides at once, and compares the octets.
func TestPostfixAround(t *testing.T) {
	t.Parallel()
	c := startChain(t, setup{Delivery: `retry = ["1s"]`}, nil)
	for name, message := range contents() {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			client := dial(t, c.outer.Addr, internet)
			client.say("EHLO client.example", "250")
			client.say("MAIL FROM:<someone@fabrikam.com> BODY=8BITMIME", "250")
			client.say("RCPT TO:<adelev@contoso.com>", "250")
			client.say("RCPT TO:<meganb@contoso.com>", "250")
			client.say("DATA", "354")
			client.send(dotStuff(message) + ".\r\n")
			client.expect("250 2.0.0")
			for side, s := range map[string]*fakemta.Server{"onprem": c.atOnPrem, "cloud": c.atCloud} {
				m := waitForID(t, s, "<"+strings.ReplaceAll(name, " ", "-")+"@fabrikam.com>")
				if !strings.HasSuffix(string(m.Data), "\r\n"+message) {
					t.Errorf("%s got other octets (%d, sent were %d): %.600q", side, len(m.Data), len(message), m.Data)
				}
				if n := strings.Count(string(m.Data[:len(m.Data)-len(message)]), "Received:"); n != 3 {
					t.Errorf("%s: %d Received fields on top, want 3", side, n)
				}
			}
			t.Logf("%d octets in %v", len(message), time.Since(began).Round(time.Millisecond))
		})
	}
}

// waitForID waits for the message with a Message-ID.
func waitForID(t *testing.T, s *fakemta.Server, id string) fakemta.Message {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, m := range s.Messages() {
			if head, _, _ := strings.Cut(string(m.Data), "\r\n\r\n"); strings.Contains(head, id) {
				return m
			}
		}
	}
	t.Fatalf("no message %s arrived", id)
	return fakemta.Message{}
}

// TestPostfixEnvelope: what SMTP carries beside the content goes through as well.
func TestPostfixEnvelope(t *testing.T) {
	t.Parallel()
	c := startChain(t, setup{LDIF: crowd(300), Delivery: `retry = ["1s"]`}, nil)
	t.Run("SMTPUTF8 and DSN", func(t *testing.T) {
		client := dial(t, c.outer.Addr, internet)
		client.say("EHLO client.example", "250")
		client.say("MAIL FROM:<j\u00f8rgen@fabrikam.com> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=abc+2Bdef", "250")
		client.say("RCPT TO:<user1@contoso.com> NOTIFY=DELAY,FAILURE ORCPT=rfc822;user+2B1@contoso.com", "250")
		client.say("DATA", "354")
		client.send("From: <j\u00f8rgen@fabrikam.com>\r\nMessage-ID: <utf8@fabrikam.com>\r\nSubject: \u00e6\u00f8\u00e5\r\n\r\nbody\r\n.\r\n")
		client.expect("250 2.0.0")
		m := waitForID(t, c.atCloud, "<utf8@fabrikam.com>")
		if m.Sender != "j\u00f8rgen@fabrikam.com" {
			t.Errorf("sender %q", m.Sender)
		}
		for _, want := range []string{"SMTPUTF8", "RET=HDRS", "ENVID=abc+2Bdef"} {
			if !strings.Contains(strings.Join(m.SenderParams, " "), want) {
				t.Errorf("MAIL with %q has no %s", m.SenderParams, want)
			}
		}
		got := strings.Join(m.RecipientParams[0], " ")
		if !strings.Contains(got, "NOTIFY=") || !strings.Contains(got, "DELAY") || !strings.Contains(got, "ORCPT=rfc822;user+2B1@contoso.com") {
			t.Errorf("RCPT with %q", got)
		}
	})
	t.Run("300 recipients, pipelined", func(t *testing.T) {
		client := dial(t, c.outer.Addr, internet)
		client.say("EHLO client.example", "250")
		commands := "MAIL FROM:<someone@fabrikam.com>\r\n"
		for n := range 300 {
			commands += fmt.Sprintf("RCPT TO:<user%d@contoso.com>\r\n", n)
		}
		client.send(commands + "DATA\r\n")
		for range 301 {
			client.expect("250")
		}
		client.expect("354")
		client.send("Message-ID: <crowd@fabrikam.com>\r\nSubject: x\r\n\r\nbody\r\n.\r\n")
		client.expect("250 2.0.0")
		for side, s := range map[string]*fakemta.Server{"onprem": c.atOnPrem, "cloud": c.atCloud} {
			waitForID(t, s, "<crowd@fabrikam.com>")
			if n := countRecipients(t, s, "<crowd@fabrikam.com>", 150); n != 150 {
				t.Errorf("%s got it for %d recipients, want 150", side, n)
			}
		}
	})
	t.Run("smtp-source", func(t *testing.T) {
		peertest.Need(t, "smtp-source")
		before, began := c.atOnPrem.Stats().Messages, time.Now()
		const n = 500
		out, err := exec.Command(peertest.Program("smtp-source"), "-s", "10", "-m", fmt.Sprint(n), "-l", "4096", "-f", sender, "-t", "user0@contoso.com",
			"-S", "load", c.gateway.addr).CombinedOutput()
		if err != nil {
			t.Fatalf("smtp-source: %v\n%s", err, out)
		}
		t.Logf("%d messages acknowledged in %v", n, time.Since(began).Round(time.Millisecond))
		c.gateway.waitEmptyQueue(30 * time.Second)
		for deadline := time.Now().Add(30 * time.Second); c.atOnPrem.Stats().Messages-before < n; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d messages arrived", c.atOnPrem.Stats().Messages-before, n)
			}
		}
	})
}

// countRecipients waits until a message has arrived for so many recipients, and returns how many there were.
func countRecipients(t *testing.T, s *fakemta.Server, id string, want int) (n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		n = 0
		for _, m := range s.Messages() {
			if strings.Contains(string(m.Data), id) {
				n += len(m.Recipients)
			}
		}
		if n >= want {
			break
		}
	}
	return n
}

// crowd is a directory of user0 to user<n-1>, every other one in the cloud.
func crowd(n int) string {
	var ldif strings.Builder
	for i := range n {
		domain := "contoso.com"
		if i%2 == 1 {
			domain = "contoso.mail.onmicrosoft.com"
		}
		fmt.Fprintf(&ldif, "dn: CN=User %d,OU=Employees,DC=contoso,DC=com\nobjectClass: user\nmail: user%d@contoso.com\nproxyAddresses: SMTP:user%d@contoso.com\ntargetAddress: SMTP:user%d@%s\n\n",
			i, i, i, i, domain)
	}
	return ldif.String()
}

// TestPostfixTLS: STARTTLS on both sides of the gateway, with a verified next hop and a certificate of the gateway for it.
func TestPostfixTLS(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "postfix")
	dir := t.TempDir()
	hopCert, hopKey := peertest.Certificate(t, dir, "localhost")
	cert, key := peertest.Certificate(t, dir, "gw1.contoso.com")
	c := startChain(t, setup{
		Trust: hopCert, CloudTLS: "verified",
		Listener:   fmt.Sprintf("tls = \"required\"\ncert_file = %q\nkey_file = %q", cert, key),
		CloudKeys:  fmt.Sprintf("client_cert_file = %q\nclient_key_file = %q", cert, key),
		OnPremKeys: `tls = "required"`,
	}, []string{
		"smtpd_tls_security_level = encrypt", "smtpd_tls_cert_file = " + hopCert, "smtpd_tls_key_file = " + hopKey,
		"smtpd_tls_ask_ccert = yes", "smtpd_tls_received_header = yes",
	})
	client := dial(t, c.outer.Addr, internet)
	client.say("EHLO client.example", "250")
	message := "Message-ID: <tls@fabrikam.com>\r\nSubject: x\r\n\r\nbody\r\n"
	if reply := client.transaction(sender, toBoth, message); !strings.HasPrefix(reply, "250") {
		t.Fatal(reply)
	}
	onPrem, inCloud := string(waitForID(t, c.atOnPrem, "<tls@fabrikam.com>").Data), string(waitForID(t, c.atCloud, "<tls@fabrikam.com>").Data)
	for side, got := range map[string]string{"onprem": onPrem, "cloud": inCloud} {
		if !strings.Contains(got, "by gw1.contoso.com with ESMTPS") || strings.Count(got, "(using TLSv1.3") < 1 {
			t.Errorf("%s: TLS is not in Received:\n%s", side, got)
		}
	}
	if !strings.Contains(inCloud, `(Client CN "gw1.contoso.com"`) {
		t.Errorf("the cloud did not see the certificate of the gateway:\n%s", inCloud)
	}
	if strings.Contains(onPrem, "Client CN") {
		t.Errorf("on-prem was shown the certificate that is for the cloud:\n%s", onPrem)
	}
}

// TestPostfixComesAndGoes: the next hop greylists, and then is down for a while; what was acknowledged arrives, once.
func TestPostfixComesAndGoes(t *testing.T) {
	t.Parallel()
	sink := mta(t)
	hop := startPostfix(t, "mail.contoso.local", sink.Addr(), "smtpd_recipient_restrictions = check_client_access static:{450 4.7.1 Greylisted, try again}, permit")
	g := start(t, setup{OnPrem: []string{hop.Addr}, Delivery: `retry = ["1s"]`})
	sent := 0
	sendSome := func() {
		t.Helper()
		for range 10 {
			if reply := g.send(internet, sender, toOnPrem, fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", sent)); !strings.HasPrefix(reply, "250 2.0.0 ") {
				t.Fatalf("reply %q", reply)
			}
			sent++
		}
	}
	sendSome()
	if n := g.queue(); n != 10 {
		t.Errorf("%d messages wait while they are greylisted, want 10", n)
	}
	hop.Stop() // so that no session with the old configuration goes on
	hop.Set("smtpd_recipient_restrictions = permit")
	hop.Start()
	g.waitEmptyQueue(20 * time.Second)
	hop.Stop()
	sendSome()
	if n := g.queue(); n != 10 {
		t.Errorf("%d messages wait while the next hop is down, want 10", n)
	}
	hop.Start()
	g.waitEmptyQueue(20 * time.Second)
	waitFor(t, sink, sent)
	got := map[string]int{}
	for _, m := range sink.Messages() {
		_, subject, _ := strings.Cut(string(m.Data), "Subject: ")
		got[strings.TrimSpace(subject)]++
	}
	if len(got) != sent || len(sink.Messages()) != sent {
		t.Errorf("%d messages of %d arrived, %d copies", len(got), sent, len(sink.Messages()))
	}
}

// TestPostfixRefusesMany: Postfix hangs up after 20 refusals (smtpd_hard_error_limit). In the end the good recipients have the message,
// once, and the sender a DSN about the others.
func TestPostfixRefusesMany(t *testing.T) {
	t.Parallel()
	sink, out := mta(t), mta(t)
	hop := startPostfix(t, "mail.contoso.local", sink.Addr(), "smtpd_recipient_restrictions = check_recipient_access regexp:{{/user[0-9]?[0-9]@/ REJECT}}, permit",
		"smtpd_error_sleep_time = 0")
	g := start(t, setup{OnPrem: []string{hop.Addr}, Internet: []string{out.Addr()}, LDIF: crowd(200), Delivery: `retry = ["1s"]`})
	var to []string
	for n := 0; n < 200; n += 2 { // those of on-prem: 50 are refused, and then 50 are good
		to = append(to, fmt.Sprintf("user%d@contoso.com", n))
	}
	if reply := g.send(internet, sender, to, small); !strings.HasPrefix(reply, "250 2.0.0 ") {
		t.Fatalf("reply %q", reply)
	}
	g.waitEmptyQueue(30 * time.Second)
	got, failed := map[string]int{}, 0
	for _, m := range waitFor(t, sink, 1) {
		for _, r := range m.Recipients {
			got[r]++
		}
	}
	for i, a := range to {
		if want := i / 50; got[a] != want {
			t.Errorf("%s got it %d times, want %d", a, got[a], want)
		}
	}
	for _, m := range waitFor(t, out, 1) {
		failed += strings.Count(string(m.Data), "Action: failed")
	}
	if failed != 50 {
		t.Errorf("the DSNs tell of %d failures, want 50", failed)
	}
	t.Logf("%d DSNs", len(out.Messages()))
}
