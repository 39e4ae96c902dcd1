package calendar

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// event is a meeting or an appointment on its way. Times without "utc" in their name are wall-clock times in zone.
type event struct {
	*people
	kind
	uid       string
	zone      *zone
	recur     *Recurrence
	instance  time.Time // the instance that the message is about; zero for a series or a single meeting
	organizer mapi.Mailbox
	warnings  []string
	main      occurrence
	// invited are the attendees of the series, and messages the exceptions' messages by the date that they replace.
	invited  []attendee
	messages map[time.Time]*ExceptionMessage
}

// occurrence is what one VEVENT says that another one of the same meeting may say differently.
type occurrence struct {
	props         *mapi.Props
	start, end    time.Time
	zone, endZone *zone
	allDay        bool
	hasTime       bool
	summary       string
	location      string
	text          string
	busy          int64
	reminderSet   bool
	reminderDelta int64
	ownPeople     bool // recipients are not those of the series
	recipients    []mapi.Recipient
	replaces      time.Time // for RECURRENCE-ID; zero for none
	instType      int
	size          int // octets that were written
}

// maxExceptions is how many octets modified instances may take, beyond twice the size of the series itself; texts that they have from the series
// are repeated up to maxRepeated.
const (
	maxExceptions = 4 << 20
	maxRepeated   = 1 << 20
)

// The values of X-MICROSOFT-CDO-INSTTYPE ([MS-OXCICAL] 2.1.3.1.1.20.35).
const (
	instSingle    = 0
	instMaster    = 1
	instInstance  = 2
	instException = 3
)

func (e *event) warn(s string) {
	if len(e.warnings) < 20 && !slices.Contains(e.warnings, s) {
		e.warnings = append(e.warnings, s)
	}
}

func convertEvent(s *Source, k kind) (*Object, error) {
	e := &event{people: newPeople(s), kind: k, uid: eventUID(s.Props)}
	e.readRecurrence()
	if err := e.readTimes(); err != nil {
		return nil, err
	}
	e.organizer = e.findOrganizer()
	w := &writer{}
	w.header(k.method)
	list := append([]occurrence{e.main}, e.exceptions()...)
	writeZones(w, list)
	for i := range list {
		if w.Len() > 2*e.main.size+maxExceptions {
			e.warn(fmt.Sprintf("%d modified instances are left out: the object would be too large", len(list)-i))
			break
		}
		begin := w.Len()
		e.write(w, &list[i])
		if i == 0 {
			e.main.size = w.Len() - begin
		}
	}
	w.End("VCALENDAR")
	return &Object{Method: k.method, Component: k.component, Data: w.Bytes(), Text: e.summaryText(), Warnings: e.warnings}, nil
}

// writeZones writes a VTIMEZONE for every zone that is referred to (RFC 5545 3.2.19), for the years of the meeting.
func writeZones(w *writer, list []occurrence) {
	done := map[string]bool{}
	from := 9999
	for _, o := range list {
		from = min(from, o.start.Year())
	}
	for _, o := range list {
		for _, z := range []*zone{o.zone, o.endZone} {
			dates := o.allDay && (o.replaces.IsZero() || list[0].allDay)
			if z != nil && z.form == formLocal && !done[z.tzid] && !dates {
				done[z.tzid] = true
				z.component(w, from)
			}
		}
	}
}

// readRecurrence reads the pattern, and whether the message is about one instance of it only.
func (e *event) readRecurrence() {
	p := e.Props
	for _, lid := range []uint32{lidGlobalID, lidCleanGlobalID} {
		if e.instance.IsZero() {
			e.instance = instanceDate(meetingProp(p, lid).Bytes())
		}
	}
	blob := named(p, lidRecur).Bytes()
	recurring, said := named(p, lidRecurring).Int()
	if len(blob) == 0 || said && recurring == 0 || !e.instance.IsZero() || meetingProp(p, lidIsException).Bool() {
		return
	}
	r, warning, err := ParseRecurrence(blob, e.Decode)
	if err != nil {
		e.warn(err.Error() + ": only the first instance is told")
		return
	}
	if warning != "" {
		e.warn(warning)
	}
	e.recur = r
}

