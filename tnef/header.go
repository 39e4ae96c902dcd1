package tnef

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// headerWriter collects generated header fields.
type headerWriter struct {
	bytes.Buffer
	// present is a header that has some fields already: those are not written.
	present []byte
}

// has tells whether one of these fields is there already.
func (h *headerWriter) has(names ...string) bool {
	for _, n := range names {
		if rawmime.Count(h.present, n) > 0 {
			return true
		}
	}
	return false
}

// field writes a field whose value needs neither encoding nor folding.
func (h *headerWriter) field(name, value string) {
	if !h.has(name) {
		h.WriteString(name + ": " + value + "\r\n")
	}
}

func (h *headerWriter) text(name, value string) {
	if value = cleanText(value); value != "" {
		h.field(name, encodeText(value, len(name)+2))
	}
}

func (h *headerWriter) addresses(name string, list []mapi.Mailbox) {
	if len(list) > 0 {
		h.field(name, addressList(list, len(name)+2))
	}
}

// ids writes message ids, which are never encoded.
func (h *headerWriter) ids(name, value string) {
	var list []string
	for _, id := range strings.FieldsFunc(value, func(r rune) bool { return r <= ' ' || r == '<' || r == '>' }) { // brackets get lost
		if isPlain(id) {
			list = append(list, "<"+id+">")
		}
	}
	if name == "Message-ID" {
		list = list[:min(len(list), 1)]
	}
	if len(list) > 0 {
		h.field(name, foldWords(strings.Join(list, " "), len(name)+2))
	}
}

// messageHeader makes the header of a message from its properties ([MS-OXCMAIL] 2.1.3.1), without MIME fields, and without those that
// present has. Blind copies are not told.
func messageHeader(m *Message, present []byte) []byte {
	h := &headerWriter{present: present}
	writeDate(h, m)
	if !h.has("From") {
		writeOriginators(h, m)
	}
	if !h.has("To", "Cc", "Bcc") {
		to, cc := recipientsOf(m)
		h.addresses("To", to)
		h.addresses("Cc", cc)
	}
	h.text("Subject", subjectOf(m))
	h.ids("Message-ID", m.Props.Text(mapi.TagInternetMessageID))
	h.ids("In-Reply-To", m.Props.Text(mapi.TagInReplyToID))
	h.ids("References", m.Props.Text(mapi.TagInternetReferences))
	h.addresses("Reply-To", replyTo(m))
	writeFlags(h, m)
	writeInternetHeaders(h, m)
	return h.Bytes()
}

func writeDate(h *headerWriter, m *Message) {
	for _, id := range []mapi.ID{mapi.TagClientSubmitTime, mapi.TagMessageDeliveryTime, mapi.TagCreationTime, mapi.TagLastModificationTime} {
		x := m.Props.Find(id)
		if t, ok := x.Time(); ok {
			h.field("Date", formatDate(t, x.Attribute == 0))
			return
		}
	}
}

// writeOriginators: From is whom the message is from, Sender who sent it for them (RFC 5322 3.6.2).
func writeOriginators(h *headerWriter, m *Message) {
	from, sender := m.Representing(), m.Sender()
	if from.Address == "" && (from.Name == "" || sender.Address != "" && strings.EqualFold(from.Name, sender.Name)) {
		from = sender
	}
	if from.Address == "" && from.Name == "" {
		return
	}
	h.addresses("From", []mapi.Mailbox{from})
	if sender.Address != "" && from.Address != "" && !strings.EqualFold(sender.Address, from.Address) {
		h.addresses("Sender", []mapi.Mailbox{sender})
	}
}

// recipientsOf lists To and Cc from the recipient table, or from the names shown when there is no table.
func recipientsOf(m *Message) (to, cc []mapi.Mailbox) {
	for i := range m.Recipients {
		r := &m.Recipients[i]
		box := mapi.Mailbox{Name: r.Name(), Address: r.Address()}
		if box.Name == "" && box.Address == "" {
			continue
		}
		switch r.Kind() {
		case mapi.To:
			to = append(to, box)
		case mapi.Cc:
			cc = append(cc, box)
		}
	}
	if len(m.Recipients) == 0 {
		to, cc = displayed(m.Props.Text(mapi.TagDisplayTo)), displayed(m.Props.Text(mapi.TagDisplayCc))
	}
	return to, cc
}

// displayed splits PidTagDisplayTo: names separated by semicolons; some are addresses.
func displayed(s string) []mapi.Mailbox {
	var list []mapi.Mailbox
	for _, n := range strings.Split(s, ";") {
		n = strings.Trim(cleanText(n), "' ")
		switch {
		case n == "":
		case strings.Count(n, "@") == 1 && cleanAddress(n) != "":
			list = append(list, mapi.Mailbox{Address: n})
		default:
			list = append(list, mapi.Mailbox{Name: n})
		}
	}
	return list
}

func subjectOf(m *Message) string {
	if s := m.Props.Text(mapi.TagSubject); s != "" {
		return s
	}
	return m.Props.Text(mapi.TagSubjectPrefix) + m.Props.Text(mapi.TagNormalizedSubject)
}

