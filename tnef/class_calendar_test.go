package tnef_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func TestMeetingMessages(t *testing.T) {
	tests := []struct{ class, method, partStat string }{
		{"IPM.Schedule.Meeting.Request", "REQUEST", ""},
		{"IPM.Microsoft Schedule.MtgReq", "REQUEST", ""},
		{"IPM.Schedule.Meeting.Canceled", "CANCEL", ""},
		{"IPM.Microsoft Schedule.MtgCncl", "CANCEL", ""},
		{"IPM.Schedule.Meeting.Resp.Pos", "REPLY", "ACCEPTED"},
		{"IPM.Microsoft Schedule.MtgRespP", "REPLY", "ACCEPTED"},
		{"IPM.Schedule.Meeting.Resp.Tent", "REPLY", "TENTATIVE"},
		{"IPM.Schedule.Meeting.Resp.Neg", "REPLY", "DECLINED"},
		{"IPM.Appointment", "PUBLISH", ""},
	}
	for _, x := range tests {
		t.Run(x.class, func(t *testing.T) {
			s := meetingStream(x.class)
			p, out, r := convert(t, tneftest.Wrap(header, "When: Tuesday\r\nHello from Outlook", s.Bytes()))
			if got := p.shape(); got != "alternative(text/plain,text/calendar)" {
				t.Errorf("shape %s\n%s", got, out)
			}
			ics := p.find("text/calendar")
			if ics.Params["method"] != x.method || ics.Params["charset"] != "utf-8" || ics.Disp != "" {
				t.Errorf("Content-Type parameters %v, disposition %q", ics.Params, ics.Disp)
			}
			lines := calendartest.Check(t, ics.Content)
			if m := calendartest.Find(lines, "VCALENDAR", "METHOD"); m[0].Value != x.method {
				t.Errorf("METHOD:%s in a part with method=%s", m[0].Value, ics.Params["method"])
			}
			if a := calendartest.Find(lines, "VCALENDAR/VEVENT", "ATTENDEE"); x.partStat != "" && (len(a) != 1 || a[0].Params["PARTSTAT"] != x.partStat || a[0].Value != "mailto:kim@contoso.com") {
				t.Errorf("attendees %v", a)
			}
			wantEvents := 1
			if x.method == "REQUEST" || x.method == "PUBLISH" {
				wantEvents = 2
				for _, want := range []string{"Only this time", "Planning\\, moved", "RECURRENCE-ID;TZID=Europe/Berlin:20250617T100000", "EXDATE;TZID=Europe/Berlin:20250610T100000"} {
					if !bytes.Contains(ics.Content, []byte(want)) {
						t.Errorf("no %q in\n%s", want, ics.Content)
					}
				}
			}
			if n := bytes.Count(ics.Content, []byte("BEGIN:VEVENT")); n != wantEvents {
				t.Errorf("%d events, want %d", n, wantEvents)
			}
			if len(r.Warnings) > 0 {
				t.Errorf("warnings %q", r.Warnings)
			}
		})
	}
}

func TestMeetingWithFileAndHTML(t *testing.T) {
	s := meetingStream("IPM.Schedule.Meeting.Request", tneftest.Binary(mapi.TagHTML, []byte("<html><body>When: <b>Tuesday</b> Hello from Outlook</body></html>")))
	s.Attachments = append(s.Attachments, tneftest.Attachment{Title: "agenda.pdf", Data: []byte("%PDF-1.4")})
	p, out, _ := convert(t, tneftest.Wrap(header, "When: Tuesday\r\nHello from Outlook", s.Bytes()))
	if got, want := p.shape(), "mixed(alternative(text/plain,text/html,text/calendar),application/pdf[agenda.pdf])"; got != want {
		t.Errorf("shape %s, want %s\n%s", got, want, out)
	}
	calendartest.Check(t, p.find("text/calendar").Content)
}

