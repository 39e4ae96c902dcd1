package calendar_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// zoneSource is planning in another zone, or none: as a definition, or as a structure with a text.
func zoneSource(start, end string, list ...mapi.Property) []mapi.Property {
	return append(list, appt(0x820D, instant(start)), appt(0x820E, instant(end)), appt(0x825F, binary(nil)))
}

func TestZones(t *testing.T) {
	definition := func(key string, r ...calendartest.Rule) mapi.Property {
		return appt(0x825E, binary(calendartest.ZoneDefinition(key, r...)))
	}
	none := appt(0x825E, binary(nil))
	tests := []struct {
		name, start string // UTC
		list        []mapi.Property
		tzid, want  string
	}{
		{"summer in the north", "2025-06-03 08:00", []mapi.Property{definition("W. Europe Standard Time", calendartest.Berlin)}, "Europe/Berlin", "20250603T100000"},
		{"winter in the north", "2025-12-03 08:00", []mapi.Property{definition("W. Europe Standard Time", calendartest.Berlin)}, "Europe/Berlin", "20251203T090000"},
		{"before the change", "2025-03-30 00:59", []mapi.Property{definition("W. Europe Standard Time", calendartest.Berlin)}, "Europe/Berlin", "20250330T015900"},
		{"after the change", "2025-03-30 01:00", []mapi.Property{definition("W. Europe Standard Time", calendartest.Berlin)}, "Europe/Berlin", "20250330T030000"},
		{"before the change back", "2025-10-26 00:59", []mapi.Property{definition("W. Europe Standard Time", calendartest.Berlin)}, "Europe/Berlin", "20251026T025900"},
		{"after the change back", "2025-10-26 01:00", []mapi.Property{definition("W. Europe Standard Time", calendartest.Berlin)}, "Europe/Berlin", "20251026T020000"},
		{"summer in the south", "2025-12-31 20:00", []mapi.Property{definition("AUS Eastern Standard Time", calendartest.Sydney)}, "Australia/Sydney", "20260101T070000"},
		{"winter in the south", "2025-07-01 20:00", []mapi.Property{definition("AUS Eastern Standard Time", calendartest.Sydney)}, "Australia/Sydney", "20250702T060000"},
		{"west", "2025-06-03 08:00", []mapi.Property{definition("Pacific Standard Time", calendartest.Seattle)}, "America/Los_Angeles", "20250603T010000"},
		{"half an hour", "2025-06-03 08:00", []mapi.Property{definition("India Standard Time", calendartest.Kolkata)}, "Asia/Calcutta", "20250603T133000"},
		{"UTC", "2025-06-03 08:00", []mapi.Property{definition("UTC", calendartest.Rule{})}, "", "20250603T080000Z"},
		{"unknown id", "2025-06-03 08:00", []mapi.Property{definition("Fabrikam Standard Time", calendartest.Kolkata)}, "Fabrikam Standard Time", "20250603T133000"},
		{"no id", "2025-06-03 08:00", []mapi.Property{definition("", calendartest.Kolkata)}, "Customized Time Zone", "20250603T133000"},
		{"structure, known text", "2025-06-03 08:00", []mapi.Property{none, appt(0x8233, binary(calendartest.ZoneStruct(calendartest.Berlin))),
			appt(0x8234, text("(GMT+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna"))}, "Europe/Berlin", "20250603T100000"},
		{"structure, other text", "2025-06-03 08:00", []mapi.Property{none, appt(0x8233, binary(calendartest.ZoneStruct(calendartest.Berlin))),
			appt(0x8234, text("(GMT+01:00) Österreich; Tirol"))}, "(GMT+0100) Österreich Tirol", "20250603T100000"},
		{"definition of the series only", "2025-06-03 08:00", []mapi.Property{none, appt(0x8260, binary(calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin)))},
			"Europe/Berlin", "20250603T100000"},
		{"damaged definition", "2025-06-03 08:00", []mapi.Property{appt(0x825E, binary([]byte{2, 1, 9})), appt(0x8233, binary(calendartest.ZoneStruct(calendartest.Berlin)))},
			"Customized Time Zone", "20250603T100000"},
		{"the marked rule", "2025-06-03 08:00", []mapi.Property{definition("W. Europe Standard Time",
			calendartest.Rule{Year: 1990, Bias: 600}, calendartest.Berlin, calendartest.Rule{Year: 2020, Bias: 300})}, "Europe/Berlin", "20250603T100000"},
		{"rules out of order", "2025-06-03 08:00", []mapi.Property{definition("W. Europe Standard Time", calendartest.Rule{Year: 2024, Bias: -60},
			calendartest.Rule{Year: 2031, Bias: 300}, calendartest.Rule{Year: 1990, Bias: 600})}, "Customized Time Zone", "20250603T090000"},
		{"the rule of the year", "2012-07-09 13:30", []mapi.Property{definition("Russian Standard Time", calendartest.Rule{Year: 2000, Bias: -180, Summer: -60, ToStandard: [5]uint16{10, 0, 5, 3, 0}, ToSummer: [5]uint16{3, 0, 5, 2, 0}},
			calendartest.Rule{Year: 2011, Bias: -240}, calendartest.Rule{Flags: 2, Year: 2015, Bias: -180})}, "Europe/Moscow", "20120709T173000"},
		{"a rule that the name does not have", "2001-04-01 12:00", []mapi.Property{definition("Pacific Standard Time", calendartest.Rule{Flags: 2, Year: 1990, Bias: 480})}, "Customized Time Zone", "20010401T040000"},
		{"none", "2025-06-03 08:00", []mapi.Property{none}, "", "20250603T080000Z"},
		{"text only", "2025-06-03 08:00", []mapi.Property{none, appt(0x8234, text("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna"))}, "Europe/Berlin", "20250603T100000"},
		{"text only, in winter", "2025-12-03 08:00", []mapi.Property{none, appt(0x8234, text("(GMT+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna"))}, "Europe/Berlin", "20251203T090000"},
		{"text only, south", "2025-12-31 20:00", []mapi.Property{none, appt(0x8234, text("AUS Eastern Standard Time"))}, "Australia/Sydney", "20260101T070000"},
		{"text only, no summer time", "2025-06-03 08:00", []mapi.Property{none, appt(0x8234, text("India Standard Time"))}, "Asia/Calcutta", "20250603T133000"},
		{"text only, clock changed by custom", "2025-06-03 08:00", []mapi.Property{none, appt(0x8234, text("Morocco Standard Time"))}, "Africa/Casablanca", "20250603T090000"},
		{"text that nobody knows", "2025-06-03 08:00", []mapi.Property{none, appt(0x8234, text("(GMT+01:00) Middle Earth"))}, "", "20250603T080000Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end := at(tt.start).Add(30 * time.Minute).Format("2006-01-02 15:04")
			lines := calendartest.Check(t, convert(t, source(request, zoneSource(tt.start, end, tt.list...)...)).Data)
			start := calendartest.Find(lines, "VCALENDAR/VEVENT", "DTSTART")[0]
			if start.Value != tt.want || start.Params["TZID"] != tt.tzid {
				t.Errorf("DTSTART %s in %q, want %s in %q", start.Value, start.Params["TZID"], tt.want, tt.tzid)
			}
			if n := len(calendartest.Find(lines, "VCALENDAR", "BEGIN")); tt.tzid == "" && strings.Contains(tt.want, "Z") && n != 0 && len(calendartest.Find(lines, "VCALENDAR/VTIMEZONE", "TZID")) != 0 {
				t.Error("a VTIMEZONE that nothing refers to")
			}
		})
	}
}

