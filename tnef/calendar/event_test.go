package calendar_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	tt "github.com/coexist-mail/coexist/tnef/tneftest"
)

func TestMethods(t *testing.T) {
	counter := []mapi.Property{appt(0x8257, boolean(true)), appt(0x8250, instant("2025-06-04 12:00")), appt(0x8251, instant("2025-06-04 13:00"))}
	tests := []struct {
		class, method, status, partStat string
		more                            []mapi.Property
	}{
		{request, "REQUEST", "CONFIRMED", "", nil},
		{"ipm.schedule.meeting.request", "REQUEST", "CONFIRMED", "", nil},
		{"IPM.Schedule.Meeting.Request.Contoso", "REQUEST", "CONFIRMED", "", nil},
		// Whatever the sender's own appointment is in, an update stays one.
		{request, "REQUEST", "CONFIRMED", "", []mapi.Property{appt(0x8217, long(7))}},
		{cancel, "CANCEL", "CANCELLED", "", nil},
		{accept, "REPLY", "CONFIRMED", "ACCEPTED", nil},
		{perhaps, "REPLY", "CONFIRMED", "TENTATIVE", nil},
		{decline, "REPLY", "CONFIRMED", "DECLINED", nil},
		{perhaps, "COUNTER", "CONFIRMED", "TENTATIVE", counter},
		{decline, "COUNTER", "CONFIRMED", "DECLINED", counter},
		{accept, "REPLY", "CONFIRMED", "ACCEPTED", []mapi.Property{appt(0x8257, boolean(true))}}, // proposes no time
		{"IPM.Appointment", "PUBLISH", "TENTATIVE", "", nil},
		{"IPM.Appointment", "PUBLISH", "CONFIRMED", "", []mapi.Property{appt(0x8205, long(2))}},
		{"IPM.Appointment", "PUBLISH", "CANCELLED", "", []mapi.Property{appt(0x8217, long(5))}},
	}
	for _, x := range tests {
		s := source(x.class, x.more...)
		if x.partStat != "" {
			s = response(x.class, x.more...)
		}
		o := convert(t, s)
		lines := calendartest.Check(t, o.Data)
		if o.Method != x.method || calendartest.Value(lines, "STATUS") != x.status {
			t.Errorf("%s: %s, STATUS:%s, want %s, %s", x.class, o.Method, calendartest.Value(lines, "STATUS"), x.method, x.status)
		}
		if m := calendartest.Find(lines, "VCALENDAR", "METHOD"); len(m) != 1 || m[0].Value != x.method {
			t.Errorf("%s: METHOD %v", x.class, m)
		}
		if a := calendartest.Find(lines, "VCALENDAR/VEVENT", "ATTENDEE"); x.partStat != "" && (a[0].Params["PARTSTAT"] != x.partStat || a[0].Value != "mailto:david@fabrikam.com") {
			t.Errorf("%s: attendee %v", x.class, a)
		}
	}
	for _, class := range []string{"IPM.Note", "IPM.Schedule.Meeting.Notification.Forward", "IPM.Schedule.Meeting", "IPM.Appointments", ""} {
		if _, err := calendar.Convert(source(class)); !errors.Is(err, calendar.ErrClass) {
			t.Errorf("%s: %v", class, err)
		}
	}
}

func TestIncomplete(t *testing.T) {
	empty := props()
	for class, want := range map[string]error{request: calendar.ErrIncomplete, cancel: calendar.ErrIncomplete, "IPM.Appointment": calendar.ErrIncomplete, "IPM.Task": calendar.ErrIncomplete} {
		if _, err := calendar.Convert(&calendar.Source{Class: class, Props: empty}); !errors.Is(err, want) {
			t.Errorf("%s: %v", class, err)
		}
	}
	// An identity is enough to answer and to cancel (RFC 5546 3.2.3 and 3.2.5).
	for _, class := range []string{accept, cancel} {
		o := convert(t, &calendar.Source{Class: class, Props: props(meeting(3, binary(goid))), From: david, To: []mapi.Mailbox{kim}})
		calendartest.Check(t, o.Data)
	}
	if _, err := calendar.Convert(&calendar.Source{Class: request, Props: props(meeting(3, binary(goid)))}); !errors.Is(err, calendar.ErrIncomplete) {
		t.Errorf("a request without a time: %v", err)
	}
}

