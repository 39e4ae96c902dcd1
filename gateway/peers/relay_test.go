package peers_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// elsewhere are recipients that do not live here, in all the disguises that have fooled a server.
var elsewhere = []string{
	"<kim.akers@fabrikam.com>", "<KIM.AKERS@FABRIKAM.COM>", "<kim.akers@fabrikam.com.>", "kim.akers@fabrikam.com",
	"<kim.akers%fabrikam.com@contoso.com>", "<kim.akers%fabrikam.com@gw1.contoso.com>", "<kim.akers%fabrikam.com@[127.0.0.1]>", "<kim.akers%fabrikam.com>",
	"<kim.akers%fabrikam.com@localhost>", "<kim.akers%fabrikam.com%contoso.com>", "<kim.akers%fabrikam.com@contoso.mail.onmicrosoft.com>",
	`<"kim.akers@fabrikam.com">`, `<"kim.akers%fabrikam.com">`, `<"kim.akers@fabrikam.com"@contoso.com>`, `<"kim.akers%fabrikam.com"@contoso.com>`,
	`<"kim.akers@fabrikam.com"@[127.0.0.1]>`, `<"kim.akers\@fabrikam.com"@contoso.com>`, `<kim.akers\@fabrikam.com@contoso.com>`,
	"<fabrikam.com!kim.akers>", "<fabrikam.com!kim.akers@contoso.com>", "<fabrikam.com!kim.akers@[127.0.0.1]>", "<contoso.com!fabrikam.com!kim.akers>",
	"<fabrikam.com!kim.akers%contoso.com>", `<"fabrikam.com!kim.akers"@contoso.com>`,
	"<@contoso.com:kim.akers@fabrikam.com>", "<@gw1.contoso.com,@contoso.com:kim.akers@fabrikam.com>", "<@[127.0.0.1]:kim.akers@fabrikam.com>",
	"<@contoso.com:kim.akers%fabrikam.com@contoso.com>", "<@localhost:kim.akers@fabrikam.com>",
	"<kim.akers@fabrikam.com@contoso.com>", "<adelev@contoso.com@fabrikam.com>", "<kim.akers@fabrikam.com:contoso.com>", "<kim.akers@fabrikam.com#@contoso.com>",
	"<kim.akers@fabrikam.com,adelev@contoso.com>", "<kim.akers@fabrikam.com>,<adelev@contoso.com>", "<adelev@contoso.com>,<kim.akers@fabrikam.com>",
	"<kim.akers@fabrikam.com adelev@contoso.com>", "<kim.akers@fabrikam.com\x00@contoso.com>", "<kim.akers@fabrikam.com\r@contoso.com>",
	"<kim.akers@fabrikam.com\t@contoso.com>", "<<kim.akers@fabrikam.com>@contoso.com>", "<kim.akers(@contoso.com)@fabrikam.com>", "<kim.akers@fabrikam.com(@contoso.com)>",
	"<adelev@contoso.com.fabrikam.com>", "<adelev@fabrikam-contoso.com>", "<adelev@xcontoso.com>", "<adelev@sub.contoso.com>", "<adelev@contoso.co>",
	"<adelev@contoso.com%fabrikam.com>", "<adelev@contoso.com\u3002fabrikam.com>", "<adelev@cont\u043eso.com>",
	"<adelev@[127.0.0.1]>", "<adelev@[127.0.4.1]>", "<adelev@[IPv6:::1]>", "<adelev@[IPv6:::ffff:127.0.0.1]>", "<adelev@127.0.0.1>", "<adelev@localhost>", "<adelev@gw1.contoso.com>",
	"<nobody@contoso.mail.onmicrosoft.com>", "<nobody@contoso.onmicrosoft.com>", "<kim.akers@fabrikam.mail.onmicrosoft.com>",
	"<IMCEASMTP-kim+2Eakers+40fabrikam+2Ecom@contoso.com>", "<IMCEAEX-_O=FABRIKAM_CN=KIM@contoso.com>", "<IMCEANOTES-Kim+20Akers+40fabrikam@contoso.com>",
	"<IMCEAX400-c=US+3Ba=+20+3Bp=Fabrikam@contoso.com>", "<SMTP:kim.akers@fabrikam.com>",
	"<kim.akers@fabrikam.com> ORCPT=rfc822;adelev@contoso.com", "<kim.akers@fabrikam.com> NOTIFY=NEVER", "<postmaster@fabrikam.com>", "<postmaster@[127.0.0.1]>",
}

// A guise is who a stranger pretends to be.
type guise struct{ helo, sender string }

var guises = []guise{
	{"EHLO client.example", "<someone@fabrikam.com>"}, {"EHLO client.example", "<>"}, {"EHLO client.example", "<adelev@contoso.com>"},
	{"EHLO gw1.contoso.com", "<postmaster@contoso.com>"}, {"EHLO mail.contoso.local", "<adelev@gw1.contoso.com>"}, {"HELO localhost", "<root@localhost>"},
	{"EHLO [127.0.1.1]", "<adelev@[127.0.1.1]>"}, {"HELO mail.protection.outlook.com", "<meganb@contoso.mail.onmicrosoft.com>"},
	{"EHLO client.example", "<@contoso.com:someone@fabrikam.com>"}, {"EHLO client.example", "<someone%fabrikam.com@contoso.com>"},
	{"EHLO client.example", "<adelev@contoso.com> AUTH=adelev@contoso.com"}, {"EHLO client.example", "<adelev@contoso.com> AUTH=<>"},
}

