package tnef

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// ConvertMessage writes msg, a whole message (RFC 5322), to w with every TNEF part in it turned into standard MIME, also inside
// multiparts and attached messages. Whatever need not change is written octet for octet. Parts inside multipart/signed and
// multipart/encrypted are left alone. A part that can't be read stays as it is and counts as failed.
//
// Nothing is written unless Report.Converted is greater than 0: pass the original on then. Errors are those of w and of
// Options.Scratch; in case of one, what was written is not complete. msg is neither changed nor kept.
func ConvertMessage(w io.Writer, msg []byte, opt *Options) (Report, error) {
	return convertMessage(w, msg, opt, nil, newBudget(opt))
}

// convertMessage converts a message that is written inside another one, whose delimiters are around.
func convertMessage(w io.Writer, msg []byte, opt *Options, around []string, bodies *budget) (Report, error) {
	c := &conversion{msg: msg, opt: opt, around: around, budget: bodies, plans: map[*rawmime.Part]*messagePlan{}, used: map[*rawmime.Part]bool{}}
	if !Contains(msg) {
		return c.report, nil
	}
	root, err := rawmime.Walk(msg, rawmime.Limits{})
	if err != nil { // what names TNEF is in it, and can't be looked at
		c.report.Found++
		c.fail("left as it is: %v", err)
		return c.report, nil
	}
	defer c.close()
	c.root = root
	if err := c.find(root, root); err != nil {
		return c.report, err
	}
	if c.report.Converted == 0 {
		return c.report, nil
	}
	err = c.write(w)
	return c.report, err
}

// ConvertStream writes a complete message made of a bare TNEF stream (the content of a winmail.dat) to w. The error is ErrNotTNEF if
// stream is none, ErrEmpty if nothing in it can be read, or that of w; with the first two nothing was written.
func ConvertStream(w io.Writer, stream []byte, opt *Options) (Report, error) {
	r := Report{Found: 1}
	m, err := Decode(stream, opt)
	if err != nil {
		r.Failed = 1
		return r, err
	}
	if holdsNothing(m) {
		r.Failed, r.Warnings = 1, m.Warnings
		return r, ErrEmpty
	}
	b := newBuilder(opt, stream, newBudget(opt))
	e := b.content(m).entity()
	setBoundaries(e, b.seed)
	r.Converted, r.Classes = 1, []string{m.Class}
	r.Warnings = append(m.Warnings, b.warnings...)
	head := bytes.NewBuffer(messageHeader(m, nil))
	head.WriteString("MIME-Version: 1.0\r\n")
	encoding := e.fields(head)
	head.WriteString("\r\n")
	ew := newEntityWriter(w, opt, b.budget)
	ew.write(head.Bytes())
	ew.body(e, encoding)
	ew.endLine()
	for _, s := range ew.sub {
		r.add(s)
	}
	return r, ew.err
}

// conversion is one message on its way: what is found in it, and the edits that follow from it.
type conversion struct {
	msg     []byte
	opt     *Options
	report  Report
	edits   []edit
	plans   map[*rawmime.Part]*messagePlan
	scratch []ScratchBuffer
	root    *rawmime.Part
	used    map[*rawmime.Part]bool // parts that were replaced: fallback texts, whole multiparts
	around  []string               // delimiters of the message that this one is written into
	budget  *budget
}

// edit replaces octets of the message.
type edit struct {
	start, end int
	write      func(*entityWriter)
}

// messagePlan is what a message around converted parts needs: the one that was given, or one attached to it.
type messagePlan struct {
	part      *rawmime.Part
	root      *entity  // the new content, when all of the old is replaced
	fill      *Message // supplies header fields that are missing
	hasAttach bool
}

func (c *conversion) close() {
	for _, s := range c.scratch {
		// What was in the buffer has been written; nothing depends on its end.
		_ = s.Close()
	}
}

// delimiters are those of all multiparts in p that stay.
func (c *conversion) delimiters(p *rawmime.Part) []string {
	var list []string
	if p.Boundary != "" && !c.used[p] {
		list = append(list, "--"+p.Boundary)
	}
	for _, child := range p.Children {
		list = append(list, c.delimiters(child)...)
	}
	return list
}

