package tnef

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"html"
	"net/url"
	"path"
	"sort"
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
	"github.com/coexist-mail/coexist/tnef/rtf"
)

// builder makes MIME entities of a decoded message and everything attached to it.
type builder struct {
	opt      *Options
	seed     string
	budget   *budget
	depth    int
	cids     int // content ids given so far
	warnings []string
}

func newBuilder(opt *Options, stream []byte, bodies *budget) *builder {
	bodies.stream(len(stream))
	return &builder{opt: opt, seed: seed(stream), budget: bodies}
}

func (b *builder) warn(format string, args ...any) {
	if len(b.warnings) < maxWarnings {
		b.warnings = append(b.warnings, fmt.Sprintf(format, args...))
	}
}

func (b *builder) warnAll(prefix string, list []string) {
	for _, w := range list {
		b.warn("%s%s", prefix, w)
	}
}

// content chooses bodies and attachments of a message, by the rules of its class.
func (b *builder) content(m *Message) *content {
	c := &content{}
	result := b.readBody(m, c)
	b.attachments(m, c, result)
	applyClass(b, m, c)
	c.text, c.html = crlfLines(withoutNUL(c.text)), crlfLines(withoutNUL(c.html))
	return c
}

// withoutNUL: RFC 5322 2.1 has no NUL, and programs stop reading at one.
func withoutNUL(s string) string {
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "")
}

// body puts the bodies and what belongs to them in order: related(alternative(text, html, calendar...), images).
func (c *content) body() *entity {
	if c.whole != nil {
		return c.whole
	}
	var parts []*entity
	if c.hasText {
		parts = append(parts, textEntity("text/plain", c.text))
	}
	if c.hasHTML {
		parts = append(parts, textEntity("text/html", c.html))
	}
	e := multipart("alternative", append(parts, c.alternatives...)...)
	if len(c.related) == 0 || e == nil {
		return e
	}
	rel := multipart("related", append([]*entity{e}, c.related...)...)
	rel.params = []rawmime.Param{{Name: "type", Value: e.mediaType}} // RFC 2387 3.1
	return rel
}

func textEntity(mediaType, text string) *entity {
	return &entity{mediaType: mediaType, params: []rawmime.Param{{Name: "charset", Value: "utf-8"}}, data: octets(text)}
}

// entity is the whole content of a message as one entity.
func (c *content) entity() *entity {
	if c.whole != nil {
		return c.whole
	}
	body := c.body()
	if body == nil {
		body = textEntity("text/plain", "")
		if len(c.attachments) == 1 {
			body = nil
			return multipartOf("mixed", c.attachments)
		}
	}
	return multipart("mixed", append([]*entity{body}, c.attachments...)...)
}

// multipartOf makes a multipart even of one child.
func multipartOf(subtype string, children []*entity) *entity {
	return &entity{mediaType: "multipart/" + subtype, children: children}
}

// attachments turns the attachments into related parts and attachments of c.
func (b *builder) attachments(m *Message, c *content, result *rtf.Result) {
	made := make([]*entity, len(m.Attachments))
	for i, a := range m.Attachments {
		if !a.IsException() { // those are the calendar's matter
			made[i] = b.attachment(a, i)
		}
		if isException(a) {
			b.exceptionFiles(a.Message, c)
		}
	}
	placed := map[*entity]bool{}
	if result != nil && result.Kind == rtf.RealRTF && c.hasHTML {
		b.place(m, c, result, made, placed)
		for _, p := range result.Pictures {
			c.related = append(c.related, &entity{mediaType: p.Type, name: safeName(p.Name), disposition: "inline", contentID: p.ContentID, data: p.Data})
		}
	}
	var refs refSet
	if c.hasHTML && len(made) > 0 {
		refs = references(c.html)
	}
	renamed := map[string]string{}
	for i, e := range made {
		switch {
		case e == nil:
		case placed[e] || refs.mentions(e) || b.rename(renamed, &refs, e, m.Attachments[i]):
			e.disposition = "inline"
			c.related = append(c.related, e)
		case m.Attachments[i].Hidden() && m.ClassIs("IPM.TaskRequest") && m.Attachments[i].Message != nil: // its task, which the class's rule reads
		case b.isFile(m.Attachments[i], i):
			if m.Attachments[i].Hidden() && !isShown(e.mediaType) {
				e.disposition = "inline" // RFC 2183 2.1, 2.2: what is not listed as an attachment
			}
			c.attachments = append(c.attachments, e)
		case strings.HasPrefix(e.mediaType, "image/") && !isContactPhoto(m.Attachments[i]):
			b.warn("hidden picture %q, which the body does not show, is left out", e.name)
		}
	}
	c.html = replaceCIDs(c.html, renamed)
}

