package message

import (
	"crypto/tls"
	"net/mail"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 4, 12, 0, 0, 0, time.FixedZone("", 3600))

func TestReceived(t *testing.T) {
	tls13 := &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	one := []Recipient{{Address: "adele@contoso.com"}}
	cases := []struct {
		name string
		r    Received
		want string
	}{
		{"one recipient, in clear", Received{Hello: "mail.fabrikam.com", Remote: netip.MustParseAddr("192.0.2.7"),
			By: "gw1.contoso.com", ID: "01JD", Session: Session{Extended: true}, Envelope: Envelope{Recipients: one}},
			"Received: from mail.fabrikam.com ([192.0.2.7])\r\n" +
				"\tby gw1.contoso.com with ESMTP id 01JD\r\n" +
				"\tfor <adele@contoso.com>; Wed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"TLS, several recipients", Received{Hello: "mail.fabrikam.com", Remote: netip.MustParseAddr("2001:db8::1"),
			By: "gw1.contoso.com", ID: "01JD", Session: Session{Extended: true, TLS: tls13},
			Envelope: Envelope{Recipients: []Recipient{{Address: "a@contoso.com"}, {Address: "b@contoso.com"}}}},
			"Received: from mail.fabrikam.com ([IPv6:2001:db8::1])\r\n" +
				"\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n" +
				"\tby gw1.contoso.com with ESMTPS id 01JD;\r\n" +
				"\tWed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"HELO, mapped address", Received{Hello: "[192.0.2.7]", Remote: netip.MustParseAddr("::ffff:192.0.2.7"), By: "gw1.contoso.com", ID: "1"},
			"Received: from [192.0.2.7] ([192.0.2.7])\r\n\tby gw1.contoso.com with SMTP id 1;\r\n\tWed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"nothing known of the client", Received{By: "gw1.contoso.com", ID: "1"},
			"Received: from unknown\r\n\tby gw1.contoso.com with SMTP id 1;\r\n\tWed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"injection by EHLO", Received{Hello: "a\r\nBcc: b@contoso.com\r\n\r\n(", Remote: netip.MustParseAddr("fe80::1%eth0"), By: "gw1.contoso.com", ID: "1\r\nX: y"},
			"Received: from a??Bcc:?b?contoso.com????? ([IPv6:fe80::1])\r\n\tby gw1.contoso.com with SMTP id 1??X:?y;\r\n\tWed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"injection by RCPT", Received{Hello: "a", By: "gw1.contoso.com", ID: "1",
			Envelope: Envelope{Recipients: []Recipient{{Address: "\"a\r\nBcc: b\"@contoso.com"}}}},
			"Received: from a\r\n\tby gw1.contoso.com with SMTP id 1;\r\n\tWed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"UTF-8 recipient", Received{Hello: "a", By: "gw1.contoso.com", ID: "1", Session: Session{Extended: true, TLS: tls13, Authenticated: true},
			Envelope: Envelope{UTF8: true, Recipients: []Recipient{{Address: "jörg@contoso.com"}}}},
			"Received: from a\r\n\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n\tby gw1.contoso.com with UTF8SMTPSA id 1\r\n" +
				"\tfor <jörg@contoso.com>; Wed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"UTF-8 recipient without SMTPUTF8", Received{Hello: "a", By: "gw1.contoso.com", ID: "1", Envelope: Envelope{Recipients: []Recipient{{Address: "jörg@contoso.com"}}}},
			"Received: from a\r\n\tby gw1.contoso.com with SMTP id 1;\r\n\tWed, 4 Nov 2026 12:00:00 +0100\r\n"},
		{"long recipient folds", Received{Hello: "a", By: "gw1.contoso.com", ID: "1", Envelope: Envelope{Recipients: []Recipient{{Address: strings.Repeat("a", 50) + "@contoso.com"}}}},
			"Received: from a\r\n\tby gw1.contoso.com with SMTP id 1\r\n\tfor <" + strings.Repeat("a", 50) + "@contoso.com>;\r\n\tWed, 4 Nov 2026 12:00:00 +0100\r\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.r.Time = noon
			got := string(c.r.Append([]byte("")))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			_, date, _ := strings.Cut(got, ";")
			if when, err := mail.ParseDate(strings.TrimSpace(date)); err != nil || !when.Equal(noon) {
				t.Errorf("the date reads as %v, %v", when, err)
			}
		})
	}
}