// find goes through the parts of a message and plans the conversion of those that are TNEF.
func (c *conversion) find(message, p *rawmime.Part) error {
	if p.Type == "multipart/signed" || p.Type == "multipart/encrypted" {
		return nil
	}
	if len(p.Children) == 0 && !p.IsMultipart() {
		if isTNEFType(p.Type) || isTNEFName(p.Name()) {
			return c.part(message, p)
		}
		if stream, around := c.findUU(p); stream != nil {
			c.report.Found++
			c.stream(message, p, stream, around)
		}
		return nil
	}
	for _, child := range p.Children {
		m := message
		if !p.IsMultipart() {
			m = child // an attached message
		}
		if err := c.find(m, child); err != nil {
			return err
		}
	}
	return nil
}

// part plans the conversion of one TNEF part.
func (c *conversion) part(message, p *rawmime.Part) error {
	c.report.Found++
	stream, err := c.decodeBody(p)
	if err != nil {
		return err
	}
	c.stream(message, p, stream, nil)
	return nil
}

// stream plans the conversion of a stream that was found in a part; around is the text around it, if it was in the middle of one.
func (c *conversion) stream(message, p *rawmime.Part, stream []byte, around *textAround) {
	d := &decoder{limits: c.opt.limits()}
	m, err := d.message(stream, 0)
	if err != nil {
		c.fail("%s: %v", partLabel(p), err)
		return
	}
	m.Warnings = d.warnings
	if d.exceeded || holdsNothing(m) {
		c.report.Warnings = append(c.report.Warnings, d.warnings...)
		c.fail("%s: nothing in it can be read, or more than the limits allow", partLabel(p))
		return
	}
	if !m.Props.Has(mapi.TagTransportMessageHeaders) {
		m.Props.List = append(m.Props.List, mapi.Property{ID: mapi.TagTransportMessageHeaders, Type: mapi.TypeUnicode, Value: string(message.Header(c.msg))})
	}
	b := newBuilder(c.opt, stream, c.budget)
	j := &job{conversion: c, message: message, part: p, parsed: m, builder: b, uuText: around}
	if !j.run() {
		return
	}
	c.report.Converted++
	c.report.Classes = append(c.report.Classes, m.Class)
	c.report.Warnings = append(append(c.report.Warnings, m.Warnings...), b.warnings...)
}

// holdsNothing tells of a stream of which nothing but the signature, or what says nothing by itself, can be read.
func holdsNothing(m *Message) bool {
	return len(m.Props.List)+len(m.Attachments)+len(m.Recipients) == 0
}

func partLabel(p *rawmime.Part) string {
	if n := cleanText(p.Name()); n != "" {
		return n
	}
	return p.Type
}

func (c *conversion) fail(format string, args ...any) {
	c.report.Failed++
	c.report.warn(format, args...)
}

// decodeBody decodes a part's transfer encoding. If the result is no TNEF, the encoding may be declared wrongly: what the octets
// look like decides then.
func (c *conversion) decodeBody(p *rawmime.Part) ([]byte, error) {
	body := p.Body(c.msg)
	if IsTNEF(body) {
		return body, nil
	}
	encoding := p.Encoding
	if bytes.HasPrefix(bytes.TrimLeft(body[:min(len(body), 200)], "\r\n\t "), base64Signature) {
		encoding = "base64"
	}
	switch encoding {
	case "base64":
		return c.decodeBase64(body)
	case "7bit", "8bit", "binary", "":
		if out, found := rawmime.DecodeUU(nil, body); found {
			return out, nil
		}
		return body, nil
	}
	out, known := rawmime.Decode(nil, body, encoding)
	if !known {
		return body, nil
	}
	return out, nil
}

// base64Signature is the beginning of a TNEF stream in base64; the legacy key decides on the characters behind it.
var base64Signature = []byte("eJ8+I")

// scratchFrom is the size from which decoded octets go to Options.Scratch.
const scratchFrom = 1 << 20

func (c *conversion) decodeBase64(body []byte) ([]byte, error) {
	if c.opt == nil || c.opt.Scratch == nil || len(body) < scratchFrom {
		out, _ := rawmime.DecodeBase64(nil, body)
		return out, nil
	}
	s, err := c.opt.Scratch()
	if err != nil {
		return nil, fmt.Errorf("scratch buffer for a TNEF stream: %w", err)
	}
	c.scratch = append(c.scratch, s)
	const chunk = 64 << 10
	var d rawmime.Base64Decoder
	buf := make([]byte, rawmime.Base64Len(chunk))
	for len(body) > 0 {
		n := d.Decode(buf, body[:min(len(body), chunk)])
		body = body[min(len(body), chunk):]
		if len(body) == 0 {
			n += d.Finish(buf[n:])
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return nil, fmt.Errorf("scratch buffer for a TNEF stream: %w", err)
		}
	}
	return s.Bytes(), nil
}