// readTimes finds zone, start and end.
func (e *event) readTimes() error {
	p, o := e.Props, &e.main
	o.props = p
	e.zone = findZone(p, e.recur != nil, e.warn)
	e.readSpan(o)
	if e.method == "COUNTER" {
		e.readProposal(o)
	}
	o.zone, o.endZone = e.zone, e.endZone()
	o.summary, o.location, o.text = e.summary(), location(p), e.Text
	o.busy, _ = named(p, lidBusyStatus).Int()
	if _, said := named(p, lidBusyStatus).Int(); !said {
		o.busy = busyBusy
	}
	o.reminderSet = common(p, lidReminderSet).Bool()
	o.reminderDelta, _ = common(p, lidReminderDelta).Int()
	o.instType = instSingle
	if e.recur != nil {
		o.instType = instMaster
	}
	e.readInstance(o)
	if e.uid == "" && o.hasTime && !e.isReply() && e.method != "CANCEL" {
		e.uid = derivedUID(o.summary, e.from().Address, formatUTC(e.zone.utc(o.start)))
		e.warn("the meeting has no identity: it was given one, which answers can't be matched by")
	}
	if e.uid == "" || !o.hasTime && e.method != "CANCEL" && e.method != "REPLY" {
		return ErrIncomplete
	}
	return nil
}

// startProps and endProps are where the times stand, the best first: instants, and at last, in messages without named properties, the local
// time of the sender.
func (e *event) startProps() []*mapi.Property {
	return []*mapi.Property{named(e.Props, lidStartWhole), common(e.Props, lidCommonStart), e.Props.Find(mapi.TagStartDate)}
}

func (e *event) endProps() []*mapi.Property {
	return []*mapi.Property{named(e.Props, lidEndWhole), common(e.Props, lidCommonEnd), e.Props.Find(mapi.TagEndDate)}
}

func firstTime(list []*mapi.Property) (t time.Time, local, ok bool) {
	for _, x := range list {
		if t, ok := x.Time(); ok {
			return t, x.Attribute != 0, true
		}
	}
	return time.Time{}, false, false
}

// readSpan sets start and end, and the zone where no property has one.
func (e *event) readSpan(o *occurrence) {
	o.allDay = named(e.Props, lidSubType).Bool()
	start, local, ok := firstTime(e.startProps())
	if !ok {
		if e.recur != nil && e.zone != nil {
			o.start, o.end, o.hasTime = e.recur.Start.Add(e.recur.StartOffset), e.recur.Start.Add(e.recur.EndOffset), true
			e.allDaySpan(o)
			return
		}
		if e.zone == nil {
			e.zone = utcZone()
		}
		return
	}
	o.hasTime = true
	if e.zone == nil {
		e.zone = e.guessZone(start, local)
	}
	convert := e.zone.wall
	if local {
		convert = func(t time.Time) time.Time { return t }
	}
	o.start = convert(start)
	if end, endLocal, ok := firstTime(e.endProps()); ok && endLocal == local && !end.Before(start) {
		o.end = convert(end)
	} else if minutes, ok := named(e.Props, lidDuration).Int(); ok && minutes >= 0 && minutes < 1<<22 {
		o.end = convert(start.Add(time.Duration(minutes) * time.Minute))
	}
	e.allDaySpan(o)
}

// guessZone: a meeting without a zone is told in UTC. A series, whose rule counts local days, is told in the offset that its pattern shows.
func (e *event) guessZone(start time.Time, local bool) *zone {
	switch {
	case local:
		return &zone{form: formFloating, rules: []zoneRule{{}}}
	case e.recur != nil && !named(e.Props, lidSubType).Bool():
		if off := e.recur.Start.Add(e.recur.StartOffset).Sub(start); off != 0 && off > -24*time.Hour && off < 24*time.Hour && off%time.Minute == 0 {
			r := zoneRule{bias: -int(off / time.Minute)}
			return &zone{form: formLocal, tzid: "UTC" + formatOffset(off), rules: []zoneRule{r}}
		}
	}
	return utcZone()
}