// TestMeetingAttached: a request that is attached stays a message, with its calendar; an appointment becomes a file, unless it has files itself.
func TestMeetingAttached(t *testing.T) {
	attach := func(s *tneftest.Stream) *parsedPart {
		outer := tneftest.Stream{Props: []mapi.Property{tneftest.Text(mapi.TagBody, "Hello from Outlook")},
			Attachments: []tneftest.Attachment{{Message: s, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5)}}}}
		p, _, _ := convert(t, tneftest.Wrap(header, "Hello from Outlook", outer.Bytes()))
		return p
	}
	withFile := meetingStream("IPM.Appointment")
	withFile.Attachments = append(withFile.Attachments, tneftest.Attachment{Title: "a.pdf", Data: []byte("%PDF-1.4")})
	for _, x := range []struct {
		s    *tneftest.Stream
		want string
	}{
		{meetingStream("IPM.Schedule.Meeting.Request"), "mixed(text/plain,message/rfc822[Planning.eml](alternative(text/plain,text/calendar)))"},
		{meetingStream("IPM.Appointment"), "mixed(text/plain,text/calendar[Planning.ics])"},
		{withFile, "mixed(text/plain,message/rfc822[Planning.eml](mixed(alternative(text/plain,text/calendar),application/pdf[a.pdf])))"},
		{taskStream("IPM.Task"), "mixed(text/plain,text/calendar[Write the report.ics])"},
	} {
		p := attach(x.s)
		if got := p.shape(); got != x.want {
			t.Errorf("%s: shape %s, want %s", x.s.Class, got, x.want)
		}
		calendartest.Check(t, p.find("text/calendar").Content)
	}
}

func taskStream(class string) *tneftest.Stream {
	return &tneftest.Stream{Class: class, Props: append(fromKim(),
		tneftest.Text(mapi.TagSubject, "Write the report"), tneftest.Text(mapi.TagBody, "By Friday"), tneftest.Named(mapi.SetCommon, 0x8519, tneftest.Binary(0, []byte("0123456789ABCDEF"))),
		tneftest.Named(mapi.SetTask, 0x8105, tneftest.Time(0, moment("2025-06-06 00:00"))),
	)}
}

func TestTaskRequest(t *testing.T) {
	for class, want := range map[string]string{
		"IPM.TaskRequest": "REQUEST", "IPM.TaskRequest.Accept": "REPLY", "IPM.TaskRequest.Decline": "REPLY", "IPM.TaskRequest.Update": "REPLY", "IPM.Task": "PUBLISH",
	} {
		t.Run(class, func(t *testing.T) {
			s := taskStream(class)
			if class != "IPM.Task" {
				s = &tneftest.Stream{Class: class, Props: append(fromKim(), tneftest.Text(mapi.TagSubject, "Task Request: Write the report"), tneftest.Text(mapi.TagBody, "By Friday"))}
				s.Attachments = []tneftest.Attachment{{Message: taskStream("IPM.Task"), Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5)}}}
			}
			s.Recipients = [][]mapi.Property{row(1, "David Alexander", "david@fabrikam.com")}
			p, out, _ := convert(t, tneftest.Wrap(header, "By Friday", s.Bytes()))
			if got := p.shape(); got != "alternative(text/plain,text/calendar)" {
				t.Errorf("shape %s\n%s", got, out)
			}
			ics := p.find("text/calendar")
			lines := calendartest.Check(t, ics.Content)
			if ics.Params["method"] != want || ics.Params["component"] != "VTODO" || calendartest.Value(lines, "DUE") != "20250606" || calendartest.Value(lines, "UID") != "30313233343536373839414243444546" {
				t.Errorf("%v\n%s", ics.Params, ics.Content)
			}
		})
	}
}

// TestMeetingWithoutTime: what iCalendar can't say stays mail, and nothing is lost.
func TestMeetingWithoutTime(t *testing.T) {
	s := tneftest.Stream{Class: "IPM.Schedule.Meeting.Request", Props: []mapi.Property{tneftest.Text(mapi.TagBody, "Hello from Outlook")}}
	p, _, r := convert(t, tneftest.Wrap(header, "Hello from Outlook", s.Bytes()))
	if p.shape() != "text/plain" || len(r.Warnings) != 1 {
		t.Errorf("shape %s, warnings %q", p.shape(), r.Warnings)
	}
	s.Class = "IPM.Schedule.Meeting.Notification.Forward"
	p, _, r = convert(t, tneftest.Wrap(header, "Hello from Outlook", s.Bytes()))
	if p.shape() != "text/plain" || len(r.Warnings) != 0 {
		t.Errorf("notification: shape %s, warnings %q", p.shape(), r.Warnings)
	}
}

