package calendar

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/coexist-mail/coexist/tnef/calendar/contentline"
	"github.com/coexist-mail/coexist/tnef/mapi"
)

// zone is a time zone, and how times in it are written.
type zone struct {
	form zoneForm
	tzid string
	iana bool // tzid is a name of the IANA, which programs know without the rules
	// rules are in the order of their years; there is at least one.
	rules []zoneRule
}

// zoneForm is a form of DATE-TIME (RFC 5545 3.3.5).
type zoneForm int

const (
	formUTC zoneForm = iota
	formLocal
	formFloating
)

// zoneRule says when there is daylight saving time, from a year on ([MS-OXOCAL] 2.2.1.41.1). UTC = local time + bias, in minutes.
type zoneRule struct {
	year                   int
	flags                  uint16
	bias, standard, summer int
	toStandard, toSummer   transition
}

// Flags of a rule ([MS-OXOCAL] 2.2.1.41.1).
const (
	ruleRecurCurrent = 0x0001
	ruleEffective    = 0x0002
)

// transition is a SYSTEMTIME that says when the clock is changed, in the time that is left ([MS-OXOCAL] 2.2.1.39): in year 0 every
// year on the weekday with the number day, of which 5 is the last.
type transition struct {
	year, month, weekday, day, hour, minute, second int
}

func utcZone() *zone { return &zone{form: formUTC, rules: []zoneRule{{}}} }

func readTransition(c *cursor) transition {
	var v [8]int
	for i := range v {
		v[i] = int(c.u16())
	}
	return transition{year: v[0], month: v[1], weekday: v[2], day: v[3], hour: v[4], minute: v[5], second: v[6]}
}

func (t transition) valid() bool {
	last := 5
	if t.year != 0 {
		last = 31
	}
	return t.month == 0 || t.month <= 12 && t.weekday <= 6 && t.day >= 1 && t.day <= last && t.hour <= 23 && t.minute <= 59 && t.second <= 59
}

// in is the local time of the transition in a year.
func (t transition) in(year int) time.Time {
	if t.year != 0 {
		return time.Date(t.year, time.Month(t.month), t.day, t.hour, t.minute, t.second, 0, time.UTC)
	}
	d := time.Date(year, time.Month(t.month), 1, t.hour, t.minute, t.second, 0, time.UTC)
	d = d.AddDate(0, 0, (t.weekday-int(d.Weekday())+7)%7+7*(t.day-1))
	for int(d.Month()) != t.month { // day 5, in a month with four of them
		d = d.AddDate(0, 0, -7)
	}
	return d
}

// maxBias keeps offsets in what TZOFFSETTO can say.
const maxBias = 24*60 - 1

func readBias(c *cursor) int { return int(int32(c.u32())) }

func (r *zoneRule) check(c *cursor) error {
	total := func(a, b int) bool { return a+b > maxBias || a+b < -maxBias }
	switch {
	case c.short:
		return errors.New("time zone: cut off")
	case total(r.bias, r.standard), total(r.bias, r.summer):
		return errors.New("time zone: an offset of more than a day")
	case !r.toStandard.valid(), !r.toSummer.valid():
		return errors.New("time zone: a date for changing the clock is none")
	}
	return nil
}

// summerTime tells whether the clock is changed.
func (r *zoneRule) summerTime() bool {
	return r.toStandard.month != 0 && r.toSummer.month != 0 && r.standard != r.summer
}

// standardOffset and summerOffset are what is added to UTC.
func (r *zoneRule) standardOffset() time.Duration {
	return -time.Duration(r.bias+r.standard) * time.Minute
}

func (r *zoneRule) summerOffset() time.Duration {
	return -time.Duration(r.bias+r.summer) * time.Minute
}

// offset is what is added to UTC at an instant.
func (r *zoneRule) offset(utc time.Time) time.Duration {
	if !r.summerTime() {
		return r.standardOffset()
	}
	year := utc.Add(r.standardOffset()).Year()
	begin := r.toSummer.in(year).Add(-r.standardOffset())
	end := r.toStandard.in(year).Add(-r.summerOffset())
	summer := !utc.Before(begin) && utc.Before(end)
	if end.Before(begin) { // south of the equator
		summer = !utc.Before(begin) || utc.Before(end)
	}
	if summer {
		return r.summerOffset()
	}
	return r.standardOffset()
}

