package outbound

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/routing"
)

func TestCheckPath(t *testing.T) {
	for _, c := range []struct {
		addr string
		ok   bool
	}{
		{"alexd@contoso.com", true},
		{"alex.darrow+tag@contoso.com", true},
		{"a..b.@docomo.example", true},
		{`"Alex Darrow"@contoso.com`, true},
		{`"a\"b@c>"@contoso.com`, true},
		{`"a\\"@contoso.com`, true},
		{"IMCEAEX-_O=CONTOSO_OU=X+20Y_CN=ALEXD@contoso.com", true},
		{"o'brien!x#$%&*/=?^_`{|}~-@contoso.com", true},
		{"alexd@[192.0.2.1]", true},
		{"alexd@[IPv6:2001:db8::1]", true},
		{"жук@пример.example", true},
		{"postmaster", true},
		{"Postmaster", true},
		{"", false},
		{"alexd", false},
		{"@contoso.com", false},
		{"alexd@", false},
		{"a b@contoso.com", false},
		{"a@b@contoso.com", false},
		{"<alexd@contoso.com>", false},
		{"alexd@contoso.com> SIZE=1", false},
		{"alexd@contoso.com\r\nDATA", false},
		{"a\x00b@contoso.com", false},
		{"a\x7fb@contoso.com", false},
		{"a\u0085b@contoso.com", false},
		{"a\xffb@contoso.com", false},
		{"\"a\rb\"@contoso.com", false},
		{`"ab@contoso.com`, false},
		{`"ab\"@contoso.com`, false},
		{`"a"b@contoso.com`, false},
		{`"a""b"@contoso.com`, false},
		{`a"b@contoso.com`, false},
		{`a\b@contoso.com`, false},
		{"alexd@con toso.com", false},
		{"alexd@contoso.com,b", false},
		{strings.Repeat("a", maxPath) + "@contoso.com", false},
	} {
		if err := checkPath(c.addr); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.addr, err)
		}
	}
}

var quotedString = regexp.MustCompile(`^"(\\.|[^"\\])*"`)

