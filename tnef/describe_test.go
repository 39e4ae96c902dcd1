package tnef_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// withoutBody takes the body out of a stream.
func withoutBody(s *tneftest.Stream) *tneftest.Stream {
	s.Props = slices.DeleteFunc(s.Props, func(p mapi.Property) bool { return p.ID == mapi.TagBody && p.Name.Set == mapi.GUID{} })
	return s
}

func journalStream(more ...mapi.Property) *tneftest.Stream {
	prop := func(lid uint32, p mapi.Property) mapi.Property { return tneftest.Named(mapi.SetLog, lid, p) }
	return &tneftest.Stream{Class: "IPM.Activity", Props: append(more, tneftest.Text(mapi.TagSubject, "Call Kim"), prop(0x8700, tneftest.Text(0, "Phone call")),
		prop(0x8706, tneftest.Time(0, moment("2025-06-03 08:00"))), prop(0x8707, tneftest.Long(0, 15)))}
}

// TestDescribed: a message without a body says in words what it is about, whether it is a bare stream, a whole message, or beside a blank text;
// what somebody wrote beside it is left.
func TestDescribed(t *testing.T) {
	const meeting = "When: Tuesday, 3 June 2025, 10:00 - 11:30 (Europe/Berlin)\r\nWhere: Room 7/1\r\n"
	identity := &tneftest.Stream{Class: "IPM.Task", Props: []mapi.Property{
		tneftest.Text(mapi.TagSubject, "Write the report"), tneftest.Named(mapi.SetTask, 0x8105, tneftest.Time(0, moment("2025-06-06 00:00"))),
	}}
	tests := []struct {
		name, shape, text string
		stream            *tneftest.Stream
	}{
		{"request", "alternative(text/plain,text/calendar)", "Subject: Planning\r\n" + meeting + "Organizer: Kim Akers\r\n", withoutBody(meetingStream("IPM.Schedule.Meeting.Request"))},
		{"cancellation", "alternative(text/plain,text/calendar)", "Cancelled: Planning\r\n" + meeting, withoutBody(meetingStream("IPM.Schedule.Meeting.Canceled"))},
		{"answer", "alternative(text/plain,text/calendar)", "Declined: Planning\r\n" + meeting, withoutBody(meetingStream("IPM.Schedule.Meeting.Resp.Neg"))},
		{"forward notification", "text/plain", "Subject: Planning\r\n" + meeting, withoutBody(meetingStream("IPM.Schedule.Meeting.Notification.Forward"))},
		{"task", "alternative(text/plain,text/calendar)", "Task: Write the report\r\nDue: Friday, 6 June 2025\r\n", withoutBody(taskStream("IPM.Task"))},
		{"task without identity", "alternative(text/plain,text/calendar)", "Task: Write the report\r\nDue: Friday, 6 June 2025\r\n", identity},
		{"contact", "mixed(text/plain,text/vcard[Kim Akers.vcf])", "Kim Akers\r\nE-mail: kim@contoso.com\r\n", withoutBody(contactStream())},
		{"journal", "text/plain", "Subject: Call Kim\r\nEntry type: Phone call\r\nStart: Tuesday, 3 June 2025, 08:00 (UTC)\r\nDuration: 15 minutes\r\n", journalStream()},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			stream := x.stream.Bytes()
			var bare bytes.Buffer
			if _, err := tnef.ConvertStream(&bare, stream, nil); err != nil {
				t.Fatal(err)
			}
			whole, _, _ := convert(t, tneftest.Whole(header, stream))
			blank, _, _ := convert(t, tneftest.Wrap(header, " \r\n", stream))
			for form, p := range map[string]*parsedPart{"bare": parseMessage(t, bare.Bytes()), "whole": whole, "beside a blank text": blank} {
				if got := p.shape(); got != x.shape {
					t.Errorf("%s: shape %s, want %s", form, got, x.shape)
				}
				if got := string(p.find("text/plain").Content); !strings.HasPrefix(got, x.text) {
					t.Errorf("%s: text %q, want %q", form, got, x.text)
				}
			}
			if x.name == "journal" {
				return // its text is content, not made up
			}
			written, _, _ := convert(t, tneftest.Wrap(header, "See you there", stream))
			if got, text := written.shape(), string(written.find("text/plain").Content); got != x.shape || strings.TrimSpace(text) != "See you there" {
				t.Errorf("beside a text: shape %s, text %q", got, text)
			}
		})
	}
	p, _, _ := convert(t, tneftest.Wrap(header, "Hello from Outlook", journalStream(tneftest.Text(mapi.TagBody, "Hello from Outlook")).Bytes()))
	if got := string(p.find("text/plain").Content); !strings.HasPrefix(got, "Hello from Outlook\r\n\r\nEntry type: Phone call\r\n") {
		t.Errorf("journal with a body: %q", got)
	}
}

