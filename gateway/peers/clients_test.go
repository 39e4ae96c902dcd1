package peers_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/gatewaytest/fakemta"
	"github.com/coexist-mail/coexist/gateway/inbound/users"
	"github.com/coexist-mail/coexist/gateway/peers/peertest"
)

// bench is a gateway that clients are tried on: it offers STARTTLS with a certificate that they can verify, and AUTH, and everything that
// it takes arrives at one server.
type bench struct {
	*process
	sink       *fakemta.Server
	dir        string
	cert       string // the authority, for clients that verify
	host, port string // localhost, which the certificate names
}

// The user of a bench.
const (
	user     = "printer"
	password = "printer-password"
)

// startBench starts a bench at 127.0.0.1, so that "localhost" is its name.
func startBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{sink: mta(t), dir: t.TempDir(), host: "localhost"}
	var key string
	b.cert, key = peertest.Certificate(t, b.dir, "localhost")
	hash, err := users.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	userFile := filepath.Join(b.dir, "users")
	if err := os.WriteFile(userFile, []byte(user+":"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sink := []string{b.sink.Addr()}
	b.process = start(t, setup{
		Host: "127.0.0.1", OnPrem: sink, Cloud: sink, Internet: sink,
		Listener:   fmt.Sprintf("cert_file = %q\nkey_file = %q", b.cert, key),
		OnPremKeys: fmt.Sprintf("users_file = %q", userFile), Limits: `message_size = "20MiB"`,
	})
	_, b.port, _ = strings.Cut(b.addr, ":")
	return b
}

// A clientTest is one use of a client: what it is started with, and what must come of it.
type clientTest struct {
	name  string
	args  []string
	stdin string
	// fails says that the client must end with another status than 0, and say one of these (separated by |).
	fails string
	// sent is the message that must arrive, or its end where the client writes a header of its own; empty: none arrives. Several says
	// that the test looks at what arrives itself.
	sent    string
	several bool
	// to are the recipients of what arrives; nil: not looked at.
	to []string
}

// run runs the client with {host}, {port}, {cert}, {dir}, {user} and {password} filled in.
func (b *bench) run(t *testing.T, program string, tests []clientTest) {
	t.Helper()
	fill := strings.NewReplacer("{host}", b.host, "{port}", b.port, "{cert}", b.cert, "{dir}", b.dir, "{user}", user, "{password}", password)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(b.sink.Messages())
			args := make([]string, len(tt.args))
			for i, a := range tt.args {
				args[i] = fill.Replace(a)
			}
			cmd := exec.CommandContext(t.Context(), peertest.Program(program), args...)
			cmd.Stdin = strings.NewReader(tt.stdin)
			cmd.Env = append(os.Environ(), "HOME="+b.dir, "NODE_PATH=/usr/share/nodejs", "LC_ALL=C.UTF-8")
			out, err := cmd.CombinedOutput()
			if _, exited := err.(*exec.ExitError); err != nil && !exited {
				t.Fatal(err)
			}
			switch {
			case tt.fails == "" && err != nil:
				t.Fatalf("%v:\n%.3000s", err, out)
			case tt.fails != "" && err == nil:
				t.Fatalf("it succeeds:\n%.3000s", out)
			case tt.fails != "" && !containsOne(string(out), tt.fails):
				t.Errorf("it does not say %q:\n%.3000s", tt.fails, out)
			}
			if !tt.several {
				b.arrived(t, before, tt)
			}
		})
	}
}

func containsOne(s, alternatives string) bool {
	for a := range strings.SplitSeq(alternatives, "|") {
		if strings.Contains(s, a) {
			return true
		}
	}
	return false
}

// arrived looks at what came since.
func (b *bench) arrived(t *testing.T, before int, tt clientTest) {
	t.Helper()
	messages := b.sink.Messages()[before:]
	if tt.sent == "" {
		if len(messages) != 0 {
			t.Errorf("%d messages arrived", len(messages))
		}
		return
	}
	var to []string
	for _, m := range messages { // one for each side
		if !strings.HasSuffix(string(m.Data), tt.sent) {
			t.Errorf("a message arrived that does not end with %.300q: %.600q", tt.sent, m.Data)
		}
		to = append(to, m.Recipients...)
	}
	if len(messages) == 0 {
		t.Error("no message arrived")
	}
	if tt.to != nil && fmt.Sprint(to) != fmt.Sprint(tt.to) {
		t.Errorf("it arrived for %v, want %v", to, tt.to)
	}
}

