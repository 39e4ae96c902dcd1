package calendar_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	tt "github.com/coexist-mail/coexist/tnef/tneftest"
)

const (
	request = "IPM.Schedule.Meeting.Request"
	cancel  = "IPM.Schedule.Meeting.Canceled"
	accept  = "IPM.Schedule.Meeting.Resp.Pos"
	perhaps = "IPM.Schedule.Meeting.Resp.Tent"
	decline = "IPM.Schedule.Meeting.Resp.Neg"
)

// response is an answer of David to Kim's meeting.
func response(class string, more ...mapi.Property) *calendar.Source {
	s := source(class, append([]mapi.Property{
		tt.Text(mapi.TagSubject, "Accepted: Planning; Q3, part 1"), meeting(0x01, instant("2025-05-29 12:00")), appt(0x8220, instant("2025-05-29 12:00")),
	}, more...)...)
	s.From, s.Sender = david, david
	s.Recipients = []mapi.Recipient{recipient(1, "Kim Akers", "kim@contoso.com")}
	s.Text = "I'll be there."
	return s
}

// recurring adds a pattern in the zone of Berlin to planning.
func recurring(p calendartest.Pattern, more ...mapi.Property) *calendar.Source {
	if p.Start.IsZero() {
		p.Start = day("2025-06-03")
	}
	if p.StartMinutes == 0 {
		p.StartMinutes, p.EndMinutes = 600, 690
	}
	return source(request, append([]mapi.Property{
		appt(0x8216, binary(p.Bytes())), appt(0x8223, boolean(true)),
		appt(0x8260, binary(calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin))),
	}, more...)...)
}

// weekly is every Tuesday until 2025-07-29, with one date deleted, one moved and renamed, one only with another place.
var weekly = calendartest.Pattern{
	Freq: 0x200B, Type: 1, Period: 1, Days: 1 << 2, End: 0x2021, Count: 9, FirstDay: 1, Start: day("2025-06-03"), Until: day("2025-07-29"),
	Deleted:  days("2025-06-10", "2025-06-17", "2025-06-24", "2025-07-08"),
	Modified: days("2025-06-18", "2025-06-24"),
	Exceptions: []calendartest.Exception{
		{Start: at("2025-06-18 14:00"), End: at("2025-06-18 15:00"), Original: at("2025-06-17 10:00"), Subject: calendartest.Ptr("Planning, moved – später"),
			Busy: calendartest.Ptr(uint32(3)), ReminderDelta: calendartest.Ptr(uint32(30)), ReminderSet: calendartest.Ptr(uint32(1))},
		{Start: at("2025-06-24 10:00"), End: at("2025-06-24 11:30"), Original: at("2025-06-24 10:00"), Location: calendartest.Ptr("Café")},
	},
}