// isShown tells of a type that programs show in the message when it is inline.
func isShown(mediaType string) bool {
	return strings.HasPrefix(mediaType, "text/") || strings.HasPrefix(mediaType, "image/") || mediaType == "message/rfc822"
}

// isException tells whether an attachment is the message of a modified instance of a series.
func isException(a *Attachment) bool {
	return a.Message != nil && (a.IsException() || a.Hidden() && a.Message.ClassIs(exceptionClass))
}

// exceptionFiles attaches the files of a modified instance: a calendar has no place for them.
func (b *builder) exceptionFiles(m *Message, c *content) {
	b.depth++
	defer func() { b.depth-- }()
	for i, a := range m.Attachments {
		if !b.isFile(a, i) {
			continue
		}
		if e := b.attachment(a, i); e != nil {
			c.attachments = append(c.attachments, e)
		}
	}
}

// isFile tells whether an attachment is a file of its own, which must not get lost. One that its sender's program keeps from view
// (PidTagAttachmentHidden) is none if it is a picture, which the body showed, or the exception of a meeting; anything else is a file, whatever
// the flag says: it is kept, as a part that is not listed as an attachment.
func (b *builder) isFile(a *Attachment, index int) bool {
	switch {
	case a.IsException():
		return false
	case !a.Hidden():
		return true
	case a.Message != nil:
		return !a.Message.ClassIs(exceptionClass)
	case a.Method == mapi.MethodOLE:
		o := openObject(a.Data)
		return o == nil || !strings.HasPrefix(o.mediaType, "image/")
	}
	return !strings.HasPrefix(attachmentType(a, b.fileName(a, index)), "image/")
}

// exceptionClass is that of the message of a modified instance ([MS-OXOCAL] 2.2.10.2.2).
const exceptionClass = "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}"

// rename gives an image a new Content-ID, in the document too (see replaceCIDs), if the document refers to one that can't stand in a
// header field.
func (b *builder) rename(renamed map[string]string, refs *refSet, e *entity, a *Attachment) bool {
	id := strings.ToLower(a.ContentID())
	if e.contentID != "" || id == "" || refs.cids[id] == "" || refs.used[id] || renamed[id] != "" {
		return false
	}
	b.cids++
	e.contentID = fmt.Sprintf("image%d.%s@tnef", b.cids, b.seed)
	renamed[id] = e.contentID
	return true
}

// replaceCIDs replaces the ids in cid: URLs by what they were renamed to, by id in lower case.
func replaceCIDs(doc string, renamed map[string]string) string {
	if len(renamed) == 0 {
		return doc
	}
	var out strings.Builder
	out.Grow(len(doc) + len(doc)/16)
	done := 0
	for i := 0; i < len(doc); i++ {
		if doc[i] != ':' || !endsFold(doc[:i], "cid") {
			continue
		}
		token := cidToken(doc, i)
		if id, ok := renamed[strings.ToLower(unescape(token))]; ok {
			out.WriteString(doc[done : i+1])
			out.WriteString(id)
			done = i + 1 + len(token)
		}
		i += len(token)
	}
	out.WriteString(doc[done:])
	return out.String()
}