// letter is a message with what is easily damaged.
const letter = "From: <someone@fabrikam.com>\r\nTo: <adelev@contoso.com>\r\nSubject: x\r\nMessage-ID: <letter@fabrikam.com>\r\n" +
	"Date: Tue, 3 Nov 2026 09:00:00 +0000\r\n\r\n.\r\n..\r\n.a dot\r\nFrom here on\r\ntrailing \t\r\n\r\n\r\n.\r\n"

// unixLetter is letter as a program on Unix has it.
var unixLetter = strings.ReplaceAll(letter, "\r\n", "\n")

// TestSwaks: the client that administrators test with.
func TestSwaks(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "swaks")
	if out, _ := exec.Command(peertest.Program("swaks"), "--support").CombinedOutput(); strings.Contains(string(out), "TLS not available") {
		peertest.Missing(t, "swaks has no TLS: libnet-ssleay-perl is not installed")
	}
	b := startBench(t)
	attachment := filepath.Join(b.dir, "attachment.bin")
	write(t, attachment, strings.Repeat("\x00\xff.\r\n", 500_000))
	with := func(args ...string) []string {
		return append([]string{"--server", "{host}:{port}", "--from", sender, "--to", "adelev@contoso.com", "--timeout", "30s", "--h-Subject", "x", "--body", "body"}, args...)
	}
	const body = "\r\n\r\nbody\r\n\r\n\r\n"
	b.run(t, "swaks", []clientTest{
		{name: "plain", args: with(), sent: body},
		{name: "STARTTLS", args: with("--tls"), sent: body},
		{name: "STARTTLS, verified", args: with("--tls", "--tls-verify", "--tls-ca-path", "{cert}"), sent: body},
		{name: "HELO", args: with("--protocol", "SMTP"), sent: body},
		{name: "pipelining", args: with("--pipeline"), sent: body},
		{name: "attachment", args: with("--attach", "@"+attachment), sent: "--\r\n\r\n\r\n"},
		{name: "unknown recipient", args: with("--to", "nobody@contoso.com"), fails: "550 5.1.1"},
		{name: "relay", args: with("--to", "kim.akers@fabrikam.com"), fails: "550 5.7.1|554 5.7.1"},
		{name: "AUTH and relay", args: with("--tls", "--auth", "PLAIN", "--auth-user", user, "--auth-password", password, "--to", "kim.akers@fabrikam.com"), sent: body},
		{name: "AUTH LOGIN", args: with("--tls", "--auth", "LOGIN", "--auth-user", user, "--auth-password", password, "--to", "kim.akers@fabrikam.com"), sent: body},
		{name: "AUTH, wrong password", args: with("--tls", "--auth", "PLAIN", "--auth-user", user, "--auth-password", "x"), fails: "535 5.7.8"},
		{name: "null sender", args: with("--from", "<>"), sent: body},
		{name: "two recipients", args: with("--to", "adelev@contoso.com,meganb@contoso.com"), sent: body},
		{name: "only to RCPT", args: with("--quit-after", "RCPT")},
		{name: "XCLIENT, which is for proxies", args: with("--xclient-addr", "127.0.1.1"), fails: "XCLIENT"},
	})
}

// TestMsmtp: what scripts and devices use in place of sendmail.
func TestMsmtp(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "msmtp")
	b := startBench(t)
	with := func(args ...string) []string {
		return append([]string{"--file=/dev/null", "--host={host}", "--port={port}", "--timeout=30", "--from=" + sender}, args...)
	}
	secure := []string{"--tls=on", "--tls-starttls=on", "--tls-trust-file={cert}"}
	login := append([]string{"--user={user}", "--passwordeval=echo {password}"}, secure...)
	b.run(t, "msmtp", []clientTest{
		{name: "plain", args: with("adelev@contoso.com"), stdin: unixLetter, sent: letter, to: []string{"AdeleV@contoso.com"}},
		{name: "STARTTLS, verified", args: with(append(secure, "adelev@contoso.com")...), stdin: unixLetter, sent: letter},
		{name: "two sides", args: with("adelev@contoso.com", "meganb@contoso.com"), stdin: unixLetter, sent: letter},
		{name: "unknown recipient", args: with("nobody@contoso.com"), stdin: unixLetter, fails: "550 5.1.1"},
		{name: "relay", args: with("kim.akers@fabrikam.com"), stdin: unixLetter, fails: "550 5.7.1|554 5.7.1"},
		{name: "PLAIN and relay", args: with(append(login, "--auth=plain", "kim.akers@fabrikam.com")...), stdin: unixLetter, sent: letter},
		{name: "LOGIN and relay", args: with(append(login, "--auth=login", "kim.akers@fabrikam.com")...), stdin: unixLetter, sent: letter},
		{name: "DSN", args: with("--dsn-notify=failure,delay", "--dsn-return=headers", "adelev@contoso.com"), stdin: unixLetter, sent: letter},
		{name: "what the server offers", args: with("--serverinfo")},
	})
}

