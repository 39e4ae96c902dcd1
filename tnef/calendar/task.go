package calendar

import (
	"math"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// taskStates are the values of STATUS for PidLidTaskStatus ([MS-OXOTASK] 2.2.2.2.2): not started, in progress, complete, waiting on somebody, deferred.
var taskStates = map[int64]string{0: "NEEDS-ACTION", 1: "IN-PROCESS", 2: "COMPLETED", 3: "NEEDS-ACTION", 4: "NEEDS-ACTION"}

// convertTask writes a VTODO (RFC 5545 3.6.2). The properties are those of the task itself, also when a message carries it.
func convertTask(s *Source, k kind) (*Object, error) {
	t := &taskObject{people: newPeople(s), kind: k}
	uid := taskUID(s.Props)
	if uid == "" && k.method != "REPLY" && s.summary() != "" { // a task of one's own need not have an identity
		start, due := t.days()
		uid = derivedUID(s.summary(), s.from().Address, start+due)
	}
	if uid == "" {
		return nil, ErrIncomplete
	}
	w := &writer{}
	w.header(k.method)
	w.Begin("VTODO")
	w.Raw("UID", contentline.Escape(uid))
	t.writeTimes(w)
	t.writePeople(w)
	w.Text("SUMMARY", s.summary())
	if strings.TrimSpace(s.Text) != "" {
		w.Text("DESCRIPTION", strings.TrimRight(s.Text, "\r\n"))
	}
	w.categories(s.Props)
	w.classification(s.Props)
	w.priority(s.Props)
	t.writeState(w)
	t.writeAlarm(w)
	w.End("VTODO")
	w.End("VCALENDAR")
	return &Object{Method: k.method, Component: k.component, Data: w.Bytes(), Text: t.summaryText(), Warnings: t.warnings}, nil
}

type taskObject struct {
	*people
	kind
	warnings []string
}

func (t *taskObject) warn(s string) { t.warnings = append(t.warnings, s) }

// writeTimes: start and due are days, kept as midnight in UTC ([MS-OXOTASK] 2.2.2.2.4 and .5).
func (t *taskObject) writeTimes(w *writer) {
	p := t.Props
	start, hasStart := task(p, lidTaskStart).Time()
	due, hasDue := task(p, lidTaskDue).Time()
	rule := t.rule(start, due)
	if rule != "" && !hasStart && hasDue {
		start, hasStart = due, true // RFC 5545 3.8.5.3: a rule needs DTSTART
	}
	// RFC 5545 3.8.2.3: DUE is later than DTSTART. Where Outlook has one day for both, the due date says more, unless a rule needs the start.
	hasDue = hasDue && (!hasStart || due.After(start) || due.Equal(start) && rule == "")
	hasStart = hasStart && !(hasDue && due.Equal(start))
	if hasStart {
		w.moment("DTSTART", start, nil, true)
	}
	if hasDue {
		w.moment("DUE", due, nil, true)
	}
	if rule != "" && hasStart {
		w.Raw("RRULE", rule)
	}
	stamp := t.sent()
	for _, fallback := range []time.Time{due, start, time.Unix(0, 0)} {
		if stamp.IsZero() {
			stamp = fallback
		}
	}
	w.Raw("DTSTAMP", formatUTC(stamp))
	for _, x := range []struct {
		name string
		prop *mapi.Property
	}{
		{"CREATED", p.Find(mapi.TagCreationTime)}, {"LAST-MODIFIED", p.Find(mapi.TagLastModificationTime)}, {"COMPLETED", task(p, lidTaskCompleted)},
	} {
		if v, ok := x.prop.Time(); ok && x.prop.Attribute == 0 {
			w.utc(x.name, v)
		}
	}
}

// rule reads the task's recurrence; "" when it has none, or one that RRULE can't say.
func (t *taskObject) rule(start, due time.Time) string {
	blob := task(t.Props, lidTaskRecur).Bytes()
	if len(blob) == 0 {
		return ""
	}
	if v, said := task(t.Props, lidTaskRecurring).Int(); said && v == 0 {
		return ""
	}
	r, _, err := ParseRecurrence(blob, t.Decode)
	switch {
	case err != nil:
		t.warn(err.Error() + ": only one instance is told")
		return ""
	case !r.gregorian():
		t.warn("the recurrence counts months of another calendar: only one instance is told")
		return ""
	}
	if start.IsZero() {
		start = due
	}
	until := ""
	if !r.Until.IsZero() {
		until = r.Until.Format(layoutDate)
	}
	return r.rule(start, until)
}

// writePeople: who gives a task is its ORGANIZER, who gets it an ATTENDEE.
func (t *taskObject) writePeople(w *writer) {
	switch t.method {
	case "REQUEST":
		from := t.from()
		w.organizer(from, t.Sender)
		for _, a := range t.attendees(t.Recipients, from, t.warn) {
			w.attendee(a, with("RSVP", "TRUE"))
		}
	case "REPLY":
		if len(t.Recipients) > 0 {
			w.organizer(t.resolve(&t.Recipients[0]), mapi.Mailbox{})
		} else if len(t.To) > 0 {
			w.organizer(t.To[0], mapi.Mailbox{})
		}
		partStat := t.partStat
		if partStat == "IN-PROCESS" && t.complete() {
			partStat = "COMPLETED"
		}
		if from := t.from(); calAddress(from.Address) != "" {
			w.attendee(attendee{Mailbox: from, role: "REQ-PARTICIPANT", cuType: "INDIVIDUAL", partStat: partStat})
		}
	}
}

func (t *taskObject) complete() bool {
	status, _ := task(t.Props, lidTaskStatus).Int()
	return status == 2 || task(t.Props, lidTaskComplete).Bool()
}

func (t *taskObject) writeState(w *writer) {
	status, _ := task(t.Props, lidTaskStatus).Int()
	state := taskStates[status]
	if t.complete() || state == "" && status == 2 {
		state = "COMPLETED"
	}
	if state != "" {
		w.Raw("STATUS", state)
	}
	if x := task(t.Props, lidTaskPercent); x != nil {
		if v, ok := x.Value.(float64); ok && v >= 0 && v <= 1 {
			w.int("PERCENT-COMPLETE", int64(math.Round(v*100)))
		}
	}
}

// writeAlarm: the reminder of a task is a time, not a distance.
func (t *taskObject) writeAlarm(w *writer) {
	if !common(t.Props, lidReminderSet).Bool() || t.method == "REPLY" {
		return
	}
	for _, lid := range []uint32{lidReminderSignal, lidReminderTime} {
		if at, ok := common(t.Props, lid).Time(); ok && at.Year() < 4500 { // 4501 stands for none
			w.Begin("VALARM")
			w.Raw("ACTION", "DISPLAY")
			w.Raw("DESCRIPTION", "REMINDER")
			w.Raw("TRIGGER", formatUTC(at), with("VALUE", "DATE-TIME"))
			w.End("VALARM")
			return
		}
	}
}
