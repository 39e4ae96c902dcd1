package calendar_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// patterns are all kinds of recurrence, with the first part of their rule. Planning is on Tuesday, 3 June 2025, at 10:00 in Berlin.
var patterns = []struct {
	name string
	p    calendartest.Pattern
	want string
}{
	{"daily", calendartest.Pattern{Freq: 0x200A, Type: 0, Period: 1440}, "FREQ=DAILY"},
	{"every 3 days", calendartest.Pattern{Freq: 0x200A, Type: 0, Period: 3 * 1440}, "FREQ=DAILY;INTERVAL=3"},
	{"every weekday", calendartest.Pattern{Freq: 0x200A, Type: 1, Period: 1, Days: 0x3E, FirstDay: 1}, "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;WKST=MO"},
	{"every weekday, period of a day", calendartest.Pattern{Freq: 0x200A, Type: 1, Period: 1440, Days: 0x3E}, "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;WKST=SU"},
	{"weekly", calendartest.Pattern{Freq: 0x200B, Type: 1, Period: 1, Days: 1 << 2}, "FREQ=WEEKLY;BYDAY=TU;WKST=SU"},
	{"every 2 weeks on 3 days", calendartest.Pattern{Freq: 0x200B, Type: 1, Period: 2, Days: 1<<2 | 1<<4 | 1<<6, FirstDay: 6}, "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH,SA;WKST=SA"},
	{"weekly without a day", calendartest.Pattern{Freq: 0x200B, Type: 1, Period: 1}, "FREQ=WEEKLY;BYDAY=TU;WKST=SU"},
	{"monthly", calendartest.Pattern{Freq: 0x200C, Type: 2, Period: 1, Day: 3}, "FREQ=MONTHLY;BYMONTHDAY=3"},
	{"quarterly", calendartest.Pattern{Freq: 0x200C, Type: 2, Period: 3, Day: 3}, "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=3"},
	{"monthly on the 31st", calendartest.Pattern{Freq: 0x200C, Type: 2, Period: 1, Day: 31}, "FREQ=MONTHLY;BYMONTHDAY=-1"},
	{"month end", calendartest.Pattern{Freq: 0x200C, Type: 4, Period: 1, Day: 31}, "FREQ=MONTHLY;BYMONTHDAY=-1"},
	{"first Tuesday", calendartest.Pattern{Freq: 0x200C, Type: 3, Period: 1, Days: 1 << 2, Nth: 1}, "FREQ=MONTHLY;BYDAY=1TU"},
	{"last Friday", calendartest.Pattern{Freq: 0x200C, Type: 3, Period: 2, Days: 1 << 5, Nth: 5}, "FREQ=MONTHLY;INTERVAL=2;BYDAY=-1FR"},
	{"second weekday", calendartest.Pattern{Freq: 0x200C, Type: 3, Period: 1, Days: 0x3E, Nth: 2}, "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=2"},
	{"last weekend day", calendartest.Pattern{Freq: 0x200C, Type: 3, Period: 1, Days: 0x41, Nth: 5}, "FREQ=MONTHLY;BYDAY=SU,SA;BYSETPOS=-1"},
	{"third day", calendartest.Pattern{Freq: 0x200C, Type: 3, Period: 1, Days: 0x7F, Nth: 3}, "FREQ=MONTHLY;BYDAY=SU,MO,TU,WE,TH,FR,SA;BYSETPOS=3"},
	{"yearly", calendartest.Pattern{Freq: 0x200D, Type: 2, Period: 12, Day: 3}, "FREQ=YEARLY;BYMONTHDAY=3;BYMONTH=6"},
	{"every 4 years", calendartest.Pattern{Freq: 0x200D, Type: 2, Period: 48, Day: 3}, "FREQ=YEARLY;INTERVAL=4;BYMONTHDAY=3;BYMONTH=6"},
	{"yearly, first Tuesday", calendartest.Pattern{Freq: 0x200D, Type: 3, Period: 12, Days: 1 << 2, Nth: 1}, "FREQ=YEARLY;BYDAY=1TU;BYMONTH=6"},
	{"yearly, last weekday", calendartest.Pattern{Freq: 0x200D, Type: 3, Period: 12, Days: 0x3E, Nth: 5}, "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYMONTH=6"},
	{"yearly, month end", calendartest.Pattern{Freq: 0x200D, Type: 4, Period: 12, Day: 30}, "FREQ=YEARLY;BYMONTHDAY=-1;BYMONTH=6"},
	{"yearly, period of 18 months", calendartest.Pattern{Freq: 0x200D, Type: 2, Period: 18, Day: 3}, "FREQ=MONTHLY;INTERVAL=18;BYMONTHDAY=3"},
	{"Japanese era calendar", calendartest.Pattern{Freq: 0x200C, Type: 2, CalendarType: 3, Period: 1, Day: 3}, "FREQ=MONTHLY;BYMONTHDAY=3"},
}