// TestZoneRules compares the rules that are written with what Go's own time zone database says, a whole year through.
func TestZoneRules(t *testing.T) {
	for _, z := range []struct {
		iana, key string
		rule      calendartest.Rule
	}{
		{"Europe/Berlin", "W. Europe Standard Time", calendartest.Berlin}, {"America/Los_Angeles", "Pacific Standard Time", calendartest.Seattle},
		{"Australia/Sydney", "AUS Eastern Standard Time", calendartest.Sydney},
	} {
		loc, err := time.LoadLocation(z.iana)
		if err != nil {
			t.Skipf("NOT RUN: no time zone database: %v", err)
		}
		for d := at("2025-01-01 00:30"); d.Year() == 2025; d = d.Add(25*time.Hour + time.Minute) {
			data := string(convert(t, source(request, appt(0x820D, mapi.Property{Type: mapi.TypeTime, Value: d}), appt(0x820E, mapi.Property{Type: mapi.TypeTime, Value: d.Add(time.Hour)}),
				appt(0x825E, binary(calendartest.ZoneDefinition(z.key, z.rule))), appt(0x825F, binary(nil)))).Data)
			_, got, _ := strings.Cut(data, "DTSTART;TZID="+z.iana+":")
			if want := d.In(loc).Format("20060102T150405"); !strings.HasPrefix(got, want+"\r\n") {
				t.Fatalf("%s: %v is not %s:\n%s", z.iana, d, want, data)
			}
		}
	}
}

