package calendar_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // whatever the machine has

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// TestDescribedZones: of a zone that is only named, the rules are those of the time zone database, a whole year through.
func TestDescribedZones(t *testing.T) {
	for _, z := range []struct{ iana, text string }{
		{"Europe/Berlin", "(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna"},
		{"America/New_York", "Eastern Standard Time"}, {"America/Los_Angeles", "(GMT-08:00) Pacific Time (US & Canada); Tijuana"},
		{"Australia/Sydney", "AUS Eastern Standard Time"}, {"Asia/Tokyo", "Tokyo Standard Time"}, {"Australia/Lord_Howe", "Lord Howe Standard Time"},
		{"America/St_Johns", "Newfoundland Standard Time"}, {"America/Santiago", "Pacific SA Standard Time"},
	} {
		t.Run(z.iana, func(t *testing.T) {
			loc, err := time.LoadLocation(z.iana)
			if err != nil {
				t.Fatal(err)
			}
			for d := at("2025-01-01 00:30"); d.Year() == 2025; d = d.Add(5*24*time.Hour + 7*time.Hour) {
				data := string(convert(t, source(request, appt(0x820D, mapi.Property{Type: mapi.TypeTime, Value: d}), appt(0x820E, mapi.Property{Type: mapi.TypeTime, Value: d.Add(time.Hour)}),
					appt(0x8234, text(z.text)), appt(0x825E, binary(nil)), appt(0x825F, binary(nil)))).Data)
				_, got, _ := strings.Cut(data, "DTSTART;TZID="+z.iana+":")
				if want := d.In(loc).Format("20060102T150405"); !strings.HasPrefix(got, want+"\r\n") {
					t.Fatalf("%v is not %s:\n%s", d, want, data)
				}
			}
		})
	}
}

// TestDescribedSeries: the rule of a zone that is only named holds for every instance of a series.
func TestDescribedSeries(t *testing.T) {
	p := calendartest.Pattern{Freq: 0x200B, Type: 1, Period: 1, Days: 1 << 2, Start: day("2025-06-03"), StartMinutes: 600, EndMinutes: 690}
	lines := calendartest.Check(t, convert(t, source(request, appt(0x8216, binary(p.Bytes())), appt(0x8223, boolean(true)),
		appt(0x8234, text("W. Europe Standard Time")), appt(0x825E, binary(nil)), appt(0x825F, binary(nil)))).Data)
	if got := calendartest.Value(lines, "DTSTART"); got != "20250603T100000" {
		t.Errorf("DTSTART %s", got)
	}
	for part, want := range map[string]string{"STANDARD": "FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU", "DAYLIGHT": "FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU"} {
		if got := calendartest.Find(lines, "VCALENDAR/VTIMEZONE/"+part, "RRULE"); len(got) != 1 || got[0].Value != want {
			t.Errorf("%s: %v, want %s", part, got, want)
		}
	}
}

// TestFebruary29: Outlook holds such a meeting on the last day of every February.
func TestFebruary29(t *testing.T) {
	for _, tt := range []struct {
		day  uint32
		want string
	}{{28, "FREQ=YEARLY;BYMONTHDAY=28;BYMONTH=2"}, {29, "FREQ=YEARLY;BYMONTHDAY=-1;BYMONTH=2"}, {30, "FREQ=YEARLY;BYMONTHDAY=-1;BYMONTH=2"}} {
		p := calendartest.Pattern{Freq: 0x200D, Type: 2, Period: 12, Day: tt.day, Start: day("2024-02-29"), StartMinutes: 600, EndMinutes: 690}
		lines := calendartest.Check(t, convert(t, source(request, appt(0x8216, binary(p.Bytes())), appt(0x8223, boolean(true)),
			appt(0x820D, instant("2024-02-29 09:00")), appt(0x820E, instant("2024-02-29 10:30")))).Data)
		if got := calendartest.Value(lines, "RRULE"); got != tt.want {
			t.Errorf("day %d: %s, want %s", tt.day, got, tt.want)
		}
	}
}

// TestExceptionByStart: the message of an instance that does not say which one it replaces is found by its new time.
func TestExceptionByStart(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    calendar.ExceptionMessage
		want bool
	}{
		{"start of the attachment", calendar.ExceptionMessage{Props: props(), Starts: at("2025-06-18 14:00")}, true},
		{"start of the message", calendar.ExceptionMessage{Props: props(appt(0x820D, instant("2025-06-18 12:00")))}, true},
		{"another time", calendar.ExceptionMessage{Props: props(), Starts: at("2025-06-18 15:00")}, false},
		{"none", calendar.ExceptionMessage{Props: props()}, false},
		{"the date in the series", calendar.ExceptionMessage{Props: props(), Replaces: at("2025-06-17 08:00")}, true},
		{"a date in the series that is another one's", calendar.ExceptionMessage{Props: props(), Replaces: at("2025-06-24 08:00"), Starts: at("2025-06-18 14:00")}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := calendartest.Pattern{Freq: 0x200B, Type: 1, Period: 1, Days: 1 << 2, Start: day("2025-06-03"), StartMinutes: 600, EndMinutes: 690,
				Deleted: days("2025-06-17"), Modified: days("2025-06-18"),
				Exceptions: []calendartest.Exception{{Start: at("2025-06-18 14:00"), End: at("2025-06-18 15:00"), Original: at("2025-06-17 10:00")}}}
			s := recurring(p)
			tt.m.Text = "Only this time."
			s.Exceptions = []calendar.ExceptionMessage{tt.m}
			o := convert(t, s)
			if got := strings.Contains(string(o.Data), "DESCRIPTION:Only this time."); got != tt.want {
				t.Errorf("%v:\n%s", got, o.Data)
			}
		})
	}
}
