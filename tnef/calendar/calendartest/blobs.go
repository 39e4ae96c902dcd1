package calendartest

import (
	"encoding/binary"
	"time"
	"unicode/utf16"
)

// Pattern describes a recurrence ([MS-OXOCAL] 2.2.1.44.5). Times are wall-clock times, as if they were UTC.
type Pattern struct {
	Freq, Type, CalendarType uint16
	Period                   uint32
	Days, Day, Nth           uint32 // as Type asks for them
	End, Count               uint32 // End 0 means 0x2023, never
	FirstDay                 uint32
	Deleted, Modified        []time.Time
	Start, Until             time.Time
	StartMinutes, EndMinutes uint32
	Exceptions               []Exception
	Writer2                  uint32 // 0 means 0x3009
	Task                     bool   // without what only appointments have
}

// Exception is a modified instance. A pointer that is nil is left out.
type Exception struct {
	Start, End, Original time.Time
	Subject, Location    *string
	MeetingType          *uint32
	ReminderDelta        *uint32
	ReminderSet          *uint32
	Busy                 *uint32
	Attachment           *uint32
	SubType              *uint32
}

// Ptr gives a pointer to a value.
func Ptr[T any](v T) *T { return &v }

type buffer []byte

func (b *buffer) u16(v uint16) { *b = binary.LittleEndian.AppendUint16(*b, v) }
func (b *buffer) u32(v uint32) { *b = binary.LittleEndian.AppendUint32(*b, v) }

func (b *buffer) utf16(s string) {
	for _, u := range utf16.Encode([]rune(s)) {
		b.u16(u)
	}
}

// Minutes since 1601-01-01.
func Minutes(t time.Time) uint32 {
	return uint32((t.Unix() - time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) / 60)
}

// Bytes encodes the pattern.
func (p Pattern) Bytes() []byte {
	var b buffer
	b.u16(0x3004)
	b.u16(0x3004)
	b.u16(p.Freq)
	b.u16(p.Type)
	b.u16(p.CalendarType)
	b.u32(0)
	b.u32(p.Period)
	b.u32(0)
	switch p.Type {
	case 1:
		b.u32(p.Days)
	case 2, 4, 0xA, 0xC:
		b.u32(p.Day)
	case 3, 0xB:
		b.u32(p.Days)
		b.u32(p.Nth)
	}
	end := p.End
	if end == 0 {
		end = 0x2023
	}
	b.u32(end)
	b.u32(p.Count)
	b.u32(p.FirstDay)
	for _, list := range [][]time.Time{p.Deleted, p.Modified} {
		b.u32(uint32(len(list)))
		for _, t := range list {
			b.u32(Minutes(t))
		}
	}
	b.u32(Minutes(p.Start))
	if p.Until.IsZero() {
		b.u32(0x5AE980DF)
	} else {
		b.u32(Minutes(p.Until))
	}
	if !p.Task {
		p.appointment(&b)
	}
	return b
}

func (p Pattern) appointment(b *buffer) {
	b.u32(0x3006)
	writer2 := p.Writer2
	if writer2 == 0 {
		writer2 = 0x3009
	}
	b.u32(writer2)
	b.u32(p.StartMinutes)
	b.u32(p.EndMinutes)
	b.u16(uint16(len(p.Exceptions)))
	for _, e := range p.Exceptions {
		e.info(b)
	}
	b.u32(0)
	for _, e := range p.Exceptions {
		if writer2 >= 0x3009 {
			b.u32(4)
			b.u32(0)
		}
		b.u32(0)
		if e.Subject == nil && e.Location == nil {
			continue
		}
		for _, t := range []time.Time{e.Start, e.End, e.Original} {
			b.u32(Minutes(t))
		}
		for _, s := range []*string{e.Subject, e.Location} {
			if s != nil {
				b.u16(uint16(len(utf16.Encode([]rune(*s)))))
				b.utf16(*s)
			}
		}
		b.u32(0)
	}
	b.u32(0)
}

