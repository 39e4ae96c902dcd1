package tnef_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net/textproto"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func contactStream(more ...tneftest.Attachment) *tneftest.Stream {
	return &tneftest.Stream{Class: "IPM.Contact", Attachments: more, Props: []mapi.Property{
		tneftest.Text(mapi.TagDisplayName, "Kim Akers"), tneftest.Text(0x3A06, "Kim"), tneftest.Text(0x3A11, "Akers"), tneftest.Text(mapi.TagBody, "Hello from Outlook"),
		tneftest.Named(mapi.SetAddress, 0x8082, tneftest.Text(0, "SMTP")), tneftest.Named(mapi.SetAddress, 0x8083, tneftest.Text(0, "kim@contoso.com")),
	}}
}

func photo(more ...mapi.Property) tneftest.Attachment {
	return tneftest.Attachment{Title: "ContactPicture.jpg", Data: []byte("\xFF\xD8\xFF picture"), Props: append(more, tneftest.Bool(mapi.TagAttachmentContactPhoto, true))}
}

// listStream is a distribution list with one member with an address, and one without.
func listStream() *tneftest.Stream {
	entry := func(list ...string) []byte {
		b := append(make([]byte, 4), "\x81\x2b\x1f\xa4\xbe\xa3\x10\x19\x9d\x6e\x00\xdd\x01\x0f\x54\x02\x00\x00\x01\x90"...)
		for _, s := range list {
			for _, u := range append(utf16.Encode([]rune(s)), 0) {
				b = binary.LittleEndian.AppendUint16(b, u)
			}
		}
		return b
	}
	members := mapi.Property{Type: mapi.TypeBinary, Multi: true, Value: []any{entry("Zoë Kalbarczyk", "SMTP", "zoe@fabrikam.com"), entry("David <&> Alexander", "EX", "/o=x")}}
	return &tneftest.Stream{Class: "IPM.DistList", Props: []mapi.Property{
		tneftest.Text(mapi.TagDisplayName, "Contoso team"), tneftest.Binary(mapi.TagHTML, []byte("<html><body>Hello from Outlook</body></html>")),
		tneftest.Named(mapi.SetAddress, 0x8054, members),
	}}
}

func attachedTo(t *testing.T, s *tneftest.Stream) (*parsedPart, string) {
	t.Helper()
	outer := tneftest.Stream{Props: []mapi.Property{tneftest.Text(mapi.TagBody, "Hello from Outlook")},
		Attachments: []tneftest.Attachment{{Message: s, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5)}}}}
	p, out, _ := convert(t, tneftest.Wrap(header, "Hello from Outlook", outer.Bytes()))
	return p, out
}

func TestContacts(t *testing.T) {
	file := tneftest.Attachment{Title: "cv.pdf", Data: []byte("%PDF-1.4")}
	for _, x := range []struct {
		s    *tneftest.Stream
		want string
	}{
		{contactStream(), "mixed(text/plain,text/vcard[Kim Akers.vcf])"},
		{contactStream(photo(tneftest.Bool(mapi.TagAttachmentHidden, true))), "mixed(text/plain,text/vcard[Kim Akers.vcf])"},
		{contactStream(photo()), "mixed(text/plain,text/vcard[Kim Akers.vcf])"},
		{contactStream(file), "mixed(text/plain,message/rfc822[message1.eml](mixed(text/plain,application/pdf[cv.pdf],text/vcard[Kim Akers.vcf])))"},
		{listStream(), "mixed(text/plain,text/vcard[Contoso team.vcf])"},
	} {
		p, out := attachedTo(t, x.s)
		if got := p.shape(); got != x.want {
			t.Errorf("shape %s, want %s\n%s", got, x.want, out)
		}
		card := p.find("text/vcard")
		lines := calendartest.Parse(t, card.Content)
		if card.Params["charset"] != "utf-8" || card.Disp != "attachment" || len(calendartest.Find(lines, "VCARD", "FN")) != 1 {
			t.Errorf("%+v\n%s", card.Header, card.Content)
		}
		hasPhoto := len(calendartest.Find(lines, "VCARD", "PHOTO")) == 1
		if wantPhoto := len(x.s.Attachments) == 1 && x.s.Attachments[0].Title == "ContactPicture.jpg"; hasPhoto != wantPhoto {
			t.Errorf("photo: %v, want %v\n%s", hasPhoto, wantPhoto, card.Content)
		}
	}
	p, out, _ := convert(t, tneftest.Wrap(header, "Hello from Outlook", contactStream().Bytes()))
	if got := p.shape(); got != "mixed(text/plain,text/vcard[Kim Akers.vcf])" {
		t.Errorf("a contact as a message: shape %s\n%s", got, out)
	}
}