// plan returns the plan for a message, making it.
func (c *conversion) plan(message *rawmime.Part) *messagePlan {
	p := c.plans[message]
	if p == nil {
		p = &messagePlan{part: message}
		c.plans[message] = p
	}
	return p
}

// write applies the edits.
func (c *conversion) write(w io.Writer) error {
	for _, p := range c.plans {
		c.edits = append(c.edits, p.edit(c.msg))
	}
	slices.SortFunc(c.edits, func(a, b edit) int { return a.start - b.start })
	ew := newEntityWriter(w, c.opt, c.budget)
	ew.around = append(c.delimiters(c.root), c.around...)
	ew.bare = rawmime.Newline(c.root.Header(c.msg)) == "\n" // a file of a system with such lines: it goes back there
	pos := 0
	for _, e := range c.edits {
		if e.start < pos {
			return fmt.Errorf("converting TNEF: edits overlap at octet %d", e.start)
		}
		ew.verbatim(func() { ew.write(c.msg[pos:e.start]) })
		e.write(ew)
		pos = e.end
	}
	ew.verbatim(func() { ew.write(c.msg[pos:]) })
	if pos == len(c.msg) {
		ew.endLine()
	}
	for _, s := range ew.sub {
		c.report.add(s)
	}
	return ew.err
}

// endLine ends the last line of a message.
func (w *entityWriter) endLine() {
	if w.last != '\n' {
		w.write(crlf)
	}
}

// edit writes the message's header, and its content if that is new.
func (p *messagePlan) edit(msg []byte) edit {
	if p.root == nil {
		return edit{p.part.Start, p.part.HeaderEnd, func(w *entityWriter) {
			w.write(rewriteHeader(p.part.Header(msg), p, nil))
		}}
	}
	return edit{p.part.Start, p.part.BodyEnd, func(w *entityWriter) {
		var fields bytes.Buffer
		fields.WriteString("MIME-Version: 1.0\r\n")
		encoding := p.root.fields(&fields)
		w.write(rewriteHeader(p.part.Header(msg), p, fields.Bytes()))
		w.write(crlf)
		w.body(p.root, encoding)
	}}
}

// contentFields describe the content that is replaced. Others of that prefix (Content-Language, Content-Class) say something about the
// message.
var contentFields = []string{
	"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Description", "Content-Location", "Content-MD5",
}

func isContentField(f rawmime.Field) bool {
	for _, n := range contentFields {
		if f.Is(n) {
			return true
		}
	}
	return false
}

// rewriteHeader writes a message's header without X-MS-TNEF-Correlator, with X-MS-Has-Attach as it is now, and, if there is new content, its
// fields instead of the old ones; and adds what is missing.
func rewriteHeader(header []byte, p *messagePlan, content []byte) []byte {
	out := make([]byte, 0, len(header)+len(content)+256)
	for f := range rawmime.Fields(header) {
		switch {
		case f.Is("X-MS-TNEF-Correlator"):
		case content != nil && (isContentField(f) || f.Is("MIME-Version")):
		case f.Is("X-MS-Has-Attach"):
			value := ""
			if p.hasAttach {
				value = " yes"
			}
			out = append(out, string(f.Name)+":"+value+"\r\n"...)
		default:
			out = append(out, header[f.Start:f.End]...)
		}
	}
	if len(out) > 0 && out[len(out)-1] != '\n' && out[len(out)-1] != '\r' {
		out = append(out, crlf...)
	}
	out = append(out, missingFields(header, p.fill)...)
	return append(out, content...)
}

// missingFields makes the fields that the header has not, of the properties.
func missingFields(header []byte, m *Message) []byte {
	if m == nil {
		return nil
	}
	return messageHeader(m, header)
}

// job is the conversion of one part.
type job struct {
	*conversion
	message *rawmime.Part // the message that the part belongs to
	part    *rawmime.Part
	parsed  *Message
	builder *builder
	uuText  *textAround // the text around a stream that is uuencoded in it; nil for a part of its own
}

