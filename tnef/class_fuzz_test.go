package tnef_test

import (
	"bytes"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/calendar/calendartest"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

// FuzzClasses changes streams of every class that has a rule: what comes out is a message whose calendars and cards are sound.
func FuzzClasses(f *testing.F) {
	for _, class := range []string{"IPM.Schedule.Meeting.Request", "IPM.Schedule.Meeting.Canceled", "IPM.Schedule.Meeting.Resp.Tent", "IPM.Appointment"} {
		f.Add(meetingStream(class).Bytes())
	}
	for _, s := range []*tneftest.Stream{taskStream("IPM.Task"), contactStream(photo()), listStream()} {
		f.Add(s.Bytes())
	}
	for _, class := range []string{"REPORT.IPM.Note.NDR", "REPORT.IPM.Note.IPNRN"} {
		s := tneftest.Stream{Class: class, Props: fromKim(), Recipients: [][]mapi.Property{row(1, "David", "david@fabrikam.com", tneftest.Long(0x0C20, 511))}}
		f.Add(s.Bytes())
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out bytes.Buffer
		if _, err := tnef.ConvertStream(&out, stream, nil); err != nil {
			return
		}
		parseMessage(t, out.Bytes()).parts(func(p *parsedPart) {
			if p.Disp == "attachment" && p.Type == "text/calendar" && p.Params["method"] == "" {
				return // a file that was attached
			}
			if p.Params["charset"] == "utf-8" {
				calendartest.Parse(t, p.Content)
			}
		})
	})
}