func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"alexd@contoso.com", `"a\"b"@c`, "a>b@c", "\r\n@c", `"a@b`, "жук@пример.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkPath(s) != nil {
			return
		}
		if strings.ContainsAny(s, "\r\n\x00") || !utf8.ValidString(s) {
			t.Fatalf("%q may break a command", s)
		}
		// As a server reads it: quoted strings aside, neither space nor bracket.
		bare := quotedString.ReplaceAllString(s, "")
		if strings.ContainsAny(bare, " <>") {
			t.Fatalf("%q ends its path early", s)
		}
		if a, ok := asciiPath(s); ok && !isASCII(a) {
			t.Fatalf("%q is not ASCII", a)
		}
	})
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "a+b=c d": "a+2Bb+3Dc+20d", "\r\né": "+0D+0A+C3+A9"} {
		if got := xtext(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for _, c := range []struct{ kind, addr, want string }{
		{"rfc822", "a=b@contoso.com", "rfc822;a+3Db@contoso.com"},
		{"rfc822", "é@contoso.com", `utf-8;\x{E9}@contoso.com`},
		{"UTF-8", `a\b@contoso.com`, `utf-8;a\x{5C}b@contoso.com`},
		{"x400", "/C=US/", "x400;/C+3DUS/"},
	} {
		if got := orcpt(c.kind, c.addr); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.kind, c.addr, got, c.want)
		}
	}
}

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     *smtp.SMTPError // nil: an error
		err      error
	}{
		{"one line", "250 2.1.0 Sender OK\r\n", &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 1, 0}, Message: "Sender OK"}, nil},
		{"several lines", "550-5.7.1 One\r\n550 5.7.1 Two\r\n", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "One\nTwo"}, nil},
		{"code on the first line only", "550-5.7.1 One\r\n550 Two\r\n", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "One\nTwo"}, nil},
		{"three digits", "451 4.7.500 Server busy\r\n", &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 500}, Message: "Server busy"}, nil},
		{"only a code", "250\r\n", &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}}, nil},
		{"only both codes", "250 2.0.0\r\n", &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}}, nil},
		{"bare LF", "250-a\n250 b\n", &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "a\nb"}, nil},
		{"other class", "550 2.1.0 x\r\n", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "2.1.0 x"}, nil},
		{"not an enhanced code", "550 5.1 x\r\n", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "5.1 x"}, nil},
		{"four digits", "550 5.1.1000 x\r\n", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "5.1.1000 x"}, nil},
		{"control characters", "550 a\x00\x1b[31m\tb\x7f\xff\r\n", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "a??[31m b??"}, nil},
		{"codes that differ", "250-a\r\n550 b\r\n", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "a\nb"}, nil},
		{"first digit", "150 x\r\n", nil, errProtocol},
		{"letters", "OK\r\n", nil, errProtocol},
		{"empty line", "\r\n", nil, errProtocol},
		{"four digits in the code", "2500 x\r\n", nil, errProtocol},
		{"cut", "250-a\r\n25", nil, io.ErrUnexpectedEOF},
		{"nothing", "", nil, io.EOF},
		{"endless", strings.Repeat("250-2.0.0 "+strings.Repeat("x", maxReplyLine)+"\r\n", 4096), &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: strings.Repeat("x", maxReplyLine-len("250-2.0.0 ")) + "\n" + strings.Repeat("x", len("250-2.0.0 ")-1) + "..."}, nil},
		{"endless line", "250 " + strings.Repeat("x", 2*maxReplyRead), nil, errProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := readReply(bufio.NewReader(strings.NewReader(c.in)))
			if c.want == nil {
				if !errors.Is(err, c.err) {
					t.Fatalf("error %v, want %v", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, r.smtpError()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 x\r\n", "25", "250-\n250\n", strings.Repeat("250-x\r\n", 2000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReader(bytes.NewReader(in))
		r, err := readReply(br)
		if err != nil {
			return
		}
		e := r.smtpError()
		if e.Code < 200 || e.Code > 599 || e.EnhancedCode[0] != e.Code/100 {
			t.Fatalf("%+v", e)
		}
		if len(e.Message) > 4*maxReplyText || !utf8.ValidString(e.Message) || strings.ContainsAny(e.Message, "\r\x00\x1b") {
			t.Fatalf("unsafe text %q", e.Message)
		}
		parseExtensions(r)
	})
}

func TestParseExtensions(t *testing.T) {
	got := parseExtensions(reply{code: 250, lines: []string{"PIPELINING mx", "size 1000", "8bitmime", "SMTPUTF8 x", "PIPELINING", "chunking", "BinaryMIME",
		"dsn", "STARTTLS", "AUTH PLAIN", "", " "}})
	want := extensions{pipelining: true, chunking: true, binary: true, eightBit: true, utf8: true, dsn: true, starttls: true, hasSize: true, size: 1000}
	if got != want {
		t.Errorf("got %+v", got)
	}
	for in, want := range map[string]int64{"SIZE": 0, "SIZE 0": 0, "SIZE -5": 0, "SIZE x": 0, "SIZE 99999999999999999999": 0, "SIZE 157286400": 157286400} {
		if got := parseExtensions(reply{code: 250, lines: []string{"mx", in}}); got.size != want || !got.hasSize {
			t.Errorf("%s: %+v", in, got)
		}
	}
	if got := parseExtensions(reply{code: 250, lines: []string{"PIPELINING"}}); got.pipelining {
		t.Error("the greeting was taken for a keyword")
	}
}

// naive are the facts about a content, found octet by octet.
func naive(content []byte) body {
	b := body{size: int64(len(content)), open: len(content) > 0 && content[len(content)-1] != '\n'}
	prev := byte('\n')
	for i, c := range content {
		b.eightBit = b.eightBit || c >= 0x80
		b.dots = b.dots || c == '.' && prev == '\n'
		if c == '\n' && (i == 0 || prev != '\r') || c == '\r' && (i+1 == len(content) || content[i+1] != '\n') {
			b.bare = true
		}
		prev = c
	}
	return b
}

// cut splits content at the places that the bits of where name.
func cut(content []byte, where uint64) (out [][]byte) {
	for i := 0; i < len(content); {
		n := 1
		for i+n < len(content) && where&(1<<(uint(i+n)%64)) == 0 {
			n++
		}
		out = append(out, content[i:i+n])
		i += n
	}
	return out
}

// unstuff reads content as a server reads what follows DATA.
func unstuff(t *testing.T, wire []byte) []byte {
	t.Helper()
	var out []byte
	for _, line := range bytes.SplitAfter(wire, []byte("\r\n")) {
		if string(line) == ".\r\n" {
			if !bytes.HasSuffix(wire, append([]byte("\n"), line...)) && len(wire) != 3 {
				t.Fatalf("the end is not at the end: %q", wire)
			}
			return out
		}
		out = append(out, bytes.TrimPrefix(line, []byte("."))...)
	}
	t.Fatalf("no end: %q", wire)
	return nil
}

func FuzzContent(f *testing.F) {
	for _, s := range []string{"", "a\r\n", ".\r\n.", "\n.\n", "\r\n.\r\n", "\r", "\r\r\n", "x\r\n..\r\n", "\n\n.", "gr\xfc\xdfe\r\n\r\n."} {
		f.Add([]byte(s), uint64(0))
		f.Add([]byte(s), ^uint64(0))
		f.Add([]byte(s), uint64(0b10110))
	}
	f.Fuzz(func(t *testing.T, content []byte, where uint64) {
		b := newBody(cut(content, where))
		got, want := *b, naive(content)
		got.segments = nil
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(body{})); diff != "" {
			t.Fatalf("%q: %s", content, diff)
		}
		n := b.normalised()
		if n.bare {
			t.Fatalf("%q is still bare", n.segments)
		}
		flat := bytes.Join(n.segments, nil)
		if !b.bare && !bytes.Equal(flat, content) {
			t.Fatalf("%q was changed to %q", content, flat)
		}
		if strip := func(p []byte) []byte { return bytes.Map(dropLineEnds, p) }; !bytes.Equal(strip(flat), strip(content)) {
			t.Fatalf("%q became %q", content, flat)
		}
		wire := bytes.Join(n.stuffed(nil), nil)
		back := unstuff(t, wire)
		if n.open {
			flat = append(slices.Clone(flat), "\r\n"...)
		}
		if !bytes.Equal(back, flat) {
			t.Fatalf("%q arrives as %q", flat, back)
		}
	})
}

