package tnef

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/textenc"
)

// Message is a decoded message; see package mapi.
type Message = mapi.Message

// Attachment is one attachment of a decoded message; see package mapi.
type Attachment = mapi.Attachment

// Decode reads a TNEF stream. A damaged stream gives what can be read of it, with Warnings; the only error is ErrNotTNEF. The data of
// attachments and binary properties are parts of data, not copies.
func Decode(data []byte, opt *Options) (*Message, error) {
	d := &decoder{limits: opt.limits()}
	m, err := d.message(data, 0)
	if err != nil {
		return nil, err
	}
	m.Warnings = d.warnings
	return m, nil
}

// maxWarnings caps what a hostile stream can make us say.
const maxWarnings = 50

// decoder holds the budgets of one stream and everything inside it.
type decoder struct {
	limits                                          Limits
	attributes, properties, recipients, attachments int
	warnings                                        []string
	exceeded                                        bool   // a limit was hit: something is left out
	where                                           string // "attachment 2: " inside an attached message
	outer                                           int    // code page of the message around; 0 at the top
}

func (d *decoder) warn(format string, args ...any) {
	switch {
	case len(d.warnings) < maxWarnings:
		d.warnings = append(d.warnings, d.where+fmt.Sprintf(format, args...))
	case len(d.warnings) == maxWarnings:
		d.warnings = append(d.warnings, "more warnings are left out")
	}
}

// warnOnce is for budgets: one that is used up stays so.
func (d *decoder) warnOnce(format string, args ...any) {
	d.exceeded = true
	s := fmt.Sprintf(format, args...)
	for _, w := range d.warnings {
		if strings.HasSuffix(w, s) {
			return
		}
	}
	d.warn("%s", s)
}

// message decodes a stream, which may be that of an attached message.
func (d *decoder) message(data []byte, depth int) (*Message, error) {
	attrs, err := d.readAttributes(data)
	if err != nil {
		return nil, err
	}
	m := &Message{}
	for _, a := range attrs {
		if uint16(a.ID) == attMsgProps {
			p := d.readProps(&cursor{b: a.Data}, "attMsgProps")
			m.Props.List = append(m.Props.List, p.List...)
		}
	}
	m.Codepage = codepage(attrs, &m.Props, d.outer)
	defer func(outer int) { d.outer = outer }(d.outer)
	d.outer = m.Codepage
	decodeStrings(&m.Props, m.Codepage)
	d.mapAttributes(m, attrs)
	m.Class = messageClass(m)
	d.attachmentList(m, attrs, depth)
	return m, nil
}

// codepage finds the code page of 8-bit strings: attOemCodepage, which may stand anywhere, else what the properties say.
// An attached message that says nothing is taken to be in that of the message around it.
func codepage(attrs []Attribute, p *mapi.Props, outer int) int {
	for _, a := range attrs {
		if uint16(a.ID) == attOemCodepage && len(a.Data) >= 4 {
			if cp := int(int32(binary.LittleEndian.Uint32(a.Data))); is8bitCodepage(cp) {
				return cp
			}
		}
	}
	for _, id := range []mapi.ID{mapi.TagMessageCodepage, mapi.TagInternetCodepage} {
		if cp, ok := p.Int(id); ok && is8bitCodepage(int(cp)) {
			return int(cp)
		}
	}
	if outer != 0 {
		return outer
	}
	return 1252
}

// is8bitCodepage: one we know, and not UTF-16, which is never the code page of 8-bit strings, whatever a writer says.
func is8bitCodepage(cp int) bool {
	return cp > 0 && cp != 1200 && cp != 1201 && textenc.Known(cp)
}

// legacyClasses are the names of Microsoft Mail ([MS-OXTNEF] 2.1.3.3.10); what is not in the table stays as it is.
var legacyClasses = map[string]string{
	"ipm.microsoft mail.note":             "IPM.Note",
	"ipm.microsoft mail.read receipt":     "Report.IPM.Note.IPNRN",
	"ipm.microsoft mail.non-delivery":     "Report.IPM.Note.NDR",
	"ipm.microsoft schedule.mtgreq":       "IPM.Schedule.Meeting.Request",
	"ipm.microsoft schedule.mtgrespp":     "IPM.Schedule.Meeting.Resp.Pos",
	"ipm.microsoft schedule.mtgrespn":     "IPM.Schedule.Meeting.Resp.Neg",
	"ipm.microsoft schedule.mtgrespa":     "IPM.Schedule.Meeting.Resp.Tent",
	"ipm.microsoft schedule.mtgcncl":      "IPM.Schedule.Meeting.Canceled",
	"ipm.microsoft schedule.mtgcanceled":  "IPM.Schedule.Meeting.Canceled",
	"ipm.microsoft mail.meeting request":  "IPM.Schedule.Meeting.Request",
	"ipm.microsoft mail.meeting response": "IPM.Schedule.Meeting.Resp.Pos",
}

func messageClass(m *Message) string {
	class := strings.TrimSpace(m.Props.Text(mapi.TagMessageClass))
	if class == "" {
		return "IPM.Note"
	}
	if modern, ok := legacyClasses[strings.ToLower(class)]; ok {
		return modern
	}
	return class
}

