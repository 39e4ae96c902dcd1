package tnef

import (
	"bytes"
	"strings"

	"github.com/coexist-mail/coexist/tnef/rawmime"
)

// textAround is what stands around a uuencoded winmail.dat in the text that it was sent in, as UTF-8.
type textAround struct {
	before, after string
}

// findUU finds a TNEF stream that is uuencoded in the middle of a text part, as gateways without MIME write files. It is nil when there
// is none.
func (c *conversion) findUU(p *rawmime.Part) ([]byte, *textAround) {
	if p.Type != "text/plain" || p.Disposition == "attachment" {
		return nil, nil
	}
	text := p.Body(c.msg)
	switch p.Encoding {
	case "7bit", "8bit", "binary", "":
	case "quoted-printable":
		if !namesUU(text) {
			return nil, nil
		}
		text, _ = rawmime.Decode(nil, text, p.Encoding)
	default:
		return nil, nil
	}
	if !namesUU(text) {
		return nil, nil
	}
	charset := p.Params.Get("charset")
	for pos := 0; ; {
		f, found := rawmime.FindUU(text[pos:])
		if !found {
			return nil, nil
		}
		if isTNEFName(f.Name) && IsTNEF(f.Head()) {
			stream, end := f.Decode(nil)
			return stream, &textAround{rawmime.ToUTF8(charset, text[:pos+f.Start]), rawmime.ToUTF8(charset, text[pos+end:])}
		}
		pos += f.Start + len(uuBegin)
	}
}

var uuBegin = []byte("begin ")

// namesUU looks for the name of a TNEF file behind "begin" and a mode.
func namesUU(text []byte) bool {
	for {
		i := bytes.Index(text, uuBegin)
		if i < 0 {
			return false
		}
		text = text[i+len(uuBegin):]
		mode, name, _ := bytes.Cut(text[:min(len(text), len("0644 winmail.dat  \r\n"))], []byte(" "))
		name, _, _ = bytes.Cut(name, []byte("\n"))
		name = bytes.TrimSpace(name)
		if len(mode) <= 4 && (bytes.EqualFold(name, []byte("winmail.dat")) || bytes.EqualFold(name, []byte("win.dat"))) {
			return true
		}
	}
}

// replaceText puts content in the place of a text part that held the stream. What stood before it is the fallback text, if the stream has a body
// that says the same; what somebody else wrote there stays.
func (j *job) replaceText(ct *content) bool {
	before, after := strings.TrimRight(j.uuText.before, "\r\n\t "), strings.Trim(j.uuText.after, "\r\n")
	e := j.aroundText(ct, before, after)
	if e == nil {
		return false
	}
	if parent := j.part.Parent; parent == nil || !parent.IsMultipart() {
		return j.replaceEntity(e, ct)
	}
	return j.replaceParts(nil, nil, []*entity{e})
}

func (j *job) aroundText(ct *content, before, after string) *entity {
	own := strings.Trim(before+"\r\n\r\n"+after, "\r\n")
	switch {
	case j.mismatch():
		files := ct.files()
		if len(files) == 0 {
			return nil
		}
		j.report.warn("uuencoded TNEF belongs to another message: only its files are taken")
		return withText(own, files...)
	case ct.whole != nil:
		return withText(own, ct.whole)
	case ct.generated, strings.TrimSpace(ct.text) == "" && !ct.hasHTML:
		if strings.TrimSpace(own) != "" {
			ct.text, ct.hasText = crlfLines(own)+"\r\n", true
		}
	case strings.TrimSpace(before) == "", similar(before, ct):
		appendText(ct, appended(before, ct))
		appendText(ct, crlfLines(after))
	default:
		return withText(own, append([]*entity{ct.body()}, ct.attachments...)...)
	}
	return ct.entity()
}

// withText puts a text before other parts.
func withText(text string, parts ...*entity) *entity {
	first := textEntity("text/plain", crlfLines(text)+"\r\n")
	if strings.TrimSpace(text) == "" && len(parts) > 0 {
		first = nil
	}
	return multipart("mixed", append([]*entity{first}, parts...)...)
}
