package calendar_test

import (
	"testing"

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	tt "github.com/coexist-mail/coexist/tnef/tneftest"
)

// TestDerivedUID: what has no identity gets one, the same each time, and another for another time; an answer without one is of no use.
func TestDerivedUID(t *testing.T) {
	uid := func(class string, list ...mapi.Property) string {
		o, err := calendar.Convert(&calendar.Source{Class: class, Props: props(append(list, tt.Text(mapi.TagSubject, "Planning"))...), From: kim})
		if err != nil {
			return ""
		}
		var found []string
		lines := calendartest.Check(t, o.Data)
		for _, path := range []string{"VCALENDAR/VEVENT", "VCALENDAR/VTODO"} {
			for _, l := range calendartest.Find(lines, path, "UID") {
				found = append(found, l.Value)
			}
		}
		if len(found) != 1 {
			t.Fatalf("%s: %q", class, found)
		}
		return found[0]
	}
	first, second := appt(0x820D, instant("2025-06-03 08:00")), appt(0x820D, instant("2025-06-04 08:00"))
	for _, class := range []string{request, "IPM.Appointment"} {
		a, b := uid(class, first), uid(class, first)
		if a == "" || a != b {
			t.Errorf("%s: %q and %q", class, a, b)
		}
		if c := uid(class, second); c == a {
			t.Errorf("%s: the same UID at another time", class)
		}
	}
	if uid("IPM.Task") == "" {
		t.Error("a task without identity")
	}
	for _, class := range []string{accept, cancel, "IPM.TaskRequest.Accept"} {
		if got := uid(class, first); got != "" {
			t.Errorf("%s: made an identity %s", class, got)
		}
	}
}

func TestText(t *testing.T) {
	berlin := appt(0x825E, binary(calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin)))
	span := func(from, to string) []mapi.Property {
		return []mapi.Property{meeting(3, binary(goid)), appt(0x820D, instant(from)), appt(0x820E, instant(to)), tt.Text(mapi.TagSubject, "Planning\r\nQ3")}
	}
	for _, x := range []struct {
		name, class, want string
		props             []mapi.Property
	}{
		{"in a zone", request, "When: Tuesday, 3 June 2025, 10:00 - 11:30 (Europe/Berlin)\r\n", append(span("2025-06-03 08:00", "2025-06-03 09:30"), berlin)},
		{"in UTC", request, "When: Tuesday, 3 June 2025, 08:00 - 09:30 (UTC)\r\n", span("2025-06-03 08:00", "2025-06-03 09:30")},
		{"over midnight", request, "When: Tuesday, 3 June 2025, 22:00 - Wednesday, 4 June 2025, 01:00 (UTC)\r\n", span("2025-06-03 22:00", "2025-06-04 01:00")},
		{"without length", request, "When: Tuesday, 3 June 2025, 22:00 (UTC)\r\n", span("2025-06-03 22:00", "2025-06-03 22:00")},
		{"a day", request, "When: Tuesday, 3 June 2025\r\n", append(span("2025-06-03 00:00", "2025-06-04 00:00"), appt(0x8215, boolean(true)))},
		{"days", request, "When: Tuesday, 3 June 2025 - Thursday, 5 June 2025\r\n", append(span("2025-06-03 00:00", "2025-06-06 00:00"), appt(0x8215, boolean(true)))},
	} {
		o := convert(t, &calendar.Source{Class: x.class, Props: props(x.props...), From: kim})
		if want := "Subject: Planning Q3\r\n" + x.want + "Organizer: Kim Akers\r\n"; o.Text != want {
			t.Errorf("%s: %q, want %q", x.name, o.Text, want)
		}
	}
	if got := calendar.Describe(&calendar.Source{Class: "IPM.Schedule.Meeting.Notification.Forward", Props: props()}); got != "" {
		t.Errorf("nothing known: %q", got)
	}
}