func TestUID(t *testing.T) {
	plain := strings.ToUpper("040000008200e00074c5b7101a82e008000000005025d461e473c801000000000000000010000000" + "30313233343536373839414243444546")
	outside := append([]byte("vCal-Uid\x01\x00\x00\x00"), "{A1B2}@fabrikam.com\x00"...)
	for name, x := range map[string]struct {
		in   []byte
		want string
	}{
		"series":                     {goid, plain},
		"instance":                   {calendartest.GlobalID(day("2025-06-03"), []byte("0123456789ABCDEF")), plain},
		"other system":               {calendartest.GlobalID(time.Time{}, outside), "{A1B2}@fabrikam.com"},
		"other system, instance":     {calendartest.GlobalID(day("2025-06-03"), outside), "{A1B2}@fabrikam.com"},
		"empty id of another system": {calendartest.GlobalID(time.Time{}, []byte("vCal-Uid\x01\x00\x00\x00")), "040000008200E00074C5B7101A82E008000000005025D461E473C80100000000000000000C0000007643616C2D55696401000000"},
		"short":                      {[]byte{0xAB, 0xCD}, "ABCD"},
		"nothing":                    {nil, ""},
	} {
		if got := calendar.UID(x.in); got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
	// Everything that is sent about a meeting has the same one.
	want := calendar.UID(goid)
	for _, name := range []string{"request", "cancel", "accepted", "counter", "instance", "cancelinstance", "replyinstance", "weekly"} {
		for _, l := range calendartest.Find(calendartest.Check(t, convert(t, goldens[name]()).Data), "VCALENDAR/VEVENT", "UID") {
			if l.Value != want {
				t.Errorf("%s: UID %s", name, l.Value)
			}
		}
	}
	old := convert(t, &calendar.Source{Class: request, From: kim, To: []mapi.Mailbox{david},
		Props: props(tt.Long(mapi.TagOwnerAppointmentID, 77), appt(0x820D, instant("2025-06-03 08:00")))})
	if got := calendartest.Value(calendartest.Check(t, old.Data), "UID"); got != "0000004D-20250603T080000Z" {
		t.Errorf("without a GlobalObjectId: %s", got)
	}
}

func TestInstances(t *testing.T) {
	id := func(d string) mapi.Property {
		return meeting(0x03, binary(calendartest.GlobalID(day(d), []byte("0123456789ABCDEF"))))
	}
	tests := []struct {
		name string
		list []mapi.Property
		want string
		inst string
	}{
		{"time of the series", []mapi.Property{id("2025-06-02"), meeting(0x0E, long(9<<12|30<<6))}, "20250602T093000", "3"},
		{"exact time", []mapi.Property{id("2025-06-02"), appt(0x8228, instant("2025-06-02 08:00"))}, "20250602T100000", "3"},
		{"time of this instance", []mapi.Property{id("2025-06-03")}, "20250603T100000", "2"},
		{"time of the pattern", []mapi.Property{id("2025-06-03"), appt(0x8216, binary(weekly8().Bytes()))}, "20250603T080000", "3"},
		{"exception without a date", []mapi.Property{meeting(0x0A, boolean(true))}, "20250603T100000", "2"},
		{"impossible time", []mapi.Property{id("2025-06-03"), meeting(0x0E, long(25<<12))}, "20250603T100000", "2"},
		{"all day", []mapi.Property{id("2025-06-03"), appt(0x8215, boolean(true))}, "20250603", "2"},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			lines := calendartest.Check(t, convert(t, source(request, x.list...)).Data)
			if got := calendartest.Value(lines, "RECURRENCE-ID"); got != x.want {
				t.Errorf("RECURRENCE-ID %s, want %s", got, x.want)
			}
			if got := calendartest.Value(lines, "X-MICROSOFT-CDO-INSTTYPE"); got != x.inst {
				t.Errorf("INSTTYPE %s, want %s", got, x.inst)
			}
			if calendartest.Value(lines, "RRULE") != "" {
				t.Error("an instance with a rule")
			}
		})
	}
}

func weekly8() calendartest.Pattern {
	p := weekly
	p.StartMinutes, p.EndMinutes = 480, 540
	return p
}

func TestPeople(t *testing.T) {
	s := source(request)
	s.Recipients = []mapi.Recipient{
		recipient(1, "Jossef Goldberg", "", tt.Text(mapi.TagAddressType, "EX"), tt.Text(mapi.TagEmailAddress, "/o=Contoso/cn=jossef")),
		recipient(2, "Somebody Else", "", tt.Text(mapi.TagAddressType, "EX"), tt.Text(mapi.TagEmailAddress, "/o=Contoso/cn=else")),
		recipient(1, "David Alexander", "", tt.Text(mapi.TagAddressType, "SMTP"), tt.Text(mapi.TagEmailAddress, "david@fabrikam.com")),
		recipient(1, "Deleted", "deleted@contoso.com", tt.Long(mapi.TagRecipientFlags, 0x21)),
		recipient(0, "Originator", "originator@contoso.com"),
		recipient(1, "Sales", "sales@contoso.com", tt.Long(0x3900, 1)),
		recipient(1, "Bad\r\nX-EVIL:1", "bad\r\nATTENDEE:mailto:x@y.example"),
		recipient(1, "Line\r\nbreak", "line@contoso.com"),
	}
	s.To = []mapi.Mailbox{{Name: "jossef goldberg", Address: "jossef@contoso.com"}}
	o := convert(t, s)
	lines := calendartest.Check(t, o.Data)
	var got []string
	for _, a := range calendartest.Find(lines, "VCALENDAR/VEVENT", "ATTENDEE") {
		got = append(got, a.Value+" "+a.Params["CUTYPE"]+" "+a.Params["CN"])
	}
	want := "mailto:jossef@contoso.com INDIVIDUAL Jossef Goldberg|mailto:david@fabrikam.com INDIVIDUAL David Alexander|mailto:sales@contoso.com GROUP Sales|mailto:line@contoso.com INDIVIDUAL Line  break"
	if strings.Join(got, "|") != want {
		t.Errorf("attendees %q", got)
	}
	if len(o.Warnings) != 1 || !strings.Contains(o.Warnings[0], "Somebody Else") {
		t.Errorf("warnings %q", o.Warnings)
	}
	s = source(request)
	s.Recipients, s.To, s.Cc = nil, []mapi.Mailbox{david, kim}, []mapi.Mailbox{{Address: "jossef@contoso.com"}}
	lines = calendartest.Check(t, convert(t, s).Data)
	if a := calendartest.Find(lines, "VCALENDAR/VEVENT", "ATTENDEE"); len(a) != 2 || a[0].Params["ROLE"] != "REQ-PARTICIPANT" || a[1].Params["ROLE"] != "OPT-PARTICIPANT" {
		t.Errorf("attendees from the header: %v", a)
	}
}