// TestBadZones: a zone that can't be right is not used.
func TestBadZones(t *testing.T) {
	for name, r := range map[string]calendartest.Rule{
		"offset": {Bias: 100000}, "sum of offsets": {Bias: 1400, Standard: 100}, "month": {Summer: -60, ToStandard: [5]uint16{13, 0, 1, 2, 0}},
		"weekday": {Summer: -60, ToStandard: [5]uint16{10, 7, 1, 2, 0}}, "number": {Summer: -60, ToStandard: [5]uint16{10, 0, 6, 2, 0}},
		"day of a month": {Summer: -60, StandardYear: 2025, ToStandard: [5]uint16{10, 0, 32, 2, 0}}, "hour": {Summer: -60, ToSummer: [5]uint16{3, 0, 1, 24, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			o := convert(t, source(request, appt(0x825E, binary(calendartest.ZoneDefinition("W. Europe Standard Time", r))), appt(0x825F, binary(nil))))
			if got := calendartest.Value(calendartest.Check(t, o.Data), "DTSTART"); got != "20250603T080000Z" || len(o.Warnings) == 0 {
				t.Errorf("DTSTART %s, warnings %q", got, o.Warnings)
			}
		})
	}
	whole := calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin)
	for n := range whole {
		convert(t, source(request, appt(0x825E, binary(whole[:n])), appt(0x825F, binary(nil))))
	}
}

// TestAbsoluteRule: a change of the clock on a date of one year is told for that year.
func TestAbsoluteRule(t *testing.T) {
	r := calendartest.Rule{Flags: 2, Year: 2025, Bias: -60, Summer: -60, StandardYear: 2025, ToStandard: [5]uint16{10, 0, 26, 3, 0}, SummerYear: 2025, ToSummer: [5]uint16{3, 0, 30, 2, 0}}
	lines := calendartest.Check(t, convert(t, source(request, appt(0x825E, binary(calendartest.ZoneDefinition("W. Europe Standard Time", r))), appt(0x825F, binary(nil)))).Data)
	if got := calendartest.Value(lines, "DTSTART"); got != "20250603T100000" {
		t.Errorf("DTSTART %s", got)
	}
	for _, x := range []struct {
		part string
		want []string
	}{{"STANDARD", []string{"19700101T000000", "20251026T030000"}}, {"DAYLIGHT", []string{"20250330T020000"}}} { // the first: what was before
		path := "VCALENDAR/VTIMEZONE/" + x.part
		var got []string
		for _, l := range calendartest.Find(lines, path, "DTSTART") {
			got = append(got, l.Value)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s from %s, want %s", x.part, got, x.want)
		}
		if len(calendartest.Find(lines, path, "RRULE")) != 0 {
			t.Errorf("%s has a rule", x.part)
		}
	}
}
