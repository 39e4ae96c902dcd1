package peers_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// A step of a dialogue: octets that are sent, and then the replies that must come, in order. A reply is given by its beginning, with
// alternatives separated by "|"; "closed" is the end of the connection.
type step struct {
	send string
	want []string
}

func say(command string, want ...string) step { return step{command + "\r\n", want} }

// hello, begin and open are the usual beginnings.
var (
	hello = []step{say("EHLO client.example", "250")}
	begin = append(hello[:1:1], say("MAIL FROM:<someone@fabrikam.com>", "250 2.1.0"))
	open  = append(begin[:2:2], say("RCPT TO:<adelev@contoso.com>", "250 2.1.5"))
	ready = append(open[:3:3], say("DATA", "354"))
)

func after(beginning []step, more ...step) []step {
	return append(beginning[:len(beginning):len(beginning)], more...)
}

// oneMiB is a message of an empty header and exactly 1 MiB.
var oneMiB = "\r\n" + strings.Repeat("x", 60) + "\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1<<14-1)

// dialogues are what clients on the internet try, and what a gateway answers.
var dialogues = []struct {
	name  string
	from  string // default: internet
	steps []step
}{
	// What frames a command, and what does not.
	{"bare LF ends a command", "", []step{{"EHLO client.example\nNOOP\n", []string{"250", "250"}}}},
	{"lower case, spaces before the path", "", after(hello, say("mail from: <someone@fabrikam.com>", "250"), say("rcpt to:  <adelev@contoso.com>", "250"))},
	{"STARTTLS with an argument", "", after(hello, say("STARTTLS now", "501 5.5.4"), say("NOOP", "250"))},
	{"STARTTLS and something behind it in clear", "", after(hello, step{"STARTTLS\r\nNOOP\r\nNOOP\r\n", []string{"220 2.0.0"}})},
	{"STARTTLS and then no ClientHello", "", after(hello, say("STARTTLS", "220"), step{"MAIL FROM:<someone@fabrikam.com>\r\n", []string{"closed|\x15"}})},
	{"STARTTLSX", "", after(hello, say("STARTTLSX", "500 5.5.1"))},
	{"recipients refused, message pipelined", "", after(hello, step{
		"MAIL FROM:<someone@fabrikam.com>\r\nRCPT TO:<nobody@contoso.com>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n.\r\nNOOP\r\n",
		[]string{"250 2.1.0", "550 5.1.1", "554 5.5.1|503 5.5.1", "500", "500", "500", "500", "250"},
	})},
	{"early talker", "", []step{{"EHLO client.example\r\nMAIL FROM:<someone@fabrikam.com>\r\nRCPT TO:<adelev@contoso.com>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n",
		[]string{"250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0", "closed"}}}},
	{"BDAT after a refused recipient", "", after(begin, say("RCPT TO:<nobody@contoso.com>", "550 5.1.1"),
		step{"BDAT 17 LAST\r\nSubject: x\r\n\r\nx\r\n", []string{"503 5.5.1|554 5.5.1"}}, say("NOOP", "250"))},
	{"BDAT 0 LAST", "", after(open, say("BDAT 0 LAST", "250 2.0.0"))},
	{"BDAT of a negative size", "", after(open, say("BDAT -1", "501 5.5.4", "closed"))},
	{"BDAT of no number", "", after(open, say("BDAT x LAST", "501 5.5.4", "closed"))},
	{"BDAT of more than any number", "", after(open, say("BDAT 99999999999999999999999 LAST", "501 5.5.4|552 5.3.4", "closed"))},
	{"DATA after BDAT", "", after(open, step{"BDAT 4\r\nab\r\n", []string{"250"}}, say("DATA", "503 5.5.1"))},
	{"BDAT and RSET", "", after(open, step{"BDAT 12\r\nSubject: x\r\n", []string{"250"}}, say("RSET", "250"), say("DATA", "503 5.5.1"))},
	{"nested MAIL", "", after(open, say("MAIL FROM:<other@fabrikam.com>", "503 5.5.1"))},
	{"RCPT before MAIL", "", after(hello, say("RCPT TO:<adelev@contoso.com>", "503 5.5.1"))},
	{"DATA before RCPT", "", after(begin, say("DATA", "503 5.5.1|554 5.5.1"))},
	{"MAIL before HELO", "", []step{say("MAIL FROM:<someone@fabrikam.com>", "503 5.5.1")}},
	{"long command line", "", after(hello, say("NOOP "+strings.Repeat("x", 5000), "500 5.5.2"), say("NOOP", "250"))},
	{"command line of 2 MiB", "", after(hello, say("NOOP "+strings.Repeat("x", 2<<20), "500 5.5.2"), say("NOOP", "250"))},

	// Addresses.
	{"NUL in MAIL", "", after(hello, say("MAIL FROM:<a\x00b@fabrikam.com>", "501"))},
	{"NUL in RCPT", "", after(begin, say("RCPT TO:<a\x00b@contoso.com>", "501"))},
	{"NUL in EHLO", "", []step{say("EHLO a\x00b", "501")}},
	{"ESC in EHLO", "", []step{say("EHLO a\x1b[31mb", "501")}},
	{"CR in a quoted local part", "", after(begin, say("RCPT TO:<\"a\rb\"@contoso.com>", "501"))},
	{"> in an unquoted local part", "", after(begin, say("RCPT TO:<a>b@contoso.com>", "501|555"))},
	{"source route", "", after(begin, say("RCPT TO:<@fabrikam.com:adelev@contoso.com>", "250"))},
	{"source route to a foreign domain", "", after(begin, say("RCPT TO:<@contoso.com:kim.akers@fabrikam.com>", "550 5.7.1|554 5.7.1"))},
	{"UTF-8 without SMTPUTF8", "", after(begin, say("RCPT TO:<ad\u00e8le@contoso.com>", "553 5.6.7|550 5.6.7|501"))},
	{"UTF-8 that is none", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> SMTPUTF8", "250"), say("RCPT TO:<ad\xffle@contoso.com>", "501"))},
	{"Postmaster without a domain", "", after(begin, say("RCPT TO:<Postmaster>", "250"))},
	{"postmaster of the shared namespace", "", after(begin, say("RCPT TO:<postmaster@contoso.com>", "250"))},
	{"null reverse-path", "", after(hello, say("MAIL FROM:<>", "250"), say("RCPT TO:<adelev@contoso.com>", "250"), say("RCPT TO:<alexw@contoso.com>", "250"))},
	{"local part of 65 octets", "", after(begin, say("RCPT TO:<"+strings.Repeat("a", 65)+"@contoso.com>", "501|550"))},
	{"LDAP filter *", "", after(begin, say("RCPT TO:<*@contoso.com>", "550 5.1.1"))},
	{"LDAP filter )(mail=*", "", after(begin, say(`RCPT TO:<")(mail=*"@contoso.com>`, "550 5.1.1"))},
	{`LDAP filter \2a`, "", after(begin, say(`RCPT TO:<"\\2a"@contoso.com>`, "550 5.1.1"))},
	{"quoted form of a plain address", "", after(begin, say(`RCPT TO:<"adelev"@contoso.com>`, "250"))},
	{"address literal", "", after(begin, say("RCPT TO:<adelev@[127.0.0.1]>", "550 5.7.1|554 5.7.1"))},

	// Parameters.
	{"SIZE over the limit", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> SIZE=1048577", "552 5.3.4"))},
	{"SIZE at the limit", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> SIZE=1048576", "250"))},
	{"SIZE of many digits", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> SIZE=99999999999999999999", "552 5.3.4|501"))},
	{"SIZE twice", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> SIZE=1 SIZE=2", "501 5.5.4"))},
	{"unknown parameter", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> FOO=BAR", "555 5.5.4"))},
	{"BODY=FOO", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> BODY=FOO", "501 5.5.4"))},
	{"ENVID with a line break inside", "", after(hello, say("MAIL FROM:<someone@fabrikam.com> ENVID=a+0D+0Ab", "501 5.5.4"))},
	{"ORCPT with a line break inside", "", after(begin, say("RCPT TO:<adelev@contoso.com> ORCPT=rfc822;a+0D+0ABcc:x", "501 5.5.4"))},
	{"NOTIFY=NEVER with others", "", after(begin, say("RCPT TO:<adelev@contoso.com> NOTIFY=NEVER,SUCCESS", "501 5.5.4"))},
	{"AUTH is not offered", "", after(hello, say("AUTH PLAIN AGEAYg==", "500|502|503|538"))},
	{"HELO, and no extensions", "", []step{say("HELO client.example", "250 gw1.contoso.com"), say("MAIL FROM:<someone@fabrikam.com>", "250")}},

	// Relaying.
	{"relay from outside", "", after(begin, say("RCPT TO:<kim.akers@fabrikam.com>", "550 5.7.1|554 5.7.1"))},
	{"relay from outside, null sender", "", after(hello, say("MAIL FROM:<>", "250"), say("RCPT TO:<kim.akers@fabrikam.com>", "550 5.7.1|554 5.7.1"))},
	{"relay from outside as an internal sender", "", after(hello, say("MAIL FROM:<adelev@contoso.com>", "250"), say("RCPT TO:<kim.akers@fabrikam.com>", "550 5.7.1|554 5.7.1"))},
	{"% hack", "", after(begin, say("RCPT TO:<kim.akers%fabrikam.com@contoso.com>", "550 5.1.1|550 5.7.1"))},
	{"! path", "", after(begin, say("RCPT TO:<fabrikam.com!kim.akers@contoso.com>", "550 5.1.1|550 5.7.1"))},
	{"quoted @", "", after(begin, say(`RCPT TO:<"kim.akers@fabrikam.com"@contoso.com>`, "550 5.1.1|550 5.7.1"))},
	{"@ @", "", after(begin, say("RCPT TO:<kim.akers@fabrikam.com@contoso.com>", "501|550 5.7.1"))},
	{"routing domain from outside, unknown", "", after(begin, say("RCPT TO:<nobody@contoso.mail.onmicrosoft.com>", "550"))},
	{"subdomain of the shared namespace", "", after(begin, say("RCPT TO:<adelev@sub.contoso.com>", "550 5.7.1|554 5.7.1"))},
	{"domain with a dot behind", "", after(begin, say("RCPT TO:<adelev@contoso.com.>", "501|250|550 5.7.1"))},
	{"foreign mail from on-prem", onprem, after(hello, say("MAIL FROM:<adelev@contoso.com>", "250"), say("RCPT TO:<kim.akers@fabrikam.com>", "250"))},
	{"foreign mail from the cloud", cloud, after(hello, say("MAIL FROM:<meganb@contoso.com>", "250"), say("RCPT TO:<kim.akers@fabrikam.com>", "250"))},
	{"unknown from the cloud", cloud, after(begin, say("RCPT TO:<nobody@contoso.com>", "550 5.1.1"))},
	{"U-turn from the cloud", cloud, after(begin, say("RCPT TO:<meganb@contoso.com>", "451 4.4.6"))},

	// Content.
	{"VRFY", "", after(hello, say("VRFY adelev", "252 2.5.0"), say("VRFY nobody", "252 2.5.0"))},
	{"EXPN", "", after(hello, say("EXPN adelev", "502 5.5.1"))},
	{"bare LF in the header", "", after(ready, step{"Subject: x\nX: y\r\n\r\nbody\r\n.\r\n", []string{"550 5.5.2|554 5.5.2|521 5.5.2", "closed"}})},
	{"bare CR in the body", "", after(ready, step{"Subject: x\r\n\r\nbo\rdy\r\n.\r\n", []string{"550 5.5.2|554 5.5.2|521 5.5.2", "closed"}})},
	{"bare LF from the cloud", cloud, after(ready, step{"Subject: x\r\n\r\nbo\ndy\r\n.\r\n", []string{"550 5.5.2|554 5.5.2|521 5.5.2", "closed"}})},
	{"line of 999 octets", "", after(ready, step{"Subject: x\r\n\r\n" + strings.Repeat("x", 999) + "\r\n.\r\n", []string{"250 2.0.0"}})},
	{"line of 60,000 octets", "", after(ready, step{"Subject: x\r\n\r\n" + strings.Repeat("x", 60000) + "\r\n.\r\n", []string{"250 2.0.0"}})},
	{"line of 100,000 octets", "", after(ready, step{"Subject: x\r\n\r\n" + strings.Repeat("x", 100000) + "\r\n.\r\n", []string{"550 5.6.0"}}, say("NOOP", "250"))},
	{"a header field of 90,000 octets in one line", "", after(ready, step{"Subject: " + strings.Repeat("x", 90000) + "\r\n\r\nx\r\n.\r\n", []string{"550 5.6.0|552"}}, say("NOOP", "250"))},
	{"26 Received fields", "", after(ready, step{strings.Repeat("Received: from a by b; c\r\n", 26) + "\r\nx\r\n.\r\n", []string{"554 5.4.6"}}, say("NOOP", "250"))},
	{"26 Received fields in odd letter case, folded", "", after(ready, step{strings.Repeat("RECEIVED : from a\r\n by b; c\r\n", 26) + "\r\nx\r\n.\r\n", []string{"554 5.4.6"}})},
	{"26 Received fields inside the body only", "", after(ready, step{"Subject: x\r\n\r\n" + strings.Repeat("Received: from a by b; c\r\n", 26) + ".\r\n", []string{"250 2.0.0"}})},
	{"over the size limit", "", after(ready, step{oneMiB + "x\r\n.\r\n", []string{"552 5.3.4"}}, say("NOOP", "250"))},
	{"exactly at the size limit", "", after(ready, step{oneMiB + ".\r\n", []string{"250 2.0.0"}})},
	{"BDAT exactly at the size limit", "", after(open, step{"BDAT 1048576 LAST\r\n" + oneMiB, []string{"250 2.0.0"}})},
	{"BDAT over the size limit", "", after(open, step{"BDAT 1048577 LAST\r\n" + oneMiB + "x", []string{"552 5.3.4"}}, say("NOOP", "250"))},
	{"no octet at all", "", after(ready, step{".\r\n", []string{"250 2.0.0"}})},
	{"HTTP POST", "", []step{{"POST / HTTP/1.1\r\nHost: gw1\r\n\r\nEHLO x\r\n", []string{"421 4.7.0|502", "closed"}}}},
	{"HTTP GET after EHLO", "", after(hello, step{"GET / HTTP/1.1\r\n", []string{"421 4.7.0|502", "closed"}})},
	{"TLS ClientHello in clear", "", []step{{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 500) + "\r\n", []string{"5"}}}},
	{"junk without end", "", after(hello, step{strings.Repeat("FOO\r\n", 19), twice(19, "500 5.5.1")}, step{"FOO\r\n", []string{"500 5.5.1", "421 4.7.0", "closed"}})},
	{"AUTH flood", "", after(hello, step{strings.Repeat("AUTH PLAIN AGEAYg==\r\n", 19), twice(19, "5")}, step{"AUTH LOGIN\r\n", []string{"5", "421 4.7.0", "closed"}})},
}

func twice(n int, s string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

func TestDialogues(t *testing.T) {
	t.Parallel()
	sink := mta(t)
	dir := t.TempDir()
	cert, key := peertest.Certificate(t, dir, "gw1.contoso.com")
	g := start(t, setup{
		OnPrem: []string{sink.Addr()}, Cloud: []string{sink.Addr()}, Internet: []string{sink.Addr()},
		Listener: fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key),
		Limits:   "message_size = \"1MiB\"\nconnections_per_client = 500",
	})
	for _, d := range dialogues {
		t.Run(d.name, func(t *testing.T) {
			if d.from == "" {
				d.from = internet
			}
			c := dial(t, g.addr, d.from)
			defer c.Close()
			for _, s := range d.steps {
				c.SetWriteDeadline(time.Now().Add(10 * time.Second))
				io.WriteString(c.Conn, s.send) // the gateway may close before it has read it all
				for i, want := range s.want {
					c.SetReadDeadline(time.Now().Add(20 * time.Second))
					if got := c.reply(); !matches(got, want) {
						t.Fatalf("reply %d to %.100q is %.200q, want %q", i+1, s.send, got, want)
					}
				}
			}
		})
	}
	g.alive()
	if n := g.queue(); n != 0 {
		t.Errorf("%d messages are in the spool", n)
	}
}

// TestClearTextBehindStartTLS injects a command before the handshake, which must not be answered behind it (RFC 3207 4.2, 6).
func TestClearTextBehindStartTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := peertest.Certificate(t, dir, "gw1.contoso.com")
	g := start(t, setup{Listener: fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key)})
	c := dial(t, g.addr, internet)
	c.ehlo()
	c.say("MAIL FROM:<someone@fabrikam.com>", "250")
	c.send("STARTTLS\r\nRSET\r\nNOOP\r\n")
	c.expect("220 2.0.0")
	s := c.secure(&tls.Config{InsecureSkipVerify: true})
	s.say("RCPT TO:<adelev@contoso.com>", "503 5.5.1") // EHLO is due again, and the transaction is gone
	if offer := s.ehlo(); strings.Contains(offer, "STARTTLS") {
		t.Errorf("STARTTLS is offered inside TLS: %q", offer)
	}
	s.say("STARTTLS", "503 5.5.1|502 5.5.1")
	s.say("DATA", "503 5.5.1|554 5.5.1")
	s.say("QUIT", "221")
}