// TestMeetingHeaderAddresses: without SMTP addresses in the properties, those of the header that came with the message are used.
func TestMeetingHeaderAddresses(t *testing.T) {
	s := meetingStream("IPM.Schedule.Meeting.Request")
	var list []mapi.Property
	for _, p := range s.Props {
		switch p.ID {
		case mapi.TagSentRepresentingEmailAddress, mapi.TagSenderEmailAddress:
			p.Value = "/O=CONTOSO/OU=EXCHANGE/CN=RECIPIENTS/CN=KIM"
		case mapi.TagSentRepresentingAddressType, mapi.TagSenderAddressType:
			p.Value = "EX"
		case mapi.TagSubject:
			continue
		}
		list = append(list, p)
	}
	s.Props = append(list, tneftest.Text(mapi.TagTransportMessageHeaders,
		"From: =?windows-1251?q?=CA=E8=EC?= <kim@contoso.com>\r\nTo: \"David Alexander\" <david@fabrikam.com>,\r\n\tjossef@contoso.com\r\nCc: (malformed\r\nSubject: =?utf-8?b?UGxhbnVuZywgR3LDtsOfZQ==?=\r\n\r\n"))
	s.Recipients = nil
	p, _, _ := convert(t, tneftest.Wrap(header, "When: Tuesday\r\nHello from Outlook", s.Bytes()))
	ics := p.find("text/calendar").Content
	lines := calendartest.Check(t, ics)
	if o := calendartest.Find(lines, "VCALENDAR/VEVENT", "ORGANIZER"); len(o) == 0 || o[0].Value != "mailto:kim@contoso.com" || o[0].Params["CN"] != "Ким" {
		t.Errorf("organizer %v", o)
	}
	if got := calendartest.Value(lines, "SUMMARY"); got != `Planung\, Größe` {
		t.Errorf("SUMMARY %s", got)
	}
	if n := len(calendartest.Find(lines, "VCALENDAR/VEVENT", "ATTENDEE")); n != 4 { // two in each event
		t.Errorf("%d attendees\n%s", n, ics)
	}
}

var calendarPart = regexp.MustCompile(`^text/(calendar|vcard)$`)

// parts calls f with every part of those types.
func (p *parsedPart) parts(f func(*parsedPart)) {
	if calendarPart.MatchString(p.Type) {
		f(p)
	}
	for _, c := range p.Children {
		c.parts(f)
	}
}

// TestCorpusCalendars: what the real samples give is sound, and is read by the parsers of other projects.
func TestCorpusCalendars(t *testing.T) {
	objects := map[string][]byte{}
	cards := 0
	corpus(t, func(name string, data []byte) {
		if !tnef.IsTNEF(data) {
			return
		}
		var out bytes.Buffer
		if _, err := tnef.ConvertStream(&out, data, nil); errors.Is(err, tnef.ErrEmpty) {
			return
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		parseMessage(t, out.Bytes()).parts(func(p *parsedPart) {
			if p.Type == "text/vcard" {
				cards++
				calendartest.Parse(t, p.Content)
				return
			}
			calendartest.Check(t, p.Content)
			objects[fmt.Sprintf("%03d.ics", len(objects))] = p.Content
			t.Logf("%s: %s", name, strings.Join(calendarSummary(p.Content), " "))
		})
	})
	t.Logf("%d calendar objects, %d vCards", len(objects), cards)
	if len(objects) == 0 {
		t.Fatal("the samples have no calendar object: the test is void")
	}
	calendartest.Run(t, objects, func(t *testing.T, _, name string, f calendartest.Found) {
		if f.Events+f.Todos == 0 {
			t.Errorf("%s: nothing found", name)
		}
	})
}

func calendarSummary(data []byte) []string {
	var list []string
	for _, l := range strings.Split(string(data), "\r\n") {
		for _, p := range []string{"METHOD", "DTSTART", "RRULE", "ORGANIZER", "STATUS"} {
			if strings.HasPrefix(l, p) && !strings.Contains(l, "1601") && !strings.Contains(l, "1970") {
				list = append(list, l)
			}
		}
	}
	return list
}