// TestMissingFields: the stream supplies what the header has not, and changes nothing that is there; a stream that belongs to another message supplies
// nothing.
func TestMissingFields(t *testing.T) {
	stream := (&tneftest.Stream{
		Props: append(fromKim(), tneftest.Text(mapi.TagBody, "Hello"), tneftest.Text(mapi.TagSubject, "From the stream"), tneftest.Long(mapi.TagImportance, 2),
			tneftest.Long(mapi.TagSensitivity, 3), tneftest.Text(mapi.TagInReplyToID, "<0@contoso.com>"), tneftest.Text(mapi.TagInternetMessageID, "<stream@contoso.com>"),
			tneftest.Binary(mapi.TagTnefCorrelationKey, []byte("<stream@contoso.com>\x00"))),
		Attachments: []tneftest.Attachment{{Title: "a.pdf", Data: []byte("%PDF-1.4")}},
	}).Bytes()
	const given = "From: David Alexander <david@fabrikam.com>\r\nSensitivity:  Personal\r\nX-Priority: 5\r\n"
	_, out, _ := convert(t, tneftest.Wrap(given, "Hello", stream))
	head, _, _ := strings.Cut(out, "\r\n\r\n")
	for _, want := range []string{given, "Subject: From the stream\r\n", "In-Reply-To: <0@contoso.com>\r\n", "Message-ID: <stream@contoso.com>\r\n"} {
		if strings.Count(head, want) != 1 {
			t.Errorf("no %q in\n%s", want, head)
		}
	}
	for _, not := range []string{"kim@contoso.com", "Importance", "X-Priority: 1", "Company-Confidential"} {
		if strings.Contains(head, not) {
			t.Errorf("%q in\n%s", not, head)
		}
	}
	_, out, _ = convert(t, tneftest.Wrap("From: David Alexander <david@fabrikam.com>\r\nX-MS-TNEF-Correlator: <other@contoso.com>\r\n", "Hello", stream))
	if head, _, _ = strings.Cut(out, "\r\n\r\n"); strings.Contains(head, "From the stream") || strings.Contains(head, "Importance") {
		t.Errorf("fields of another message in\n%s", head)
	}
}

// TestAddresses: what stands between angle brackets is an address of RFC 5322, in US-ASCII; what can't be one is told as a name that nobody can answer.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct{ name, address, want string }{
		{"Bob", "bob@contoso.com", "Bob <bob@contoso.com>"},
		{"Bob", "o'brien/x=1?@contoso.com", "Bob <o'brien/x=1?@contoso.com>"},
		{"Bob", "a..b@contoso.com", `Bob <"a..b"@contoso.com>`},
		{"Bob", ".a@contoso.com", `Bob <".a"@contoso.com>`},
		{"Bob", "a@b@contoso.com", `Bob <"a@b"@contoso.com>`},
		{"Bob", `"b o b"@contoso.com`, `Bob <"b o b"@contoso.com>`},
		{"Bob", "b o b@contoso.com", `Bob <"b o b"@contoso.com>`},
		{"Bob", "bob@[192.0.2.1]", "Bob <bob@[192.0.2.1]>"},
		{"Bob", "bob@b\u00fccher.example", "Bob <bob@xn--bcher-kva.example>"},
		{"Bob", "bob@contoso..com", `"Bob (bob@contoso..com)":;`},
		{"", "\u7528\u6237@contoso.com", "=?utf-8?B?55So5oi3QGNvbnRvc28uY29t?=:;"},
	} {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp}, Recipients: [][]mapi.Property{tneftest.Recipient(1, tt.name, tt.address)}}
		var out bytes.Buffer
		if _, err := tnef.ConvertStream(&out, s.Bytes(), nil); err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(out.String(), "\r\n\r\n")
		if !strings.Contains(head, "To: "+tt.want+"\r\n") {
			t.Errorf("%s: want %s in\n%s", tt.address, tt.want, head)
		}
	}
}

// TestMessageIDs: brackets that got lost are put back.
func TestMessageIDs(t *testing.T) {
	for _, id := range []string{"<1@contoso.com>", "<1@contoso.com", "1@contoso.com", " <1@contoso.com> <2@contoso.com>"} {
		s := tneftest.Stream{Codepage: 1252, Props: []mapi.Property{textProp, tneftest.Text(mapi.TagInternetMessageID, id)}}
		var out bytes.Buffer
		if _, err := tnef.ConvertStream(&out, s.Bytes(), nil); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "Message-ID: <1@contoso.com>\r\n") {
			t.Errorf("%q: %s", id, out.String())
		}
	}
}
