package calendar

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf16"
)

// Frequency is RecurFrequency ([MS-OXOCAL] 2.2.1.44.1).
type Frequency uint16

// The values of Frequency.
const (
	Daily   Frequency = 0x200A
	Weekly  Frequency = 0x200B
	Monthly Frequency = 0x200C
	Yearly  Frequency = 0x200D
)

// Pattern is PatternType ([MS-OXOCAL] 2.2.1.44.1).
type Pattern uint16

// The values of Pattern. Those of the Hijri calendar count months in it.
const (
	PatternDay           Pattern = 0x0
	PatternWeek          Pattern = 0x1
	PatternMonth         Pattern = 0x2
	PatternMonthNth      Pattern = 0x3
	PatternMonthEnd      Pattern = 0x4
	PatternHijriMonth    Pattern = 0xA
	PatternHijriMonthNth Pattern = 0xB
	PatternHijriMonthEnd Pattern = 0xC
)

// EndType says how a recurrence ends ([MS-OXOCAL] 2.2.1.44.1).
type EndType uint32

// The values of EndType. Some writers use EndNeverOld for EndNever.
const (
	EndByDate   EndType = 0x2021
	EndByCount  EndType = 0x2022
	EndNever    EndType = 0x2023
	EndNeverOld EndType = 0xFFFFFFFF
)

// endless is the EndDate of a recurrence that has none: 4500-08-31.
const endless = 0x5AE980DF

// maxInstances caps the deleted and the modified instances, and the exceptions, that are read of one recurrence. Exchange itself stores some hundreds.
const maxInstances = 5000

// Recurrence is a recurrence pattern ([MS-OXOCAL] 2.2.1.44.5; a task has only the first part of it, 2.2.1.44.1). Its times are wall-clock
// times in the meeting's zone, given as if they were UTC.
type Recurrence struct {
	Frequency Frequency
	Pattern   Pattern
	// CalendarType is the calendar in which months are counted ([MS-OXOCAL] 2.2.1.44.1): 0 or 1 Gregorian, 6 Hijri.
	CalendarType uint16
	// Period is in minutes for PatternDay, else in weeks or months; a year has 12 months.
	Period uint32
	// Sliding: the next instance of a task is counted from the day it was completed.
	Sliding bool
	// Days is a set of weekdays, bit 0 for Sunday, of PatternWeek and the Nth patterns.
	Days uint32
	// Day is the day of the month; 31 the last one.
	Day uint32
	// Nth is which of Days in the month, 1 to 4; 5 the last one.
	Nth uint32
	End EndType
	// Count is the number of instances of EndByCount.
	Count    uint32
	FirstDay time.Weekday // of a week
	// Deleted has the dates (midnight) of instances that are deleted or modified, Modified the new dates of those that are modified.
	Deleted, Modified []time.Time
	// Start is the date of the first instance, Until that of the last one, zero if there is none.
	Start, Until time.Time
	// StartOffset and EndOffset are the time of day of an instance, counted from midnight.
	StartOffset, EndOffset time.Duration
	Exceptions             []Exception
}

// override says what an exception has of its own ([MS-OXOCAL] 2.2.1.44.2, OverrideFlags).
type override uint16

const (
	overrideSubject       override = 0x0001
	overrideMeetingType   override = 0x0002
	overrideReminderDelta override = 0x0004
	overrideReminder      override = 0x0008
	overrideLocation      override = 0x0010
	overrideBusy          override = 0x0020
	overrideAttachment    override = 0x0040
	overrideSubType       override = 0x0080
	overrideColor         override = 0x0100
)

// Exception is a modified instance ([MS-OXOCAL] 2.2.1.44.2 and 2.2.1.44.3). A nil pointer means: as in the series.
type Exception struct {
	Start, End, Original time.Time // wall clock
	Subject, Location    *string
	ReminderDelta        *int64 // minutes
	ReminderSet          *bool
	Busy                 *int64
	AllDay               *bool
}

var errShort = errors.New("the recurrence pattern is cut off")

// ParseRecurrence reads PidLidAppointmentRecur or PidLidTaskRecurrence. decode turns 8-bit text into UTF-8; nil takes it as it is.
//
// The error is for a pattern that can't be used. Where only exceptions can't be read, they are left out, and warning says so.
func ParseRecurrence(blob []byte, decode func([]byte) string) (r *Recurrence, warning string, err error) {
	if decode == nil {
		decode = func(b []byte) string { return string(b) }
	}
	c := &cursor{b: blob}
	r = &Recurrence{}
	if err := r.readPattern(c); err != nil {
		return nil, "", err
	}
	if len(c.b) == 0 { // a task's
		return r, "", nil
	}
	if !r.readExceptions(c, decode) {
		warning = "exceptions of the recurrence are cut off or damaged"
	}
	return r, warning, nil
}

// readPattern reads the RecurrencePattern structure.
func (r *Recurrence) readPattern(c *cursor) error {
	c.u16() // ReaderVersion
	c.u16() // WriterVersion
	r.Frequency, r.Pattern, r.CalendarType = Frequency(c.u16()), Pattern(c.u16()), c.u16()
	c.u32() // FirstDateTime
	r.Period, r.Sliding = c.u32(), c.u32() != 0
	switch r.Pattern {
	case PatternDay:
	case PatternWeek:
		r.Days = c.u32() & 0x7F
	case PatternMonth, PatternHijriMonth, PatternMonthEnd, PatternHijriMonthEnd:
		r.Day = c.u32()
	case PatternMonthNth, PatternHijriMonthNth:
		r.Days, r.Nth = c.u32()&0x7F, c.u32()
	default:
		return fmt.Errorf("recurrence pattern type %#x is unknown", uint16(r.Pattern))
	}
	r.End, r.Count, r.FirstDay = EndType(c.u32()), c.u32(), time.Weekday(c.u32()%7)
	var ok bool
	if r.Deleted, ok = readDates(c); !ok {
		return errShort
	}
	if r.Modified, ok = readDates(c); !ok {
		return errShort
	}
	start, end := c.u32(), c.u32()
	if c.short {
		return errShort
	}
	r.Start = minutes(start)
	if end != endless && r.End != EndNever && r.End != EndNeverOld {
		r.Until = minutes(end)
	}
	return r.check()
}