// TestCurl: smtp:// of libcurl, which many programs are built with.
func TestCurl(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "curl")
	b := startBench(t)
	file := filepath.Join(b.dir, "letter.eml")
	write(t, file, letter)
	from := func(file string, args ...string) []string {
		return append([]string{"--silent", "--show-error", "--max-time", "30", "--url", "smtp://{host}:{port}/client.example", "--mail-from", sender, "--upload-file", file}, args...)
	}
	with := func(args ...string) []string { return from(file, args...) }
	secure := []string{"--ssl-reqd", "--cacert", "{cert}"}
	b.run(t, "curl", []clientTest{
		{name: "plain", args: with("--mail-rcpt", "adelev@contoso.com"), sent: letter, to: []string{"AdeleV@contoso.com"}},
		{name: "LF turned into CRLF", args: from("-", "--crlf", "--mail-rcpt", "adelev@contoso.com"), stdin: unixLetter, sent: letter},
		{name: "LF as it is", args: from("-", "--mail-rcpt", "adelev@contoso.com"), stdin: unixLetter, fails: "Weird server reply|550"},
		{name: "STARTTLS, verified", args: with(append(secure, "--mail-rcpt", "adelev@contoso.com")...), sent: letter},
		{name: "TLS 1.2", args: with(append(secure, "--tls-max", "1.2", "--mail-rcpt", "adelev@contoso.com")...), sent: letter},
		{name: "TLS 1.1", args: with(append(secure, "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", "--mail-rcpt", "adelev@contoso.com")...), fails: "protocol version|alert|TLS"},
		{name: "one of two unknown", args: with("--mail-rcpt", "nobody@contoso.com", "--mail-rcpt", "adelev@contoso.com", "--mail-rcpt-allowfails"), sent: letter},
		{name: "unknown recipient", args: with("--mail-rcpt", "nobody@contoso.com"), fails: "RCPT failed: 550"},
		{name: "AUTH and relay", args: with(append(secure, "--user", "{user}:{password}", "--mail-rcpt", "kim.akers@fabrikam.com")...), sent: letter},
		{name: "AUTH, wrong password", args: with(append(secure, "--user", "{user}:x", "--mail-rcpt", "adelev@contoso.com")...), fails: "Login denied|535"},
		{name: "VRFY", args: []string{"--silent", "--max-time", "30", "--url", "smtp://{host}:{port}", "--mail-rcpt", "adelev"}},
	})
}

// TestOpenSSL: s_client with -starttls smtp, that administrators look at certificates with. It sends its commands without waiting.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "openssl")
	b := startBench(t)
	dialogue := "EHLO client.example\r\nMAIL FROM:<someone@fabrikam.com>\r\nRCPT TO:<adelev@contoso.com>\r\nDATA\r\n" + dotStuff(letter) + ".\r\nQUIT\r\n"
	with := func(args ...string) []string {
		return append([]string{"s_client", "-connect", "{host}:{port}", "-starttls", "smtp", "-quiet", "-verify_return_error", "-verify_hostname", "localhost", "-CAfile", "{cert}"}, args...)
	}
	b.run(t, "openssl", []clientTest{
		{name: "pipelined", args: with("-ign_eof"), stdin: dialogue, sent: letter},
		{name: "TLS 1.2", args: with("-ign_eof", "-tls1_2"), stdin: dialogue, sent: letter},
		{name: "TLS 1.3", args: with("-ign_eof", "-tls1_3"), stdin: dialogue, sent: letter},
		{name: "TLS 1.1", args: with("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"), stdin: dialogue, fails: "protocol version|alert|no protocols"},
		{name: "TLS 1.0", args: with("-tls1", "-cipher", "DEFAULT@SECLEVEL=0"), stdin: dialogue, fails: "protocol version|alert|no protocols"},
		{name: "RSA key exchange", args: with("-tls1_2", "-cipher", "kRSA@SECLEVEL=0"), stdin: dialogue, fails: "handshake failure"},
		{name: "no authentication", args: with("-tls1_2", "-cipher", "aNULL@SECLEVEL=0"), stdin: dialogue, fails: "handshake failure"},
		{name: "renegotiation", args: []string{"s_client", "-connect", "{host}:{port}", "-starttls", "smtp", "-tls1_2"}, stdin: "R\n", fails: "unexpected message|no renegotiation"},
		{name: "CAMELLIA and ARIA", args: with("-tls1_2", "-cipher", "CAMELLIA:ARIA@SECLEVEL=0"), stdin: dialogue, fails: "handshake failure"},
	})
}