var ends = []struct {
	name  string
	set   func(*calendartest.Pattern)
	timed string
	date  string
}{
	{"never", func(*calendartest.Pattern) {}, "", ""},
	{"never, old", func(p *calendartest.Pattern) { p.End = 0xFFFFFFFF }, "", ""},
	{"never, said by the date", func(p *calendartest.Pattern) { p.End = 0x2021 }, "", ""},
	{"count", func(p *calendartest.Pattern) { p.End, p.Count, p.Until = 0x2022, 10, day("2025-12-30") }, ";COUNT=10", ";COUNT=10"},
	{"date", func(p *calendartest.Pattern) { p.End, p.Count, p.Until = 0x2021, 10, day("2025-12-30") }, ";UNTIL=20251230T090000Z", ";UNTIL=20251230"},
}

// exceptionKinds are what can be different in an instance; the second argument is its original start.
var exceptionKinds = []struct {
	name string
	make func(start time.Time) calendartest.Exception
	want string
}{
	{"moved", func(t time.Time) calendartest.Exception {
		return calendartest.Exception{Start: t.Add(26 * time.Hour), End: t.Add(27 * time.Hour), Original: t}
	}, "DTSTART;TZID=Europe/Berlin:20250604T120000"},
	{"subject", func(t time.Time) calendartest.Exception {
		return exception(t, func(e *calendartest.Exception) { e.Subject = calendartest.Ptr("Другой") })
	}, "SUMMARY:Другой"},
	{"location", func(t time.Time) calendartest.Exception {
		return exception(t, func(e *calendartest.Exception) { e.Location = calendartest.Ptr("Café") })
	}, "LOCATION:Café"},
	{"busy", func(t time.Time) calendartest.Exception {
		return exception(t, func(e *calendartest.Exception) { e.Busy = calendartest.Ptr(uint32(0)) })
	}, "TRANSP:TRANSPARENT"},
	{"reminder", func(t time.Time) calendartest.Exception {
		return exception(t, func(e *calendartest.Exception) {
			e.ReminderSet, e.ReminderDelta = calendartest.Ptr(uint32(1)), calendartest.Ptr(uint32(45))
		})
	}, "TRIGGER;RELATED=START:-PT45M"},
	{"all day", func(t time.Time) calendartest.Exception {
		return exception(t, func(e *calendartest.Exception) {
			e.SubType = calendartest.Ptr(uint32(1))
			e.Start, e.End = day("2025-06-03"), day("2025-06-04")
		})
	}, "DTSTART;VALUE=DATE:20250603"},
	{"everything", func(t time.Time) calendartest.Exception {
		return exception(t, func(e *calendartest.Exception) {
			n := calendartest.Ptr(uint32(1))
			e.Subject, e.Location, e.MeetingType, e.ReminderDelta, e.ReminderSet, e.Busy, e.Attachment, e.SubType = calendartest.Ptr("A"), calendartest.Ptr("B"), n, n, n, n, n, calendartest.Ptr(uint32(0))
		})
	}, "X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE"},
}

func exception(t time.Time, set func(*calendartest.Exception)) calendartest.Exception {
	e := calendartest.Exception{Start: t, End: t.Add(90 * time.Minute), Original: t}
	set(&e)
	return e
}

// TestPatterns converts every pattern with every end and every kind of exception, in both versions of the structure in turn.
func TestPatterns(t *testing.T) {
	n := uint32(0)
	for _, p := range patterns {
		for _, end := range ends {
			for i := range exceptionKinds {
				n++
				name := fmt.Sprintf("%s/%s/%s", p.name, end.name, exceptionKinds[i].name)
				t.Run(name, func(t *testing.T) { checkPattern(t, p.p, p.want, end.set, end.timed, i, 0x3008+n%2) })
			}
		}
	}
}

