package tnef

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// entity is a MIME entity (RFC 2045 2.4) to be written. It is one of: a multipart (children), a message (message or raw with a
// header of its own), spliced octets (raw), or content to be encoded (data).
type entity struct {
	mediaType   string // "text/html"
	params      []rawmime.Param
	disposition string // "inline", "attachment", or "" for none
	name        string // file name, safe
	contentID   string // without angle brackets
	location    string
	description string

	children []*entity
	preamble []byte // of a multipart: octets before the first delimiter, with their line ending
	epilogue []byte
	boundary string // set by setBoundaries

	message *messageEntity // message/rfc822 made from an attached message
	raw     []byte         // octets of a body, written as they are
	rawHead []byte         // header fields to be written as they are instead of generated ones; with raw
	convert bool           // raw is a message in which TNEF is to be converted while it is written
	data    []byte
}

// messageEntity is a whole message: header fields, and its content.
type messageEntity struct {
	header []byte // ends with CRLF; without MIME fields
	root   *entity
}

func (e *entity) isMultipart() bool {
	return strings.HasPrefix(e.mediaType, "multipart/") && e.raw == nil
}

// multipart makes a multipart of what is not nil in children; one child alone needs none.
func multipart(subtype string, children ...*entity) *entity {
	var list []*entity
	for _, c := range children {
		if c != nil {
			list = append(list, c)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return &entity{mediaType: "multipart/" + subtype, children: list}
}

// all goes through e and everything inside it, also inside attached messages.
func (e *entity) all(visit func(*entity)) {
	visit(e)
	for _, c := range e.children {
		c.all(visit)
	}
	if e.message != nil {
		e.message.root.all(visit)
	}
}

// seed makes a name for the boundaries of a conversion from the stream it converts: the same input gives the same output. Beginning, end and length are
// enough, since a boundary need only differ from the text around it.
func seed(stream []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(stream))
	h.Write(stream[:min(len(stream), 2<<10)])
	h.Write(stream[max(0, len(stream)-2<<10):])
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// setBoundaries gives every multipart a boundary that does not occur in anything it holds. Encoded content never has "=_" in it (RFC 2045 6.7,
// rule 1: "=" is always followed by a digit), so only octets that are written as they are need be looked at.
func setBoundaries(root *entity, seed string) {
	var raws [][]byte
	root.all(func(e *entity) {
		for _, b := range [][]byte{e.raw, e.rawHead, e.preamble, e.epilogue} {
			if len(b) > 0 {
				raws = append(raws, b)
			}
		}
	})
	for salt := 0; ; salt++ {
		prefix := "=_" + seed
		if salt > 0 {
			prefix += "." + strconv.Itoa(salt)
		}
		if !anyContains(raws, prefix) {
			n := 0
			root.all(func(e *entity) {
				if e.isMultipart() {
					n++
					e.boundary = prefix + "_" + strconv.Itoa(n)
				}
			})
			return
		}
	}
}

func anyContains(raws [][]byte, s string) bool {
	for _, b := range raws {
		if bytes.Contains(b, []byte(s)) {
			return true
		}
	}
	return false
}

// has8bit tells whether octets over 127 are written as they are in e (RFC 2045 6.2).
func (e *entity) has8bit() bool {
	found := false
	e.all(func(x *entity) {
		if !found && (!is7bit(x.raw) || !is7bit(x.rawHead)) {
			found = true
		}
	})
	return found
}

func is7bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// fields writes the MIME header fields of e, each with CRLF, and returns the transfer encoding that its body needs.
func (e *entity) fields(b *bytes.Buffer) (encoding string) {
	if e.rawHead != nil {
		b.Write(e.rawHead)
		return ""
	}
	encoding = e.encoding()
	params := e.params
	if e.isMultipart() {
		params = append(params[:len(params):len(params)], rawmime.Param{Name: "boundary", Value: e.boundary})
	}
	b.WriteString("Content-Type: " + e.mediaType)
	for _, p := range params {
		writeParam(b, p.Name, p.Value)
	}
	if e.name != "" {
		writeParam(b, "name", e.name) // which RFC 2046 no longer has, and many programs read
	}
	b.WriteString("\r\n")
	if encoding != "7bit" {
		b.WriteString("Content-Transfer-Encoding: " + encoding + "\r\n")
	}
	if e.disposition != "" {
		b.WriteString("Content-Disposition: " + e.disposition)
		if e.name != "" {
			writeParam(b, "filename", e.name)
		}
		b.WriteString("\r\n")
	}
	if e.contentID != "" {
		b.WriteString("Content-ID: <" + e.contentID + ">\r\n")
	}
	if e.location != "" {
		b.WriteString("Content-Location: " + e.location + "\r\n")
	}
	if e.description != "" {
		b.WriteString("Content-Description: " + encodeText(e.description, len("Content-Description: ")) + "\r\n")
	}
	return encoding
}

// encoding chooses the Content-Transfer-Encoding. RFC 2045 6.4 and RFC 2046 5.2.1 forbid base64 and quoted-printable for composites.
func (e *entity) encoding() string {
	switch {
	case e.isMultipart(), e.message != nil, e.raw != nil:
		if e.has8bit() {
			return "8bit"
		}
		return "7bit"
	case strings.HasPrefix(e.mediaType, "text/") && e.disposition != "attachment":
		return textEncoding(e.data)
	}
	return "base64"
}

// textEncoding: 7bit for what every mail program leaves alone, quoted-printable where most of it stays readable, else base64.
func textEncoding(b []byte) string {
	high := countHigh(b)
	switch {
	case high == 0 && isUnremarkable(b):
		return "7bit"
	case high*4 > len(b):
		return "base64"
	}
	return "quoted-printable"
}

// countHigh counts octets over 127, eight at a time.
func countHigh(b []byte) int {
	n := 0
	for ; len(b) >= 8; b = b[8:] {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(b) & highs)
	}
	for _, c := range b {
		n += int(c >> 7)
	}
	return n
}

// isUnremarkable: lines of at most 76 printable characters that end with CRLF, without white space at their ends, and without what old
// programs change, could be a delimiter, or looks like an encoding.
func isUnremarkable(b []byte) bool {
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if i == 0 || b[i-1] != '\r' {
				return false
			}
			line, b = b[:i-1], b[i+1:]
		} else {
			b = nil
		}
		if len(line) == 0 {
			continue
		}
		if len(line) > 76 || isWhite(line[len(line)-1]) || line[0] == '.' || bytes.HasPrefix(line, dashes) || bytes.HasPrefix(line, fromSpace) {
			return false
		}
		for i, c := range line {
			if c < ' ' && c != '\t' || c == 0x7f || c == '_' && i > 0 && line[i-1] == '=' {
				return false
			}
		}
	}
	return true
}