// script is a test of a language's library: a program that is given host, port, certificate and user, and fails if anything is not as it
// expects. In the end n messages have arrived, the last of which ends with last.
func (b *bench) script(t *testing.T, program, source string, n int, last string) {
	t.Helper()
	file := filepath.Join(b.dir, "script")
	write(t, file, source)
	b.run(t, program, []clientTest{{name: "script", args: []string{file, "{host}", "{port}", "{cert}", "{user}", "{password}"}, several: true}})
	if t.Failed() {
		return
	}
	ms := waitFor(t, b.sink, n)
	if len(ms) != n || !strings.HasSuffix(string(ms[n-1].Data), last) {
		t.Errorf("%d messages, want %d; the last one, which is to end with %q: %.500q", len(ms), n, last, ms[len(ms)-1].Data)
	}
}

// TestPython: smtplib and its friends, which the tools of administrators are written with.
func TestPython(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "python3")
	b := startBench(t)
	b.script(t, "python3", `
import smtplib, ssl, sys
from email.message import EmailMessage
host, port, cert, user, password = sys.argv[1:]
letter = b"Subject: python\r\n\r\n.\r\n..\r\n.x\r\n\r\nend\r\n"
a, f = "adelev@contoso.com", "someone@fabrikam.com"

def connect(tls=True):
    s = smtplib.SMTP(host, int(port), local_hostname="client.example", timeout=30)
    assert s.ehlo()[0] == 250
    if tls:
        code, text = s.starttls(context=ssl.create_default_context(cafile=cert))
        assert code == 220, (code, text)
        assert s.ehlo()[0] == 250
    return s

def refused(code, function, *args):
    try:
        function(*args)
    except smtplib.SMTPResponseException as e:
        assert e.smtp_code == code, e
    except smtplib.SMTPRecipientsRefused as e:
        assert {c for c, _ in e.recipients.values()} == {code}, e
    else:
        raise AssertionError(f"not refused with {code}")

with connect() as s:
    assert s.has_extn("smtputf8") and s.has_extn("8bitmime") and s.has_extn("size"), s.esmtp_features
    assert s.sendmail(f, [a], letter) == {}
    bad = s.sendmail(f, [a, "nobody@contoso.com"], letter)
    assert bad["nobody@contoso.com"][0] == 550, bad
    refused(550, s.sendmail, f, ["nobody@contoso.com"], letter)
    refused(550, s.sendmail, f, ["kim.akers@fabrikam.com"], letter)
    assert s.mail(f, ["SIZE=99999999"])[0] == 552
    s.rset()
    assert s.verify("adelev")[0] == 252
    refused(535, s.login, user, "wrong")
with connect() as s:
    for mechanism in ("auth_plain", "auth_login"):
        with connect() as other:
            other.user, other.password = user, password
            assert other.auth(mechanism[5:].upper(), getattr(other, mechanism))[0] == 235
            assert other.sendmail(f, ["kim.akers@fabrikam.com"], letter) == {}
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = "j\u00f8rgen@fabrikam.com", a, "\u00e6\u00f8\u00e5"
    m.set_content("\u20ac\n")
    m.add_attachment(bytes(range(256)) * 400, maintype="application", subtype="octet-stream", filename="\u00e5.bin")
    s.send_message(m)
with connect(tls=False) as s:
    s.sendmail("", [a], letter)
    for n in range(50):
        assert s.sendmail(f, [a], letter) == {}
with connect() as s: # last: the test looks at its end
    s.sendmail(f, [a], letter)
`, 1+1+2+1+1+50+1, "Subject: python\r\n\r\n.\r\n..\r\n.x\r\n\r\nend\r\n")
}

