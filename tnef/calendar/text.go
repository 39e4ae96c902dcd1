package calendar

import (
	"strings"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// answers say what a response says, in words.
var answers = map[string]string{"ACCEPTED": "Accepted", "TENTATIVE": "Tentatively accepted", "DECLINED": "Declined", "IN-PROCESS": "In progress"}

// lines collects the lines of a text, leaving out what is empty.
type lines struct{ strings.Builder }

func (l *lines) add(name, value string) {
	if value = contentline.OneLine(value); value != "" {
		l.WriteString(name + ": " + value + "\r\n")
	}
}

// Describe says in a few lines, with CRLF, what a message is about that is no iCalendar object: that a meeting was forwarded, for example.
// It is "" when nothing is known.
func Describe(s *Source) string {
	if mapi.ClassIs(s.Class, "IPM.Task") || mapi.ClassIs(s.Class, "IPM.TaskRequest") {
		return (&taskObject{people: newPeople(s)}).summaryText()
	}
	e := &event{people: newPeople(s), kind: kind{method: "PUBLISH"}}
	e.readRecurrence()
	_ = e.readTimes() // without a time or an identity the rest is still worth telling
	return e.summaryText()
}

// summaryText describes the meeting for people.
func (e *event) summaryText() string {
	l, o := &lines{}, &e.main
	switch e.method {
	case "CANCEL":
		l.add("Cancelled", o.summary)
	case "COUNTER":
		l.add("New time proposed", o.summary)
	case "REPLY":
		l.add(answers[e.partStat], o.summary)
	default:
		l.add("Subject", o.summary)
	}
	l.add("When", o.when())
	l.add("Where", o.location)
	if e.organizer.Name != "" {
		l.add("Organizer", e.organizer.Name)
	} else {
		l.add("Organizer", e.organizer.Address)
	}
	return l.String()
}

// Layouts of days and times for people. They have no language of their own beyond names of days and months.
const (
	layoutDay  = "Monday, 2 January 2006"
	layoutHour = "15:04"
)

// when is the time of an occurrence: "Tuesday, 3 June 2025, 10:00 - 11:00 (Europe/Berlin)".
func (o *occurrence) when() string {
	switch {
	case !o.hasTime:
		return ""
	case o.allDay:
		last := o.end.AddDate(0, 0, -1) // the end is not part of it
		if !last.After(o.start) {
			return o.start.Format(layoutDay)
		}
		return o.start.Format(layoutDay) + " - " + last.Format(layoutDay)
	}
	s := o.start.Format(layoutDay + ", " + layoutHour)
	switch {
	case !o.end.After(o.start):
	case midnight(o.end).Equal(midnight(o.start)):
		s += " - " + o.end.Format(layoutHour)
	default:
		s += " - " + o.end.Format(layoutDay+", "+layoutHour)
	}
	switch o.zone.form {
	case formUTC:
		s += " (UTC)"
	case formLocal:
		s += " (" + o.zone.tzid + ")"
	}
	return s
}

// summaryText describes the task for people.
func (t *taskObject) summaryText() string {
	l := &lines{}
	if answer := answers[t.partStat]; answer != "" {
		l.add(answer, t.summary())
	} else {
		l.add("Task", t.summary())
	}
	start, due := t.days()
	l.add("Start", start)
	l.add("Due", due)
	if t.complete() {
		l.add("Status", "complete")
	}
	return l.String()
}

// days are the start and the due date; "" where there is none.
func (t *taskObject) days() (start, due string) {
	day := func(at time.Time, ok bool) string {
		if !ok {
			return ""
		}
		return at.Format(layoutDay)
	}
	return day(task(t.Props, lidTaskStart).Time()), day(task(t.Props, lidTaskDue).Time())
}