// goldens are all the objects in testdata.
var goldens = map[string]func() *calendar.Source{
	"request": func() *calendar.Source { return source(request) },
	"update": func() *calendar.Source {
		return source(request, appt(0x8201, long(7)), meeting(0x26, long(0x10000)), appt(0x8217, long(7)))
	},
	"cancel":    func() *calendar.Source { return source(cancel, appt(0x8201, long(3)), appt(0x8217, long(7))) },
	"accepted":  func() *calendar.Source { return response(accept) },
	"tentative": func() *calendar.Source { return response(perhaps) },
	"declined":  func() *calendar.Source { return response(decline) },
	"counter": func() *calendar.Source {
		return response(perhaps, appt(0x8257, boolean(true)), appt(0x8250, instant("2025-06-04 12:00")), appt(0x8251, instant("2025-06-04 13:30")))
	},
	"appointment": func() *calendar.Source { return source("IPM.Appointment", appt(0x8205, long(1))) },
	"delegate": func() *calendar.Source {
		s := source(request)
		s.Sender = mapi.Mailbox{Name: "Pilar Ackerman", Address: "pilar@contoso.com"}
		return s
	},
	"private": func() *calendar.Source {
		return source(request, tt.Long(mapi.TagSensitivity, 2), tt.Long(mapi.TagImportance, 2), appt(0x8224, long(0)), tt.Bool(mapi.TagResponseRequested, false),
			appt(0x825A, boolean(true)), tt.NamedString(mapi.SetPublicStrings, "Keywords", mapi.Property{Type: mapi.TypeUnicode, Multi: true, Value: []any{"Red", "Sales, EMEA"}}))
	},
	"allday": func() *calendar.Source {
		return source(request, appt(0x8215, boolean(true)), appt(0x820D, instant("2025-06-02 22:00")), appt(0x820E, instant("2025-06-04 22:00")))
	},
	"nozone": func() *calendar.Source {
		return source(request, appt(0x825E, binary(nil)), appt(0x825F, binary(nil)))
	},
	"unknownzone": func() *calendar.Source {
		return source(request, appt(0x825E, binary(calendartest.ZoneDefinition("Contoso: Ship, Time", calendartest.Kolkata))))
	},
	"twozones": func() *calendar.Source {
		return source(request, appt(0x825F, binary(calendartest.ZoneDefinition("Pacific Standard Time", calendartest.Seattle))))
	},
	"oldzone": func() *calendar.Source {
		return source(request, appt(0x825E, binary(nil)), appt(0x825F, binary(nil)), appt(0x8233, binary(calendartest.ZoneStruct(calendartest.Seattle))),
			appt(0x8234, text("(GMT-08:00) Pacific Time (US & Canada); Tijuana")))
	},
	"instance": func() *calendar.Source {
		return source(request, meeting(0x03, binary(calendartest.GlobalID(day("2025-06-02"), []byte("0123456789ABCDEF")))), meeting(0x0A, boolean(true)),
			meeting(0x0E, long(10<<12|0<<6)))
	},
	"cancelinstance": func() *calendar.Source {
		return source(cancel, meeting(0x03, binary(calendartest.GlobalID(day("2025-06-03"), []byte("0123456789ABCDEF")))), meeting(0x0A, boolean(true)),
			appt(0x8228, instant("2025-06-03 08:00")))
	},
	"replyinstance": func() *calendar.Source {
		return response(decline, meeting(0x03, binary(calendartest.GlobalID(day("2025-06-03"), []byte("0123456789ABCDEF")))))
	},
	"weekly":       func() *calendar.Source { return recurring(weekly) },
	"cancelseries": func() *calendar.Source { s := recurring(weekly); s.Class = cancel; return s },
	"replyseries": func() *calendar.Source {
		s := response(accept)
		s.Props.List = append(s.Props.List, recurring(weekly).Props.List...)
		return s
	},
	"exceptionmessage": func() *calendar.Source {
		s := recurring(weekly)
		s.Exceptions = []calendar.ExceptionMessage{{
			Props: props(appt(0x8228, instant("2025-06-17 08:00"))), Text: "Only this time.",
			Recipients: []mapi.Recipient{recipient(1, "David Alexander", "david@fabrikam.com")},
		}}
		return s
	},
	"alldayweekly": func() *calendar.Source {
		p := weekly
		p.StartMinutes, p.EndMinutes = 0, 1440
		p.Exceptions = []calendartest.Exception{
			{Start: at("2025-06-18 00:00"), End: at("2025-06-19 00:00"), Original: at("2025-06-17 00:00")},
			{Start: at("2025-06-24 09:00"), End: at("2025-06-24 10:00"), Original: at("2025-06-24 00:00"), SubType: calendartest.Ptr(uint32(0))},
		}
		return source(request, appt(0x8216, binary(p.Bytes())), appt(0x8223, boolean(true)), appt(0x8215, boolean(true)),
			appt(0x820D, instant("2025-06-02 22:00")), appt(0x820E, instant("2025-06-03 22:00")))
	},
	"changedrules": func() *calendar.Source {
		old := calendartest.Rule{Year: 1990, Bias: 480, Summer: -60, ToStandard: [5]uint16{10, 0, 5, 2, 0}, ToSummer: [5]uint16{4, 0, 1, 2, 0}}
		p := calendartest.Pattern{Freq: 0x200C, Type: 2, Period: 1, Day: 5, Start: day("2005-04-05"), StartMinutes: 540, EndMinutes: 600}
		return source(request, appt(0x8216, binary(p.Bytes())), appt(0x8223, boolean(true)), appt(0x820D, instant("2005-04-05 16:00")),
			appt(0x820E, instant("2005-04-05 17:00")), appt(0x8260, binary(calendartest.ZoneDefinition("Pacific Standard Time", old, calendartest.Seattle))))
	},
	"serieswithoutzone": func() *calendar.Source {
		p := weekly
		p.StartMinutes, p.EndMinutes = 600, 690
		return source(request, appt(0x8216, binary(p.Bytes())), appt(0x8223, boolean(true)), appt(0x825E, binary(nil)), appt(0x825F, binary(nil)))
	},
	"hijri": func() *calendar.Source {
		return recurring(calendartest.Pattern{Freq: 0x200C, Type: 0xA, CalendarType: 6, Period: 1, Day: 6, End: 0x2022, Count: 5, Until: day("2025-10-01"),
			Deleted: days("2025-07-02")})
	},
	"vcaluid": func() *calendar.Source {
		id := calendartest.GlobalID(day("2025-06-03"), []byte("vCal-Uid\x01\x00\x00\x00event-17@mail.fabrikam.com\x00"))
		return source(request, meeting(0x23, binary(calendartest.GlobalID(at("0001-01-01 00:00"), id[40:]))))
	},
	"task":        func() *calendar.Source { return taskSource("IPM.Task") },
	"taskrequest": func() *calendar.Source { return taskSource("IPM.TaskRequest") },
	"taskaccept":  func() *calendar.Source { return taskSource("IPM.TaskRequest.Accept") },
	"taskdecline": func() *calendar.Source { return taskSource("IPM.TaskRequest.Decline") },
	"taskupdate": func() *calendar.Source {
		return taskSource("IPM.TaskRequest.Update", task(0x811C, boolean(true)), task(0x8101, long(2)), task(0x810F, instant("2025-06-05 00:00")))
	},
	"taskoneday": func() *calendar.Source { return taskSource("IPM.Task", task(0x8104, instant("2025-06-06 00:00"))) },
	"taskrecurring": func() *calendar.Source {
		p := calendartest.Pattern{Task: true, Freq: 0x200C, Type: 3, Period: 1, Days: 1 << 5, Nth: 5, End: 0x2021, Start: day("2025-06-27"), Until: day("2025-12-26")}
		return taskSource("IPM.Task", task(0x8116, binary(p.Bytes())), task(0x8126, boolean(true)), task(0x8104, instant("2025-06-27 00:00")), task(0x8105, instant("2025-06-27 00:00")))
	},
}