// place fills the places that real RTF has for attachments: pictures are shown there, others named, as Outlook's own conversion does.
func (b *builder) place(m *Message, c *content, result *rtf.Result, made []*entity, placed map[*entity]bool) {
	if len(result.Objects) == 0 {
		return
	}
	var order []int
	for i, a := range m.Attachments {
		if a.Place >= 0 && made[i] != nil {
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return m.Attachments[order[i]].Place < m.Attachments[order[j]].Place })
	show := func(k int, f func(*entity) string) string {
		if k >= len(order) {
			return ""
		}
		return f(made[order[k]])
	}
	ownText := c.text != result.Text // PidTagBody has names of its own
	html, text := result.Place(func(k int) string {
		return show(k, func(e *entity) string {
			if !strings.HasPrefix(e.mediaType, "image/") {
				return html.EscapeString("<<" + e.name + ">>")
			}
			placed[e] = true
			if e.contentID == "" {
				b.cids++
				e.contentID = fmt.Sprintf("object%d.%s@tnef", b.cids, b.seed)
			}
			return `<img src="cid:` + e.contentID + `" alt="` + html.EscapeString(e.name) + `">`
		})
	}, func(k int) string {
		return show(k, func(e *entity) string { return "<<" + e.name + ">>" })
	})
	c.html = html
	if !ownText {
		c.text = text
	}
}

// cleanContentID returns an id that can stand in a header field, or "".
func cleanContentID(id string) string {
	if !isPlain(id) || strings.ContainsAny(id, "<> \"") || len(id) > 250 {
		return ""
	}
	return id
}

// attachment makes an entity of one attachment; nil when there is nothing in it.
func (b *builder) attachment(a *Attachment, index int) *entity {
	switch a.Method {
	case mapi.MethodEmbedded:
		return b.attachedMessage(a, index)
	case mapi.MethodOLE:
		return b.oleObject(a, index)
	case mapi.MethodByReference, mapi.MethodByRefResolve, mapi.MethodByRefOnly, mapi.MethodWebReference:
		if len(a.Data) == 0 {
			return b.reference(a, index)
		}
	}
	if a.Data == nil && a.RawName() == "" {
		return nil
	}
	return b.file(a, b.fileName(a, index), a.Data)
}

// file makes an entity of an attached file. A message that was attached as a file becomes message/rfc822 if it can be without
// changing an octet, and TNEF as a file is converted.
func (b *builder) file(a *Attachment, name string, data []byte) *entity {
	if a.MacBinary {
		data = dataFork(data)
	}
	e := &entity{mediaType: attachmentType(a, name), name: name, disposition: "attachment", data: data}
	e.contentID = cleanContentID(a.ContentID())
	if l := strings.TrimSpace(a.Props.Text(mapi.TagAttachContentLocation)); isPlain(l) && !strings.ContainsAny(l, " <>\"") {
		e.location = l
	}
	switch {
	case isTNEFType(e.mediaType) || isTNEFName(name):
		if m := b.nestedStream(data); m != nil {
			return b.messageEntity(m, "", 0)
		}
	case e.mediaType == "message/rfc822":
		if isSpliceable(data) {
			e.raw, e.data = data, nil
			e.convert = Contains(data)
			return e
		}
		e.mediaType = "application/octet-stream" // RFC 2046 5.2.1: message/rfc822 can't be encoded
	case strings.HasPrefix(e.mediaType, "multipart/"), strings.HasPrefix(e.mediaType, "message/"):
		e.mediaType = "application/octet-stream"
	}
	if e.mediaType == "text/html" || e.mediaType == "text/plain" {
		e.params = nil // what charset a file has is not known
	}
	return e
}

// maxStreamsInFiles is how deep TNEF files inside TNEF files are converted.
const maxStreamsInFiles = 5

