package tnef_test

import (
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func moment(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func apptProp(lid uint32, p mapi.Property) mapi.Property {
	return tneftest.Named(mapi.SetAppointment, lid, p)
}

// row is a row of a recipient table.
func row(kind int32, name, address string, more ...mapi.Property) []mapi.Property {
	return append([]mapi.Property{
		tneftest.Long(mapi.TagRecipientType, kind), tneftest.Text(mapi.TagDisplayName, name), tneftest.Text(mapi.TagAddressType, "SMTP"),
		tneftest.Text(mapi.TagEmailAddress, address), tneftest.Text(mapi.TagSMTPAddress, address),
	}, more...)
}

// fromKim are the properties of an originator.
func fromKim() []mapi.Property {
	return []mapi.Property{
		tneftest.Text(mapi.TagSentRepresentingName, "Kim Akers"), tneftest.Text(mapi.TagSentRepresentingAddressType, "SMTP"),
		tneftest.Text(mapi.TagSentRepresentingEmailAddress, "kim@contoso.com"), tneftest.Text(mapi.TagSenderName, "Kim Akers"),
		tneftest.Text(mapi.TagSenderAddressType, "SMTP"), tneftest.Text(mapi.TagSenderEmailAddress, "kim@contoso.com"),
	}
}

// meetingStream is a weekly meeting in Berlin with a moved instance, as Outlook sends it.
func meetingStream(class string, more ...mapi.Property) *tneftest.Stream {
	p := calendartest.Pattern{
		Freq: 0x200B, Type: 1, Period: 1, Days: 1 << 2, End: 0x2022, Count: 4, Start: moment("2025-06-03 00:00"), Until: moment("2025-06-24 00:00"),
		StartMinutes: 600, EndMinutes: 690, Deleted: []time.Time{moment("2025-06-10 00:00"), moment("2025-06-17 00:00")}, Modified: []time.Time{moment("2025-06-18 00:00")},
		Exceptions: []calendartest.Exception{{Start: moment("2025-06-18 14:00"), End: moment("2025-06-18 15:00"), Original: moment("2025-06-17 10:00")}},
	}
	id := calendartest.GlobalID(time.Time{}, []byte("0123456789ABCDEF"))
	zone := calendartest.ZoneDefinition("W. Europe Standard Time", calendartest.Berlin)
	exception := &tneftest.Stream{Class: "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}", Props: []mapi.Property{
		tneftest.Text(mapi.TagSubject, "Planning, moved"), tneftest.Text(mapi.TagBody, "Only this time"),
		apptProp(0x8228, tneftest.Time(0, moment("2025-06-17 08:00"))),
	}}
	props := append(more, fromKim()...)
	props = append(props,
		tneftest.Text(mapi.TagSubject, "Planning"), tneftest.Text(mapi.TagBody, "When: Tuesday\r\nHello from Outlook"),
		tneftest.Time(mapi.TagClientSubmitTime, moment("2025-05-28 07:15")),
		tneftest.Named(mapi.SetMeeting, 3, tneftest.Binary(0, id)), tneftest.Named(mapi.SetMeeting, 0x23, tneftest.Binary(0, id)),
		apptProp(0x820D, tneftest.Time(0, moment("2025-06-03 08:00"))), apptProp(0x820E, tneftest.Time(0, moment("2025-06-03 09:30"))),
		apptProp(0x8216, tneftest.Binary(0, p.Bytes())), apptProp(0x8223, tneftest.Bool(0, true)), apptProp(0x8201, tneftest.Long(0, 1)),
		apptProp(0x8208, tneftest.Text(0, "Room 7/1")), apptProp(0x825E, tneftest.Binary(0, zone)), apptProp(0x8260, tneftest.Binary(0, zone)),
	)
	return &tneftest.Stream{
		Class: class, Props: props,
		Recipients:  [][]mapi.Property{row(1, "David Alexander", "david@fabrikam.com"), row(2, "Jossef Goldberg", "jossef@contoso.com")},
		Attachments: []tneftest.Attachment{{Message: exception, Props: []mapi.Property{tneftest.Long(mapi.TagAttachMethod, 5), tneftest.Long(mapi.TagAttachmentFlags, 2), tneftest.Bool(mapi.TagAttachmentHidden, true)}}},
	}
}