func taskSource(class string, more ...mapi.Property) *calendar.Source {
	list := append(more, tt.Text(mapi.TagSubject, "Write the report"), tt.Time(mapi.TagClientSubmitTime, at("2025-05-28 07:15")),
		shared(0x8519, binary([]byte("0123456789ABCDEF"))), task(0x8101, long(1)), task(0x8102, mapi.Property{Type: mapi.TypeDouble, Value: 0.25}),
		task(0x8104, instant("2025-06-02 00:00")), task(0x8105, instant("2025-06-06 00:00")), shared(0x8503, boolean(true)), shared(0x8502, instant("2025-06-06 06:00")))
	return &calendar.Source{Class: class, Props: props(list...), From: kim, Sender: kim, Text: "By Friday.\r\n", Recipients: []mapi.Recipient{recipient(1, "David Alexander", "david@fabrikam.com")}}
}

func TestGolden(t *testing.T) {
	for name, make := range goldens {
		t.Run(name, func(t *testing.T) {
			o := convert(t, make())
			calendartest.Check(t, o.Data)
			golden(t, name, o.Data)
			if len(o.Warnings) > 0 {
				t.Errorf("warnings: %q", o.Warnings)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.ics")
	if err != nil || len(files) != len(goldens) {
		t.Errorf("%d files for %d cases (%v)", len(files), len(goldens), err)
	}
}

// TestOtherParsers gives every golden file to the parsers of other projects, and compares what they found.
func TestOtherParsers(t *testing.T) {
	objects := map[string][]byte{}
	for name := range goldens {
		b, err := os.ReadFile(filepath.Join("testdata", name+".ics"))
		if err != nil {
			t.Fatal(err)
		}
		objects[name] = b
	}
	// The instances of the series in Berlin, by hand: 10:00 in summer is 08:00 UTC. 10 June and 8 July are deleted; 17 June is moved to the
	// 18th, 14:00.
	weeklyInstances := unix("2025-06-03 08:00", "2025-06-18 12:00", "2025-06-24 08:00", "2025-07-01 08:00", "2025-07-15 08:00", "2025-07-22 08:00", "2025-07-29 08:00")
	instances := map[string][]int64{
		"request": unix("2025-06-03 08:00"), "oldzone": unix("2025-06-03 08:00"), "nozone": unix("2025-06-03 08:00"), "unknownzone": unix("2025-06-03 08:00"),
		"counter": unix("2025-06-04 12:00"), "weekly": weeklyInstances, "exceptionmessage": weeklyInstances, "serieswithoutzone": weeklyInstances,
		"hijri": unix("2025-06-03 08:00", "2025-08-01 08:00", "2025-08-30 08:00", "2025-09-29 08:00"),
	}
	calendartest.Run(t, objects, func(t *testing.T, parser, name string, f calendartest.Found) {
		data := string(objects[name])
		if parser != "node-ical" && f.Events != strings.Count(data, "BEGIN:VEVENT") || f.Todos != strings.Count(data, "BEGIN:VTODO") {
			t.Errorf("%s: %d events and %d tasks are found", name, f.Events, f.Todos)
		}
		uid := calendartest.Value(calendartest.Parse(t, objects[name]), "UID")
		if len(f.UIDs) == 0 || slices.ContainsFunc(f.UIDs, func(s string) bool { return s != uid }) {
			t.Errorf("%s: UIDs %q, want %q", name, f.UIDs, uid)
		}
		if want, ok := instances[name]; ok && f.HasInstances {
			slices.Sort(f.Instances)
			if !slices.Equal(f.Instances, want) {
				t.Errorf("%s: instances %v, want %v\n%s", name, f.Instances, want, data)
			}
		}
	})
}

func unix(list ...string) (out []int64) {
	for _, s := range list {
		out = append(out, at(s).Unix())
	}
	return out
}
