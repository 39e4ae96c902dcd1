package calendar

import (
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
)

// calAddress makes a CAL-ADDRESS (RFC 5545 3.3.3) of an SMTP address; "" when it is none.
func calAddress(address string) string {
	address = strings.TrimSpace(address)
	if i := strings.LastIndexByte(address, '@'); i <= 0 || i+1 == len(address) {
		return ""
	}
	var b strings.Builder
	b.WriteString("mailto:")
	for _, r := range address {
		switch {
		case r < ' ' || r == 0x7f:
			return ""
		case r == ' ':
			b.WriteString("%20")
		case r == '"':
			b.WriteString("%22")
		case r == '%':
			b.WriteString("%25")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// attendee is somebody who is invited, or something.
type attendee struct {
	mapi.Mailbox
	role, cuType, partStat string
}

// Flags of PidTagRecipientFlags ([MS-OXOCAL] 2.2.4.10.1).
const (
	recipOrganizer          = 0x02
	recipExceptionalDeleted = 0x20
)

// partStats are the values of PARTSTAT for PidTagRecipientTrackStatus ([MS-OXOCAL] 2.2.4.10.2).
var partStats = map[int64]string{1: "ACCEPTED", 2: "TENTATIVE", 3: "ACCEPTED", 4: "DECLINED"}

// people finds addresses for names.
type people struct {
	*Source
	byName map[string]string // names in lower case
}

// newPeople prepares looking up the names in the message's header.
func newPeople(s *Source) *people {
	p := &people{Source: s, byName: map[string]string{}}
	for _, list := range [][]mapi.Mailbox{s.To, s.Cc, {s.From, s.Sender}} {
		for _, m := range list {
			if name := strings.ToLower(m.Name); name != "" && m.Address != "" && p.byName[name] == "" {
				p.byName[name] = m.Address
			}
		}
	}
	return p
}

// attendees lists who is invited, each once and without the organizer ([MS-OXCICAL] 2.1.3.1.1.20.2).
func (s *people) attendees(rows []mapi.Recipient, organizer mapi.Mailbox, warn func(string)) []attendee {
	var list []attendee
	seen := map[string]bool{strings.ToLower(organizer.Address): true}
	add := func(a attendee) {
		if key := strings.ToLower(a.Address); calAddress(a.Address) != "" && !seen[key] {
			seen[key] = true
			list = append(list, a)
		}
	}
	for i := range rows {
		a, ok := s.attendee(&rows[i])
		if ok && a.Address == "" {
			warn("attendee " + a.Name + " has no SMTP address and is left out")
		}
		if ok {
			add(a)
		}
	}
	if len(rows) == 0 {
		for _, m := range s.To {
			add(attendee{Mailbox: m, role: "REQ-PARTICIPANT", cuType: "INDIVIDUAL", partStat: "NEEDS-ACTION"})
		}
		for _, m := range s.Cc {
			add(attendee{Mailbox: m, role: "OPT-PARTICIPANT", cuType: "INDIVIDUAL", partStat: "NEEDS-ACTION"})
		}
	}
	return list
}

// attendee reads one row; ok is false for those who are none.
func (s *people) attendee(r *mapi.Recipient) (a attendee, ok bool) {
	flags, _ := r.Props.Int(mapi.TagRecipientFlags)
	if r.Kind() == mapi.Originator || flags&(recipOrganizer|recipExceptionalDeleted) != 0 {
		return a, false
	}
	a = attendee{Mailbox: s.resolve(r), role: "REQ-PARTICIPANT", cuType: "INDIVIDUAL", partStat: "NEEDS-ACTION"}
	switch r.Kind() {
	case mapi.Cc:
		a.role = "OPT-PARTICIPANT"
	case mapi.Bcc: // in a meeting: a resource ([MS-OXOCAL] 2.2.4.10.7)
		a.role, a.cuType = "NON-PARTICIPANT", "RESOURCE"
	}
	for _, id := range []mapi.ID{tagDisplayTypeEx, tagDisplayType} {
		v, _ := r.Props.Int(id)
		switch v & 0xFF { // [MS-OXOABK] 2.2.3.12
		case 7:
			a.cuType = "ROOM"
		case 8:
			a.cuType = "RESOURCE"
		case 1, 5, 9:
			a.cuType = "GROUP"
		}
	}
	status, _ := r.Props.Int(mapi.TagRecipientTrackStatus)
	if p, known := partStats[status]; known {
		a.partStat = p
	}
	return a, true
}

// resolve finds the address of a row, if need be that of the message's header with the same name: inside an Exchange organization rows
// have only X.500 names.
func (s *people) resolve(r *mapi.Recipient) mapi.Mailbox {
	m := mapi.Mailbox{Name: r.Name(), Address: r.Address()}
	if m.Address != "" {
		return m
	}
	m.Address = s.byName[strings.ToLower(m.Name)]
	return m
}

// organizer writes ORGANIZER, with who sent it for them (RFC 5545 3.8.4.3).
func (w *writer) organizer(o, sender mapi.Mailbox) {
	address := calAddress(o.Address)
	if address == "" {
		return
	}
	params := nameParam(o)
	if by := calAddress(sender.Address); by != "" && !strings.EqualFold(by, address) {
		params = append(params, with("SENT-BY", by))
	}
	w.Raw("ORGANIZER", address, params...)
}

func nameParam(m mapi.Mailbox) []param {
	if name := strings.TrimSpace(m.Name); name != "" {
		return []param{with("CN", name)}
	}
	return nil
}

// attendee writes ATTENDEE (RFC 5545 3.8.4.1).
func (w *writer) attendee(a attendee, extra ...param) {
	params := append(nameParam(a.Mailbox), with("CUTYPE", a.cuType), with("ROLE", a.role), with("PARTSTAT", a.partStat))
	w.Raw("ATTENDEE", calAddress(a.Address), append(params, extra...)...)
}
