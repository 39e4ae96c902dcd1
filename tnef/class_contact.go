package tnef

import (
	"html"
	"strings"

	"github.com/coexist-mail/coexist/tnef/contact"
	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// contactMessage attaches a contact that was sent as a message of its own as a vCard.
func contactMessage(b *builder, m *Message, c *content) {
	c.attachments = append(c.attachments, vCard(b, m, c.text))
	c.describe(contact.Text(&m.Props))
}

// attachedContact makes a .vcf file of an attached contact. With files of its own it stays a message.
func attachedContact(b *builder, m *Message) *entity {
	for i, a := range m.Attachments {
		if !isContactPhoto(a) && b.isFile(a, i) {
			return nil
		}
	}
	return vCard(b, m, plainBody(b, m))
}

func vCard(b *builder, m *Message, text string) *entity {
	k := &contact.Contact{Props: &m.Props, Text: text}
	for _, a := range m.Attachments {
		if isContactPhoto(a) && len(a.Data) > 0 {
			k.Photo, k.PhotoType = a.Data, attachmentType(a, b.fileName(a, 0))
		}
	}
	return vCardEntity(contact.Name(&m.Props), k.VCard())
}

func vCardEntity(name string, data []byte) *entity {
	return &entity{
		mediaType: "text/vcard", params: []rawmime.Param{{Name: "charset", Value: "utf-8"}}, name: nameWith(name, "contact", ".vcf"),
		disposition: "attachment", data: data,
	}
}

// isContactPhoto tells whether an attachment is the picture of a contact ([MS-OXOCNTC] 2.2.1.8).
func isContactPhoto(a *Attachment) bool {
	return a.Props.Bool(mapi.TagAttachmentContactPhoto) || strings.EqualFold(a.RawName(), "ContactPicture.jpg")
}

// listMessage names the members of a distribution list in the text, and attaches it as a vCard.
func listMessage(b *builder, m *Message, c *content) {
	members := b.listMembers(m)
	appendText(c, contact.ListText(&m.Props, members))
	c.attachments = append(c.attachments, vCardEntity(contact.Name(&m.Props), contact.GroupVCard(&m.Props, members, "")))
}

// attachedList makes a .vcf file of an attached distribution list, with the members as text in it for those that have no address.
func attachedList(b *builder, m *Message) *entity {
	for i, a := range m.Attachments {
		if b.isFile(a, i) {
			return nil
		}
	}
	members := b.listMembers(m)
	return vCardEntity(contact.Name(&m.Props), contact.GroupVCard(&m.Props, members, contact.ListText(&m.Props, members)))
}

func (b *builder) listMembers(m *Message) []mapi.Mailbox {
	list, left := contact.Members(&m.Props, func(raw []byte) string { return decodeString(m.Codepage, raw) })
	if left > 0 {
		b.warn("distribution list: %d more members are left out", left)
	}
	return list
}

// appendText puts a paragraph at the end of the bodies.
func appendText(c *content, text string) {
	if text == "" {
		return
	}
	if strings.TrimSpace(c.text) != "" {
		text = strings.TrimRight(c.text, "\r\n") + "\r\n\r\n" + text
	}
	added := strings.TrimPrefix(text, strings.TrimRight(c.text, "\r\n"))
	c.text, c.hasText = text, true
	if !c.hasHTML {
		return
	}
	paragraph := "<p>" + strings.ReplaceAll(html.EscapeString(strings.TrimSpace(added)), "\r\n", "<br>\r\n") + "</p>"
	at := len(c.html)
	for _, end := range []string{"</html>", "</body>"} {
		if i := strings.LastIndex(asciiLower(c.html[:at]), end); i >= 0 {
			at = i
		}
	}
	c.html = c.html[:at] + paragraph + c.html[at:]
}