// run plans the edits; false when the part stays as it is.
func (j *job) run() bool {
	ct := j.builder.content(j.parsed)
	if j.uuText != nil {
		return j.replaceText(ct) && j.fill()
	}
	if parent := j.part.Parent; parent == nil || !parent.IsMultipart() {
		return j.replaceMessage(ct) && j.fill() // the whole message is TNEF
	}
	j.borrowText(ct)
	if j.mismatch() {
		return j.filesOnly(ct)
	}
	fallback, foreign := j.fallback(ct)
	if foreign {
		e := j.builder.messageEntity(j.parsed, "", 0)
		return j.replaceParts(nil, nil, []*entity{e})
	}
	if fallback != nil && ct.whole == nil {
		appendText(ct, appended(j.textOf(fallback, appendedMax), ct))
	}
	return j.replace(ct, fallback) && j.fill()
}

// fill lets the stream supply header fields that its message lacks. It always succeeds.
func (j *job) fill() bool {
	if p := j.plan(j.message); p.fill == nil {
		p.fill = j.parsed
	}
	return true
}

// replace puts content in the place of the part, and of the fallback text if there is one.
func (j *job) replace(ct *content, fallback *rawmime.Part) bool {
	parent := j.part.Parent
	consumed := 1
	if fallback != nil {
		consumed = 2
	}
	switch {
	case len(parent.Children) == consumed && (ct.hasBody() || fallback == nil):
		return j.replaceParent(ct)
	case parent.Type == "multipart/mixed" && ct.whole == nil:
		if fallback != nil {
			return j.replaceParts(fallback, ct.body(), ct.attachments)
		}
		list := ct.attachments
		if body := ct.body(); body != nil {
			list = append([]*entity{body}, list...)
		}
		return j.replaceParts(nil, nil, list)
	case parent.Type == "multipart/mixed" && fallback != nil:
		return j.replaceParts(fallback, ct.whole, nil)
	}
	return j.replaceParts(nil, nil, []*entity{ct.entity()})
}

// mismatch: the header names the TNEF that belongs to the message; another one is a leftover of some message that this one was made
// from ([MS-OXCMAIL] 2.2.3.3.5).
func (j *job) mismatch() bool {
	f, ok := rawmime.Find(j.message.Header(j.msg), "X-MS-TNEF-Correlator")
	key := correlationKey(j.parsed)
	own := trimID(f.Text())
	return ok && key != "" && own != "" && own != key
}

// trimID takes white space and angle brackets off a message id: not every program keeps them.
func trimID(s string) string { return strings.Trim(strings.TrimSpace(s), "<>") }

// correlationKey is PidTagTnefCorrelationKey, a string that ends with NUL.
func correlationKey(m *Message) string {
	x := m.Props.Find(mapi.TagTnefCorrelationKey)
	key := x.Text()
	if b := x.Bytes(); b != nil {
		key, _, _ = strings.Cut(string(b), "\x00")
	}
	return trimID(key)
}

// filesOnly takes the files out of a stream that belongs to another message, and leaves the body alone.
func (j *job) filesOnly(ct *content) bool {
	list := ct.files()
	if len(list) == 0 {
		j.report.warn("%s belongs to another message and has no files: left as it is", partLabel(j.part))
		return false
	}
	j.report.warn("%s belongs to another message: only its files are taken", partLabel(j.part))
	return j.replaceParts(nil, nil, list)
}

// fits tells whether entities can stand inside the multiparts around: octets that are written as they are must not have a delimiter of
// those, or of a message around this one. An attached mail that has one is attached as a file, a signed message can't be. Encoded
// content has no line that begins with two dashes.
func (j *job) fits(around *rawmime.Part, list ...*entity) bool {
	delimiters := slices.Clone(j.around)
	for p := around; p != nil; p = p.Parent {
		if p.Boundary != "" {
			delimiters = append(delimiters, "--"+p.Boundary)
		}
	}
	ok := true
	check := func(x *entity) {
		for _, d := range delimiters {
			switch {
			case !anyContains([][]byte{x.raw, x.rawHead}, d):
			case x.mediaType == "message/rfc822":
				x.mediaType, x.data, x.raw, x.convert = "application/octet-stream", x.raw, nil, false
			default:
				ok = false
			}
		}
	}
	for _, e := range list {
		if e != nil {
			e.all(check)
		}
	}
	if !ok {
		j.fail("%s: it holds a delimiter of the message around it", partLabel(j.part))
	}
	return ok
}

