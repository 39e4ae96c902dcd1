package report_test

import (
	"bufio"
	"bytes"
	"io"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/report"
	tt "github.com/coexist-mail/coexist/tnef/tneftest"
)

func props(list ...mapi.Property) *mapi.Props { return &mapi.Props{List: list} }

func recipient(name, address string, more ...mapi.Property) mapi.Recipient {
	return mapi.Recipient{Props: *props(append(more, tt.Text(mapi.TagDisplayName, name), tt.Text(mapi.TagSMTPAddress, address))...)}
}

var (
	sent = tt.Time(0x004E, time.Date(2025, 5, 28, 7, 15, 0, 0, time.UTC))
	when = tt.Time(0x0032, time.Date(2025, 5, 28, 7, 16, 0, 0, time.UTC))
	kim  = mapi.Mailbox{Name: "Kim Akers", Address: "kim@contoso.com"}
)

// groups reads the blocks of fields that RFC 3464 2.1 describes, with the standard library.
func groups(t testing.TB, b []byte) []textproto.MIMEHeader {
	t.Helper()
	for _, c := range b {
		if c >= 0x80 || c < ' ' && c != '\r' && c != '\n' {
			t.Fatalf("octet %#x in %q", c, b)
		}
	}
	for _, l := range bytes.Split(b, []byte("\r\n")) {
		if len(l) > 998 || bytes.ContainsAny(l, "\r\n") {
			t.Fatalf("line of %d octets: %q", len(l), l)
		}
	}
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(bytes.Clone(b), "\r\n"...))))
	var list []textproto.MIMEHeader
	for {
		h, err := r.ReadMIMEHeader()
		if len(h) > 0 {
			list = append(list, h)
		}
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("%v in %q", err, b)
		}
	}
}

func TestActions(t *testing.T) {
	for class, want := range map[string]struct {
		kind           report.Kind
		action, status string
	}{
		"REPORT.IPM.Note.NDR":                     {report.Delivery, "failed", "5.0.0"},
		"Report.IPM.Note.ndr":                     {report.Delivery, "failed", "5.0.0"},
		"REPORT.IPM.Note.DR":                      {report.Delivery, "delivered", "2.0.0"},
		"REPORT.IPM.Note.Delayed.DR":              {report.Delivery, "delayed", "4.0.0"},
		"REPORT.IPM.Note.Relayed.DR":              {report.Delivery, "relayed", "2.0.0"},
		"REPORT.IPM.Note.Expanded.DR":             {report.Delivery, "expanded", "2.0.0"},
		"REPORT.IPM.Schedule.Meeting.Request.NDR": {report.Delivery, "failed", "5.0.0"},
		"REPORT.IPM.Note.IPNRN":                   {report.Disposition, "displayed", ""},
		"REPORT.IPM.Note.IPNNRN":                  {report.Disposition, "deleted", ""},
		"REPORT.IPM.Note":                         {},
		"IPM.Note.NDR":                            {},
		"REPORTS.IPM.Note.NDR":                    {},
		"REPORT":                                  {},
		"":                                        {},
	} {
		if got := report.KindOf(class); got != want.kind {
			t.Errorf("%s: kind %d, want %d", class, got, want.kind)
		}
		r := &report.Report{Class: class, Props: props(), Recipients: []mapi.Recipient{recipient("", "david@fabrikam.com")}, From: kim, Domain: "contoso.com"}
		g := groups(t, r.Status())
		switch want.kind {
		case report.None:
			if len(g) != 0 || r.Text() != "" {
				t.Errorf("%s: %v", class, g)
			}
		case report.Delivery:
			if len(g) != 2 || g[1].Get("Action") != want.action || g[1].Get("Status") != want.status || g[1].Get("Final-Recipient") != "rfc822; david@fabrikam.com" {
				t.Errorf("%s: %v", class, g)
			}
		case report.Disposition:
			if len(g) != 1 || g[0].Get("Disposition") != "automatic-action/MDN-sent-automatically; "+want.action || g[0].Get("Final-Recipient") != "rfc822; kim@contoso.com" {
				t.Errorf("%s: %v", class, g)
			}
		}
	}
}