// TestNodemailer: the library of most services on Node.js.
func TestNodemailer(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "node")
	if _, err := os.Stat("/usr/share/nodejs/nodemailer"); err != nil {
		peertest.Missing(t, "node-nodemailer is not installed")
	}
	b := startBench(t)
	b.script(t, "node", `
const assert = require('assert'), fs = require('fs'), nodemailer = require('nodemailer');
const [host, port, cert, user, pass] = process.argv.slice(2);
const base = { host, port: Number(port), name: 'client.example', tls: { ca: fs.readFileSync(cert) } };
const from = 'someone@fabrikam.com', to = 'adelev@contoso.com';
(async () => {
  const plain = nodemailer.createTransport({ ...base, ignoreTLS: true });
  assert(await plain.verify());
  let r = await plain.sendMail({ from, to, subject: 'x', text: '.\n..\nend\n' });
  assert(/^250 2\.0\.0 /.test(r.response), r.response);
  r = await plain.sendMail({ from, to: [to, 'nobody@contoso.com'], subject: 'x', text: 'x' });
  assert.deepStrictEqual(r.rejected, ['nobody@contoso.com']);
  await assert.rejects(plain.sendMail({ from, to: 'kim.akers@fabrikam.com', text: 'x' }), (e) => e.responseCode === 550 || e.responseCode === 554);
  const auth = nodemailer.createTransport({ ...base, requireTLS: true, auth: { user, pass }, pool: true, maxConnections: 3 });
  await Promise.all(Array.from({ length: 30 }, (_, n) => auth.sendMail({ from, to: 'kim.akers@fabrikam.com', subject: String(n), text: 'x',
    html: '<p>\u20ac</p>', attachments: [{ filename: '\u00e5.bin', content: Buffer.alloc(100000, n) }] })));
  auth.close();
  const wrong = nodemailer.createTransport({ ...base, requireTLS: true, auth: { user, pass: 'x' } });
  await assert.rejects(wrong.sendMail({ from, to, text: 'x' }), (e) => e.code === 'EAUTH' && e.responseCode === 535);
  const dsn = { id: 'a+b', return: 'headers', notify: ['failure', 'delay'], recipient: from };
  await plain.sendMail({ envelope: { from, to, dsn }, raw: 'Subject: raw\r\n\r\n.\r\nend\r\n' });
})().catch((e) => { console.error(e); process.exit(1); });
`, 1+1+30+1, "Subject: raw\r\n\r\n.\r\nend\r\n")
}

// TestPerl: Net::SMTP, which comes with Perl.
func TestPerl(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "perl")
	b := startBench(t)
	b.script(t, "perl", `
use strict; use warnings; use Net::SMTP;
my ($host, $port) = @ARGV;
my $s = Net::SMTP->new($host, Port => $port, Hello => 'client.example', Timeout => 30) or die "connecting: $@";
$s->mail('someone@fabrikam.com', Size => 100, Bits => 8) or die $s->message;
my @good = $s->recipient('adelev@contoso.com', 'nobody@contoso.com', { SkipBad => 1 });
die "@good" unless "@good" eq 'adelev@contoso.com';
$s->data("Subject: perl\n", "\n", ".\n", "..\n", ".x\n", "end\n") or die $s->message;
die $s->message unless $s->code == 250 && $s->message =~ /2\.0\.0 [0-9A-Z]+ /;
$s->mail('someone@fabrikam.com') or die; die 'relayed' if $s->to('kim.akers@fabrikam.com'); die $s->code unless $s->code =~ /^55[04]/;
$s->reset or die; $s->quit or die;
`, 1, "Subject: perl\r\n\r\n.\r\n..\r\n.x\r\nend\r\n")
}

// TestTelnet: a person types, slowly, ends lines with LF or CRLF as the terminal has it, and forgets things.
func TestTelnet(t *testing.T) {
	t.Parallel()
	sink := mta(t)
	g := start(t, setup{OnPrem: []string{sink.Addr()}})
	c := dial(t, g.addr, internet)
	for _, s := range []struct{ typed, want string }{
		{"hello\n", "500 5.5.1"}, {"helo me\n", "250"}, {"mail from: someone@fabrikam.com\n", "250"}, {"rcpt to: adelev@contoso.com\n", "250"}, {"help\n", "214"},
		{"data\n", "354"},
	} {
		for i := range len(s.typed) {
			io.WriteString(c.Conn, s.typed[i:i+1])
			time.Sleep(time.Millisecond)
		}
		c.expect(s.want)
	}
	c.send("Subject: typed\r\n\r\nx\r\n.\r\n")
	c.expect("250 2.0.0 ")
	c.say("quit", "221")
	waitFor(t, sink, 1)
}