func TestListMessage(t *testing.T) {
	p, out, _ := convert(t, tneftest.Wrap(header, "Hello from Outlook", listStream().Bytes()))
	if got := p.shape(); got != "mixed(alternative(text/plain,text/html),text/vcard[Contoso team.vcf])" {
		t.Errorf("shape %s\n%s", got, out)
	}
	if text := string(p.find("text/plain").Content); !strings.Contains(text, "Hello from Outlook\r\n\r\nContoso team:\r\n- Zoë Kalbarczyk <zoe@fabrikam.com>\r\n- David <&> Alexander\r\n") {
		t.Errorf("text %q", text)
	}
	if page := string(p.find("text/html").Content); !strings.Contains(page, "- David &lt;&amp;&gt; Alexander</p></body></html>") {
		t.Errorf("html %q", page)
	}
}

func TestReports(t *testing.T) {
	rcpt := row(1, "David Alexander", "david@fabrikam.com", tneftest.Long(0x0C20, 511), tneftest.Text(0x0C21, "mx.fabrikam.com"))
	original := tneftest.Attachment{Message: &tneftest.Stream{Class: "IPM.Note", Props: []mapi.Property{tneftest.Text(mapi.TagSubject, "Q3 figures"), tneftest.Text(mapi.TagBody, "Figures")}},
		Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5)}}
	file := tneftest.Attachment{Title: "log.txt", Data: []byte("log")}
	tests := []struct {
		name, class string
		body        bool
		attachments []tneftest.Attachment
		shape       string
		reportType  string
		field, want string // of the last group of fields
	}{
		{"NDR", "REPORT.IPM.Note.NDR", true, []tneftest.Attachment{original}, "report(text/plain,message/delivery-status,message/rfc822[Q3 figures.eml](text/plain))", "delivery-status", "Status", "5.1.1"},
		{"NDR without text", "REPORT.IPM.Note.NDR", false, nil, "report(text/plain,message/delivery-status)", "delivery-status", "Action", "failed"},
		{"NDR with a file", "REPORT.IPM.Note.NDR", true, []tneftest.Attachment{original, file},
			"mixed(report(text/plain,message/delivery-status,message/rfc822[Q3 figures.eml](text/plain)),text/plain[log.txt])", "delivery-status", "Remote-MTA", "dns; mx.fabrikam.com"},
		{"NDR with two messages", "REPORT.IPM.Note.NDR", true, []tneftest.Attachment{original, original},
			"mixed(report(text/plain,message/delivery-status,message/rfc822[Q3 figures.eml](text/plain)),message/rfc822[Q3 figures.eml](text/plain))", "delivery-status", "Action", "failed"},
		{"old NDR", "IPM.Microsoft Mail.Non-Delivery", true, nil, "report(text/plain,message/delivery-status)", "delivery-status", "Action", "failed"},
		{"DR", "REPORT.IPM.Note.DR", true, nil, "report(text/plain,message/delivery-status)", "delivery-status", "Action", "delivered"},
		{"delayed", "REPORT.IPM.Note.Delayed.DR", true, nil, "report(text/plain,message/delivery-status)", "delivery-status", "Action", "delayed"},
		{"read", "REPORT.IPM.Note.IPNRN", false, nil, "report(text/plain,message/disposition-notification)", "disposition-notification", "Final-Recipient", "rfc822; kim@contoso.com"},
		{"old read", "IPM.Microsoft Mail.Read Receipt", false, nil, "report(text/plain,message/disposition-notification)", "disposition-notification", "Disposition", "automatic-action/MDN-sent-automatically; displayed"},
		{"not read", "REPORT.IPM.Note.IPNNRN", true, nil, "report(text/plain,message/disposition-notification)", "disposition-notification", "Disposition", "automatic-action/MDN-sent-automatically; deleted"},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			s := tneftest.Stream{Class: x.class, Recipients: [][]mapi.Property{rcpt}, Attachments: x.attachments, Props: append(fromKim(), tneftest.Text(0x0049, "Q3 figures"))}
			if x.body {
				s.Props = append(s.Props, tneftest.Text(mapi.TagBody, "Hello from Outlook"))
			}
			for _, msg := range [][]byte{tneftest.Wrap(header, "Hello from Outlook", s.Bytes()), tneftest.Whole(header, s.Bytes())} {
				p, out, _ := convert(t, msg)
				if got := p.shape(); got != x.shape {
					t.Errorf("shape %s, want %s\n%s", got, x.shape, out)
				}
				if r := p.find("multipart/report"); r.Params["report-type"] != x.reportType {
					t.Errorf("report-type %q", r.Params["report-type"])
				}
				part := p.find("message/" + x.reportType)
				if part.Encoding != "" && part.Encoding != "7bit" { // RFC 3464 2.1, RFC 8098 3.1
					t.Errorf("encoding %q", part.Encoding)
				}
				if got := lastFields(t, part.Content).Get(x.field); got != x.want {
					t.Errorf("%s: %q, want %q in\n%s", x.field, got, x.want, part.Content)
				}
				if text := string(p.find("text/plain").Content); !strings.Contains(text, "Hello from Outlook") && !strings.Contains(text, "Subject: Q3 figures") {
					t.Errorf("text %q", text)
				}
			}
		})
	}
}