var (
	dashes    = []byte("--")
	fromSpace = []byte("From ")
)

func isWhite(c byte) bool { return c == ' ' || c == '\t' }

// entityWriter writes entities. The first error sticks.
type entityWriter struct {
	w    io.Writer
	opt  *Options
	buf  []byte
	err  error
	last byte // the last octet written
	sub  []Report
	// around are delimiters of the message that is written to.
	around []string
	budget *budget // for messages that are converted while they are written
	bare   bool    // what is generated gets bare LF, as the message around it has
	cr     bool    // of a CRLF that is not whole yet
}

func newEntityWriter(w io.Writer, opt *Options, bodies *budget) *entityWriter {
	return &entityWriter{w: w, opt: opt, budget: bodies}
}

func (w *entityWriter) write(b []byte) {
	if w.err != nil || len(b) == 0 {
		return
	}
	w.last = b[len(b)-1]
	if w.bare {
		b = w.withoutCR(b)
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = fmt.Errorf("writing converted message: %w", err)
	}
}

// withoutCR takes the CR out of each CRLF, also of one that comes in two pieces.
func (w *entityWriter) withoutCR(b []byte) []byte {
	out := make([]byte, 0, len(b)+1)
	if w.cr && b[0] != '\n' {
		out = append(out, '\r')
	}
	w.cr = b[len(b)-1] == '\r'
	if w.cr {
		b = b[:len(b)-1]
	}
	return append(out, bytes.ReplaceAll(b, crlf, crlf[1:])...)
}