func TestDelivery(t *testing.T) {
	r := &report.Report{
		Class: "REPORT.IPM.Note.NDR", Domain: "contoso.com",
		Props: props(tt.Text(0x6820, "dns;ex1.contoso.com"), sent, when),
		Recipients: []mapi.Recipient{
			recipient("Zoë Kalbarczyk", "zoe@fabrikam.com", tt.Long(0x0C20, 511), tt.Long(0x0C05, 35), tt.Long(0x0C04, 1), tt.Text(0x0C21, "mx.fabrikam.com"),
				tt.Text(0x0C1B, "<mx.fabrikam.com #5.1.1 smtp;550 5.1.1 User unknown>")),
			recipient("David Alexander", "david@fabrikam.com", tt.Text(mapi.TagReportText, "552 5.2.2 mailbox\r\nfull")),
			{Props: *props(tt.Text(mapi.TagDisplayName, "Sales"))},
			recipient("Alex", "alex@fabrikam.com", tt.Text(0x0C1B, "<mx.fabrikam.com #5.1.1 smtp;550 5.1.1 Größe>")),
		},
	}
	got := groups(t, r.Status())
	want := []textproto.MIMEHeader{
		{"Reporting-Mta": {"dns;ex1.contoso.com"}, "Arrival-Date": {"Wed, 28 May 2025 07:15:00 +0000"}},
		{"Final-Recipient": {"rfc822; zoe@fabrikam.com"}, "Action": {"failed"}, "Status": {"5.1.1"}, "Remote-Mta": {"dns; mx.fabrikam.com"},
			"Diagnostic-Code": {"smtp;550 5.1.1 User unknown"}, "Last-Attempt-Date": {"Wed, 28 May 2025 07:16:00 +0000"},
			"X-Supplementary-Info": {"<mx.fabrikam.com #5.1.1 smtp;550 5.1.1 User unknown>"}, "X-Display-Name": {"=?utf-8?q?Zo=C3=AB_Kalbarczyk?="}},
		{"Final-Recipient": {"rfc822; david@fabrikam.com"}, "Action": {"failed"}, "Status": {"5.2.2"}, "Diagnostic-Code": {"smtp; 552 5.2.2 mailbox full"},
			"Last-Attempt-Date": {"Wed, 28 May 2025 07:16:00 +0000"}, "X-Display-Name": {"David Alexander"}},
		{"Final-Recipient": {"unknown; Sales"}, "Action": {"failed"}, "Status": {"5.0.0"}, "Last-Attempt-Date": {"Wed, 28 May 2025 07:16:00 +0000"}, "X-Display-Name": {"Sales"}},
		{"Final-Recipient": {"rfc822; alex@fabrikam.com"}, "Action": {"failed"}, "Status": {"5.1.1"}, "Diagnostic-Code": {"smtp;550 5.1.1 =?utf-8?q?Gr=C3=B6=C3=9Fe?="}, "Last-Attempt-Date": {"Wed, 28 May 2025 07:16:00 +0000"},
			"X-Supplementary-Info": {"=?utf-8?q?<mx.fabrikam.com_#5.1.1_smtp;550_5.1.1_Gr=C3=B6=C3=9Fe>?="}, "X-Display-Name": {"Alex"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	text := r.Text()
	for _, s := range []string{"could not be delivered on Wed, 28 May 2025 07:16:00 +0000", "Zoë Kalbarczyk <zoe@fabrikam.com>: 5.1.1", "552 5.2.2 mailbox full", "Sales: 5.0.0"} {
		if !strings.Contains(text, s) {
			t.Errorf("no %q in %q", s, text)
		}
	}
}

func TestStatus(t *testing.T) {
	for name, x := range map[string]struct {
		class string
		list  []mapi.Property
		want  string
	}{
		"kept":                 {"NDR", []mapi.Property{tt.Long(0x0C20, 547)}, "5.4.7"},
		"kept, of a success":   {"DR", []mapi.Property{tt.Long(0x0C20, 215)}, "2.1.5"},
		"kept, impossible":     {"NDR", []mapi.Property{tt.Long(0x0C20, 311), tt.Long(0x0C05, 3)}, "5.4.6"},
		"in a text":            {"NDR", []mapi.Property{tt.Text(0x0C1B, "#550 5.7.12 not allowed"), tt.Long(0x0C05, 35)}, "5.7.12"},
		"an address in a text": {"NDR", []mapi.Property{tt.Text(0x0C1B, "host 10.1.2.3 said 5.1"), tt.Long(0x0C05, 32)}, "5.1.3"},
		"unknown recipient":    {"NDR", []mapi.Property{tt.Long(0x0C05, 35)}, "5.1.1"},
		"not recognized":       {"NDR", []mapi.Property{tt.Long(0x0C05, 0)}, "5.1.1"},
		"too long":             {"NDR", []mapi.Property{tt.Long(0x0C05, 7)}, "5.2.3"},
		"reason":               {"NDR", []mapi.Property{tt.Long(0x0C05, -1), tt.Long(0x0C04, 5)}, "5.7.1"},
		"nothing":              {"NDR", nil, "5.0.0"},
		"delayed, with code":   {"Delayed.DR", []mapi.Property{tt.Long(0x0C05, 5)}, "4.4.7"},
		"delivered, with one":  {"DR", []mapi.Property{tt.Long(0x0C05, 35)}, "2.0.0"},
	} {
		r := &report.Report{Class: "REPORT.IPM.Note." + x.class, Props: props(), Recipients: []mapi.Recipient{recipient("", "david@fabrikam.com", x.list...)}}
		if got := groups(t, r.Status())[1].Get("Status"); got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

func TestReceipt(t *testing.T) {
	r := &report.Report{Class: "REPORT.IPM.Note.IPNRN", From: mapi.Mailbox{Name: "Zoë", Address: "zoe@fabrikam.com"}, Domain: "fabrikam.com", Props: props(
		tt.Text(0x1046, "<1@contoso.com>"), tt.Binary(mapi.TagParentKey, []byte{1, 2, 3}), tt.Text(0x0049, "Q3 figures"), tt.Text(0x0074, "Zoë"), sent,
		tt.Time(0x002A, time.Date(2025, 5, 28, 8, 0, 0, 0, time.UTC)))}
	want := "Reporting-UA: fabrikam.com\r\nFinal-Recipient: rfc822; zoe@fabrikam.com\r\nOriginal-Message-ID: <1@contoso.com>\r\n" +
		"Disposition: automatic-action/MDN-sent-automatically; displayed\r\nX-Display-Name: =?utf-8?q?Zo=C3=AB?=\r\nX-MSExch-Correlation-Key: AQID\r\n"
	if got := string(r.Status()); got != want {
		t.Errorf("%q", got)
	}
	wantText := "Your message\r\n\r\n  To: Zoë\r\n  Subject: Q3 figures\r\n  Sent: Wed, 28 May 2025 07:15:00 +0000\r\n\r\nwas read on Wed, 28 May 2025 08:00:00 +0000.\r\n"
	if got := r.Text(); got != wantText {
		t.Errorf("%q", got)
	}
}

func FuzzReport(f *testing.F) {
	f.Add("dns;x", "David\r\nX: y", "a@b", "<x #5.1.1 smtp;550\x00>", "552 full", int32(511), int32(3))
	f.Fuzz(func(t *testing.T, mta, name, address, info, text string, status, diag int32) {
		for _, class := range []string{"NDR", "DR", "Delayed.DR", "IPNRN"} {
			r := &report.Report{Class: "REPORT.IPM.Note." + class, Domain: mta, From: mapi.Mailbox{Name: name, Address: address},
				Props:      props(tt.Text(0x6820, mta), tt.Text(0x1046, info), tt.Text(0x0049, name)),
				Recipients: []mapi.Recipient{recipient(name, address, tt.Text(0x0C21, mta), tt.Text(0x0C1B, info), tt.Text(mapi.TagReportText, text), tt.Long(0x0C20, status), tt.Long(0x0C05, diag))}}
			want := 2
			if class == "IPNRN" {
				want = 1
			}
			if n := len(groups(t, r.Status())); n != want {
				t.Errorf("%s: %d groups of fields in %q", class, n, r.Status())
			}
			if strings.Contains(strings.ReplaceAll(r.Text(), "\r\n", ""), "\n") {
				t.Errorf("%q", r.Text())
			}
		}
	})
}

// TestDiagnosticCodes: every code that MAPI has becomes a status of RFC 3463, and those that Exchange makes of a status ([MS-OXCMAIL] 2.2.3.7.1.3) become
// it again.
func TestDiagnosticCodes(t *testing.T) {
	back := map[int32]string{1: "5.1.4", 13: "5.2.3", 30: "5.2.4", 32: "5.1.3", 35: "5.1.1", 38: "5.2.1", 40: "5.1.6", 48: "5.1.2", -1: "5.0.0", 49: "5.0.0", 1000: "5.0.0"}
	for code := int32(-1); code <= 50; code++ {
		r := &report.Report{Class: "REPORT.IPM.Note.NDR", Props: &mapi.Props{},
			Recipients: []mapi.Recipient{recipient("Nobody", "nobody@fabrikam.com", tt.Long(0x0C05, code))}}
		status := regexp.MustCompile(`(?m)^Status: (5\.[0-7]\.[0-9])\r$`).FindSubmatch(r.Status())
		switch want, known := back[code]; {
		case status == nil:
			t.Errorf("code %d: %s", code, r.Status())
		case known && string(status[1]) != want:
			t.Errorf("code %d: %s, want %s", code, status[1], want)
		case code >= 0 && code <= 48 && string(status[1]) == "5.0.0":
			t.Errorf("code %d says nothing", code)
		}
	}
}