// nestedStream decodes a TNEF stream that was attached as a file.
func (b *builder) nestedStream(data []byte) *Message {
	if b.depth >= maxStreamsInFiles || !IsTNEF(data) {
		return nil
	}
	m, err := Decode(data, b.opt)
	if err != nil {
		return nil
	}
	b.warnAll("attached TNEF: ", m.Warnings)
	return m
}

// isSpliceable tells whether data can stand in a message as they are: lines that end with CRLF, none longer than 998 octets (RFC 5322
// 2.1.1), no NUL, and a header field at the beginning.
func isSpliceable(data []byte) bool {
	for f := range rawmime.Fields(data) {
		if f.Name == nil {
			return false
		}
		break
	}
	if len(data) == 0 || bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		line := data
		if i >= 0 {
			line = data[:i]
			if i == 0 || data[i-1] != '\r' {
				return false
			}
			line = line[:i-1]
			data = data[i+1:]
		} else {
			data = nil
		}
		if len(line) > 998 || bytes.IndexByte(line, '\r') >= 0 {
			return false
		}
	}
	return true
}

// attachedMessage makes message/rfc822 of an attached message, or what the rules of its class say.
func (b *builder) attachedMessage(a *Attachment, index int) *entity {
	if a.Message == nil {
		if len(a.Data) == 0 {
			return nil
		}
		b.warn("attachment %d: a message that can't be read is attached as it is", index+1)
		name := b.fileName(a, index)
		return &entity{mediaType: "application/octet-stream", name: name, disposition: "attachment", data: a.Data}
	}
	return b.messageEntity(a.Message, a.Props.Text(mapi.TagDisplayName), index)
}

func (b *builder) messageEntity(m *Message, title string, index int) *entity {
	b.depth++
	defer func() { b.depth-- }()
	if e := attachedByClass(b, m); e != nil {
		return e
	}
	name := safeName(firstNonEmpty(cleanText(m.Props.Text(mapi.TagSubject)), cleanText(title)))
	if name == "" {
		name = fmt.Sprintf("message%d", index+1)
	}
	return &entity{
		mediaType: "message/rfc822", name: shortenName(name + ".eml"), disposition: "attachment",
		message: &messageEntity{header: messageHeader(m, nil), root: b.content(m).entity()},
	}
}

// reference makes a small text of an attachment that is only a link: its content is somewhere else.
func (b *builder) reference(a *Attachment, index int) *entity {
	target := cleanText(firstNonEmpty(a.Props.Text(mapi.TagAttachLongPathname), a.Props.Text(mapi.TagAttachPathname), a.Props.Text(mapi.TagAttachContentLocation)))
	if target == "" {
		return nil
	}
	name := b.fileName(a, index)
	return &entity{
		mediaType: "text/plain", params: []rawmime.Param{{Name: "charset", Value: "utf-8"}}, name: shortenName(name + ".link.txt"),
		disposition: "attachment", data: []byte(name + "\r\n" + target + "\r\n"),
	}
}

// fileName is a safe name for an attachment, with an extension if its type tells one.
func (b *builder) fileName(a *Attachment, index int) string {
	name := safeName(a.RawName())
	if name == "" {
		name = fmt.Sprintf("attachment%d", index+1)
	}
	if path.Ext(name) == "" && a.Method != mapi.MethodEmbedded {
		ext := safeName(a.Props.Text(mapi.TagAttachExtension))
		if !strings.HasPrefix(ext, ".") || len(ext) > 10 {
			ext = extensions[cleanType(a.Props.Text(mapi.TagAttachMimeTag))]
		}
		name = shortenName(name + ext)
	}
	return name
}

// attachmentType is the media type that the sender says, if it is one, else what the name shows.
func attachmentType(a *Attachment, name string) string {
	t := cleanType(a.Props.Text(mapi.TagAttachMimeTag))
	if t == "" || t == "application/octet-stream" {
		return typeByName(name)
	}
	return t
}