// allDaySpan makes whole days of an all-day meeting. Its times are midnights in the zone of the organizer, which may not be the one that is
// known: the nearest midnight is meant.
func (e *event) allDaySpan(o *occurrence) {
	if !o.allDay {
		return
	}
	o.start, o.end = nearestDay(o.start), nearestDay(o.end)
	if e.recur != nil && o == &e.main {
		if d := e.recur.Start.Sub(o.start); d == 24*time.Hour || d == -24*time.Hour {
			o.start, o.end = o.start.Add(d), o.end.Add(d) // the pattern knows the local date
		}
	}
	if !o.end.After(o.start) {
		o.end = o.start.AddDate(0, 0, 1)
	}
}

func nearestDay(t time.Time) time.Time {
	return midnight(t.Add(12*time.Hour - time.Nanosecond))
}

// readProposal takes the times that a counter proposal is about.
func (e *event) readProposal(o *occurrence) {
	start, _ := named(e.Props, lidProposedStart).Time()
	o.start = e.zone.wall(start)
	o.hasTime = true
	if end, ok := named(e.Props, lidProposedEnd).Time(); ok && !end.Before(start) {
		o.end = e.zone.wall(end)
	} else if m, ok := named(e.Props, lidProposedDuration).Int(); ok && m > 0 && m < 1<<22 {
		o.end = o.start.Add(time.Duration(m) * time.Minute)
	}
	e.allDaySpan(o)
}

// endZone is the zone in which a single meeting ends, if that is another one.
func (e *event) endZone() *zone {
	if e.recur != nil || e.zone.form != formLocal {
		return e.zone
	}
	z := definitionZone(e.Props, lidZoneEnd, e.warn)
	if z == nil || z.tzid == e.zone.tzid {
		return e.zone
	}
	if end, ok := named(e.Props, lidEndWhole).Time(); ok {
		z.single(end)
	}
	return z
}

// readInstance sets which instance of a series the message is about ([MS-OXCICAL] 2.1.3.1.1.20.20).
func (e *event) readInstance(o *occurrence) {
	at, exact := named(e.Props, lidReplaceTime).Time()
	switch {
	case exact && (!e.instance.IsZero() || meetingProp(e.Props, lidIsException).Bool()):
		o.replaces = e.zone.wall(at)
	case e.instance.IsZero():
		if !meetingProp(e.Props, lidIsException).Bool() || !o.hasTime {
			return
		}
		o.replaces = o.start // never the whole series in place of an instance
	default:
		o.replaces = e.instance.Add(e.timeOfDay(o))
	}
	o.instType = instException
	if o.replaces.Equal(o.start) {
		o.instType = instInstance
	}
}

// timeOfDay of the instances of the series: PidLidStartRecurrenceTime ([MS-OXOCAL] 2.2.6.14) has hours, minutes and seconds in 6 bits each;
// without it, that of the pattern, or of this instance.
func (e *event) timeOfDay(o *occurrence) time.Duration {
	if v, ok := meetingProp(e.Props, lidStartRecurTime).Int(); ok && v >= 0 && v>>12 < 24 && v>>6&63 < 60 && v&63 < 60 {
		return time.Duration(v>>12)*time.Hour + time.Duration(v>>6&63)*time.Minute + time.Duration(v&63)*time.Second
	}
	if r, _, err := ParseRecurrence(named(e.Props, lidRecur).Bytes(), e.Decode); err == nil {
		return r.StartOffset
	}
	return o.start.Sub(midnight(o.start))
}

// findOrganizer: who a request is from; who a response goes to.
func (e *event) findOrganizer() mapi.Mailbox {
	switch e.method {
	case "REPLY", "COUNTER":
		for i := range e.Recipients {
			if r := &e.Recipients[i]; r.Kind() == mapi.To {
				if m := e.resolve(r); m.Address != "" {
					return m
				}
			}
		}
		if len(e.To) > 0 {
			return e.To[0]
		}
		e.warn("the response does not tell whose meeting it is about")
		return mapi.Mailbox{}
	}
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if flags, _ := r.Props.Int(mapi.TagRecipientFlags); flags&recipOrganizer != 0 {
			if m := e.resolve(r); m.Address != "" {
				return m
			}
		}
	}
	return e.from()
}