// replyTo reads PidTagReplyRecipientEntries ([MS-OXOMSG] 2.2.1.43): a FLATENTRYLIST of entry ids, of which the one-off ones
// have an address ([MS-OXCDATA] 2.2.5.1).
func replyTo(m *Message) []mapi.Mailbox {
	c := &cursor{b: m.Props.Bytes(mapi.TagReplyRecipientEntries)}
	count := c.u32()
	c.u32() // size
	var list []mapi.Mailbox
	for range min(count, 100) {
		size := c.u32()
		if c.short || size == 0 {
			break
		}
		entry := c.take(size)
		c.pad(size)
		if box, ok := oneOff(entry, m.Codepage); ok {
			list = append(list, box)
		}
	}
	return list
}

// oneOffUID marks a one-off entry id.
const oneOffUID = "\x81\x2b\x1f\xa4\xbe\xa3\x10\x19\x9d\x6e\x00\xdd\x01\x0f\x54\x02"

// oneOff reads a one-off entry id: flags, UID, version, flags, and three strings: name, address type, address.
func oneOff(b []byte, codepage int) (mapi.Mailbox, bool) {
	if len(b) < 24 || string(b[4:20]) != oneOffUID {
		return mapi.Mailbox{}, false
	}
	unicode := b[23]&0x80 != 0
	rest := b[24:]
	var s [3]string
	for i := range s {
		s[i], rest = nextString(rest, unicode, codepage)
	}
	if !strings.EqualFold(s[1], "SMTP") || cleanAddress(s[2]) == "" {
		return mapi.Mailbox{}, false
	}
	if strings.EqualFold(s[0], s[2]) {
		s[0] = ""
	}
	return mapi.Mailbox{Name: s[0], Address: s[2]}, true
}

// nextString takes a string that ends with NUL.
func nextString(b []byte, unicode bool, codepage int) (string, []byte) {
	if unicode {
		for i := 0; i+1 < len(b); i += 2 {
			if b[i] == 0 && b[i+1] == 0 {
				return decodeUTF16(b[:i]), b[i+2:]
			}
		}
		return decodeUTF16(b), nil
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return decodeString(codepage, b[:i]), b[i+1:]
	}
	return decodeString(codepage, b), nil
}

// writeFlags: importance, sensitivity, thread, receipt ([MS-OXCMAIL] 2.1.3.1.1 and on).
func writeFlags(h *headerWriter, m *Message) {
	if v, ok := m.Props.Int(mapi.TagImportance); ok && !h.has("Importance", "X-Priority", "Priority", "X-MSMail-Priority") {
		switch v {
		case 0:
			h.WriteString("Importance: low\r\nX-Priority: 5\r\n")
		case 2:
			h.WriteString("Importance: high\r\nX-Priority: 1\r\n")
		}
	}
	if v, ok := m.Props.Int(mapi.TagSensitivity); ok {
		if s := map[int64]string{1: "Personal", 2: "Private", 3: "Company-Confidential"}[v]; s != "" {
			h.field("Sensitivity", s)
		}
	}
	h.text("Thread-Topic", m.Props.Text(mapi.TagConversationTopic))
	if b := m.Props.Bytes(mapi.TagConversationIndex); len(b) > 0 && len(b) < 700 {
		h.field("Thread-Index", base64.StdEncoding.EncodeToString(b))
	}
	if words := m.Props.FindString(mapi.SetPublicStrings, "Keywords").Texts(); len(words) > 0 {
		h.text("Keywords", strings.Join(words, ", "))
	}
	if m.Props.Bool(mapi.TagReadReceiptRequested) {
		from := m.Representing()
		if from.Address == "" {
			from = m.Sender()
		}
		if from.Address != "" {
			h.addresses("Disposition-Notification-To", []mapi.Mailbox{from})
		}
	}
}

// trustedFields are prefixes of fields that Exchange, this gateway, or a filter believes in, which it has itself set: an attachment must not.
var trustedFields = []string{"x-ms-", "x-microsoft-", "x-forefront-", "x-exchange-", "x-eop", "x-coexist-", "x-spam", "x-rspamd-", "x-virus-", "x-amavis-", "x-barracuda-", "x-proofpoint-", "x-mimecast-", "x-ironport-",
	"x-originating-ip", "x-originatororg", "x-auth", "x-sender-ip", "x-forwarded-", "x-received", "x-envelope-", "x-original-to", "x-delivered-to", "x-loop"}

// writeInternetHeaders writes fields that a client kept as named properties ([MS-OXCMAIL] 2.1.3.1.19): only X- fields, and none that
// Exchange believes in.
func writeInternetHeaders(h *headerWriter, m *Message) {
	for i := range m.Props.List {
		x := &m.Props.List[i]
		name := x.Name.Str
		if x.Name.Set != mapi.SetInternetHeaders || len(name) > 70 || !isToken(name) {
			continue
		}
		low := strings.ToLower(name)
		if !strings.HasPrefix(low, "x-") || slices.ContainsFunc(trustedFields, func(prefix string) bool { return strings.HasPrefix(low, prefix) }) {
			continue
		}
		h.text(name, x.Text())
	}
}