func checkPattern(t *testing.T, p calendartest.Pattern, want string, end func(*calendartest.Pattern), suffix string, exceptionKind int, writer2 uint32) {
	k := exceptionKinds[exceptionKind]
	x := k.make(at("2025-06-03 10:00"))
	p.Writer2, p.Exceptions = writer2, []calendartest.Exception{x}
	p.Modified = []time.Time{x.Start.Truncate(24 * time.Hour)}
	p.Deleted = days("2025-06-03", "2025-08-05")
	end(&p)
	o := convert(t, recurring(p))
	if len(o.Warnings) > 0 {
		t.Errorf("warnings %q", o.Warnings)
	}
	lines := calendartest.Check(t, o.Data)
	if got := calendartest.Value(lines, "RRULE"); got != want+suffix {
		t.Errorf("RRULE %s, want %s", got, want+suffix)
	}
	if got := calendartest.Find(lines, "VCALENDAR/VEVENT", "EXDATE"); len(got) != 1 || got[0].Value != "20250805T100000" {
		t.Errorf("EXDATE %v: want the deleted date without the modified one", got)
	}
	events := strings.Split(string(o.Data), "BEGIN:VEVENT\r\n")
	if len(events) != 3 {
		t.Fatalf("%d events, want the series and one instance:\n%s", len(events)-1, o.Data)
	}
	unfolded := strings.ReplaceAll(events[2], "\r\n ", "")
	for _, line := range []string{k.want, "RECURRENCE-ID;TZID=Europe/Berlin:20250603T100000", "X-MICROSOFT-CDO-INSTTYPE:3"} {
		if !strings.Contains(unfolded, line+"\r\n") {
			t.Errorf("the instance has no line %q:\n%s", line, unfolded)
		}
	}
	if strings.Contains(unfolded, "RRULE") || strings.Contains(unfolded, "EXDATE") {
		t.Errorf("the instance has a rule:\n%s", unfolded)
	}
}

func TestAllDayUntil(t *testing.T) {
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			p := calendartest.Pattern{Freq: 0x200A, Period: 1440, Start: day("2025-06-03"), EndMinutes: 1440}
			end.set(&p)
			s := source(request, appt(0x8216, binary(p.Bytes())), appt(0x8215, boolean(true)), appt(0x820D, instant("2025-06-02 22:00")), appt(0x820E, instant("2025-06-03 22:00")))
			lines := calendartest.Check(t, convert(t, s).Data)
			if got := calendartest.Value(lines, "RRULE"); got != "FREQ=DAILY"+end.date {
				t.Errorf("RRULE %s", got)
			}
		})
	}
}

// TestHijri compares with dates that another implementation of the arithmetic calendar gives (ICU's islamic-civil).
func TestHijri(t *testing.T) {
	p := calendartest.Pattern{Freq: 0x200D, Type: 0xA, CalendarType: 6, Period: 12, Day: 6, End: 0x2022, Count: 3}
	lines := calendartest.Check(t, convert(t, recurring(p)).Data)
	for name, want := range map[string]string{
		"X-MICROSOFT-CALSCALE": "Hijri", "X-MICROSOFT-RRULE": "FREQ=YEARLY;BYMONTHDAY=6;BYMONTH=12;COUNT=3", "RRULE": "",
		"RDATE": "20250603T100000,20260523T100000,20270513T100000",
	} {
		if got := calendartest.Value(lines, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	o := convert(t, recurring(calendartest.Pattern{Freq: 0x200C, Type: 2, CalendarType: 8, Period: 1, Day: 6}))
	if len(o.Warnings) == 0 || calendartest.Value(calendartest.Check(t, o.Data), "X-MICROSOFT-CALSCALE") != "Hebrew" {
		t.Errorf("Hebrew calendar: warnings %q\n%s", o.Warnings, o.Data)
	}
}

// TestBadPatterns: a pattern that can't be used leaves a meeting without it, and a warning.
func TestBadPatterns(t *testing.T) {
	good := calendartest.Pattern{Freq: 0x200B, Type: 1, Period: 1, Days: 4, Start: day("2025-06-03"), StartMinutes: 600, EndMinutes: 690,
		Exceptions: []calendartest.Exception{exception(at("2025-06-03 10:00"), func(e *calendartest.Exception) { e.Subject = calendartest.Ptr("A") })}}
	blob := good.Bytes()
	cases := map[string][]byte{
		"one octet":           {1},
		"pattern type":        calendartest.Pattern{Freq: 0x200A, Type: 7, Start: day("2025-06-03")}.Bytes(),
		"frequency":           calendartest.Pattern{Freq: 0x2001, Start: day("2025-06-03")}.Bytes(),
		"day 0":               calendartest.Pattern{Freq: 0x200C, Type: 2, Period: 1, Start: day("2025-06-03")}.Bytes(),
		"day 32":              calendartest.Pattern{Freq: 0x200C, Type: 2, Period: 1, Day: 32, Start: day("2025-06-03")}.Bytes(),
		"sixth Tuesday":       calendartest.Pattern{Freq: 0x200C, Type: 3, Period: 1, Days: 4, Nth: 6, Start: day("2025-06-03")}.Bytes(),
		"no weekday":          calendartest.Pattern{Freq: 0x200C, Type: 3, Period: 1, Nth: 1, Start: day("2025-06-03")}.Bytes(),
		"no instance":         calendartest.Pattern{Freq: 0x200A, Period: 1440, End: 0x2022, Start: day("2025-06-03")}.Bytes(),
		"4 billion deletions": append(append([]byte{}, blob[:38]...), 0xFF, 0xFF, 0xFF, 0xFF),
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			o := convert(t, source(request, appt(0x8216, binary(b))))
			lines := calendartest.Check(t, o.Data)
			if calendartest.Value(lines, "RRULE") != "" || calendartest.Value(lines, "DTSTART") != "20250603T100000" || len(o.Warnings) == 0 {
				t.Errorf("warnings %q\n%s", o.Warnings, o.Data)
			}
		})
	}
	for n := range blob {
		r, warning, err := calendar.ParseRecurrence(blob[:n], nil)
		switch {
		case n < 50 && err == nil: // RecurrencePattern
			t.Errorf("%d of %d octets: no error", n, len(blob))
		case n > 54 && (err != nil || warning == "" && n < len(blob)-4):
			t.Errorf("%d of %d octets: %v, warning %q, want the pattern and a warning", n, len(blob), err, warning)
		case err == nil && r.Days != 4:
			t.Errorf("%d of %d octets: days %#x", n, len(blob), r.Days)
		}
	}
}