// from is for whom the message was sent.
func (e *Source) from() mapi.Mailbox {
	if e.From.Address != "" {
		return e.From
	}
	return e.Sender
}

// exceptions lists the modified instances of a series. Only who describes the series tells them: a cancellation ends all of it.
func (e *event) exceptions() []occurrence {
	if e.recur == nil || e.method != "REQUEST" && e.method != "PUBLISH" {
		return nil
	}
	e.messages = e.exceptionMessages()
	var list []occurrence
	seen := map[time.Time]bool{}
	for i := range e.recur.Exceptions {
		x := &e.recur.Exceptions[i]
		if seen[x.Original] || x.End.Before(x.Start) {
			continue
		}
		seen[x.Original] = true
		list = append(list, e.exception(x))
	}
	return list
}

func (e *event) exception(x *Exception) occurrence {
	o := e.main
	o.instType = instException
	o.start, o.end, o.replaces = x.Start, x.End, x.Original
	if len(o.text)*len(e.recur.Exceptions) > maxRepeated {
		o.text = ""
	}
	for _, s := range []struct {
		from *string
		to   *string
	}{{x.Subject, &o.summary}, {x.Location, &o.location}} {
		if s.from != nil {
			*s.to = strings.TrimRight(*s.from, "\x00")
		}
	}
	if x.Busy != nil {
		o.busy = *x.Busy
	}
	if x.ReminderSet != nil {
		o.reminderSet = *x.ReminderSet
	}
	if x.ReminderDelta != nil {
		o.reminderDelta = *x.ReminderDelta
	}
	if x.AllDay != nil {
		o.allDay = *x.AllDay
	}
	if m := e.messages[midnight(x.Original)]; m != nil {
		e.fromMessage(&o, m)
	}
	e.allDaySpan(&o)
	return o
}

// exceptionMessages finds the messages of modified instances, by the date in the series.
func (e *event) exceptionMessages() map[time.Time]*ExceptionMessage {
	found := map[time.Time]*ExceptionMessage{}
	for i := range e.Exceptions {
		m := &e.Exceptions[i]
		if date, ok := e.replacedDate(m); ok && found[date] == nil {
			found[date] = m
		}
	}
	return found
}

// replacedDate is the date in the series: as the message or its attachment says, else that of the exception which begins when the message does.
func (e *event) replacedDate(m *ExceptionMessage) (time.Time, bool) {
	if at, ok := named(m.Props, lidReplaceTime).Time(); ok {
		return midnight(e.zone.wall(at)), true
	}
	if !m.Replaces.IsZero() {
		return midnight(e.zone.wall(m.Replaces)), true
	}
	starts := m.Starts
	if at, ok := named(m.Props, lidStartWhole).Time(); ok {
		starts = e.zone.wall(at)
	}
	for i := range e.recur.Exceptions {
		if x := &e.recur.Exceptions[i]; !starts.IsZero() && x.Start.Equal(starts) {
			return midnight(x.Original), true
		}
	}
	return time.Time{}, false
}

// fromMessage takes what only the message of an instance has.
func (e *event) fromMessage(o *occurrence, m *ExceptionMessage) {
	if strings.TrimSpace(m.Text) != "" {
		o.text = m.Text
	}
	if s := subject(m.Props); s != "" {
		o.summary = s
	}
	if s := location(m.Props); s != "" {
		o.location = s
	}
	if len(m.Recipients) > 0 {
		o.recipients, o.ownPeople = m.Recipients, true
	}
}

// summary is the subject of the object itself, or that of the message's header.
func (s *Source) summary() string {
	for _, text := range []string{subject(s.Props), s.Subject, s.Props.Text(mapi.TagConversationTopic)} {
		if text != "" {
			return text
		}
	}
	return ""
}

func subject(p *mapi.Props) string {
	if s := p.Text(mapi.TagSubject); s != "" {
		return s
	}
	return p.Text(mapi.TagSubjectPrefix) + p.Text(mapi.TagNormalizedSubject)
}

func location(p *mapi.Props) string {
	if x := named(p, lidLocation); x != nil {
		return x.Text()
	}
	return meetingProp(p, lidWhere).Text()
}
