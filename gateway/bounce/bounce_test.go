package bounce

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"maps"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/gateway/message"
	gomessage "github.com/emersion/go-message"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestWanted(t *testing.T) {
	all := []Kind{Failure, Delay, Success, Relayed, Expanded}
	cases := []struct {
		name    string
		reverse string
		notify  []string
		want    []Kind
	}{
		{"null reverse-path", "", nil, nil},
		{"null reverse-path that asks", "", []string{"SUCCESS", "FAILURE", "DELAY"}, nil},
		{"nothing asked", "alex@fabrikam.com", nil, []Kind{Failure, Delay}},
		{"NEVER", "alex@fabrikam.com", []string{"NEVER"}, nil},
		{"never, beside others", "alex@fabrikam.com", []string{"FAILURE", "never"}, nil},
		{"FAILURE", "alex@fabrikam.com", []string{"FAILURE"}, []Kind{Failure}},
		{"DELAY", "alex@fabrikam.com", []string{"DELAY"}, []Kind{Delay}},
		{"SUCCESS", "alex@fabrikam.com", []string{"SUCCESS"}, []Kind{Success, Relayed, Expanded}},
		{"all, in lower case", "alex@fabrikam.com", []string{"success", "failure", "delay"}, all},
	}
	for _, c := range cases {
		for _, k := range append(all, "unheard-of") {
			env := message.Envelope{ReversePath: c.reverse}
			if got, want := Wanted(env, message.Recipient{Notify: c.notify}, k), slices.Contains(c.want, k); got != want {
				t.Errorf("%s: %s wanted: %v, want %v", c.name, k, got, want)
			}
		}
	}
}

var (
	arrival = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	letter  = message.Content{
		[]byte("Received: from mail.fabrikam.com ([192.0.2.7])\r\n\tby gw1.contoso.com with ESMTP id 01JD;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"),
		[]byte("From: Alex Wilber <alex@fabrikam.com>\r\nTo: adele@contoso.com\r\nSubject: Contract\r\n" +
			"Message-ID: <contract.1@fabrikam.com>\r\n\r\n"),
		[]byte("Please sign.\r\n"),
	}
)

func sample(k Kind, change func(*Params)) Params {
	p := Params{
		Kind: k, Hostname: "gw1.contoso.com", Postmaster: "postmaster@contoso.com",
		Time: arrival.Add(time.Minute), ID: "01JE", Reference: "01JD",
		Envelope: message.Envelope{ReversePath: "alex@fabrikam.com"},
		Arrival:  arrival, Original: letter,
		Recipients: []Recipient{{Recipient: message.Recipient{Address: "adele@contoso.com"}}},
	}
	change(&p)
	return p
}