// TestOpenRelay: a stranger gets nothing to anywhere else, whoever it says that it is and however it writes the recipient.
func TestOpenRelay(t *testing.T) {
	t.Parallel()
	sink, out := mta(t), mta(t)
	g := start(t, setup{OnPrem: []string{sink.Addr()}, Cloud: []string{sink.Addr()}, Internet: []string{out.Addr()}, Limits: "connections_per_client = 500"})
	work := make(chan func() error)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for f := range work {
				if err := f(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	const each = 8 // recipients of a connection: more would be too many errors for one
	for i, who := range guises {
		for n := 0; n < len(elsewhere); n += each {
			from := fmt.Sprintf("127.0.3.%d", 1+(i*len(elsewhere)+n)%250)
			work <- func() error { return who.try(g.addr, from, elsewhere[n:min(n+each, len(elsewhere))]) }
		}
	}
	close(work)
	wg.Wait()
	t.Logf("%d attempts", len(guises)*len(elsewhere))
	g.waitEmptyQueue(10 * time.Second)
	for _, m := range append(out.Messages(), sink.Messages()...) {
		t.Errorf("a message to %q came out", m.Recipients)
	}
}

// try offers the recipients. Each must be refused for good, and so must be the message.
func (who guise) try(addr, from string, recipients []string) error {
	nc, err := dialFrom(addr, from)
	if err != nil {
		return err
	}
	defer nc.Close()
	c := &replyReader{nc: nc}
	io.WriteString(nc, who.helo+"\r\nMAIL FROM:"+who.sender+"\r\n")
	if err := c.skip(2); err != nil {
		return fmt.Errorf("%v: %w", who, err)
	}
	if reply, err := c.reply(); err != nil || !matches(reply, "250 |555 5.5.4 |501 5.|550 5.|553 5.|503 5.") { // AUTH= is not offered in clear
		return fmt.Errorf("%v: reply to MAIL %q, %v", who, reply, err)
	}
	for _, r := range recipients {
		io.WriteString(nc, "RCPT TO:"+r+"\r\n")
		if reply, err := c.reply(); err != nil || !matches(reply, "550 5.|554 5.7.1 |501 5.|503 5.5.1 |555 5.5.4 |553 5.|500 5.5.2 ") {
			return fmt.Errorf("%v: reply to %s is %q, %v", who, r, reply, err)
		}
	}
	io.WriteString(nc, "DATA\r\n")
	if reply, err := c.reply(); err != nil || !matches(reply, "503 5.5.1 |554 5.5.1 ") {
		return fmt.Errorf("%v: reply to DATA is %q, %v", who, reply, err)
	}
	return nil
}

// TestForgedIdentity: what a stranger says of itself by other means makes it nobody else.
func TestForgedIdentity(t *testing.T) {
	t.Parallel()
	sink, out := mta(t), mta(t)
	dir := t.TempDir()
	cert, key := peertest.Certificate(t, dir, "gw1.contoso.com")
	forged, forgedKey := peertest.Certificate(t, dir, "mail.protection.outlook.com")
	pair, err := tls.LoadX509KeyPair(forged, forgedKey)
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, setup{
		OnPrem: []string{sink.Addr()}, Cloud: []string{sink.Addr()}, Internet: []string{out.Addr()},
		Listener:  fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key),
		CloudKeys: `client_names = ["mail.protection.outlook.com"]`,
	})
	const refused = "550 5.7.1|554 5.7.1"
	relays := func(t *testing.T, c *client, want string) {
		t.Helper()
		c.say("MAIL FROM:<adelev@contoso.com>", "250")
		c.say("RCPT TO:<kim.akers@fabrikam.com>", want)
		c.say("QUIT", "221")
	}
	t.Run("a certificate that nobody signed", func(t *testing.T) {
		c := dial(t, g.addr, internet)
		c.ehlo()
		c.say("STARTTLS", "220")
		c = c.secure(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
		c.ehlo()
		relays(t, c, refused)
	})
	for _, command := range []string{
		"XCLIENT ADDR=127.0.1.1 LOGIN=adelev@contoso.com", "XFORWARD ADDR=127.0.1.1 SOURCE=LOCAL", "AUTH PLAIN AGFkZWxldgBwYXNz", "AUTH EXTERNAL =", "X-EXPS GSSAPI",
		"XOORG:127.0.1.1", "XSHADOW x", "XPROXY SID=1 IP=127.0.1.1 PORT=25", "XPROXYFROM SID=1 IP=127.0.1.1 PORT=25",
	} {
		t.Run(strings.Fields(command)[0], func(t *testing.T) {
			c := dial(t, g.addr, internet)
			c.ehlo()
			c.say(command, "5")
			relays(t, c, refused)
		})
	}
	for name, header := range map[string]string{"PROXY 1": "PROXY TCP4 127.0.1.1 127.0.0.1 40000 25\r\n",
		"PROXY 2": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x01\x01\x7f\x00\x00\x01\x9c\x40\x00\x19"} {
		t.Run(name, func(t *testing.T) {
			nc, err := dialFrom(g.addr, internet)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			io.WriteString(nc, header+"\r\nEHLO client.example\r\nMAIL FROM:<adelev@contoso.com>\r\nRCPT TO:<kim.akers@fabrikam.com>\r\nDATA\r\n")
			for c := (&replyReader{nc: nc}); ; {
				reply, err := c.reply()
				if err != nil {
					t.Fatal(err)
				}
				if reply == "" || matches(reply, refused) { // closed, or refused
					return
				}
				if matches(reply, "354") || strings.HasPrefix(reply, "250 2.1.5") {
					t.Fatalf("reply %q", reply)
				}
			}
		})
	}
	// That the test could fail: the own network may.
	c := dial(t, g.addr, onprem)
	c.ehlo()
	relays(t, c, "250 2.1.5")
	if n := len(out.Messages()) + len(sink.Messages()); n != 0 {
		t.Errorf("%d messages came out", n)
	}
}
