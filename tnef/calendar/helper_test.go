package calendar_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coexist-mail/coexist/tnef/calendar"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	tt "github.com/coexist-mail/coexist/tnef/tneftest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Short names for what meetings are made of.

func appt(lid uint32, p mapi.Property) mapi.Property    { return tt.Named(mapi.SetAppointment, lid, p) }
func meeting(lid uint32, p mapi.Property) mapi.Property { return tt.Named(mapi.SetMeeting, lid, p) }
func shared(lid uint32, p mapi.Property) mapi.Property  { return tt.Named(mapi.SetCommon, lid, p) }
func task(lid uint32, p mapi.Property) mapi.Property    { return tt.Named(mapi.SetTask, lid, p) }

func boolean(v bool) mapi.Property   { return tt.Bool(0, v) }
func long(v int32) mapi.Property     { return tt.Long(0, v) }
func text(s string) mapi.Property    { return tt.Text(0, s) }
func binary(b []byte) mapi.Property  { return tt.Binary(0, b) }
func instant(s string) mapi.Property { return tt.Time(0, at(s)) }
func at(s string) time.Time          { return parse("2006-01-02 15:04", s) }
func day(s string) time.Time         { return parse("2006-01-02", s) }
func days(list ...string) (d []time.Time) {
	for _, s := range list {
		d = append(d, day(s))
	}
	return d
}

func parse(layout, s string) time.Time {
	t, err := time.Parse(layout, s)
	if err != nil {
		panic(err)
	}
	return t
}

// props makes a list; named properties get ids, as in a stream.
func props(list ...mapi.Property) *mapi.Props {
	for i := range list {
		if !list[i].Name.IsZero() {
			list[i].ID = mapi.FirstNamed + mapi.ID(i)
		}
	}
	return &mapi.Props{List: list}
}

func with(base []mapi.Property, more ...mapi.Property) []mapi.Property {
	// What comes first is found first.
	return append(append([]mapi.Property{}, more...), base...)
}

func recipient(kind int32, name, address string, more ...mapi.Property) mapi.Recipient {
	p := props(append([]mapi.Property{tt.Long(mapi.TagRecipientType, kind), tt.Text(mapi.TagDisplayName, name), tt.Text(mapi.TagSMTPAddress, address)}, more...)...)
	return mapi.Recipient{Props: *p}
}

var (
	kim    = mapi.Mailbox{Name: "Kim Akers", Address: "kim@contoso.com"}
	david  = mapi.Mailbox{Name: "David Alexander", Address: "david@fabrikam.com"}
	goid   = calendartest.GlobalID(time.Time{}, []byte("0123456789ABCDEF"))
	invite = []mapi.Recipient{
		recipient(1, "Kim Akers", "kim@contoso.com", tt.Long(mapi.TagRecipientFlags, 3)),
		recipient(1, "David Alexander", "david@fabrikam.com", tt.Long(mapi.TagRecipientFlags, 1)),
		recipient(2, "Jossef Goldberg; Sales, \"North\"", "jossef@contoso.com", tt.Long(mapi.TagRecipientTrackStatus, 3)),
		recipient(3, "Room 7/1", "room71@contoso.com", tt.Long(0x3905, 7)),
		recipient(3, "Projector", "projector@contoso.com", tt.Long(0x3905, 8)),
		recipient(1, "david again", "David@Fabrikam.com"),
	}
)

// planning is a meeting in Berlin from 10:00 to 11:30 on Tuesday 2025-06-03.
var planning = []mapi.Property{
	tt.Text(mapi.TagSubject, "Planning; Q3, part 1"),
	tt.Time(mapi.TagClientSubmitTime, at("2025-05-28 07:15")),
	tt.Time(mapi.TagCreationTime, at("2025-05-28 07:10")),
	tt.Time(mapi.TagLastModificationTime, at("2025-05-28 07:14")),
	tt.Long(mapi.TagImportance, 1),
	tt.Long(mapi.TagSensitivity, 0),
	tt.Long(mapi.TagOwnerAppointmentID, 1234567890),
	tt.Bool(mapi.TagResponseRequested, true),
	meeting(0x03, binary(goid)),
	meeting(0x23, binary(goid)),
	meeting(0x1A, instant("2025-05-28 07:14")),
	appt(0x8201, long(2)),
	appt(0x8205, long(1)),
	appt(0x8224, long(2)),
	appt(0x8208, text("Room 7/1")),
	appt(0x820D, instant("2025-06-03 08:00")),
	appt(0x820E, instant("2025-06-03 09:30")),
	appt(0x8213, long(90)),
	appt(0x8215, boolean(false)),
	appt(0x8217, long(3)),
	appt(0x825E, binary(calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin))),
	appt(0x825F, binary(calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin))),
	shared(0x8503, boolean(true)),
	shared(0x8501, long(15)),
}

// source makes a message of a class with planning and more.
func source(class string, more ...mapi.Property) *calendar.Source {
	return &calendar.Source{
		Class: class, Props: props(with(planning, more...)...), Recipients: invite, From: kim, Sender: kim,
		Text: "Agenda:\r\n1. Budget\r\n2. Größe der Räume, Café\r\n",
	}
}

func convert(t testing.TB, s *calendar.Source) *calendar.Object {
	t.Helper()
	o, err := calendar.Convert(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".ics")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}
