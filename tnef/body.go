package tnef

import (
	"bytes"
	"slices"
	"strings"

	"github.com/coexist-mail/coexist/tnef/mapi"
	"github.com/coexist-mail/coexist/tnef/rtf"
	"github.com/coexist-mail/coexist/tnef/textenc"
)

// content is what a message becomes, before it is put into the order of parts. Rules of message classes change it.
type content struct {
	// text and html are UTF-8 bodies; text has CRLF line ends. Either may be missing; both are alternatives.
	text, html       string
	hasText, hasHTML bool
	// generated tells that text was made of properties, since the message has no body: the text beside the stream says more.
	generated bool
	// alternatives come behind text and html in the multipart/alternative: the richest last (RFC 2046 5.1.4).
	alternatives []*entity
	// related are inline images and the like that html refers to.
	related []*entity
	// attachments follow the body.
	attachments []*entity
	// whole stands for everything above when it is set: a multipart/report, a signed message.
	whole *entity
}

// hasBody tells whether there is something to read.
func (c *content) hasBody() bool { return c.hasText || c.hasHTML || c.whole != nil }

// files are the attachments, and the inline images as such.
func (c *content) files() []*entity {
	list := append(slices.Clone(c.attachments), c.related...)
	for _, e := range list {
		e.disposition = "attachment"
	}
	return list
}

// describe gives a message without a body a text, so that there is something to read.
func (c *content) describe(text string) {
	if c.hasHTML || strings.TrimSpace(c.text) != "" || strings.TrimSpace(text) == "" {
		return
	}
	c.text, c.hasText, c.generated = text, true, true
}

// The values of PidTagNativeBody ([MS-OXBBODY] 2.1.2).
const (
	nativeUndefined = 0
	nativeText      = 1
	nativeRTF       = 2
	nativeHTML      = 3
)

// readBody finds the body in the form its author wrote, and makes the forms that are missing ([MS-OXBBODY] 2.1.3).
func (b *builder) readBody(m *Message, c *content) *rtf.Result {
	text, haveText := bodyText(m)
	html, haveHTML := bodyHTML(m)
	compressed := m.Props.Bytes(mapi.TagRtfCompressed)
	var result *rtf.Result
	switch nativeBody(m, haveText, haveHTML, compressed != nil) {
	case nativeHTML:
		c.html, c.hasHTML = html, true
	case nativeRTF:
		if result = b.readRTF(m, compressed); result == nil && haveHTML {
			c.html, c.hasHTML = html, true
		}
	}
	if result != nil {
		switch {
		case result.Kind == rtf.FromText:
			c.text, c.hasText = result.Text, true
		case result.HTML != "":
			c.html, c.hasHTML = result.HTML, true
			c.text = result.Text
		}
	}
	if c.hasText && c.text != "" && !c.hasHTML {
		return result
	}
	switch {
	case haveText && strings.TrimSpace(text) != "":
		c.text, c.hasText = text, true
	case c.hasHTML && c.text == "":
		c.text, c.hasText = b.htmlToText(c.html), true
	case c.hasHTML:
		c.hasText = true
	case haveText:
		c.text, c.hasText = text, true
	}
	return result
}

// nativeBody says which form to begin with.
func nativeBody(m *Message, haveText, haveHTML, haveRTF bool) int {
	native, _ := m.Props.Int(mapi.TagNativeBody)
	switch {
	case native == nativeHTML && haveHTML, native == nativeRTF && !haveRTF && haveHTML:
		return nativeHTML
	case native == nativeHTML && haveRTF, native == nativeRTF && haveRTF:
		return nativeRTF
	case native == nativeText && haveText:
		return nativeText
	case haveHTML:
		return nativeHTML
	case haveRTF:
		inSync, said := m.Props.Int(mapi.TagRtfInSync)
		if said && inSync == 0 && haveText {
			return nativeText // the RTF is out of date
		}
		return nativeRTF
	}
	return nativeText
}

// bodyText is PidTagBody with CRLF line ends.
func bodyText(m *Message) (string, bool) {
	x := m.Props.Find(mapi.TagBody)
	if x == nil {
		return "", false
	}
	s, ok := x.Value.(string)
	if b, isBytes := x.Value.([]byte); isBytes {
		s, ok = decodeString(m.Codepage, b), true
	}
	// Some writers declare 1252 whatever their text is in: then it can be in the code page of the message's bodies.
	if x.Type == mapi.TypeString8 && m.Codepage == 1252 && !is7bitText(x.Raw) {
		if cp := internetCodepage(m); isMultiByte(cp) && textenc.Plausible(cp, x.Raw) {
			s = textenc.Decode(cp, x.Raw)
		}
	}
	if i := strings.IndexByte(s, 0); i >= 0 && strings.Trim(s[i:], "\x00") == "" {
		s = s[:i]
	}
	return crlfLines(s), ok
}