// samples are what the golden files in testdata are made from.
var samples = map[string]Params{
	"failure": sample(Failure, func(p *Params) {
		p.Envelope.EnvelopeID = "QQ314159"
		p.Envelope.Return = "FULL"
		p.Recipients = []Recipient{
			{Recipient: message.Recipient{Address: "adele@contoso.com", ORcptType: "rfc822", ORcpt: "adele.vance@fabrikam.com"},
				Reply: "550 5.1.1 <adele@contoso.com>: user unknown", RemoteMTA: "mail.contoso.local", LastAttempt: arrival.Add(time.Second)},
			{Recipient: message.Recipient{Address: "diego@contoso.com"}, Status: "5.2.2",
				Reply: "552-5.2.2 The recipient's mailbox is full\n552 5.2.2 https://go.microsoft.com/fwlink/?LinkId=526653", RemoteMTA: "contoso-com.mail.protection.outlook.com"},
		}
	}),
	"failure-headers": sample(Failure, func(p *Params) {
		p.Envelope.Return = "HDRS"
		p.Recipients[0].Reply = "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup"
		p.Recipients[0].RemoteMTA = "contoso-com.mail.protection.outlook.com"
	}),
	"expired": sample(Failure, func(p *Params) {
		p.Recipients[0].Status = "4.4.7"
		p.Recipients[0].GivenUpAfter = "48 hours"
		p.Recipients[0].Reply, p.Recipients[0].Local = "451 4.4.1 mail.contoso.local:25: dial tcp 192.0.2.25:25: connection refused", true
		p.Recipients[0].RemoteMTA = "mail.contoso.local"
	}),
	"expired-deferred": sample(Failure, func(p *Params) {
		p.Recipients[0].Status, p.Recipients[0].GivenUpAfter = "4.4.7", "48 hours"
		p.Recipients[0].Reply, p.Recipients[0].RemoteMTA = "451 4.3.2 system not accepting messages", "192.0.2.25:25"
	}),
	"removed": sample(Failure, func(p *Params) {
		p.Recipients[0].Reply, p.Recipients[0].Local = "550 5.7.0 Removed from the queue by the administrator", true
	}),
	"loop": sample(Failure, func(p *Params) { p.Recipients[0].Reply = "554 5.4.6 loop: 26 Received fields" }),
	"delay": sample(Delay, func(p *Params) {
		p.Recipients[0].Reply = "451 4.7.1 try again later"
		p.Recipients[0].RemoteMTA = "mail.contoso.local"
		p.Recipients[0].LastAttempt = arrival.Add(4 * time.Hour)
		p.Recipients[0].RetryUntil = arrival.Add(48 * time.Hour)
	}),
	"success": sample(Success, func(p *Params) {
		p.Recipients[0].Reply = "250 2.0.0 queued as 1"
		p.Recipients[0].RemoteMTA = "mail.contoso.local"
	}),
	"relayed":  sample(Relayed, func(p *Params) { p.Recipients[0].RemoteMTA = "mail.contoso.local" }),
	"expanded": sample(Expanded, func(p *Params) { p.Recipients[0].Address = "sales@contoso.com" }),
	"utf8": sample(Failure, func(p *Params) {
		p.Envelope.UTF8 = true
		p.Envelope.ReversePath = "jörg@fabrikam.com"
		p.Recipients[0].Address = "adèle@contoso.com"
		p.Recipients[0].Reply = "550 5.1.1 <adèle@contoso.com>: unknown"
		p.Original = message.Content{[]byte("From: jörg@fabrikam.com\r\nTo: adèle@contoso.com\r\nSubject: Vertrag für Adèle\r\nMessage-ID: <ü@fabrikam.com>\r\n\r\nBitte unterschreiben. Grüße\r\n")}
	}),
	"utf8-headers": sample(Failure, func(p *Params) {
		p.Envelope.UTF8 = true
		p.Envelope.Return = "HDRS"
		p.Recipients[0].Address = "adèle@contoso.com"
		p.Recipients[0].Reply = "550 5.1.1 unknown"
	}),
	"encoded-subject": sample(Failure, func(p *Params) {
		p.Recipients[0].ORcptType, p.Recipients[0].ORcpt = "utf-8", "adèle+x@contoso.com"
		p.Recipients[0].Reply = "550 5.6.7 address needs SMTPUTF8"
		p.Original = message.Content{[]byte("From: alex@fabrikam.com\r\nSubject: =?iso-8859-1?Q?Vertrag_f=FCr_Ad=E8le,?=\r\n =?utf-8?B?IGVpbmUgc2VociBsYW5nZSBCZXRyZWZmemVpbGUgw7xiZXIgw4RuZGVydW5nZW4=?=\r\n\r\nGr\xfc\xdfe\r\n")}
	}),
}

