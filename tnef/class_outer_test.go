package tnef_test

import (
	"testing"

	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// TestMeetingOuterHeader: what the properties lack is taken from the header of the message around.
func TestMeetingOuterHeader(t *testing.T) {
	s := meetingStream("IPM.Schedule.Meeting.Request")
	var list []mapi.Property
	for _, p := range s.Props {
		switch p.ID {
		case mapi.TagSentRepresentingEmailAddress, mapi.TagSentRepresentingAddressType, mapi.TagSenderEmailAddress, mapi.TagSenderAddressType:
		default:
			list = append(list, p)
		}
	}
	s.Props, s.Recipients = list, nil
	p, _, _ := convert(t, tneftest.Wrap(header, "When: Tuesday\r\nHello from Outlook", s.Bytes()))
	lines := calendartest.Check(t, p.find("text/calendar").Content)
	o, a := calendartest.Find(lines, "VCALENDAR/VEVENT", "ORGANIZER"), calendartest.Find(lines, "VCALENDAR/VEVENT", "ATTENDEE")
	if len(o) != 2 || o[0].Value != "mailto:kim@contoso.com" || len(a) != 2 || a[0].Value != "mailto:david@fabrikam.com" {
		t.Errorf("organizer %v, attendees %v", o, a)
	}
}

// TestMeetingWithoutBody: the text beside the stream is an alternative to the calendar.
func TestMeetingWithoutBody(t *testing.T) {
	s := meetingStream("IPM.Schedule.Meeting.Request")
	var list []mapi.Property
	for _, p := range s.Props {
		if p.ID != mapi.TagBody {
			list = append(list, p)
		}
	}
	s.Props = list
	p, out, _ := convert(t, tneftest.Wrap(header, "When: Tuesday", s.Bytes()))
	if got := p.shape(); got != "alternative(text/plain,text/calendar)" || string(p.find("text/plain").Content) != "When: Tuesday" {
		t.Errorf("shape %s\n%s", got, out)
	}
}
