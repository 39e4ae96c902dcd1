package calendar

import (
	"fmt"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// isReply tells whether the message is a response.
func (e *event) isReply() bool { return e.method == "REPLY" || e.method == "COUNTER" }

// write writes a VEVENT.
func (e *event) write(w *writer, o *occurrence) {
	w.Begin("VEVENT")
	w.Raw("UID", contentline.Escape(e.uid))
	e.writeTimes(w, o)
	if o.instType == instMaster && !e.isReply() {
		e.writeRule(w)
	}
	e.writePeople(w, o)
	w.Text("SUMMARY", o.summary)
	w.Text("LOCATION", o.location)
	e.writeText(w, o)
	e.writeState(w, o)
	e.writeMicrosoft(w, o)
	if e.method == "REQUEST" || e.method == "PUBLISH" {
		w.alarm(o)
	}
	w.End("VEVENT")
}

// moment writes a time as its form asks for.
func (w *writer) moment(name string, t time.Time, z *zone, allDay bool) {
	value, params := moment(t, z, allDay)
	w.Raw(name, value, params...)
}

func moment(t time.Time, z *zone, allDay bool) (string, []param) {
	switch {
	case allDay:
		return t.Format(layoutDate), []param{with("VALUE", "DATE")}
	case z.form == formUTC:
		return formatUTC(z.utc(t)), nil
	case z.form == formFloating:
		return t.Format(layoutLocal), nil
	}
	return t.Format(layoutLocal), []param{with("TZID", z.tzid)}
}

func (e *event) writeTimes(w *writer, o *occurrence) {
	if !o.replaces.IsZero() {
		// RFC 5545 3.8.4.4: of the same type as DTSTART of the series.
		w.moment("RECURRENCE-ID", o.replaces, e.zone, e.main.allDay)
	}
	if o.hasTime {
		w.moment("DTSTART", o.start, o.zone, o.allDay)
	}
	if !o.end.IsZero() {
		end := o.end
		if o.endZone != o.zone { // the same instant, on the clock of another zone
			end = o.endZone.wall(o.zone.utc(end))
		}
		if o.allDay || end.After(o.start) || o.endZone != o.zone {
			w.moment("DTEND", end, o.endZone, o.allDay)
		}
	}
	w.Raw("DTSTAMP", formatUTC(e.stamp()))
	for _, x := range []struct {
		name string
		id   mapi.ID
	}{{"CREATED", mapi.TagCreationTime}, {"LAST-MODIFIED", mapi.TagLastModificationTime}} {
		if p := e.Props.Find(x.id); p != nil && p.Attribute == 0 {
			t, _ := p.Time()
			w.utc(x.name, t)
		}
	}
	seq, _ := named(e.Props, lidSequence).Int()
	w.int("SEQUENCE", max(0, seq))
}

// stamp is DTSTAMP: when the organizer, or the attendee, last changed something that matters ([MS-OXCICAL] 2.1.3.1.1.20.9).
func (e *event) stamp() time.Time {
	lids := []uint32{lidOwnerChange, lidAttendeeChange}
	if e.isReply() {
		lids = []uint32{lidAttendeeChange, lidOwnerChange}
	}
	for _, lid := range lids {
		if t, ok := meetingProp(e.Props, lid).Time(); ok {
			return t
		}
	}
	if t := e.sent(); !t.IsZero() {
		return t
	}
	return e.zone.utc(e.main.start)
}

// sent is when the message was sent; zero when nothing says it.
func (s *Source) sent() time.Time {
	for _, id := range []mapi.ID{mapi.TagClientSubmitTime, mapi.TagMessageDeliveryTime, mapi.TagLastModificationTime, mapi.TagCreationTime} {
		if x := s.Props.Find(id); x != nil && x.Attribute == 0 {
			if t, ok := x.Time(); ok {
				return t
			}
		}
	}
	return s.Date
}

// writeRule writes the recurrence of a series, and the instances that do not take place.
func (e *event) writeRule(w *writer) {
	r, o := e.recur, &e.main
	until := ""
	if last := r.Until.Add(r.StartOffset); !r.Until.IsZero() {
		switch { // RFC 5545 3.3.10: a date for dates, UTC when there is a zone
		case o.allDay:
			until = last.Format(layoutDate)
		case e.zone.form == formFloating:
			until = last.Format(layoutLocal)
		default:
			until = formatUTC(e.zone.utc(last))
		}
	}
	rrule, exdate := "RRULE", "EXDATE"
	if !r.gregorian() {
		w.Raw("X-MICROSOFT-CALSCALE", r.calscale())
		rrule, exdate = "X-MICROSOFT-RRULE", "X-MICROSOFT-EXDATE"
	}
	w.Raw(rrule, r.rule(o.start, until))
	e.writeDates(w, exdate, r.exdates())
	if !r.gregorian() {
		e.writeOtherCalendar(w)
	}
}

// writeDates writes a list of instances, some in a line.
func (e *event) writeDates(w *writer, name string, dates []time.Time) {
	const perLine = 8
	for len(dates) > 0 {
		n := min(perLine, len(dates))
		var values []string
		var params []param
		for _, d := range dates[:n] {
			var v string
			v, params = moment(d, e.zone, e.main.allDay)
			values = append(values, v)
		}
		w.Raw(name, strings.Join(values, ","), params...)
		dates = dates[n:]
	}
}

// writeOtherCalendar lists the instances of a series that RRULE can't say, for the programs that don't know of X-MICROSOFT-RRULE.
func (e *event) writeOtherCalendar(w *writer) {
	if e.recur.calscale() != "Hijri" {
		e.warn("the recurrence counts months of another calendar: only the first instance is told to programs that are not Microsoft's")
		return
	}
	dates, complete := e.recur.hijriDates()
	if !complete {
		e.warn("the recurrence counts months of the Hijri calendar: a part of its instances is listed")
	}
	gone := map[time.Time]bool{}
	for _, d := range e.recur.exdates() {
		gone[midnight(d)] = true
	}
	// The first one again, since some programs take DTSTART for an instance only where there is a rule.
	list := []time.Time{e.main.start}
	for _, d := range dates {
		if !gone[d] {
			list = append(list, d.Add(e.recur.StartOffset))
		}
	}
	e.writeDates(w, "RDATE", list)
}

// writePeople: PUBLISH has no attendees (RFC 5546 3.2.1), a response only the one who responds (3.2.3).
func (e *event) writePeople(w *writer, o *occurrence) {
	if e.isReply() {
		w.organizer(e.organizer, mapi.Mailbox{})
		a := attendee{Mailbox: e.from(), role: "REQ-PARTICIPANT", cuType: "INDIVIDUAL", partStat: e.partStat}
		if calAddress(a.Address) == "" {
			e.warn("the response does not tell who responds")
			return
		}
		var extra []param
		if by := calAddress(e.Sender.Address); by != "" && !strings.EqualFold(e.Sender.Address, a.Address) {
			extra = []param{with("SENT-BY", by)}
		}
		w.attendee(a, extra...)
		return
	}
	sender := e.Sender
	if e.method == "PUBLISH" {
		sender = mapi.Mailbox{}
	}
	w.organizer(e.organizer, sender)
	if e.method == "PUBLISH" {
		return
	}
	if calAddress(e.organizer.Address) == "" {
		e.warn("the meeting has no organizer with an SMTP address")
	}
	var extra []param
	if e.method == "REQUEST" {
		extra = []param{with("RSVP", e.rsvp())}
	}
	for _, a := range e.attendeesOf(o) {
		w.attendee(a, extra...)
	}
}

// attendeesOf lists the attendees of an occurrence; those of the series are looked up once.
func (e *event) attendeesOf(o *occurrence) []attendee {
	if o.ownPeople {
		return e.attendees(o.recipients, e.organizer, e.warn)
	}
	if e.invited == nil {
		e.invited = e.attendees(e.Recipients, e.organizer, e.warn)
		if e.invited == nil {
			e.invited = []attendee{}
		}
	}
	return e.invited
}

// rsvp: a response is wanted, unless the organizer said that it is not.
func (e *event) rsvp() string {
	for _, id := range []mapi.ID{mapi.TagResponseRequested, mapi.TagReplyRequested} {
		if v, ok := e.Props.Int(id); ok {
			if v == 0 {
				return "FALSE"
			}
			return "TRUE"
		}
	}
	return "TRUE"
}

// writeText: what an attendee answers is a COMMENT ([MS-OXCICAL] 2.1.3.1.1.20.5).
func (e *event) writeText(w *writer, o *occurrence) {
	name := "DESCRIPTION"
	if e.isReply() {
		name = "COMMENT"
	}
	if strings.TrimSpace(o.text) != "" {
		w.Text(name, strings.TrimRight(o.text, "\r\n"))
	}
	w.categories(e.Props)
}

func (w *writer) categories(p *mapi.Props) {
	w.Texts("CATEGORIES", p.FindString(mapi.SetPublicStrings, "Keywords").Texts())
	for _, c := range common(p, lidContacts).Texts() {
		w.Text("CONTACT", strings.TrimSpace(c))
	}
}

// The values of PidLidBusyStatus ([MS-OXOCAL] 2.2.1.2).
const (
	busyFree      = 0
	busyTentative = 1
	busyBusy      = 2
	busyOOF       = 3
	busyElsewhere = 4
)

// busyNames are the values of X-MICROSOFT-CDO-BUSYSTATUS ([MS-OXCICAL] 2.1.3.1.1.20.31).
var busyNames = map[int64]string{
	busyFree: "FREE", busyTentative: "TENTATIVE", busyBusy: "BUSY", busyOOF: "OOF", busyElsewhere: "WORKINGELSEWHERE",
}

// stateCanceled is a flag of PidLidAppointmentStateFlags ([MS-OXOCAL] 2.2.1.10).
const stateCanceled = 4

// writeState writes what the standard has words for.
func (e *event) writeState(w *writer, o *occurrence) {
	w.Raw("STATUS", e.status(o))
	busy := o.busy
	if intended, ok := e.intended(); ok && e.method == "REQUEST" && o.instType != instException {
		busy = intended // a request is tentative only until it is answered
	}
	if busy == busyFree || busy == busyElsewhere {
		w.Raw("TRANSP", "TRANSPARENT")
	} else {
		w.Raw("TRANSP", "OPAQUE")
	}
	w.classification(e.Props)
	w.priority(e.Props)
}

func (e *event) intended() (int64, bool) {
	v, ok := named(e.Props, lidIntendedStatus).Int()
	return v, ok && busyNames[v] != ""
}

// status follows the method. The state of the sender's own appointment never makes a cancellation of anything else.
func (e *event) status(o *occurrence) string {
	flags, _ := named(e.Props, lidStateFlags).Int()
	switch {
	case e.method == "CANCEL", e.method == "PUBLISH" && flags&stateCanceled != 0:
		return "CANCELLED"
	case e.method == "PUBLISH" && o.busy == busyTentative:
		return "TENTATIVE"
	}
	return "CONFIRMED"
}

// classification writes CLASS ([MS-OXCICAL] 2.1.3.1.1.20.4).
func (w *writer) classification(p *mapi.Props) {
	v, ok := p.Int(mapi.TagSensitivity)
	if !ok && common(p, lidPrivate).Bool() {
		v = 2
	}
	name := map[int64]string{1: "X-PERSONAL", 2: "PRIVATE", 3: "CONFIDENTIAL"}[v]
	if name == "" {
		name = "PUBLIC"
	}
	w.Raw("CLASS", name)
}

// priority writes PRIORITY ([MS-OXCICAL] 2.1.3.1.1.20.17).
func (w *writer) priority(p *mapi.Props) {
	v, ok := p.Int(mapi.TagImportance)
	if !ok {
		v = 1
	}
	w.int("PRIORITY", map[int64]int64{0: 9, 1: 5, 2: 1}[v])
}

// writeMicrosoft writes what the standard has no words for.
func (e *event) writeMicrosoft(w *writer, o *occurrence) {
	p := e.Props
	seq, _ := named(p, lidSequence).Int()
	w.int("X-MICROSOFT-CDO-APPT-SEQUENCE", max(0, seq))
	if id, ok := p.Int(mapi.TagOwnerAppointmentID); ok {
		w.int("X-MICROSOFT-CDO-OWNERAPPTID", id)
	}
	if name := busyNames[o.busy]; name != "" {
		w.Raw("X-MICROSOFT-CDO-BUSYSTATUS", name)
	}
	if v, ok := e.intended(); ok {
		w.Raw("X-MICROSOFT-CDO-INTENDEDSTATUS", busyNames[v])
	}
	w.bool("X-MICROSOFT-CDO-ALLDAYEVENT", o.allDay)
	if v, ok := p.Int(mapi.TagImportance); ok && v >= 0 && v <= 2 {
		w.int("X-MICROSOFT-CDO-IMPORTANCE", v)
	} else {
		w.int("X-MICROSOFT-CDO-IMPORTANCE", 1)
	}
	w.int("X-MICROSOFT-CDO-INSTTYPE", int64(o.instType))
	for _, x := range []struct {
		name string
		prop *mapi.Property
	}{
		{"X-MICROSOFT-CDO-OWNER-CRITICAL-CHANGE", meetingProp(p, lidOwnerChange)},
		{"X-MICROSOFT-CDO-ATTENDEE-CRITICAL-CHANGE", meetingProp(p, lidAttendeeChange)},
		{"X-MICROSOFT-CDO-REPLYTIME", named(p, lidReplyTime)},
	} {
		if t, ok := x.prop.Time(); ok {
			w.utc(x.name, t)
		}
	}
	w.bool("X-MICROSOFT-DISALLOW-COUNTER", named(p, lidNotAllowPropose).Bool())
	if e.method == "COUNTER" {
		e.writeOriginal(w, o)
	}
}

// writeOriginal writes the times that a counter proposal would change ([MS-OXCICAL] 2.1.3.1.1.20.59 and .60).
func (e *event) writeOriginal(w *writer, o *occurrence) {
	for _, x := range []struct {
		name  string
		props []*mapi.Property
	}{{"X-MS-OLK-ORIGINALSTART", e.startProps()}, {"X-MS-OLK-ORIGINALEND", e.endProps()}} {
		if t, local, ok := firstTime(x.props); ok && !local {
			wall := e.zone.wall(t)
			if o.allDay {
				wall = nearestDay(wall)
			}
			w.moment(x.name, wall, e.zone, o.allDay)
		}
	}
}

// Reminders ([MS-OXORMDR] 2.2.1.3): defaultDelta is what defaultReminder stands for.
const (
	defaultReminder = 0x5AE980E1
	defaultDelta    = 15
	maxReminder     = 60 * 24 * 366 // minutes
)

// alarm writes VALARM for a reminder ([MS-OXCICAL] 2.1.3.1.1.20.62).
func (w *writer) alarm(o *occurrence) {
	if !o.reminderSet {
		return
	}
	delta := o.reminderDelta
	if delta == defaultReminder {
		delta = defaultDelta
	}
	delta = min(max(delta, 0), maxReminder)
	w.Begin("VALARM")
	w.Raw("ACTION", "DISPLAY")
	w.Raw("DESCRIPTION", "REMINDER")
	w.Raw("TRIGGER", fmt.Sprintf("-PT%dM", delta), with("RELATED", "START"))
	w.End("VALARM")
}