func dropLineEnds(r rune) rune {
	if r == '\r' || r == '\n' {
		return -1
	}
	return r
}

func TestHeaderEightBit(t *testing.T) {
	for _, c := range []struct {
		content string
		want    bool
	}{
		{"a: b\r\n\r\n\xff", false},
		{"a: \xff\r\n\r\nb", true},
		{"a: b\n\n\xff", false},
		{"a: b\r\nc: d\r\n\r\n\xff", false},
		{"a: b\r\nc: \xff", true},
		{"\r\n\xff", false},
		{"", false},
	} {
		for _, where := range []uint64{0, ^uint64(0), 0b1010101} {
			if got := newBody(cut([]byte(c.content), where)).headerEightBit(); got != c.want {
				t.Errorf("%q: %v", c.content, got)
			}
		}
	}
}

func TestCutBlock(t *testing.T) {
	var bufs [][]byte
	for i := range 40 {
		bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, i*10_000))
	}
	bufs = append(bufs, make([]byte, 5*writeBlock+1))
	want := bytes.Join(bufs, nil)
	var got []byte
	for len(bufs) > 0 {
		var block [][]byte
		block, bufs = cutBlock(bufs)
		joined := bytes.Join(block, nil)
		if len(joined) > writeBlock {
			t.Fatalf("block of %d octets", len(joined))
		}
		got = append(got, joined...)
	}
	if !bytes.Equal(got, want) {
		t.Error("octets were lost or mixed up")
	}
}

