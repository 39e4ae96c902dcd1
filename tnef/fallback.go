package tnef

import (
	"iter"
	"strings"
	"unicode"

	"github.com/coexist-mail/coexist/tnef/rawmime"
	"github.com/coexist-mail/coexist/tnef/rtf"
)

// fallback finds the sibling that holds the same body for programs that don't read TNEF ([MS-OXCMAIL] 2.1.3.4: the first part of a
// multipart/mixed): text, or an alternative of texts. It is nil when there is none, or when the stream has no body.
//
// foreign tells that the stream is another message that somebody attached: nothing ties it to this one, and the text says
// something else.
func (j *job) fallback(ct *content) (p *rawmime.Part, foreign bool) {
	first := j.part.Parent.Children[0]
	if !ct.hasBody() || first == j.part || j.used[first] || !isBodyText(first) {
		return nil, false
	}
	if !j.holdsFallback(first, ct) {
		return nil, false
	}
	if ct.generated && strings.TrimSpace(j.textOf(first, compareMax)) != "" {
		return nil, false // what somebody wrote is better than what was made
	}
	if j.correlated() || ct.whole != nil {
		return first, false
	}
	text := j.textOf(first, compareMax)
	same := similar(text, ct)
	if !same && correlationKey(j.parsed) != "" && j.part.Disposition == "attachment" && !isStub(text) {
		return nil, true
	}
	if !same && first.IsMultipart() {
		return nil, false
	}
	return first, false
}

// isStub tells of a text that says nothing, or no more than that the reader's program can't show the message.
func isStub(text string) bool {
	words := 0
	for w := range plainWords(text) {
		words++
		switch w {
		case "tnef", "mime", "winmail":
			return true
		}
	}
	return words < 2 && isPlain(strings.TrimSpace(text))
}

// holdsFallback tells whether the multipart is one whose first part, followed by TNEF, can be the same body. One of other parts than these
// two refers to its parts, and is not taken apart.
func (j *job) holdsFallback(first *rawmime.Part, ct *content) bool {
	two := len(j.part.Parent.Children) == 2
	switch j.part.Parent.Type {
	case "multipart/mixed":
		return true
	case "multipart/alternative":
		return two
	case "multipart/related":
		return two && (first.Type == "text/plain" || ct.hasHTML) // never plain text in place of HTML
	}
	return false
}

// correlated: X-MS-TNEF-Correlator, or Message-ID, is that of the stream.
func (j *job) correlated() bool {
	key := correlationKey(j.parsed)
	if key == "" {
		return false
	}
	for _, name := range []string{"X-MS-TNEF-Correlator", "Message-ID"} {
		if f, ok := rawmime.Find(j.message.Header(j.msg), name); ok && trimID(f.Text()) == key {
			return true
		}
	}
	return false
}

// isBodyText tells whether a part is shown as the body: text that is not a file, or an alternative of such texts.
func isBodyText(p *rawmime.Part) bool {
	if p.Type == "multipart/alternative" && len(p.Children) > 0 {
		for _, c := range p.Children {
			if c.IsMultipart() || !isBodyText(c) {
				return false
			}
		}
		return true
	}
	return (p.Type == "text/plain" || p.Type == "text/html" || p.Type == "text/enriched") && p.Disposition != "attachment" && p.Name() == ""
}

// textOf decodes the text of a body part, at most about limit octets of it.
func (j *job) textOf(p *rawmime.Part, limit int) string {
	for p.IsMultipart() {
		p = p.Children[0]
	}
	body := p.Body(j.msg)
	out, known := rawmime.Decode(nil, body[:min(len(body), limit)], p.Encoding)
	if !known {
		return ""
	}
	text := rawmime.ToUTF8(p.Params.Get("charset"), out)
	if p.Type == "text/html" {
		text = rtf.HTMLToText(text)
	}
	return text
}

// compareMax is how much text is compared.
const compareMax = 4 << 10

// similar tells whether a fallback text is that of the stream's body: half of its words are enough, since it may have lost
// characters, got a disclaimer, or be an excerpt. Words of others than US-ASCII letters may have become question marks and don't count.
func similar(text string, ct *content) bool {
	body := ct.text
	if !ct.hasText {
		body = rtf.HTMLToText(ct.html)
	}
	known := map[string]bool{}
	for w := range plainWords(body[:min(len(body), 2*len(text)+compareMax/8)]) {
		known[w] = true
	}
	words, hits := 0, 0
	for w := range plainWords(text) {
		words++
		if known[w] {
			hits++
		}
	}
	return hits*2 >= words
}

// plainWords gives the words of US-ASCII in the beginning of s, in lower case.
func plainWords(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for w := range strings.FieldsFuncSeq(s[:min(len(s), compareMax)], func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '?' }) {
			if isPlain(w) && !strings.Contains(w, "?") && !yield(strings.ToLower(w)) {
				return
			}
		}
	}
}