// verbatim lets f write octets that belong to somebody else, as they are.
func (w *entityWriter) verbatim(f func()) {
	bare := w.bare
	w.bare = false
	f()
	w.bare = bare
}

func (w *entityWriter) Write(b []byte) (int, error) {
	w.write(b)
	return len(b), w.err
}

// entity writes header and body of e.
func (w *entityWriter) entity(e *entity) {
	var head bytes.Buffer
	encoding := e.fields(&head)
	head.WriteString("\r\n")
	w.write(head.Bytes())
	w.body(e, encoding)
}

// body writes what follows the empty line. It ends without the line ending that belongs to a delimiter.
func (w *entityWriter) body(e *entity, encoding string) {
	switch {
	case e.convert:
		w.verbatim(func() { w.convertRaw(e.raw) })
	case e.raw != nil:
		w.verbatim(func() { w.write(e.raw) })
	case e.message != nil:
		var head bytes.Buffer
		head.Write(e.message.header)
		head.WriteString("MIME-Version: 1.0\r\n")
		encoding := e.message.root.fields(&head)
		head.WriteString("\r\n")
		w.write(head.Bytes())
		w.body(e.message.root, encoding)
	case e.isMultipart():
		w.multipart(e)
	case encoding == "base64":
		w.base64(e.data)
	case encoding == "quoted-printable":
		w.quotedPrintable(e.data)
	default:
		w.write(e.data)
	}
}

func (w *entityWriter) multipart(e *entity) {
	w.write(e.preamble)
	for i, c := range e.children {
		if i > 0 || len(e.preamble) > 0 && w.last != '\n' {
			w.write(crlf)
		}
		w.write([]byte("--" + e.boundary + "\r\n"))
		w.entity(c)
	}
	w.write([]byte("\r\n--" + e.boundary + "--"))
	if len(e.epilogue) > 0 {
		w.write(crlf)
		w.write(e.epilogue)
	}
}

var crlf = []byte("\r\n")

// quotedPrintable writes text a piece after the other, so that a large one needs no buffer of its size.
func (w *entityWriter) quotedPrintable(text []byte) {
	var e rawmime.QPEncoder
	for len(text) > 0 {
		n := e.Cut(text, 8<<10)
		w.buf = e.Append(slices.Grow(w.buf[:0], n+n/8), text[:n], n == len(text))
		w.write(w.buf)
		text = text[n:]
	}
}

// base64Chunk is encoded at a time: small enough for a second-level cache. Of data that are not much longer it is smallChunk, since a buffer costs
// more than the calls it saves. Both are whole lines.
const (
	base64Chunk = 57 << 10
	smallChunk  = 57 * 108 // 8 KiB of lines
)

// base64 writes data in lines; the last one without its ending.
func (w *entityWriter) base64(data []byte) {
	chunk := base64Chunk
	if len(data) < 4*base64Chunk {
		chunk = smallChunk
	}
	for len(data) > chunk {
		w.buf = rawmime.AppendBase64(w.buf[:0], data[:chunk])
		w.write(w.buf)
		data = data[chunk:]
	}
	w.buf = rawmime.AppendBase64(w.buf[:0], data)
	w.write(w.buf[:max(0, len(w.buf)-2)])
}

// convertRaw writes a message that was attached as a file, with the TNEF in it converted.
func (w *entityWriter) convertRaw(raw []byte) {
	report, err := convertMessage(w, raw, w.opt, w.around, w.budget)
	if err != nil && w.err == nil {
		w.err = err
	}
	if report.Converted == 0 {
		w.write(raw)
	}
	w.sub = append(w.sub, report)
}