func (e Exception) info(b *buffer) {
	for _, t := range []time.Time{e.Start, e.End, e.Original} {
		b.u32(Minutes(t))
	}
	var flags uint16
	var body buffer
	text := func(flag uint16, s *string) {
		if s == nil {
			return
		}
		flags |= flag
		var narrow []byte
		for _, r := range *s {
			if r > 0x7e {
				r = '?'
			}
			narrow = append(narrow, byte(r))
		}
		body.u16(uint16(len(narrow) + 1))
		body.u16(uint16(len(narrow)))
		body = append(body, narrow...)
	}
	number := func(flag uint16, v *uint32) {
		if v != nil {
			flags |= flag
			body.u32(*v)
		}
	}
	text(0x01, e.Subject)
	number(0x02, e.MeetingType)
	number(0x04, e.ReminderDelta)
	number(0x08, e.ReminderSet)
	text(0x10, e.Location)
	number(0x20, e.Busy)
	number(0x40, e.Attachment)
	number(0x80, e.SubType)
	b.u16(flags)
	*b = append(*b, body...)
}

// Rule is a rule of a time zone ([MS-OXOCAL] 2.2.1.41.1). Biases are minutes, UTC = local time + bias.
type Rule struct {
	Flags, Year              uint16
	Bias, Standard, Summer   int32
	ToStandard, ToSummer     [5]uint16 // month, weekday, number (5: last), hour, minute; month 0: none
	StandardYear, SummerYear uint16    // not 0: the number is a day of the month of that year
}

// Zones that tests use.
var (
	Berlin  = Rule{Flags: 2, Year: 2000, Bias: -60, Summer: -60, ToStandard: [5]uint16{10, 0, 5, 3, 0}, ToSummer: [5]uint16{3, 0, 5, 2, 0}}
	Seattle = Rule{Flags: 2, Year: 2007, Bias: 480, Summer: -60, ToStandard: [5]uint16{11, 0, 1, 2, 0}, ToSummer: [5]uint16{3, 0, 2, 2, 0}}
	Sydney  = Rule{Flags: 2, Year: 2008, Bias: -600, Summer: -60, ToStandard: [5]uint16{4, 0, 1, 3, 0}, ToSummer: [5]uint16{10, 0, 1, 2, 0}}
	Kolkata = Rule{Flags: 2, Year: 2000, Bias: -330}
)

func (b *buffer) systemTime(year uint16, v [5]uint16) {
	for _, x := range []uint16{year, v[0], v[1], v[2], v[3], v[4], 0, 0} {
		b.u16(x)
	}
}

// ZoneDefinition encodes a time zone with its Windows id.
func ZoneDefinition(key string, rules ...Rule) []byte {
	var b buffer
	b = append(b, 2, 1)
	n := uint16(len(utf16.Encode([]rune(key))))
	b.u16(6 + 2*n)
	b.u16(2)
	b.u16(n)
	b.utf16(key)
	b.u16(uint16(len(rules)))
	for _, r := range rules {
		b = append(b, 2, 1)
		b.u16(0x3E)
		b.u16(r.Flags)
		b.u16(r.Year)
		b = append(b, make([]byte, 14)...)
		b.u32(uint32(r.Bias))
		b.u32(uint32(r.Standard))
		b.u32(uint32(r.Summer))
		b.systemTime(r.StandardYear, r.ToStandard)
		b.systemTime(r.SummerYear, r.ToSummer)
	}
	return b
}

// ZoneStruct encodes PidLidTimeZoneStruct ([MS-OXOCAL] 2.2.1.39).
func ZoneStruct(r Rule) []byte {
	var b buffer
	b.u32(uint32(r.Bias))
	b.u32(uint32(r.Standard))
	b.u32(uint32(r.Summer))
	b.u16(0)
	b.systemTime(r.StandardYear, r.ToStandard)
	b.u16(0)
	b.systemTime(r.SummerYear, r.ToSummer)
	return b
}

// GlobalID makes a GlobalObjectId ([MS-OXOCAL] 2.2.1.27) for the instance of a date, zero for none.
func GlobalID(date time.Time, data []byte) []byte {
	b := []byte("\x04\x00\x00\x00\x82\x00\xE0\x00\x74\xC5\xB7\x10\x1A\x82\xE0\x08")
	if date.IsZero() {
		b = append(b, 0, 0, 0, 0)
	} else {
		b = append(b, byte(date.Year()>>8), byte(date.Year()), byte(date.Month()), byte(date.Day()))
	}
	b = append(b, 0x50, 0x25, 0xD4, 0x61, 0xE4, 0x73, 0xC8, 0x01)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}