// isMultiByte: double-byte code pages, whose text read as a single-byte one is never right.
func isMultiByte(cp int) bool {
	switch cp {
	case 932, 936, 949, 950, 54936, 65001, 50220, 50221, 50222, 50225, 51932, 51949:
		return true
	}
	return false
}

// is7bitText: US-ASCII without the escapes of ISO 2022.
func is7bitText(b []byte) bool { return is7bit(b) && bytes.IndexByte(b, 0x1b) < 0 }

func internetCodepage(m *Message) int {
	cp, ok := m.Props.Int(mapi.TagInternetCodepage)
	if !ok || cp <= 0 || !textenc.Known(int(cp)) {
		return 0
	}
	return int(cp)
}

// bodyHTML is PidTagHtml as UTF-8, with a charset declaration that agrees.
func bodyHTML(m *Message) (string, bool) {
	x := m.Props.Find(mapi.TagHTML)
	if x == nil {
		return "", false
	}
	var s string
	switch v := x.Value.(type) {
	case []byte:
		s = decodeHTML(m, v)
	case string:
		s = v
		if x.Type == mapi.TypeString8 {
			s = decodeHTML(m, x.Raw)
		}
	}
	s = strings.TrimRight(s, "\x00")
	if strings.TrimSpace(s) == "" {
		return "", false
	}
	return rtf.SetMetaCharset(s, "utf-8"), true
}

// decodeHTML decodes by byte order mark, PidTagInternetCodepage, or what the document declares ([MS-OXBBODY] 2.1.3.1; the property
// governs, but some writers set it to US-ASCII and put anything there).
func decodeHTML(m *Message, b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("\xEF\xBB\xBF")):
		return strings.ToValidUTF8(string(b[3:]), "\uFFFD")
	case bytes.HasPrefix(b, []byte("\xFF\xFE")):
		return decodeUTF16(b[2:])
	case bytes.HasPrefix(b, []byte("\xFE\xFF")):
		return textenc.Decode(1201, b[2:])
	}
	cp := internetCodepage(m)
	if cp == 1200 && (len(b) < 2 || b[1] != 0) {
		cp = 0 // says UTF-16 and is not
	}
	if cp == 0 || cp == 20127 {
		if declared := metaCodepage(b); declared != 0 {
			cp = declared
		} else if cp == 0 || !is7bit(b) {
			cp = m.Codepage
		}
	}
	return textenc.DecodeGuess(cp, b)
}

// metaCodepage reads the charset that the beginning of a document declares; 0 when there is none.
func metaCodepage(b []byte) int {
	head := bytes.ToLower(b[:min(len(b), 4096)])
	i := bytes.Index(head, []byte("charset="))
	if i < 0 {
		return 0
	}
	name := bytes.TrimLeft(head[i+len("charset="):], `"' `)
	if end := bytes.IndexAny(name, "\"'>; \r\n\t/"); end >= 0 {
		name = name[:end]
	}
	cp := textenc.Charset(string(name))
	if cp == 1200 || cp == 1201 {
		return 0 // a declaration that could be read is not in UTF-16
	}
	return cp
}

// readRTF decompresses and converts PidTagRtfCompressed; nil when nothing can be read of it.
func (b *builder) readRTF(m *Message, compressed []byte) *rtf.Result {
	cp := internetCodepage(m)
	if cp == 0 {
		cp = m.Codepage
	}
	r, err := rtf.ConvertCompressed(compressed, rtf.Options{Codepage: cp, Charset: "utf-8", MaxOutput: b.budget.html(len(compressed))})
	b.warnAll("RTF body: ", r.Warnings)
	if err != nil {
		b.warn("RTF body: %v", err)
		return nil
	}
	b.budget.take(len(r.HTML) + len(r.Text))
	for _, p := range r.Pictures {
		b.budget.take(len(p.Data))
	}
	return &r
}

// htmlToText makes the text of an HTML body.
func (b *builder) htmlToText(html string) string {
	text, cut := rtf.HTMLToTextLimit(html, b.budget.text(len(html)))
	if cut {
		b.warn("the text of the HTML body is cut: it is longer than allowed")
	}
	b.budget.take(len(text))
	return text
}

// crlfLines makes all line ends CRLF.
func crlfLines(s string) string {
	if n := strings.Count(s, "\n"); n == strings.Count(s, "\r") && n == strings.Count(s, "\r\n") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/16)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\r':
			if i+1 < len(s) && s[i+1] == '\n' {
				i++
			}
			b.WriteString("\r\n")
		case '\n':
			b.WriteString("\r\n")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