// rule is the one in force in a year.
func (z *zone) rule(year int) *zoneRule {
	best := &z.rules[0]
	for i := range z.rules {
		if z.rules[i].year <= year {
			best = &z.rules[i]
		}
	}
	return best
}

// wall is the wall-clock time at an instant, as if it were UTC.
func (z *zone) wall(utc time.Time) time.Time {
	utc = utc.UTC()
	return utc.Add(z.rule(utc.Year()).offset(utc))
}

// utc is the instant of a wall-clock time: the first one when the clock shows it twice; when never, what it would be without the change.
func (z *zone) utc(wall time.Time) time.Time {
	r := z.rule(wall.Year())
	for _, off := range []time.Duration{r.summerOffset(), r.standardOffset()} {
		if u := wall.Add(-off); r.offset(u) == off {
			return u
		}
	}
	return wall.Add(-r.standardOffset())
}

// parseDefinition reads PidLidAppointmentTimeZoneDefinition* ([MS-OXOCAL] 2.2.1.41).
func parseDefinition(b []byte) (key string, rules []zoneRule, err error) {
	c := &cursor{b: b}
	major := c.u8()
	c.u8()  // minor version
	c.u16() // size of the header
	c.u16() // reserved
	if major != 2 {
		return "", nil, fmt.Errorf("time zone: version %d is unknown", major)
	}
	name := c.take(2 * uint32(c.u16()))
	u := make([]uint16, len(name)/2)
	for i := range u {
		u[i] = uint16(name[2*i]) | uint16(name[2*i+1])<<8
	}
	key = strings.TrimRight(string(utf16.Decode(u)), "\x00")
	for range min(c.u16(), 1024) {
		c.take(4) // versions, reserved
		r := zoneRule{flags: c.u16(), year: int(c.u16())}
		c.take(14)
		r.bias, r.standard, r.summer = readBias(c), readBias(c), readBias(c)
		r.toStandard, r.toSummer = readTransition(c), readTransition(c)
		if err := r.check(c); err != nil {
			return key, nil, err
		}
		rules = append(rules, r)
	}
	if len(rules) == 0 {
		return key, nil, errors.New("time zone: no rules")
	}
	slices.SortStableFunc(rules, func(a, b zoneRule) int { return a.year - b.year })
	return key, rules, nil
}

// parseStruct reads PidLidTimeZoneStruct ([MS-OXOCAL] 2.2.1.39).
func parseStruct(b []byte) (zoneRule, error) {
	c := &cursor{b: b}
	r := zoneRule{bias: readBias(c), standard: readBias(c), summer: readBias(c)}
	c.u16() // the year of what follows, again
	r.toStandard = readTransition(c)
	c.u16()
	r.toSummer = readTransition(c)
	return r, r.check(c)
}

// definitionZone makes a zone of a property with a definition; nil when there is none that can be read.
func definitionZone(p *mapi.Props, lid uint32, warn func(string)) *zone {
	b := p.FindNamed(mapi.SetAppointment, lid).Bytes()
	if len(b) == 0 {
		return nil
	}
	key, rules, err := parseDefinition(b)
	if err != nil {
		warn(err.Error())
		return nil
	}
	return newZone(key, rules)
}

// newZone names a zone: as the IANA does if the name of Windows is a known one, else as it is.
func newZone(key string, rules []zoneRule) *zone {
	z := &zone{form: formLocal, tzid: zoneID(key), rules: rules}
	_, z.iana = ianaZone(strings.TrimSpace(key))
	if z.tzid == "" {
		z.tzid = customZone
	}
	if z.tzid == "Etc/UTC" {
		return utcZone()
	}
	return z
}

// customZone is what Exchange calls a zone without a name.
const customZone = "Customized Time Zone"

// single chooses the rules for a meeting at one instant: those that the sender's program marked, or those of its year. Not every program reads the rules of a
// zone whose name it knows: the name is given up where it would mean another time than they do.
func (z *zone) single(utc time.Time) {
	all := z.rules
	z.rules = effective(all)
	location, err := time.LoadLocation(z.tzid)
	if !z.iana || err != nil {
		return
	}
	_, want := utc.In(location).Zone()
	for _, rules := range [...][]zoneRule{z.rules, all} {
		z.rules = rules
		if z.wall(utc).Sub(utc) == time.Duration(want)*time.Second {
			return
		}
	}
	z.rules, z.tzid, z.iana = effective(all), customZone, false
}

