package mapi

import "strings"

// Message is a decoded message, from the stream's own attributes and its properties together: what only an attribute says is in
// Props too, as the property it stands for ([MS-OXTNEF] 2.1.3.2; see Property.Attribute).
type Message struct {
	// Class is the message class in its modern form ("IPM.Note"; the names of Microsoft Mail are translated). "IPM.Note" when
	// the stream has none.
	Class string
	// Codepage is the Windows code page of 8-bit strings in this message.
	Codepage    int
	Props       Props
	Recipients  []Recipient
	Attachments []*Attachment
	// Warnings tell what was wrong in the stream, or was left out; those of attached messages are with the outermost one.
	Warnings []string
}

// ClassIs tells whether the message class is prefix or below it: "IPM.Note.SMIME" is below "IPM.Note", "IPM.Notes" is not. Case
// does not matter ([MS-OXCMSG] 2.2.1.3).
func (m *Message) ClassIs(prefix string) bool { return ClassIs(m.Class, prefix) }

// ClassIs tells whether class is prefix or below it.
func ClassIs(class, prefix string) bool {
	if len(class) < len(prefix) || !strings.EqualFold(class[:len(prefix)], prefix) {
		return false
	}
	return len(class) == len(prefix) || class[len(prefix)] == '.'
}

// Recipient is one row of the recipient table.
type Recipient struct {
	Props Props
}

// The values of Recipient.Kind ([MS-OXOMSG] 2.2.3.1; the originator stands in tables of meetings).
const (
	Originator = 0
	To         = 1
	Cc         = 2
	Bcc        = 3
)

// Kind is To, Cc, Bcc or Originator. Flags in higher bits (0x10000000: resend only to this one) are taken off. To when absent.
func (r *Recipient) Kind() int {
	v, ok := r.Props.Int(TagRecipientType)
	if !ok {
		return To
	}
	return int(v & 0xF)
}

// Name is the display name, or "" when it says no more than the address.
func (r *Recipient) Name() string {
	return displayName(r.Address(), r.Props.Text(TagDisplayName), r.Props.Text(TagRecipientDisplayName), r.Props.Text(TagTransmittableDisplayName))
}

// Address is the SMTP address, or "" when the row has none: an EX address by itself leads nowhere outside its organization.
func (r *Recipient) Address() string {
	return smtpAddress(r.Props.Text(TagSMTPAddress), r.Props.Text(TagAddressType), r.Props.Text(TagEmailAddress))
}

// Mailbox is somebody with an address.
type Mailbox struct {
	Name    string // UTF-8; "" when there is none, or it only repeats the address
	Address string // SMTP; "" when unknown
}

// Sender is who sent the message (PidTagSender*).
func (m *Message) Sender() Mailbox {
	return m.mailbox(TagSenderSMTPAddress, TagSenderAddressType, TagSenderEmailAddress, TagSenderName)
}

// Representing is for whom it was sent (PidTagSentRepresenting*): the From of a message; the sender is its Sender.
func (m *Message) Representing() Mailbox {
	return m.mailbox(TagSentRepresentingSMTPAddress, TagSentRepresentingAddressType, TagSentRepresentingEmailAddress, TagSentRepresentingName)
}

func (m *Message) mailbox(smtp, typ, addr, name ID) Mailbox {
	a := smtpAddress(m.Props.Text(smtp), m.Props.Text(typ), m.Props.Text(addr))
	return Mailbox{Name: displayName(a, m.Props.Text(name)), Address: a}
}

// smtpAddress picks what looks like an SMTP address.
func smtpAddress(smtp, typ, addr string) string {
	for _, a := range []string{smtp, addr} {
		if t, rest, ok := strings.Cut(a, ":"); ok && strings.EqualFold(t, "smtp") {
			a = rest
		}
		a = strings.TrimSpace(a)
		if i := strings.LastIndexByte(a, '@'); i > 0 && i+1 < len(a) && !strings.HasPrefix(a, "/") {
			if a == addr && typ != "" && !strings.EqualFold(typ, "SMTP") && smtp == "" && !strings.EqualFold(typ, "EX") {
				return "" // NOTES:Kim Akers/Contoso@CONTOSO has an @ too
			}
			return a
		}
	}
	return ""
}

// displayName picks the first name that is more than the address.
func displayName(address string, names ...string) string {
	for _, n := range names {
		n = strings.Trim(strings.TrimSpace(n), "'")
		if n != "" && !strings.EqualFold(n, address) {
			return n
		}
	}
	return ""
}

// Method is how an attachment holds its content ([MS-OXCMSG] 2.2.2.9).
type Method int

// The values of PidTagAttachMethod.
const (
	MethodNone         Method = 0
	MethodByValue      Method = 1
	MethodByReference  Method = 2
	MethodByRefResolve Method = 3
	MethodByRefOnly    Method = 4
	MethodEmbedded     Method = 5 // a message
	MethodOLE          Method = 6 // a compound file, or what an OLE object holds
	MethodWebReference Method = 7
)

// Attachment is one attachment of a message.
type Attachment struct {
	// Method is PidTagAttachMethod, or what the content shows when that is absent.
	Method Method
	Props  Props
	// Data is the content of a file, or the octets of an OLE object; a part of the stream: don't change it.
	Data []byte
	// Message is the attached message of MethodEmbedded, nil when it can't be read.
	Message *Message
	// Place is where the attachment is drawn in the RTF body, from attAttachRendData or PidTagRenderingPosition; -1 when it is not.
	Place int
	// MacBinary tells that Data is a MacBinary file ([MS-OXTNEF] 2.1.3.3.15).
	MacBinary bool
}

// Hidden tells whether the sender's program keeps the attachment from view (PidTagAttachmentHidden): images of the body,
// exceptions of a recurring meeting.
func (a *Attachment) Hidden() bool { return a.Props.Bool(TagAttachmentHidden) }

// IsException tells whether the attachment is an exception of a recurring meeting ([MS-OXOCAL] 2.2.10.1): a calendar's matter.
func (a *Attachment) IsException() bool {
	flags, _ := a.Props.Int(TagAttachmentFlags)
	return flags&2 != 0
}

// ContentID is PidTagAttachContentId without angle brackets.
func (a *Attachment) ContentID() string {
	return strings.Trim(strings.TrimSpace(a.Props.Text(TagAttachContentID)), "<>")
}

// RawName is the best form of the file name that is present ([MS-OXCMSG] 2.2.2.11), not made safe. "" when there is none.
func (a *Attachment) RawName() string {
	for _, id := range []ID{TagAttachLongFilename, TagAttachFilename, TagAttachTransportName, TagAttachLongPathname, TagDisplayName} {
		if s := a.name(id); s != "" {
			return s
		}
	}
	return ""
}

// name returns the Unicode form of a name if there are two.
func (a *Attachment) name(id ID) string {
	best := ""
	for i := range a.Props.List {
		if x := &a.Props.List[i]; x.ID == id {
			s := strings.TrimSpace(x.Text())
			if s != "" && (best == "" || x.Type == TypeUnicode) {
				best = s
			}
		}
	}
	return best
}