func readDates(c *cursor) ([]time.Time, bool) {
	n := c.u32()
	if c.short || uint64(n)*4 > uint64(len(c.b)) || n > maxInstances {
		return nil, false
	}
	var list []time.Time
	for range n {
		list = append(list, minutes(c.u32()))
	}
	return list, true
}

// minutes converts minutes since 1601-01-01. The greatest value is in the year 9767.
func minutes(v uint32) time.Time {
	return time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(v%1440)*time.Minute).AddDate(0, 0, int(v/1440))
}

// check refuses patterns that no rule can say.
func (r *Recurrence) check() error {
	switch r.Frequency {
	case Daily, Weekly, Monthly, Yearly:
	default:
		return fmt.Errorf("recurrence frequency %#x is unknown", uint16(r.Frequency))
	}
	switch r.Pattern {
	case PatternMonth, PatternHijriMonth:
		if r.Day < 1 || r.Day > 31 {
			return fmt.Errorf("recurrence on day %d of the month", r.Day)
		}
	case PatternMonthNth, PatternHijriMonthNth:
		if r.Days == 0 || r.Nth < 1 || r.Nth > 5 {
			return fmt.Errorf("recurrence on weekdays %#x, number %d", r.Days, r.Nth)
		}
	}
	if r.End == EndByCount && r.Count == 0 {
		return errors.New("recurrence with no instance")
	}
	return nil
}

// readExceptions reads what AppointmentRecurrencePattern has behind RecurrencePattern ([MS-OXOCAL] 2.2.1.44.5).
func (r *Recurrence) readExceptions(c *cursor, decode func([]byte) string) bool {
	c.u32() // ReaderVersion2
	writer2 := c.u32()
	start, end := c.u32(), c.u32()
	if c.short {
		return false
	}
	const week = 7 * 1440 // an instance may end days after it began
	if start >= 1440 || end > 100*week {
		return false
	}
	r.StartOffset, r.EndOffset = time.Duration(start)*time.Minute, time.Duration(end)*time.Minute
	n := c.u16()
	if c.short || n > maxInstances {
		return false
	}
	var flags []override
	for range n {
		e, f := readException(c, decode)
		if c.short {
			return false
		}
		r.Exceptions = append(r.Exceptions, e)
		flags = append(flags, f)
	}
	c.take(c.u32()) // ReservedBlock1
	for i := range r.Exceptions {
		if len(c.b) == 0 {
			return n == 0
		}
		if !readExtended(c, &r.Exceptions[i], flags[i], writer2) {
			return false
		}
	}
	return true
}

// readException reads an ExceptionInfo structure ([MS-OXOCAL] 2.2.1.44.2).
func readException(c *cursor, decode func([]byte) string) (Exception, override) {
	e := Exception{Start: minutes(c.u32()), End: minutes(c.u32()), Original: minutes(c.u32())}
	f := override(c.u16())
	number := func() *int64 { v := int64(int32(c.u32())); return &v }
	boolean := func() *bool { v := c.u32() != 0; return &v }
	str := func() *string {
		c.u16() // the length with NUL
		s := decode(c.take(uint32(c.u16())))
		return &s
	}
	if f&overrideSubject != 0 {
		e.Subject = str()
	}
	if f&overrideMeetingType != 0 {
		c.u32()
	}
	if f&overrideReminderDelta != 0 {
		e.ReminderDelta = number()
	}
	if f&overrideReminder != 0 {
		e.ReminderSet = boolean()
	}
	if f&overrideLocation != 0 {
		e.Location = str()
	}
	if f&overrideBusy != 0 {
		e.Busy = number()
	}
	if f&overrideAttachment != 0 {
		c.u32()
	}
	if f&overrideSubType != 0 {
		e.AllDay = boolean()
	}
	if f&overrideColor != 0 {
		c.u32()
	}
	return e, f
}

// readExtended reads an ExtendedException structure ([MS-OXOCAL] 2.2.1.44.4): the texts again, in UTF-16.
func readExtended(c *cursor, e *Exception, f override, writer2 uint32) bool {
	if writer2 >= 0x3009 {
		c.take(c.u32()) // ChangeHighlight
	}
	c.take(c.u32()) // ReservedBlockEE1
	if f&(overrideSubject|overrideLocation) == 0 {
		return !c.short
	}
	c.take(12) // StartDateTime, EndDateTime, OriginalStartDate
	wide := func(s **string) {
		b := c.take(2 * uint32(c.u16()))
		if c.short {
			return
		}
		u := make([]uint16, len(b)/2)
		for i := range u {
			u[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
		}
		text := string(utf16.Decode(u))
		*s = &text
	}
	if f&overrideSubject != 0 {
		wide(&e.Subject)
	}
	if f&overrideLocation != 0 {
		wide(&e.Location)
	}
	c.take(c.u32()) // ReservedBlockEE2
	return !c.short
}