// attributeProperties says which property an attribute stands for ([MS-OXTNEF] 2.1.3.3), and how its data are written.
var attributeProperties = map[uint16]struct {
	id   mapi.ID
	read func(d *decoder, data []byte, codepage int) (mapi.Type, any)
}{
	attSubject:              {mapi.TagSubject, readText},
	attBody:                 {mapi.TagBody, readText},
	attMessageClass:         {mapi.TagMessageClass, readText},
	attOriginalMessageClass: {mapi.TagOriginalMessageClass, readText},
	attMessageID:            {mapi.TagSearchKey, readText},
	attParentID:             {mapi.TagParentKey, readText},
	attConversationID:       {mapi.TagConversationKey, readText},
	attDateSent:             {mapi.TagClientSubmitTime, readDate},
	attDateRecd:             {mapi.TagMessageDeliveryTime, readDate},
	attDateModified:         {mapi.TagLastModificationTime, readDate},
	attDateStart:            {mapi.TagStartDate, readDate},
	attDateEnd:              {mapi.TagEndDate, readDate},
	attAidOwner:             {mapi.TagOwnerAppointmentID, readLong},
	attRequestRes:           {mapi.TagResponseRequested, readBool},
	attPriority:             {mapi.TagImportance, readPriority},
	attMessageStatus:        {mapi.TagMessageFlags, readStatus},
	attAttachTitle:          {mapi.TagAttachFilename, readText},
	attAttachTransportFile:  {mapi.TagAttachTransportName, readText},
	attAttachCreateDate:     {mapi.TagCreationTime, readDate},
	attAttachModifyDate:     {mapi.TagLastModificationTime, readDate},
	attAttachMetaFile:       {mapi.TagAttachRendering, readBinary},
}

// mapAttributes adds to the properties of a message what only its attributes say: a property of the stream wins ([MS-OXTNEF]
// 2.1.3.3.21).
func (d *decoder) mapAttributes(m *Message, attrs []Attribute) {
	seen := map[uint16]bool{} // of one kind the first counts
	for _, a := range attrs {
		if isAttachmentAttribute(a.ID) || seen[uint16(a.ID)] {
			continue
		}
		seen[uint16(a.ID)] = true
		switch uint16(a.ID) {
		case attFrom:
			name, typ, addr := readTriple(a.Data, m.Codepage)
			d.addTexts(&m.Props, a.ID, mapi.TagSenderName, name, mapi.TagSenderAddressType, typ, mapi.TagSenderEmailAddress, addr)
		case attSentFor:
			name, typ, addr := readNameAddress(a.Data, m.Codepage)
			d.addTexts(&m.Props, a.ID, mapi.TagSentRepresentingName, name, mapi.TagSentRepresentingAddressType, typ, mapi.TagSentRepresentingEmailAddress, addr)
		case attOwner:
			d.mapOwner(m, a)
		case attRecipTable:
			d.recipientTable(m, a.Data)
		default:
			d.mapAttribute(&m.Props, a, m.Codepage)
		}
	}
}

// mapAttribute adds the property that an attribute stands for, unless the list has it.
func (d *decoder) mapAttribute(p *mapi.Props, a Attribute, codepage int) {
	rule, ok := attributeProperties[uint16(a.ID)]
	if !ok || p.Has(rule.id) {
		return
	}
	t, v := rule.read(d, a.Data, codepage)
	if v == nil {
		d.warn("%s: too short", a.label())
		return
	}
	x := mapi.Property{ID: rule.id, Type: t, Value: v, Attribute: a.ID}
	if t == mapi.TypeString8 {
		x.Raw = a.Data
	}
	p.List = append(p.List, x)
}

// mapOwner: in a meeting request the owner is who it is sent for, in a response who received the request ([MS-OXTNEF] 2.1.3.3.1).
func (d *decoder) mapOwner(m *Message, a Attribute) {
	name, typ, addr := readNameAddress(a.Data, m.Codepage)
	class := messageClass(m)
	if mapi.ClassIs(class, "IPM.Schedule.Meeting.Resp") {
		d.addTexts(&m.Props, a.ID, mapi.TagReceivedRepresentingName, name, mapi.TagReceivedRepresentingAddrType, typ, mapi.TagReceivedRepresentingEmail, addr)
		return
	}
	d.addTexts(&m.Props, a.ID, mapi.TagSentRepresentingName, name, mapi.TagSentRepresentingAddressType, typ, mapi.TagSentRepresentingEmailAddress, addr)
}

// addTexts adds the three properties of a person together, unless the list has the address already.
func (d *decoder) addTexts(p *mapi.Props, attr uint32, nameID mapi.ID, name string, typeID mapi.ID, typ string, addrID mapi.ID, addr string) {
	if p.Has(addrID) || p.Has(nameID) {
		return
	}
	for _, x := range []struct {
		id mapi.ID
		s  string
	}{{nameID, name}, {typeID, typ}, {addrID, addr}} {
		if x.s != "" {
			p.List = append(p.List, mapi.Property{ID: x.id, Type: mapi.TypeString8, Value: x.s, Attribute: attr})
		}
	}
}

