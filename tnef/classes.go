package tnef

import (
	"bytes"
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// classRule says what is particular to the messages of a class ([MS-OXCMAIL] 2.1.3.2). Rules run after bodies and attachments were
// chosen and change the content: add an alternative, an attachment, or replace the whole.
type classRule struct {
	// class is a message class; those below it count too. The most specific rule that fits is used.
	class string
	// suffix, when set, asks in addition that the class ends so (IPM.InfoPathForm.*.SMIME).
	suffix string
	apply  func(b *builder, m *Message, c *content)
}

var classRules = []classRule{
	{class: "IPM.Note.SMIME", apply: opaqueSMIME},
	{class: "IPM.Note.SMIME.MultipartSigned", apply: clearSigned},
	{class: "IPM.InfoPathForm", suffix: ".SMIME", apply: opaqueSMIME},
	{class: "IPM.InfoPathForm", suffix: ".SMIME.MultipartSigned", apply: clearSigned},
	{class: "IPM.Note", apply: voteMessage},
	{class: "IPM.Schedule.Meeting", apply: calendarAlternative},
	{class: "IPM.Appointment", apply: calendarAlternative},
	{class: "IPM.Task", apply: taskAlternative},
	{class: "IPM.TaskRequest", apply: taskAlternative},
	{class: "IPM.Contact", apply: contactMessage},
	{class: "IPM.DistList", apply: listMessage},
	{class: "IPM.Activity", apply: journalMessage},
	{class: "REPORT", apply: reportMessage},
}

// applyClass runs the rule for the message's class, if there is one.
func applyClass(b *builder, m *Message, c *content) {
	var best *classRule
	for i := range classRules {
		r := &classRules[i]
		if !mapi.ClassIs(m.Class, r.class) || !hasSuffixFold(m.Class, r.suffix) {
			continue
		}
		if best == nil || len(r.class)+len(r.suffix) > len(best.class)+len(best.suffix) {
			best = r
		}
	}
	if best != nil {
		best.apply(b, m, c)
	}
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// attachedRule says what a message of a class becomes when it is attached, if not message/rfc822: a contact, say, a vCard.
type attachedRule struct {
	class  string
	entity func(b *builder, m *Message) *entity // nil result: message/rfc822 after all
}

var attachedRules = []attachedRule{
	{class: "IPM.Appointment", entity: attachedCalendar},
	{class: "IPM.Task", entity: attachedCalendar},
	{class: "IPM.Contact", entity: attachedContact},
	{class: "IPM.DistList", entity: attachedList},
}

func attachedByClass(b *builder, m *Message) *entity {
	for _, r := range attachedRules {
		if m.ClassIs(r.class) {
			if e := r.entity(b, m); e != nil {
				return e
			}
		}
	}
	return nil
}

// clearSigned splices a signed message: its one attachment is the complete multipart/signed entity ([MS-OXOSMIME] 2.1.2), of
// which no octet may change, or the signature breaks.
func clearSigned(b *builder, m *Message, c *content) {
	if a := onlyAttachment(m); a != nil {
		c.whole = spliced(a.Data, "multipart/signed")
	}
	if c.whole == nil {
		b.warn("%s without the signed entity: converted as ordinary mail", m.Class)
	}
}

// opaqueSMIME: the one attachment holds the CMS message ([MS-OXOSMIME] 2.1.1), or its MIME entity.
func opaqueSMIME(b *builder, m *Message, c *content) {
	a := onlyAttachment(m)
	if a == nil || len(a.Data) == 0 {
		b.warn("%s without its one attachment: converted as ordinary mail", m.Class)
		return
	}
	for _, t := range []string{"application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/signed"} {
		if e := spliced(a.Data, t); e != nil {
			c.whole = e
			return
		}
	}
	e := &entity{mediaType: "application/pkcs7-mime", name: "smime.p7m", disposition: "attachment", data: a.Data}
	if t := cmsType(a.Data); t != "" {
		e.params = []rawmime.Param{{Name: "smime-type", Value: t}}
	}
	c.whole = e
}

// onlyAttachment is the attachment of a message that has one.
func onlyAttachment(m *Message) *Attachment {
	if len(m.Attachments) != 1 {
		return nil
	}
	return m.Attachments[0]
}

// spliced takes a MIME entity as it is, if its Content-Type is this one. Only its MIME fields become fields of the message.
func spliced(data []byte, mediaType string) *entity {
	head, body := rawmime.HeaderEnd(data)
	var fields bytes.Buffer
	found := false
	for f := range rawmime.Fields(data[:head]) {
		if !f.HasPrefix("Content-") {
			continue
		}
		if f.Is("Content-Type") {
			t, _ := rawmime.ParseValue(f.Value)
			found = t == mediaType
		}
		fields.Write(data[f.Start:f.End])
	}
	if !found {
		return nil
	}
	if !bytes.HasSuffix(fields.Bytes(), []byte("\n")) {
		fields.WriteString("\r\n")
	}
	return &entity{mediaType: mediaType, rawHead: fields.Bytes(), raw: data[body:]}
}

// cmsType tells the smime-type (RFC 8551 3.2.2) by the content type at the beginning of a CMS message (RFC 5652 3).
func cmsType(b []byte) string {
	head := b[:min(len(b), 64)]
	for _, x := range []struct{ oid, name string }{
		{"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", "signed-data"},
		{"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03", "enveloped-data"},
		{"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09", "compressed-data"},
		{"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17", "authEnveloped-data"},
	} {
		if i := bytes.Index(head, []byte(x.oid)); i >= 0 && i < 24 {
			return x.name
		}
	}
	return ""
}
