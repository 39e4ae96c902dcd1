package tnef

import (
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// outer is what the header of a message says of its originators and recipients. Inside an Exchange organization the properties often have
// only X.500 names, and no recipients at all, since the header counts ([MS-OXCMAIL] 2.2.3).
type outer struct {
	from, sender mapi.Mailbox
	to, cc       []mapi.Mailbox
	subject      string
	date         time.Time
}

// outerOf reads the header that came with the stream, from PidTagTransportMessageHeaders.
func outerOf(m *Message) outer {
	header := []byte(m.Props.Text(mapi.TagTransportMessageHeaders))
	var o outer
	if len(header) == 0 {
		return o
	}
	first := func(name string) mapi.Mailbox {
		for _, box := range mailboxes(header, name) {
			return box
		}
		return mapi.Mailbox{}
	}
	o.from, o.sender = first("From"), first("Sender")
	o.to, o.cc = mailboxes(header, "To"), mailboxes(header, "Cc")
	if f, ok := rawmime.Find(header, "Subject"); ok {
		o.subject = cleanText(rawmime.DecodeWords(f.Value))
	}
	if f, ok := rawmime.Find(header, "Date"); ok {
		o.date, _ = mail.ParseDate(f.Text())
	}
	return o
}

// mailboxes reads an address field; nothing of one that is malformed.
func mailboxes(header []byte, name string) []mapi.Mailbox {
	f, ok := rawmime.Find(header, name)
	if !ok {
		return nil
	}
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		b, err := io.ReadAll(r)
		return strings.NewReader(rawmime.ToUTF8(charset, b)), err
	}}}
	list, err := parser.ParseList(rawmime.ToUTF8("", []byte(f.Text())))
	if err != nil {
		return nil
	}
	var out []mapi.Mailbox
	for _, a := range list {
		box := mapi.Mailbox{Name: a.Name, Address: a.Address}
		if box.Name == box.Address {
			box.Name = ""
		}
		out = append(out, box)
	}
	return out
}