func TestGolden(t *testing.T) {
	for name, p := range samples {
		t.Run(name, func(t *testing.T) {
			got, _, err := Compose(p)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) != len(samples) {
		t.Errorf("%d golden files for %d samples (%v)", len(files), len(samples), err)
	}
}

// report is a DSN as a program reads it.
type report struct {
	header                  map[string][]string // by name
	text                    string
	statusType, contentType string
	message                 textproto.MIMEHeader
	recipients              []textproto.MIMEHeader
	returned                string
}

// parse reads a DSN with another library's MIME parser, and refuses what is not exactly of the form of RFC 6522.
func parse(t *testing.T, msg []byte) report {
	t.Helper()
	e, err := gomessage.Read(bytes.NewReader(msg))
	if err != nil {
		t.Fatalf("the message: %v\n%s", err, msg)
	}
	r := report{header: e.Header.Map()}
	kind, params, err := e.Header.ContentType()
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("Content-Type %q %v: %v", kind, params, err)
	}
	parts := e.MultipartReader()
	var bodies [3][]byte
	var types [3]string
	for i := range 3 {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatalf("part %d: %v\n%s", i, err, msg)
		}
		types[i], _, err = part.Header.ContentType()
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		if bodies[i], err = io.ReadAll(part.Body); err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Fatalf("after three parts: %v", err)
	}
	if types[0] != "text/plain" {
		t.Errorf("the first part is %s", types[0])
	}
	r.text, r.statusType, r.contentType, r.returned = string(bodies[0]), types[1], types[2], string(bodies[2])
	blocks := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(bodies[1]), strings.NewReader("\r\n"))))
	if r.message, err = blocks.ReadMIMEHeader(); err != nil {
		t.Fatalf("the fields of the message: %v\n%s", err, bodies[1])
	}
	for {
		h, err := blocks.ReadMIMEHeader()
		if len(h) > 0 {
			r.recipients = append(r.recipients, h)
		}
		if err == io.EOF {
			return r
		}
		if err != nil {
			t.Fatalf("the fields of recipient %d: %v\n%s", len(r.recipients), err, bodies[1])
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for name, p := range samples {
		t.Run(name, func(t *testing.T) {
			msg, env, err := Compose(p)
			if err != nil {
				t.Fatal(err)
			}
			if env.ReversePath != "" || len(env.Recipients) != 1 || env.Recipients[0].Address != p.Envelope.ReversePath {
				t.Errorf("the envelope is %+v", env)
			}
			r := parse(t, msg)
			if len(r.recipients) != len(p.Recipients) {
				t.Fatalf("%d recipients, want %d", len(r.recipients), len(p.Recipients))
			}
			want := textproto.MIMEHeader{"Reporting-Mta": {"dns; gw1.contoso.com"}, "Arrival-Date": {"Tue, 24 Nov 2026 10:00:00 +0000"}}
			if id := p.Envelope.EnvelopeID; id != "" {
				want.Set("Original-Envelope-Id", id)
			}
			if diff := cmp.Diff(want, r.message); diff != "" {
				t.Errorf("the message's fields (-want +got):\n%s", diff)
			}
			for i, h := range r.recipients {
				if got := h.Get("Action"); got != string(p.Kind) {
					t.Errorf("Action %q", got)
				}
				if got, want := h.Get("Status"), p.Recipients[i].status(p.Kind); got != want {
					t.Errorf("Status %q, want %q", got, want)
				}
				if got := h.Get("Final-Recipient"); !strings.HasSuffix(got, "; "+p.Recipients[i].Address) {
					t.Errorf("Final-Recipient %q", got)
				}
				if (h.Get("Will-Retry-Until") != "") != (p.Kind == Delay) {
					t.Errorf("Will-Retry-Until %q", h.Get("Will-Retry-Until"))
				}
				if first, _, _ := strings.Cut(p.Recipients[i].Reply, "\n"); !strings.Contains(h.Get("Diagnostic-Code"), first) {
					t.Errorf("Diagnostic-Code %q, want %q in it", h.Get("Diagnostic-Code"), first)
				}
			}
			if got := r.header["Auto-Submitted"]; !slices.Equal(got, []string{"auto-replied"}) {
				t.Errorf("Auto-Submitted %q", got)
			}
		})
	}
}

func TestReturnedContent(t *testing.T) {
	header := "Subject: x\r\nMessage-ID: <1@fabrikam.com>\r\n"
	small := header + "\r\nbody, the last line unfinished"
	exact := header + "\r\n" + strings.Repeat("x", 998) + strings.Repeat("\r\n"+strings.Repeat("y", 98), 489)
	exact += "\r\n" + strings.Repeat("z", ReturnLimit-len(exact)-2)
	if len(exact) != ReturnLimit {
		t.Fatal(len(exact))
	}
	manyFields := strings.Repeat("X-Field: some value or other\r\n", 10_000)
	cases := []struct {
		name     string
		kind     Kind
		env      message.Envelope
		original string
		wantType string
		want     string
	}{
		{"FULL", Failure, message.Envelope{Return: "FULL"}, small, "message/rfc822", small},
		{"RET absent", Failure, message.Envelope{}, small, "message/rfc822", small},
		{"HDRS", Failure, message.Envelope{Return: "hdrs"}, small, "text/rfc822-headers", header},
		{"as large as is returned whole", Failure, message.Envelope{Return: "FULL"}, exact, "message/rfc822", exact},
		{"larger", Failure, message.Envelope{Return: "FULL"}, exact + "z", "text/rfc822-headers", header},
		{"FULL, but no failure", Delay, message.Envelope{Return: "FULL"}, small, "text/rfc822-headers", header},
		{"BINARYMIME", Failure, message.Envelope{Return: "FULL", Body: "BINARYMIME"}, small + "\r\n\x00\n\xff", "text/rfc822-headers", header},
		{"BINARYMIME that is not binary", Failure, message.Envelope{Return: "FULL", Body: "BINARYMIME"}, small, "message/rfc822", small},
		{"REQUIRETLS", Failure, message.Envelope{Return: "FULL", RequireTLS: true}, small, "text/rfc822-headers", header},
		{"eight bit", Failure, message.Envelope{}, header + "\r\n\xe4\r\n", "message/rfc822", header + "\r\n\xe4\r\n"},
		{"NUL in the body", Failure, message.Envelope{}, small + "\x00", "text/rfc822-headers", header},
		{"too long a line in the body", Failure, message.Envelope{}, small + strings.Repeat("x", 999), "text/rfc822-headers", header},
		{"bare LF", Failure, message.Envelope{}, "Subject: x\nTo: y\n\nbody\n", "text/rfc822-headers", "Subject: x\r\nTo: y\r\n"},
		{"NUL in the header", Failure, message.Envelope{}, "Subject: \x00\r\n\r\n", "text/rfc822-headers", "Subject: ?\r\n"},
		{"a line of 2000 in the header", Failure, message.Envelope{}, "Subject: " + strings.Repeat("x", 2000) + "\r\nTo: y\r\n\r\n",
			"text/rfc822-headers", "Subject: " + strings.Repeat("x", 989) + "\r\nTo: y\r\n"},
		{"a header of 300 KB", Failure, message.Envelope{}, manyFields + "\r\nbody", "text/rfc822-headers", manyFields[:ReturnLimit-ReturnLimit%30]},
		{"nothing", Failure, message.Envelope{}, "", "message/rfc822", ""},
		{"boundary in the body", Failure, message.Envelope{}, small + "\r\n--=_" + boundaryOf("01JE") + "--\r\n", "message/rfc822", small + "\r\n--=_" + boundaryOf("01JE") + "--\r\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			msg, env, err := Compose(sample(c.kind, func(p *Params) {
				c.env.ReversePath = p.Envelope.ReversePath
				p.Envelope = c.env
				p.Original = message.Content{[]byte(c.original[:len(c.original)/2]), []byte(c.original[len(c.original)/2:])}
			}))
			if err != nil {
				t.Fatal(err)
			}
			r := parse(t, msg)
			if r.contentType != c.wantType {
				t.Errorf("returned as %s, want %s", r.contentType, c.wantType)
			}
			if r.returned != c.want {
				t.Errorf("returned %d octets, want %d: %.200q", len(r.returned), len(c.want), r.returned)
			}
			if got, want := env.Body == "8BITMIME", !isASCII([]byte(c.want)); got != want {
				t.Errorf("the DSN's body is %q", env.Body)
			}
			if env.RequireTLS != c.env.RequireTLS {
				t.Errorf("the DSN with REQUIRETLS: %v", env.RequireTLS)
			}
			checkOctets(t, msg)
		})
	}
}