// recipientTable reads attRecipTable ([MS-OXTNEF] 2.1.3.5.1): a count of rows, each a property list.
func (d *decoder) recipientTable(m *Message, data []byte) {
	c := &cursor{b: data}
	rows := c.u32()
	for i := range rows {
		if c.left() == 0 || c.short {
			d.warn("attRecipTable: %d of %d rows are there", i, rows)
			return
		}
		if d.recipients++; d.recipients > d.limits.Recipients {
			d.warnOnce("more than %d recipients: the rest is left out", d.limits.Recipients)
			return
		}
		r := mapi.Recipient{Props: d.readProps(c, "attRecipTable")}
		decodeStrings(&r.Props, m.Codepage)
		m.Recipients = append(m.Recipients, r)
	}
}

func readText(_ *decoder, b []byte, cp int) (mapi.Type, any) {
	// Attributes are C strings: what follows a NUL is not part of them.
	s := decodeString(cp, b)
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return mapi.TypeString8, s
}

func readBinary(_ *decoder, b []byte, _ int) (mapi.Type, any) { return mapi.TypeBinary, b }

// readDate reads seven words: year, month, day, hour, minute, second, day of week; in the sender's zone, which is not said.
func readDate(_ *decoder, b []byte, _ int) (mapi.Type, any) {
	if len(b) < 12 {
		return mapi.TypeTime, nil
	}
	var w [6]int
	for i := range w {
		w[i] = int(binary.LittleEndian.Uint16(b[2*i:]))
	}
	if w[0] < 1601 || w[0] > 9999 || w[1] < 1 || w[1] > 12 || w[2] < 1 || w[2] > 31 || w[3] > 23 || w[4] > 59 || w[5] > 60 {
		return mapi.TypeTime, time.Time{}
	}
	return mapi.TypeTime, time.Date(w[0], time.Month(w[1]), w[2], w[3], w[4], w[5], 0, time.UTC)
}

func readLong(_ *decoder, b []byte, _ int) (mapi.Type, any) {
	if len(b) < 4 {
		return mapi.TypeLong, nil
	}
	return mapi.TypeLong, int32(binary.LittleEndian.Uint32(b))
}

func readBool(_ *decoder, b []byte, _ int) (mapi.Type, any) {
	if len(b) < 2 {
		return mapi.TypeBoolean, nil
	}
	return mapi.TypeBoolean, binary.LittleEndian.Uint16(b) != 0
}

// readPriority: 1 is high, 2 normal, 3 low, the reverse of PidTagImportance ([MS-OXTNEF] 2.1.3.3.15).
func readPriority(_ *decoder, b []byte, _ int) (mapi.Type, any) {
	if len(b) < 2 {
		return mapi.TypeLong, nil
	}
	switch binary.LittleEndian.Uint16(b) {
	case 1:
		return mapi.TypeLong, int32(2)
	case 3:
		return mapi.TypeLong, int32(0)
	}
	return mapi.TypeLong, int32(1)
}

// readStatus translates fmsModified, fmsLocal, fmsSubmitted, fmsRead, fmsHasAttach to PidTagMessageFlags ([MS-OXTNEF] 2.1.3.3.9).
func readStatus(_ *decoder, b []byte, _ int) (mapi.Type, any) {
	if len(b) < 1 {
		return mapi.TypeLong, nil
	}
	var flags int32
	for _, x := range []struct {
		status byte
		flag   int32
	}{{0x20, 0x01}, {0x04, 0x04}, {0x02, 0x08}, {0x80, 0x10}} {
		if b[0]&x.status != 0 {
			flags |= x.flag
		}
	}
	if b[0]&1 == 0 {
		flags |= 0x02 // mfUnmodified
	}
	return mapi.TypeLong, flags
}

// readTriple reads the TRP structure of attFrom ([MS-OXTNEF] 2.1.3.3.3): an id, the lengths of all, of the name and of the address, then both
// as C strings, the address as TYPE:address.
func readTriple(b []byte, cp int) (name, typ, addr string) {
	c := &cursor{b: b}
	if id := c.u16(); id != 4 { // trpidOneOff
		return "", "", ""
	}
	c.u16()
	nameLen, addrLen := c.u16(), c.u16()
	name = cString(c.take(uint32(nameLen)), cp)
	typ, addr = splitAddress(cString(c.take(uint32(addrLen)), cp))
	return name, typ, addr
}

// readNameAddress reads the form of attOwner and attSentFor ([MS-OXTNEF] 2.1.3.3.1): length and name, length and TYPE:address.
func readNameAddress(b []byte, cp int) (name, typ, addr string) {
	c := &cursor{b: b}
	name = cString(c.take(uint32(c.u16())), cp)
	typ, addr = splitAddress(cString(c.take(uint32(c.u16())), cp))
	return name, typ, addr
}

func cString(b []byte, cp int) string {
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	return decodeString(cp, b)
}

func splitAddress(s string) (typ, addr string) {
	if t, a, ok := strings.Cut(s, ":"); ok {
		return strings.ToUpper(t), a
	}
	return "", s
}