// replaceMessage replaces the whole content of the message.
func (j *job) replaceMessage(ct *content) bool {
	return j.replaceEntity(ct.entity(), ct)
}

// replaceEntity does so with an entity that was made of ct.
func (j *job) replaceEntity(e *entity, ct *content) bool {
	if !j.fits(j.message.Parent, e) {
		return false
	}
	setBoundaries(e, j.builder.seed)
	p := j.plan(j.message)
	p.root, p.hasAttach = e, slices.ContainsFunc(ct.attachments, func(a *entity) bool { return a.disposition == "attachment" })
	return true
}

// replaceParent replaces the multipart that held nothing but the TNEF and its fallback.
func (j *job) replaceParent(ct *content) bool {
	e, parent := ct.entity(), j.part.Parent
	if !j.fits(parent.Parent, e) {
		return false
	}
	j.used[parent] = true
	if e.isMultipart() {
		e.preamble = j.msg[parent.BodyStart:parent.Children[0].Delim]
		if parent.Close >= 0 {
			e.epilogue = j.msg[parent.CloseEnd:parent.BodyEnd]
		}
	}
	setBoundaries(e, j.builder.seed)
	p := j.note(ct.attachments)
	if parent == j.message {
		p.root = e
		return true
	}
	j.edits = append(j.edits, edit{parent.Start, parent.BodyEnd, func(w *entityWriter) {
		for f := range rawmime.Fields(parent.Header(j.msg)) {
			if !isContentField(f) {
				w.write(j.msg[parent.Start+f.Start : parent.Start+f.End])
			}
		}
		w.entity(e)
	}})
	return true
}

// replaceParts puts body in the fallback's place and list in that of the TNEF part, as parts of the multipart that is there.
func (j *job) replaceParts(fallback *rawmime.Part, body *entity, list []*entity) bool {
	parent := j.part.Parent
	if !j.fits(parent, append(slices.Clone(list), body)...) {
		return false
	}
	whole := multipartOf("mixed", append(slices.Clone(list), listOf(body)...))
	setBoundaries(whole, j.builder.seed)
	j.note(list)
	if fallback != nil {
		j.used[fallback] = true
		j.edits = append(j.edits, edit{fallback.Start, fallback.BodyEnd, func(w *entityWriter) { w.entity(body) }})
	}
	if len(list) == 0 {
		j.edits = append(j.edits, edit{j.part.Delim, nextDelim(j.part), func(*entityWriter) {}})
		return true
	}
	j.edits = append(j.edits, edit{j.part.Start, j.part.BodyEnd, func(w *entityWriter) {
		for i, e := range list {
			if i > 0 {
				w.write([]byte("\r\n--" + parent.Boundary + "\r\n"))
			}
			w.entity(e)
		}
	}})
	return true
}

func listOf(e *entity) []*entity {
	if e == nil {
		return nil
	}
	return []*entity{e}
}

// note records for the message around that it was converted.
func (j *job) note(attachments []*entity) *messagePlan {
	p := j.plan(j.message)
	for _, e := range attachments {
		p.hasAttach = p.hasAttach || e.disposition == "attachment"
	}
	for _, s := range j.part.Parent.Children {
		p.hasAttach = p.hasAttach || s != j.part && s.Disposition == "attachment"
	}
	return p
}

// nextDelim is the offset of the delimiter that follows p.
func nextDelim(p *rawmime.Part) int {
	parent := p.Parent
	if i := slices.Index(parent.Children, p); i+1 < len(parent.Children) {
		return parent.Children[i+1].Delim
	}
	if parent.Close >= 0 {
		return parent.Close
	}
	return parent.BodyEnd
}

// borrowMax is the longest text, in octets, that is borrowed: the invitation of a program that writes more is not worth a copy.
const borrowMax = 256 << 10

// borrowText: a message that has no text in the stream keeps the one that was sent beside it, as an alternative to its calendar.
func (j *job) borrowText(ct *content) {
	first := j.part.Parent.Children[0]
	bare := len(ct.alternatives) > 0 && !ct.hasHTML && strings.TrimSpace(ct.text) == ""
	if !bare && !ct.generated || first == j.part || first.IsMultipart() || !isBodyText(first) {
		return
	}
	if text := j.textOf(first, borrowMax); len(first.Body(j.msg)) <= borrowMax && strings.TrimSpace(text) != "" {
		ct.text, ct.hasText, ct.generated = crlfLines(text), true, false
	}
}