// boundaryOf is the first boundary that a DSN with this id would use, without its "=_".
func boundaryOf(id string) string {
	c := composer{p: Params{ID: id}}
	return strings.TrimPrefix(c.newBoundary(), "=_")
}

// checkOctets looks for what must not be sent: bare CR or LF, NUL, lines that are too long.
func checkOctets(t *testing.T, msg []byte) {
	t.Helper()
	var s message.Scanner
	_, _ = s.Write(msg)
	if f := s.Findings(); f.BareCR || f.BareLF || f.NUL || f.LongestLine > maxLine || f.Unfinished {
		t.Errorf("the DSN has %+v:\n%q", f, msg)
	}
}

func TestErrors(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Params)
		want   error
	}{
		{"null reverse-path", func(p *Params) { p.Envelope.ReversePath = "" }, ErrNullReversePath},
		{"no recipients", func(p *Params) { p.Recipients = nil }, ErrParams},
		{"no kind", func(p *Params) { p.Kind = "" }, ErrParams},
		{"line break in the reverse-path", func(p *Params) { p.Envelope.ReversePath = "\"a\r\nBcc: b\"@contoso.com" }, ErrAddress},
		{"bracket in the reverse-path", func(p *Params) { p.Envelope.ReversePath = "a>, <b@contoso.com" }, ErrAddress},
		{"no UTF-8 in the reverse-path", func(p *Params) { p.Envelope.ReversePath = "\xff@contoso.com" }, ErrAddress},
		{"no postmaster", func(p *Params) { p.Postmaster = "" }, ErrAddress},
	}
	for _, c := range cases {
		if _, _, err := Compose(sample(Failure, c.change)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestStatus(t *testing.T) {
	cases := []struct {
		kind          Kind
		status, reply string
		want          string
	}{
		{Failure, "5.1.1", "550 5.2.2 full", "5.1.1"},
		{Failure, "", "550 5.2.2 full", "5.2.2"},
		{Failure, "", "550-5.7.64 TenantAttribution\n550 5.7.64 x", "5.7.64"},
		{Failure, "", "550 no such user", "5.0.0"},
		{Failure, "", "450 4.2.1 busy", "4.2.1"},
		{Failure, "", "450 5.2.1 code and status disagree", "4.0.0"},
		{Failure, "", "connection refused", "5.0.0"},
		{Failure, "", "", "5.0.0"},
		{Failure, "5.1.1\r\nX: y", "550 5.1.1000 x", "5.0.0"},
		{Failure, "3.1.1", "", "5.0.0"},
		{Delay, "", "connection refused", "4.0.0"},
		{Success, "", "250 2.6.0 queued", "2.6.0"},
		{Success, "", "250 ok", "2.0.0"},
		{Relayed, "", "", "2.0.0"},
	}
	for _, c := range cases {
		r := Recipient{Status: c.status, Reply: c.reply}
		if got := r.status(c.kind); got != c.want {
			t.Errorf("%s %q %q: %s, want %s", c.kind, c.status, c.reply, got, c.want)
		}
	}
}

func TestRemoteHost(t *testing.T) {
	for in, want := range map[string]string{
		"mail.contoso.local": "mail.contoso.local", "mail.contoso.local:25": "mail.contoso.local",
		"192.0.2.25:25": "[192.0.2.25]", "192.0.2.25": "[192.0.2.25]", "[192.0.2.25]": "[192.0.2.25]", "[2001:db8::1]:25": "[IPv6:2001:db8::1]",
		"2001:db8::1": "[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]": "[IPv6:2001:db8::1]", "[fe80::1%eth0]:25": "[IPv6:fe80::1]",
		"::ffff:192.0.2.25": "[192.0.2.25]", "a b:25": "a?b", "1.2.3": "1.2.3",
	} {
		if got := (&Recipient{RemoteMTA: in}).remoteHost(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAdvice(t *testing.T) {
	cases := map[string]string{
		"5.1.1": "There is no mailbox with this address.", "5.1.99": "There is a problem with this address.",
		"5.1.10": "There is no mailbox with this address.", "5.2.2": "The mailbox is full.",
		"5.7.1": "You are not allowed to send to this address.", "5.7.500": "The message was refused by a rule of the recipient's mail system.",
		"5.7.133": "This group takes mail only from inside its organization.", "4.4.7": "The recipient's mail system did not take the message in the time allowed.",
		"5.4.6": "The message went round in a circle: two systems each take the other for the recipient's.", "5.0.0": "The message could not be delivered.",
	}
	for status, want := range cases {
		if got := adviceFor(Failure, status, false).what; got != want {
			t.Errorf("%s: %q, want %q", status, got, want)
		}
	}
	for status, want := range map[string]string{
		"5.7.0": "The message was stopped at the mail gateway, by one of its rules or by its administrator.", "4.4.7": "The message could not be delivered in the time allowed.",
		"5.7.30": "You asked for a protected way (REQUIRETLS), and there is none to the recipient's mail system.", "5.1.1": "There is no mailbox with this address.",
		"5.7.133": "This group takes mail only from inside its organization.",
	} {
		if got := adviceFor(Failure, status, true).what; got != want {
			t.Errorf("the gateway's own %s: %q, want %q", status, got, want)
		}
	}
	for _, table := range [][]advice{failureAdvice, ownAdvice} {
		seen := make(map[string]bool)
		for _, a := range table {
			if seen[a.status] || !strings.HasSuffix(a.what, ".") || !strings.HasSuffix(a.do, ".") {
				t.Errorf("%q stands twice, or is not said in sentences: %+v", a.status, a)
			}
			seen[a.status] = true
		}
	}
	for k := range wordings {
		if adviceFor(k, "", false).what == "" {
			t.Errorf("%s: nothing is said", k)
		}
	}
}

// injected is put into every text that comes from outside.
const injected = "x\r\nBcc: diego@contoso.com\r\nFinal-Recipient: rfc822; diego@contoso.com\r\n\r\n--=_1\r\n\x00\x1b[31m\u202e\n\ry"

func TestInjection(t *testing.T) {
	places := map[string]func(*Params){
		"Subject": func(p *Params) {
			p.Original = message.Content{[]byte("Subject: =?utf-8?Q?" + quoted(injected) + "?=\r\n\r\n")}
		},
		"Message-ID":      func(p *Params) { p.Original = message.Content{[]byte("Message-ID: <a\r\n Bcc: b>\r\n\r\n")} },
		"ENVID":           func(p *Params) { p.Envelope.EnvelopeID = injected },
		"ORCPT":           func(p *Params) { p.Recipients[0].ORcpt = injected },
		"ORCPT type":      func(p *Params) { p.Recipients[0].ORcptType, p.Recipients[0].ORcpt = injected, "a@contoso.com" },
		"address":         func(p *Params) { p.Recipients[0].Address = injected },
		"reply":           func(p *Params) { p.Recipients[0].Reply = "550 " + injected },
		"reply, 8-bit":    func(p *Params) { p.Recipients[0].Reply = "550 \xff\xfe" + injected },
		"reply of 100 KB": func(p *Params) { p.Recipients[0].Reply = "550 " + strings.Repeat("word\n", 20_000) },
		"one long word":   func(p *Params) { p.Recipients[0].Reply = "550 " + strings.Repeat("é", 20_000) },
		"remote MTA":      func(p *Params) { p.Recipients[0].RemoteMTA = injected },
		"given up": func(p *Params) {
			p.Recipients[0].GivenUpAfter, p.Recipients[0].Reply, p.Recipients[0].Local = injected, "550 x", true
		},
		"status": func(p *Params) { p.Recipients[0].Status = injected },
		"id":     func(p *Params) { p.ID, p.Reference = injected, injected },
	}
	for name, change := range places {
		for _, smtpUTF8 := range []bool{false, true} {
			p := sample(Failure, change)
			if smtpUTF8 {
				p.Envelope.UTF8 = true
				p.Envelope.ReversePath = "jörg@fabrikam.com"
			}
			msg, _, err := Compose(p)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			checkFields(t, name, msg)
		}
	}
}

// quoted writes s in the Q encoding.
func quoted(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("=" + strings.ToUpper(string("0123456789abcdef"[s[i]>>4])+string("0123456789abcdef"[s[i]&15])))
	}
	return b.String()
}

// checkFields finds fields that Compose does not write, or more than one recipient.
func checkFields(t *testing.T, name string, msg []byte) {
	t.Helper()
	r := parse(t, msg)
	checkOctets(t, msg)
	allowed := []string{"Date", "From", "To", "Subject", "Message-Id", "In-Reply-To", "References", "Auto-Submitted",
		"X-Auto-Response-Suppress", "Mime-Version", "Content-Type"}
	for field, values := range r.header {
		if !slices.Contains(allowed, field) || len(values) != 1 {
			t.Errorf("%s: %s: %q", name, field, values)
		}
	}
	allowed = []string{"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-Mta", "Diagnostic-Code"}
	if len(r.recipients) != 1 {
		t.Fatalf("%s: %d recipients", name, len(r.recipients))
	}
	for field, values := range r.recipients[0] {
		if !slices.Contains(allowed, field) || len(values) != 1 {
			t.Errorf("%s: %s: %q", name, field, values)
		}
	}
	for field := range maps.Keys(r.message) {
		if !slices.Contains([]string{"Reporting-Mta", "Original-Envelope-Id", "Arrival-Date"}, field) {
			t.Errorf("%s: %s", name, field)
		}
	}
	if !utf8.ValidString(r.text) || strings.ContainsAny(r.text, "\x00\x1b\u202e") {
		t.Errorf("%s: the text is %q", name, r.text)
	}
}

func TestComposeIsDeterministic(t *testing.T) {
	for name, p := range samples {
		a, _, _ := Compose(p)
		b, _, _ := Compose(p)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: two DSNs from the same parameters differ", name)
		}
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("550 5.1.1 unknown", "adele@contoso.com", "adele@contoso.com", "QQ", "Subject: x\r\n\r\nbody", false)
	f.Add(injected, injected, injected, injected, injected, true)
	f.Add("550\n", "é", "é", "é", "Subject: =?utf-8?q?=0a?=\n\n\x00", true)
	f.Fuzz(func(t *testing.T, reply, address, orcpt, envid, original string, smtpUTF8 bool) {
		msg, _, err := Compose(sample(Failure, func(p *Params) {
			p.Envelope.UTF8 = smtpUTF8
			p.Envelope.EnvelopeID = envid
			p.Recipients[0] = Recipient{Recipient: message.Recipient{Address: address, ORcpt: orcpt}, Reply: reply}
			p.Original = message.Content{[]byte(original)}
		}))
		if err != nil {
			t.Fatal(err)
		}
		checkFields(t, "fuzz", msg)
	})
}

func BenchmarkCompose(b *testing.B) {
	p := samples["failure"]
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Compose(p); err != nil {
			b.Fatal(err)
		}
	}
}
