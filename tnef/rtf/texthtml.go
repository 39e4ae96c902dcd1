package rtf

import (
	"regexp"
	"strings"
)

// TextToHTML renders plain text as an HTML document: line by line, blanks kept,
// web addresses as links. The document declares UTF-8.
func TextToHTML(text string) string {
	var out strings.Builder
	out.Grow(len(text) + len(text)/4 + 256)
	out.WriteString("<html><head>\r\n" +
		`<meta http-equiv="Content-Type" content="text/html; charset=utf-8">` + "\r\n</head>\r\n<body>\r\n<div>")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	text = strings.TrimSuffix(text, "\n")
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			out.WriteString("<br>\r\n")
		}
		linkify(&out, line)
	}
	out.WriteString("</div>\r\n</body></html>\r\n")
	return out.String()
}

// address matches web addresses in text.
var address = regexp.MustCompile(`(?i)\b(?:https?|ftp)://[^\s<>"]+`)

func linkify(out *strings.Builder, line string) {
	w := htmlWriter{blank: true}
	done := 0
	for _, m := range address.FindAllStringIndex(line, -1) {
		url := strings.TrimRight(line[m[0]:m[1]], ".,;:!?'")
		if strings.HasSuffix(url, ")") && !strings.Contains(url, "(") {
			url = strings.TrimSuffix(url, ")")
		}
		w.text([]byte(line[done:m[0]]))
		w.raw(`<a href="`, escapeAttr(url), `">`)
		w.text([]byte(url))
		w.raw("</a>")
		done = m[0] + len(url)
	}
	w.text([]byte(line[done:]))
	out.Write(w.out)
}

// declaration finds the elements that can declare a charset, before the body:
// meta, and the XML declaration of XHTML.
var declaration = regexp.MustCompile(`(?is)<meta\b[^>]*>|<\?xml\b[^>]*\?>`)

// declared finds the name of the charset inside one.
var declared = regexp.MustCompile(`(?i)\b(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:()+-]+)`)

// maxHead is how far into a document its head is looked for, in bytes.
const maxHead = 1 << 20

// SetMetaCharset returns html with the charset that its meta elements (or its
// XML declaration) declare replaced by charset. Nothing else changes, and a
// document that declares none is returned as it is.
func SetMetaCharset(html, charset string) string {
	head := html[:min(len(html), maxHead)]
	if i := indexFold(head, "<body"); i >= 0 {
		head = head[:i]
	}
	var out strings.Builder
	done := 0
	for range maxDeclarations {
		at := declaration.FindStringIndex(head[done:])
		if at == nil {
			break
		}
		tag := head[done+at[0] : done+at[1]]
		if m := declared.FindStringSubmatchIndex(tag); m != nil && tag[m[2]:m[3]] != charset {
			out.WriteString(head[done:done+at[0]] + tag[:m[2]] + charset + tag[m[3]:])
		} else {
			out.WriteString(head[done : done+at[1]])
		}
		done += at[1]
	}
	if out.Len() == done && out.String() == head[:done] {
		return html
	}
	out.WriteString(html[done:])
	return out.String()
}

// maxDeclarations is how many elements are looked at: a document declares its
// charset once, among some other metadata.
const maxDeclarations = 100

// indexFold is strings.Index for an ASCII word in lower case, in any case.
func indexFold(s, word string) int {
	for i := 0; ; i++ {
		j := strings.IndexByte(s[i:], word[0])
		if j < 0 || len(s)-i-j < len(word) {
			return -1
		}
		i += j
		if strings.EqualFold(s[i:i+len(word)], word) {
			return i
		}
	}
}