func TestAdvise(t *testing.T) {
	reply := func(code int, enhanced, text string) *smtp.SMTPError {
		e, _, ok := parseEnhanced(enhanced)
		if !ok {
			t.Fatalf("%s", enhanced)
		}
		return &smtp.SMTPError{Code: code, EnhancedCode: e, Message: text}
	}
	for _, c := range []struct {
		side  routing.Side
		reply *smtp.SMTPError
		want  Action
		rule  string
	}{
		{routing.Cloud, reply(452, "4.5.3", "Too many recipients"), SplitRecipients, "too-many-recipients"},
		{routing.Cloud, reply(452, "4.5.3", "Too many recipients ATTR38"), SplitRecipients, "too-many-recipients"},
		{routing.OnPrem, reply(552, "5.0.0", "too many recipients"), SplitRecipients, "too-many-recipients"},
		{routing.OnPrem, reply(452, "4.3.1", "Insufficient system storage"), NoAction, ""},
		{routing.Cloud, reply(451, "4.7.500", "Server busy. Please try again later from [192.0.2.1]. (AS77712)"), BackOffHop, "throttled"},
		{routing.Cloud, reply(451, "4.7.699", "Access denied, please try again later"), BackOffHop, "throttled"},
		{routing.Cloud, reply(451, "4.7.850", "Access denied, please try again later"), BackOffHop, "throttled"},
		{routing.Cloud, reply(451, "4.7.700", "Access denied, tenant has exceeded threshold"), HoldSide, "tenant-threshold"},
		{routing.OnPrem, reply(451, "4.7.500", "Server busy"), NoAction, ""},
		{routing.Cloud, reply(432, "4.3.2", "STOREDRV.Deliver; recipient thread limit exceeded"), RetryRecipient, "mailbox-busy"},
		{routing.Cloud, reply(550, "5.2.121", "recipient is receiving mail too quickly from this sender"), RetryRecipient, "mailbox-busy"},
		{routing.Cloud, reply(550, "5.7.64", "TenantAttribution; Relay Access Denied [x]"), HoldSide, "tenant-attribution"},
		{routing.Cloud, reply(550, "5.7.0", "something (ATTR36)"), HoldSide, "tenant-attribution"},
		{routing.Cloud, reply(550, "5.7.68", "TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources"), HoldSide, "direct-send"},
		{routing.Cloud, reply(451, "4.4.62", "Mail sent to the wrong Office 365 region. ATTR35"), HoldSide, "wrong-region"},
		{routing.Cloud, reply(550, "5.7.511", "Access denied, banned sender[192.0.2.1]"), HoldSide, "banned"},
		{routing.Cloud, reply(550, "5.7.606", "Access denied, banned sending IP [192.0.2.1]"), HoldSide, "banned"},
		{routing.Cloud, reply(550, "5.7.649", "Access denied"), HoldSide, "banned"},
		{routing.Cloud, reply(550, "5.7.506", "Bad HELO"), HoldSide, "bad-helo"},
		{routing.Cloud, reply(550, "5.7.750", "Client blocked from sending from unregistered domain"), HoldSide, "tenant-threshold"},
		{routing.Cloud, reply(454, "4.7.0", "Failed to establish appropriate TLS channel: Access Denied"), HoldSide, "tls-required"},
		{routing.Cloud, reply(550, "5.4.1", "Relay Access Denied"), HoldSide, "relay-denied"},
		{routing.Cloud, reply(550, "5.4.1", "Recipient address rejected: Access denied"), NoAction, ""},
		{routing.Cloud, reply(550, "5.7.25", "sending IPv6 address must have a PTR record"), HoldSide, "ipv6"},
		{routing.Cloud, reply(550, "5.1.10", "RESOLVER.ADR.RecipientNotFound"), NoAction, ""},
		{routing.Cloud, reply(550, "5.7.509", "DMARC"), NoAction, ""},
		{routing.Internet, reply(550, "5.7.64", "TenantAttribution"), NoAction, ""},
		{routing.Cloud, reply(250, "2.0.0", "too many recipients"), NoAction, ""},
		{routing.Cloud, nil, NoAction, ""},
	} {
		name := "nil"
		if c.reply != nil {
			name = replyString(c.reply)
		}
		t.Run(string(c.side)+" "+name, func(t *testing.T) {
			got := Advise(c.side, c.reply)
			if got.Action != c.want || got.Rule != c.rule {
				t.Errorf("got %q by %q, want %q by %q", got.Action, got.Rule, c.want, c.rule)
			}
			if got.Action == HoldSide && (got.Alarm == "" || got.Delay <= 0) {
				t.Error("a held side without alarm or delay")
			}
		})
	}
	for _, r := range Rules() {
		if len(r.Codes) == 0 && len(r.Enhanced) == 0 && r.Text == "" {
			t.Errorf("rule %s matches everything", r.Name)
		}
	}
}

func TestThrottle(t *testing.T) {
	p := newPeer(t, on("RCPT", act{reply: "451 4.7.500 Server busy"}))
	tr := transport(t, func(o *Options) {
		o.Sides[routing.Cloud] = Side{Name: routing.Cloud, Hops: []string{p.addr(), "127.0.0.1:1"}}
	}, p.addr())
	r := request(sample, "alexd@contoso.com")
	r.Side = routing.Cloud
	wantSummary(t, deliver(t, tr, r), "deferred 451 4.7.500 rcpt")
	if s := tr.Stats()[0]; s.Limit != 10 {
		t.Errorf("limit %d, want 10", s.Limit)
	}
	if len(tr.Stats()) != 1 {
		t.Error("the next host was tried although the reply says to wait")
	}
}

func TestResultText(t *testing.T) {
	r := deferral(smtp.EnhancedCode{4, 4, 1}, "%s", strings.Repeat("é\r", 5000))
	if len(r.Message) > maxReplyText+10 || strings.Contains(r.Message, "\r") {
		t.Errorf("%d octets: %q", len(r.Message), r.Message[:20])
	}
	if got := replyString(&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "a"}); got != "550 5.1.1 a" {
		t.Error(got)
	}
}