// zoneID translates a Windows time zone id, or the text that Windows shows.
func zoneID(key string) string {
	key = strings.TrimSpace(key)
	if id, ok := ianaZone(key); ok {
		return id
	}
	// Not every reader of TZID parameters knows of quotes.
	return strings.Join(strings.FieldsFunc(key, func(r rune) bool { return r < ' ' || strings.ContainsRune(`:;,"\`, r) }), "")
}

// ianaZone is the IANA name for a Windows time zone id, or for the English text that Windows shows.
func ianaZone(key string) (id string, ok bool) {
	if id, ok := windowsZones[key]; ok {
		return id, true
	}
	text := key
	if strings.HasPrefix(text, "(") { // (GMT-08:00) Pacific Time (US & Canada)
		_, text, _ = strings.Cut(text, ")")
		text = strings.TrimSpace(text)
	}
	id, ok = displayedZones[text]
	return id, ok
}

// findZone finds the meeting's zone. A series is counted in the zone of its recurrence ([MS-OXOCAL] 2.2.1.43), a single meeting is shown in the
// one of its start (2.2.1.42). It is nil when none is known.
func findZone(p *mapi.Props, recurring bool, warn func(string)) *zone {
	order := []uint32{lidZoneStart, lidZoneRecur}
	if recurring {
		order = []uint32{lidZoneRecur, lidZoneStart}
	}
	var defined *zone
	for _, lid := range order {
		if defined == nil {
			defined = definitionZone(p, lid, warn)
		}
	}
	if defined != nil {
		if start, ok := named(p, lidStartWhole).Time(); ok && !recurring {
			defined.single(start)
		}
		return defined
	}
	if b := p.FindNamed(mapi.SetAppointment, lidZoneStruct).Bytes(); len(b) > 0 {
		r, err := parseStruct(b)
		if err != nil {
			warn(err.Error())
			return nil
		}
		return newZone(p.FindNamed(mapi.SetAppointment, lidZoneDescription).Text(), []zoneRule{r})
	}
	return describedZone(p)
}

// describedZone is the zone that only PidLidTimeZoneDescription names, with the rules that the time zone data of the system have for it; nil when
// neither is known.
func describedZone(p *mapi.Props) *zone {
	key := strings.TrimSpace(p.FindNamed(mapi.SetAppointment, lidZoneDescription).Text())
	id, known := ianaZone(key)
	start, ok := named(p, lidStartWhole).Time()
	if !known || !ok {
		return nil
	}
	location, err := time.LoadLocation(id)
	if err != nil {
		return nil
	}
	return newZone(key, []zoneRule{ruleAt(start.In(location))})
}

// ruleAt makes a rule of the changes of the clock around a time in its location.
func ruleAt(at time.Time) zoneRule {
	_, now := at.Zone()
	fixed := zoneRule{bias: -now / 60}
	change := func(t time.Time) (next time.Time, before, after int, ok bool) {
		_, next = t.ZoneBounds()
		_, before = t.Zone()
		_, after = next.Zone()
		// A clock that is changed twice a year: not the end of summer time in a country, nor a pause in it.
		return next, before, after, !next.IsZero() && next.Sub(t) < 300*24*time.Hour && before != after
	}
	first, before, after, ok := change(at)
	second, _, back, ok2 := change(first)
	if !ok || !ok2 || back != before {
		return fixed
	}
	toFirst, toSecond := transitionAt(first, before), transitionAt(second, after)
	r := zoneRule{bias: -min(before, after) / 60, summer: -max(before, after)/60 + min(before, after)/60, toStandard: toFirst, toSummer: toSecond}
	if after > before {
		r.toStandard, r.toSummer = toSecond, toFirst
	}
	return r
}

// transitionAt describes an instant at which the clock is changed from an offset, in seconds, by its weekday in the month.
func transitionAt(t time.Time, offset int) transition {
	wall := t.UTC().Add(time.Duration(offset) * time.Second)
	day := (wall.Day()-1)/7 + 1
	if wall.AddDate(0, 0, 7).Month() != wall.Month() {
		day = 5 // the last
	}
	return transition{month: int(wall.Month()), weekday: int(wall.Weekday()), day: day, hour: wall.Hour(), minute: wall.Minute(), second: wall.Second()}
}

// effective takes the rule that the sender's program used, if it is marked.
func effective(rules []zoneRule) []zoneRule {
	var marked []zoneRule
	for _, r := range rules {
		if r.flags&ruleEffective != 0 {
			marked = append(marked, r)
		}
	}
	if len(marked) == 1 {
		return marked
	}
	return rules
}

// component writes a VTIMEZONE for times from a year on (RFC 5545 3.6.5).
func (z *zone) component(w *writer, from int) {
	w.Begin("VTIMEZONE")
	w.Raw("TZID", contentline.Escape(z.tzid))
	base := 1970
	if from <= base {
		base = 1601
	}
	first := z.rule(from)
	before := first.standardOffset()
	first.beforeDates(w, base)
	started := false
	for i := range z.rules {
		r := &z.rules[i]
		if r != first && (!started || r.year <= from) {
			continue
		}
		year, last := r.year, 0
		if r == first {
			started, year = true, base
		}
		if i+1 < len(z.rules) {
			last = z.rules[i+1].year - 1
		}
		r.observances(w, year, last, before)
		before = r.standardOffset()
	}
	w.End("VTIMEZONE")
}

// observances writes what a rule says of the years first to last, 0 for no end. before is the offset that was in force.
func (r *zoneRule) observances(w *writer, first, last int, before time.Duration) {
	if !r.summerTime() {
		w.Begin("STANDARD")
		w.Raw("DTSTART", fmt.Sprintf("%04d0101T000000", first))
		w.Raw("TZOFFSETFROM", formatOffset(before))
		w.Raw("TZOFFSETTO", formatOffset(r.standardOffset()))
		w.End("STANDARD")
		return
	}
	r.observance(w, "STANDARD", r.toStandard, r.summerOffset(), r.standardOffset(), first, last)
	r.observance(w, "DAYLIGHT", r.toSummer, r.standardOffset(), r.summerOffset(), first, last)
}

// beforeDates writes what was in force before the first change of the clock, for a rule whose changes have dates: RFC 5545 3.6.5 asks for an observance of every
// time that is referred to.
func (r *zoneRule) beforeDates(w *writer, base int) {
	if !r.summerTime() || r.toStandard.year == 0 && r.toSummer.year == 0 {
		return
	}
	name, offset := "STANDARD", formatOffset(r.standardOffset())
	if year := max(r.toStandard.year, r.toSummer.year); r.toStandard.in(year).Before(r.toSummer.in(year)) {
		name, offset = "DAYLIGHT", formatOffset(r.summerOffset())
	}
	w.Begin(name)
	w.Raw("DTSTART", fmt.Sprintf("%04d0101T000000", base))
	w.Raw("TZOFFSETFROM", offset)
	w.Raw("TZOFFSETTO", offset)
	w.End(name)
}

func (r *zoneRule) observance(w *writer, name string, t transition, from, to time.Duration, first, last int) {
	w.Begin(name)
	w.Raw("DTSTART", t.in(first).Format(layoutLocal))
	w.Raw("TZOFFSETFROM", formatOffset(from))
	w.Raw("TZOFFSETTO", formatOffset(to))
	if t.year == 0 {
		n := t.day
		if n == 5 {
			n = -1
		}
		rule := fmt.Sprintf("FREQ=YEARLY;BYMONTH=%d;BYDAY=%d%s", t.month, n, dayNames[t.weekday])
		if last >= first && last != 0 {
			// The same as UNTIL, which here is in UTC while DTSTART is not, and which some programs therefore refuse.
			rule += fmt.Sprintf(";COUNT=%d", last-first+1)
		}
		w.Raw("RRULE", rule)
	}
	w.End(name)
}

func formatOffset(d time.Duration) string {
	sign, m := '+', int(d/time.Minute)
	if m < 0 {
		sign, m = '-', -m
	}
	return fmt.Sprintf("%c%02d%02d", sign, m/60, m%60)
}