// dataFork takes the data fork out of a MacBinary file (MacBinary II): 128 octets of header, with the fork's length at 83.
func dataFork(b []byte) []byte {
	const header = 128
	if len(b) < header || b[0] != 0 || b[1] == 0 || b[1] > 63 || b[74] != 0 {
		return b
	}
	n := binary.BigEndian.Uint32(b[83:])
	if uint64(n) > uint64(len(b)-header) {
		return b
	}
	return b[header : header+int(n)]
}

func firstNonEmpty(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// refSet holds what an HTML document refers to, in lower case: content ids, with how the document writes them, and other URLs.
type refSet struct {
	cids map[string]string
	urls map[string]bool
	used map[string]bool // content ids that an attachment has
}

// mentions tells whether an attachment is referred to, by Content-ID, by Content-Location, or, where a writer left the id out, by
// name. It gives the entity the id that the document uses: the case counts for programs (RFC 2392 2), if not for writers. Of several attachments with
// one id the first has it (RFC 2045 7).
func (r refSet) mentions(e *entity) bool {
	id := e.contentID
	if id == "" && cleanContentID(e.name) != "" {
		id = e.name
	}
	low := strings.ToLower(id)
	switch written := r.cids[low]; {
	case id == "" || written == "":
	case r.used[low]:
		e.contentID = ""
		return false
	default:
		r.used[low] = true
		e.contentID = firstNonEmpty(cleanContentID(written), id)
		return true
	}
	return e.location != "" && r.urls[strings.ToLower(e.location)]
}

// references collects the URLs in a document, in one pass: everything behind "cid:", and what src, href and background attributes
// and url() hold.
func references(doc string) refSet {
	r := refSet{cids: map[string]string{}, urls: map[string]bool{}, used: map[string]bool{}}
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case ':':
			if endsFold(doc[:i], "cid") {
				u := cidToken(doc, i)
				id := unescape(u)
				if low := strings.ToLower(id); r.cids[low] == "" {
					r.cids[low] = id
				}
				i += len(u) // what stands in a URL is not another one
			}
		case '=', '(':
			if !endsFold(doc[:i], "src") && !endsFold(doc[:i], "href") && !endsFold(doc[:i], "background") && !endsFold(doc[:i], "url") {
				continue
			}
			u := urlToken(strings.TrimLeft(doc[i+1:min(len(doc), i+1+maxURL)], "\"' "))
			if len(u) < len("cid:") || !strings.EqualFold(u[:len("cid:")], "cid:") {
				r.urls[strings.ToLower(unescape(u))] = true
				i += len(u)
			}
		}
	}
	return r
}

// cidToken is the content id behind the colon of a cid: URL. In quotes it may have spaces, which it should not.
func cidToken(doc string, colon int) string {
	s := doc[colon+1:]
	if start := colon - len("cid"); start > 0 && (doc[start-1] == '"' || doc[start-1] == '\'') {
		if end := strings.IndexByte(s[:min(len(s), maxURL)], doc[start-1]); end >= 0 && !strings.ContainsAny(s[:end], "<>\r\n\t") {
			return s[:end]
		}
	}
	return urlToken(s)
}

// endsFold compares the end of s with US-ASCII in lower case.
func endsFold(s, end string) bool {
	if len(s) < len(end) || s[len(s)-1]|0x20 != end[len(end)-1] {
		return false
	}
	return strings.EqualFold(s[len(s)-len(end):], end)
}

// maxURL is the longest reference looked at.
const maxURL = 2048

// urlToken is s up to what can't be part of a URL in an attribute.
func urlToken(s string) string {
	s = s[:min(len(s), maxURL)]
	if i := strings.IndexAny(s, "\"'<> )\r\n\t"); i >= 0 {
		return s[:i]
	}
	return s
}

func unescape(s string) string {
	s = html.UnescapeString(s)
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// asciiLower keeps offsets, which strings.ToLower does not.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
