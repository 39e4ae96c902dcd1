package calendar

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

var dayNames = [7]string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}

// dayList is a set of weekdays, bit 0 for Sunday.
func dayList(mask uint32) string {
	var list []string
	for i, n := range dayNames {
		if mask&(1<<i) != 0 {
			list = append(list, n)
		}
	}
	return strings.Join(list, ",")
}

// gregorian tells whether months are those of the Gregorian calendar ([MS-OXCICAL] 2.1.3.1.1.8): many calendars only count years
// differently. Days and weeks are the same in all of them.
func (r *Recurrence) gregorian() bool {
	switch r.Pattern {
	case PatternDay, PatternWeek:
		return true
	case PatternHijriMonth, PatternHijriMonthNth, PatternHijriMonthEnd:
		return false
	}
	switch r.CalendarType {
	case 0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12:
		return true
	}
	return false
}

// calscales are the values of X-MICROSOFT-CALSCALE for CalendarType ([MS-OXCICAL] 2.1.3.1.1.8).
var calscales = map[uint16]string{
	0x06: "Hijri", 0x08: "Hebrew", 0x0E: "JapanLunar", 0x0F: "ChineseLunar", 0x10: "Saka", 0x11: "LunarEtoChn", 0x12: "LunarEtoKor",
	0x13: "LunarRokuyou", 0x14: "KoreaLunar", 0x17: "Umalqura",
}

// calscale is the calendar of a recurrence that is not Gregorian.
func (r *Recurrence) calscale() string {
	switch r.Pattern {
	case PatternHijriMonth, PatternHijriMonthNth, PatternHijriMonthEnd:
		return "Hijri"
	}
	return calscales[r.CalendarType]
}

// rule writes the RRULE value ([MS-OXCICAL] 2.1.3.2.2), the first instance being at start, a wall-clock time. until is its UNTIL part as
// the type of DTSTART asks for it, used with EndByDate.
func (r *Recurrence) rule(start time.Time, until string) string {
	freq, period := r.frequency()
	parts := []string{"FREQ=" + freq}
	if period > 1 {
		parts = append(parts, fmt.Sprintf("INTERVAL=%d", period))
	}
	switch r.Pattern {
	case PatternWeek:
		days := r.Days
		if days == 0 {
			days = 1 << start.Weekday()
		}
		parts = append(parts, "BYDAY="+dayList(days), "WKST="+dayNames[r.FirstDay])
	case PatternMonth, PatternHijriMonth:
		day := int(r.Day)
		if day == 31 || freq == "YEARLY" && r.gregorian() && day > 28 && start.Month() == time.February {
			day = -1 // every month has a last day; [MS-OXCICAL] 2.1.3.2.2.3. Outlook moves February 29 to the 28th
		}
		parts = append(parts, fmt.Sprintf("BYMONTHDAY=%d", day))
	case PatternMonthEnd, PatternHijriMonthEnd:
		parts = append(parts, "BYMONTHDAY=-1")
	case PatternMonthNth, PatternHijriMonthNth:
		parts = append(parts, r.nthPart())
	}
	if freq == "YEARLY" {
		parts = append(parts, fmt.Sprintf("BYMONTH=%d", r.month(start)))
	}
	switch {
	case r.End == EndByCount:
		parts = append(parts, fmt.Sprintf("COUNT=%d", r.Count))
	case !r.Until.IsZero() && until != "":
		parts = append(parts, "UNTIL="+until)
	}
	return strings.Join(parts, ";")
}

// frequency translates the pattern, which decides, and the period. A weekly pattern may have the frequency "daily": every weekday
// ([MS-OXOCAL] 2.2.1.44.1).
func (r *Recurrence) frequency() (string, uint32) {
	switch r.Pattern {
	case PatternDay:
		return "DAILY", max(1, r.Period/1440)
	case PatternWeek:
		if r.Frequency == Daily {
			return "WEEKLY", 1
		}
		return "WEEKLY", max(1, r.Period)
	}
	if r.Frequency == Yearly && r.Period%12 == 0 {
		return "YEARLY", max(1, r.Period/12)
	}
	return "MONTHLY", max(1, r.Period)
}

// nthPart: 2TU for one weekday; several need BYSETPOS.
func (r *Recurrence) nthPart() string {
	n := int(r.Nth)
	if n == 5 {
		n = -1
	}
	if bits.OnesCount32(r.Days) == 1 {
		return fmt.Sprintf("BYDAY=%d%s", n, dayList(r.Days))
	}
	return fmt.Sprintf("BYDAY=%s;BYSETPOS=%d", dayList(r.Days), n)
}

// month is the month of a yearly recurrence, in its calendar.
func (r *Recurrence) month(start time.Time) int {
	if r.gregorian() {
		return int(start.Month())
	}
	_, m, _ := toHijri(start)
	return m
}

// exdates lists the instances that do not take place, by their wall-clock start: the deleted ones without those that are only modified,
// which stand in the same list ([MS-OXOCAL] 2.2.1.44.1, DeletedInstanceDates).
func (r *Recurrence) exdates() []time.Time {
	modified := map[time.Time]bool{}
	for _, e := range r.Exceptions {
		modified[midnight(e.Original)] = true
	}
	var list []time.Time
	for _, d := range r.Deleted {
		if d = midnight(d); !modified[d] {
			modified[d] = true // once
			list = append(list, d.Add(r.StartOffset))
		}
	}
	return list
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}
