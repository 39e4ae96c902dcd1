package calendar_test

import (
	"testing"

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
)

// FuzzRecurrence: whatever the pattern is, the object is a sound one, and not much greater than what it was made from.
func FuzzRecurrence(f *testing.F) {
	for _, p := range patterns {
		p.p.Start, p.p.StartMinutes, p.p.EndMinutes = day("2025-06-03"), 600, 690
		f.Add(p.p.Bytes(), false)
	}
	f.Add(weekly.Bytes(), true)
	f.Fuzz(func(t *testing.T, blob []byte, allDay bool) {
		o, err := calendar.Convert(source(request, appt(0x8216, binary(blob)), appt(0x8215, boolean(allDay))))
		if err != nil {
			t.Fatal(err)
		}
		calendartest.Parse(t, o.Data)
		if len(o.Data) > 64<<10+200*len(blob) {
			t.Errorf("%d octets from a pattern of %d", len(o.Data), len(blob))
		}
	})
}

// FuzzZone does the same for time zones.
func FuzzZone(f *testing.F) {
	for _, r := range []calendartest.Rule{calendartest.Berlin, calendartest.Seattle, calendartest.Sydney, calendartest.Kolkata} {
		f.Add(calendartest.ZoneDefinition("W. Europe Standard Time", r), calendartest.ZoneStruct(r), "(GMT+01:00) Amsterdam")
	}
	f.Fuzz(func(t *testing.T, definition, structure []byte, name string) {
		for _, s := range []*calendar.Source{
			recurring(weekly, appt(0x8260, binary(definition)), appt(0x825E, binary(nil))),
			source(request, appt(0x825E, binary(nil)), appt(0x825F, binary(definition)), appt(0x8233, binary(structure)), appt(0x8234, text(name))),
		} {
			o, err := calendar.Convert(s)
			if err != nil {
				t.Fatal(err)
			}
			calendartest.Parse(t, o.Data)
		}
	})
}

// FuzzObjectID does the same for identities, and texts.
func FuzzObjectID(f *testing.F) {
	f.Add(goid, "Planning", "kim@contoso.com")
	f.Add(calendartest.GlobalID(day("2025-06-03"), []byte("vCal-Uid\x01\x00\x00\x00x@y\x00")), "a\r\nb\\;,\x00\u2028", "\"k m\"@contoso.com")
	f.Fuzz(func(t *testing.T, id []byte, s, address string) {
		src := source(request, meeting(3, binary(id)), meeting(0x23, binary(id)), appt(0x8208, text(s)))
		src.Text, src.From.Address, src.From.Name = s, address, s
		o, err := calendar.Convert(src)
		if err != nil {
			t.Fatal(err)
		}
		calendartest.Parse(t, o.Data)
	})
}

func BenchmarkRequest(b *testing.B) {
	s := source(request)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := calendar.Convert(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeries(b *testing.B) {
	s := recurring(weekly)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := calendar.Convert(s); err != nil {
			b.Fatal(err)
		}
	}
}