// TestAllDayWithoutZone: the nearest midnight is meant, wherever the organizer is.
func TestAllDayWithoutZone(t *testing.T) {
	for _, start := range []string{"2025-06-02 12:01", "2025-06-02 22:00", "2025-06-03 00:00", "2025-06-03 08:00", "2025-06-03 11:59"} {
		end := at(start).Add(24 * time.Hour)
		lines := calendartest.Check(t, convert(t, source(request, appt(0x825E, binary(nil)), appt(0x825F, binary(nil)), appt(0x8215, boolean(true)),
			appt(0x820D, instant(start)), appt(0x820E, mapi.Property{Type: mapi.TypeTime, Value: end}))).Data)
		if s, e := calendartest.Value(lines, "DTSTART"), calendartest.Value(lines, "DTEND"); s != "20250603" || e != "20250604" {
			t.Errorf("%s: %s to %s", start, s, e)
		}
	}
}

// TestLegacyTimes: messages of Schedule+ have only the sender's local time, and no zone.
func TestLegacyTimes(t *testing.T) {
	local := func(id mapi.ID, s string) mapi.Property { p := tt.Time(id, at(s)); p.Attribute = 0x30006; return p }
	list := []mapi.Property{tt.Long(mapi.TagOwnerAppointmentID, 5), local(mapi.TagStartDate, "2025-06-03 10:00"), local(mapi.TagEndDate, "2025-06-03 11:00")}
	o := convert(t, &calendar.Source{Class: request, Props: props(list...), From: kim, To: []mapi.Mailbox{david}, Date: at("2025-05-28 07:00")})
	lines := calendartest.Check(t, o.Data)
	if s, stamp := calendartest.Value(lines, "DTSTART"), calendartest.Value(lines, "DTSTAMP"); s != "20250603T100000" || stamp != "20250528T070000Z" {
		t.Errorf("DTSTART %s, DTSTAMP %s", s, stamp)
	}
	list = append(list, appt(0x825E, binary(calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin))))
	lines = calendartest.Check(t, convert(t, &calendar.Source{Class: request, Props: props(list...), From: kim, To: []mapi.Mailbox{david}}).Data)
	if s := calendartest.Find(lines, "VCALENDAR/VEVENT", "DTSTART")[0]; s.Value != "20250603T100000" || s.Params["TZID"] != "Europe/Berlin" {
		t.Errorf("DTSTART %v", s)
	}
}

func TestReminder(t *testing.T) {
	for _, x := range []struct {
		delta int32
		want  string
	}{{0, "-PT0M"}, {15, "-PT15M"}, {1440, "-PT1440M"}, {0x5AE980E1, "-PT15M"}, {-5, "-PT0M"}} {
		lines := calendartest.Check(t, convert(t, source(request, shared(0x8501, long(x.delta)))).Data)
		if got := calendartest.Find(lines, "VCALENDAR/VEVENT/VALARM", "TRIGGER"); len(got) != 1 || got[0].Value != x.want {
			t.Errorf("%d: %v, want %s", x.delta, got, x.want)
		}
	}
	for _, s := range []*calendar.Source{source(request, shared(0x8503, boolean(false))), source(cancel), response(accept)} {
		if strings.Contains(string(convert(t, s).Data), "VALARM") {
			t.Errorf("%s: an alarm", s.Class)
		}
	}
}

// TestRepeatable: converting changes nothing in the object, and gives the same every time.
func TestRepeatable(t *testing.T) {
	for name, make := range goldens {
		s := make()
		if a, b := string(convert(t, s).Data), string(convert(t, s).Data); a != b {
			t.Errorf("%s: a second conversion gives something else", name)
		}
	}
}
