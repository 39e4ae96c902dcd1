package calendar

import "time"

// Months of the Hijri calendar have 30 and 29 days in turn; 11 years of 30 have a day more. This is the arithmetic calendar ("Kuwaiti algorithm") that
// Windows has; where the new moon is watched for, the date can differ by a day or two.

// hijriEpoch is the day before 1 Muharram 1: 16 July 622 in the Julian calendar, as days since 1970-01-01.
const hijriEpoch = -492149

// hijriDays is the number of days before the first of a month.
func hijriDays(year, month int) int {
	return 354*(year-1) + (3+11*year)/30 + 29*(month-1) + month/2
}

// toHijri converts a date.
func toHijri(t time.Time) (year, month, day int) {
	days := int(midnight(t).Unix()/86400) - hijriEpoch // 1 for the first day
	year = (30*days + 10646) / 10631
	for hijriDays(year, 1) >= days {
		year--
	}
	for hijriDays(year+1, 1) < days {
		year++
	}
	month = 12
	for month > 1 && hijriDays(year, month) >= days {
		month--
	}
	return year, month, days - hijriDays(year, month)
}

// fromHijri converts a date of the Hijri calendar.
func fromHijri(year, month, day int) time.Time {
	return time.Unix(int64(hijriDays(year, month)+day+hijriEpoch)*86400, 0).UTC()
}

// hijriMonthDays is the length of a month.
func hijriMonthDays(year, month int) int {
	if month == 12 {
		return hijriDays(year+1, 1) - hijriDays(year, 12)
	}
	return hijriDays(year, month+1) - hijriDays(year, month)
}

// maxHijri is how many instances are listed of a recurrence that no rule of RFC 5545 can say.
const maxHijri = 120

// hijriDates lists the dates of the instances behind the first one. complete is false when there are more.
func (r *Recurrence) hijriDates() (list []time.Time, complete bool) {
	year, month, _ := toHijri(r.Start)
	_, period := r.frequency()
	if r.Frequency == Yearly {
		period = max(12, r.Period)
	}
	if period > 1200 {
		return nil, false
	}
	for n := 0; ; n++ {
		if n > 0 {
			month += int(period)
			year, month = year+(month-1)/12, (month-1)%12+1
		}
		d := r.hijriInstance(year, month)
		switch {
		case r.End == EndByCount && n >= int(r.Count), !r.Until.IsZero() && d.After(r.Until):
			return list, true
		case n > maxHijri:
			return list, false
		case n > 0:
			list = append(list, d)
		}
	}
}

// hijriInstance is the date of the instance in a month.
func (r *Recurrence) hijriInstance(year, month int) time.Time {
	last := hijriMonthDays(year, month)
	switch r.Pattern {
	case PatternHijriMonthEnd, PatternMonthEnd:
		return fromHijri(year, month, last)
	case PatternHijriMonth, PatternMonth:
		return fromHijri(year, month, min(int(r.Day), last))
	}
	found, n := last, uint32(0)
	for day := 1; day <= last; day++ {
		if r.Days&(1<<fromHijri(year, month, day).Weekday()) != 0 {
			found = day
			if n++; n == r.Nth {
				break
			}
		}
	}
	return fromHijri(year, month, found)
}