func lastFields(t *testing.T, b []byte) textproto.MIMEHeader {
	t.Helper()
	groups := strings.Split(strings.TrimRight(string(b), "\r\n"), "\r\n\r\n")
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(groups[len(groups)-1] + "\r\n\r\n"))).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// verbStream encodes PidLidVerbStream with voting options, and the reply verb that Outlook adds.
func verbStream(options ...string) []byte {
	var b, wide bytes.Buffer
	u32 := func(list ...uint32) {
		for _, v := range list {
			b.Write(binary.LittleEndian.AppendUint32(nil, v))
		}
	}
	str := func(s string) { b.WriteByte(byte(len(s))); b.WriteString(s) }
	b.Write([]byte{2, 1})
	u32(uint32(len(options) + 1))
	for i, o := range append([]string{"Reply"}, options...) {
		verb, narrow := uint32(4), strings.Map(func(r rune) rune { return min(r, 0x7e) }, o)
		if i == 0 {
			verb = 102
		}
		u32(verb)
		str(narrow)
		str("IPM.Note")
		str("")
		str(narrow)
		u32(0)
		b.WriteByte(0)
		u32(0, 1, 2, 2, uint32(i), 0xFFFFFFFF)
		for range 2 {
			u := utf16.Encode([]rune(o))
			wide.WriteByte(byte(len(u)))
			for _, c := range u {
				wide.Write(binary.LittleEndian.AppendUint16(nil, c))
			}
		}
	}
	b.Write([]byte{4, 1})
	b.Write(wide.Bytes())
	return b.Bytes()
}

func TestVoting(t *testing.T) {
	verbs := verbStream("Approve", "Für Größe & <mehr>")
	message := func(v []byte) (*parsedPart, string) {
		s := tneftest.Stream{Class: "IPM.Note", Props: []mapi.Property{tneftest.Text(mapi.TagBody, "Hello from Outlook"),
			tneftest.Binary(mapi.TagHTML, []byte("<html><body>Hello from Outlook</body></html>")), tneftest.Named(mapi.SetCommon, 0x8520, tneftest.Binary(0, v))}}
		p, out, _ := convert(t, tneftest.Wrap(header, "Hello from Outlook", s.Bytes()))
		return p, out
	}
	p, out := message(verbs)
	if text := string(p.find("text/plain").Content); text != "Hello from Outlook\r\n\r\nReply with one of: Approve; Für Größe & <mehr>\r\n" {
		t.Errorf("text %q", text)
	}
	if page := string(p.find("text/html").Content); !strings.Contains(page, "<p>Reply with one of: Approve; Für Größe &amp; &lt;mehr&gt;</p></body></html>") {
		t.Errorf("html %q\n%s", page, out)
	}
	for n := range verbs { // cut off anywhere: what is there, or nothing
		p, _ := message(verbs[:n])
		if text := string(p.find("text/plain").Content); !strings.HasPrefix(text, "Hello from Outlook") || strings.Contains(text, "Reply with one of: ;") {
			t.Errorf("%d octets: %q", n, text)
		}
	}
	p, _ = message(verbStream())
	if text := string(p.find("text/plain").Content); strings.Contains(text, "Reply") {
		t.Errorf("no options: %q", text)
	}
}

// TestTextClasses: notes, journal entries and posts are mail with their text.
func TestTextClasses(t *testing.T) {
	for _, class := range []string{"IPM.StickyNote", "IPM.Activity", "IPM.Post", "IPM.Document.txt", "IPM.Contoso.Unknown", "Contoso"} {
		s := tneftest.Stream{Class: class, Props: []mapi.Property{tneftest.Text(mapi.TagBody, "Hello from Outlook")}}
		p, _, _ := convert(t, tneftest.Wrap(header, "Hello from Outlook", s.Bytes()))
		if p.shape() != "text/plain" || string(p.Content) != "Hello from Outlook" && string(p.Content) != "Hello from Outlook\r\n" {
			t.Errorf("%s: %s %q", class, p.shape(), p.Content)
		}
	}
}