// TestHugePattern: counts that fit the data cost no more than that.
func TestHugePattern(t *testing.T) {
	p := calendartest.Pattern{Freq: 0x200A, Period: 1440, Start: day("2025-06-03"), StartMinutes: 600, EndMinutes: 690}
	for i := range 600 {
		at := day("2025-06-03").AddDate(0, 0, i).Add(10 * time.Hour)
		p.Deleted = append(p.Deleted, at.Truncate(24*time.Hour))
		if i%2 == 0 {
			p.Modified = append(p.Modified, at.Truncate(24*time.Hour))
			p.Exceptions = append(p.Exceptions, calendartest.Exception{Start: at.Add(time.Hour), End: at.Add(2 * time.Hour), Original: at})
		}
	}
	o := convert(t, recurring(p))
	if n := strings.Count(string(o.Data), "BEGIN:VEVENT"); n != 301 {
		t.Errorf("%d events", n)
	}
	calendartest.Check(t, o.Data)
}

// TestAmplification: a long text, many attendees and many exceptions together don't multiply.
func TestAmplification(t *testing.T) {
	p := calendartest.Pattern{Freq: 0x200A, Period: 1440, Start: day("2025-06-03"), StartMinutes: 600, EndMinutes: 690}
	for i := range 1000 {
		at := day("2025-06-03").AddDate(0, 0, i).Add(10 * time.Hour)
		p.Exceptions = append(p.Exceptions, calendartest.Exception{Start: at, End: at.Add(time.Hour), Original: at})
	}
	s := recurring(p)
	s.Text = strings.Repeat("A long text. ", 100_000)
	s.Recipients = nil
	for i := range 1000 {
		s.Recipients = append(s.Recipients, recipient(1, "Attendee", fmt.Sprintf("a%d@contoso.com", i)))
	}
	o := convert(t, s)
	// Nor does looking for people who have no address, or for the messages of exceptions, by each exception.
	for i := range s.Recipients {
		s.Recipients[i] = recipient(1, fmt.Sprintf("Name %d", i), "")
		s.To = append(s.To, mapi.Mailbox{Name: fmt.Sprintf("Other %d", i), Address: "x@contoso.com"})
	}
	for i := range 1000 {
		s.Exceptions = append(s.Exceptions, calendar.ExceptionMessage{Props: props(appt(0x8228, mapi.Property{Type: mapi.TypeTime, Value: at("2045-06-03 10:00").AddDate(0, 0, i)}))})
	}
	begin := time.Now()
	convert(t, s)
	if d := time.Since(begin); d > 20*time.Second { // well under a second; a loop in a loop takes minutes
		t.Errorf("took %v", d)
	}
	if len(o.Data) > 12<<20 {
		t.Errorf("%d octets", len(o.Data))
	}
	if len(o.Warnings) != 1 || !strings.Contains(o.Warnings[0], "left out") {
		t.Errorf("warnings %q", o.Warnings)
	}
	if !strings.HasSuffix(string(o.Data), "END:VEVENT\r\nEND:VCALENDAR\r\n") {
		t.Error("the object is not ended")
	}
}