func TestProtocol(t *testing.T) {
	secure := &tls.ConnectionState{}
	cases := []struct {
		s    Session
		utf8 bool
		want string
	}{
		{Session{}, false, "SMTP"},
		{Session{Extended: true}, false, "ESMTP"},
		{Session{Extended: true, TLS: secure}, false, "ESMTPS"},
		{Session{Extended: true, Authenticated: true}, false, "ESMTPA"},
		{Session{Extended: true, Authenticated: true, TLS: secure}, false, "ESMTPSA"},
		{Session{Extended: true}, true, "UTF8SMTP"},
		{Session{Extended: true, TLS: secure}, true, "UTF8SMTPS"},
		{Session{Extended: true, Authenticated: true, TLS: secure}, true, "UTF8SMTPSA"},
	}
	for _, c := range cases {
		if got := c.s.Protocol(c.utf8); got != c.want {
			t.Errorf("%+v, UTF-8 %v: %s, want %s", c.s, c.utf8, got, c.want)
		}
	}
}

func TestAppendField(t *testing.T) {
	cases := []struct{ name, value, want string }{
		{"X-Coexist-TNEF", "converted", "X-Coexist-TNEF: converted\r\n"},
		{"X-Coexist-TNEF", "failed\r\nBcc: a@contoso.com", "X-Coexist-TNEF: failed??Bcc: a@contoso.com\r\n"},
		{"X-Coexist-TNEF", "", "X-Coexist-TNEF:\r\n"},
		{"X-Coexist-Note", strings.Repeat("word ", 30), "X-Coexist-Note: " + strings.TrimSpace(strings.Repeat("word ", 12)) + "\r\n\t" +
			strings.TrimSpace(strings.Repeat("word ", 15)) + "\r\n\tword word word\r\n"},
	}
	for _, c := range cases {
		if diff := cmp.Diff(c.want, string(AppendField(nil, c.name, c.value))); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", c.name, c.value, diff)
		}
	}
}

// oneField is a field: lines that end with CRLF, each but the first starting with a tab, of printable octets.
var oneField = regexp.MustCompile(`^Received:[^\x00-\x1f\x7f]*\r\n(\t[^\x00-\x20\x7f][^\x00-\x1f\x7f]*\r\n)*$`)

func FuzzReceived(f *testing.F) {
	f.Add("mail.fabrikam.com", "adele@contoso.com", "1", true)
	f.Add("\r\n", "\"\r\n\"@contoso.com", "\n", false)
	f.Fuzz(func(t *testing.T, hello, recipient, id string, smtpUTF8 bool) {
		r := Received{Hello: hello, Remote: netip.MustParseAddr("192.0.2.7"), By: "gw1.contoso.com", ID: id, Time: noon,
			Envelope: Envelope{UTF8: smtpUTF8, Recipients: []Recipient{{Address: recipient}}}}
		got := string(r.Append(nil))
		if !oneField.MatchString(got) || !utf8.ValidString(got) {
			t.Errorf("%q is not one field", got)
		}
	})
}

func BenchmarkReceived(b *testing.B) {
	r := Received{Hello: "mail.fabrikam.com", Remote: netip.MustParseAddr("192.0.2.7"), By: "gw1.contoso.com", ID: "01JD",
		Session: Session{Extended: true}, Envelope: Envelope{Recipients: []Recipient{{Address: "adele@contoso.com"}}}, Time: noon}
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = r.Append(out[:0])
	}
}
