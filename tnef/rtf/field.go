package rtf

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/coexist-mail/coexist/tnef/textenc"
)

// maxInstruction is the longest field instruction that is kept, in bytes.
const maxInstruction = 8192

// field is a \field group: an instruction and its result.
type field struct {
	inst    []byte
	outer   *field
	href    string // where the result links to
	started bool   // \fldrslt was seen
}

// link returns the field whose link text belongs to, nil for none.
func (f *field) link() *field {
	for n := 0; f != nil && n < 8; f, n = f.outer, n+1 {
		if f.started && f.href != "" {
			return f
		}
	}
	return nil
}

// result reads the instruction, as its result begins.
func (f *field) result() {
	if f == nil || f.started {
		return
	}
	f.started = true
	words := splitInstruction(string(f.inst))
	if len(words) > 1 && strings.EqualFold(words[0], "HYPERLINK") {
		f.href = hyperlink(words[1:])
	}
}

// splitInstruction splits an instruction into its words. Quoted ones may hold
// blanks; a backslash before a quote or backslash inside quotes escapes it.
func splitInstruction(s string) []string {
	var words []string
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || len(words) >= 16 {
			return words
		}
		if s[0] != '"' {
			i := strings.IndexAny(s, " \t\"")
			if i < 0 {
				i = len(s)
			}
			words = append(words, s[:i])
			s = s[i:]
			continue
		}
		var w strings.Builder
		i := 1
		for ; i < len(s) && s[i] != '"'; i++ {
			if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == '"') {
				i++
			}
			w.WriteByte(s[i])
		}
		words = append(words, w.String())
		s = s[min(i+1, len(s)):]
	}
}

// hyperlink returns the target of a HYPERLINK field: the address, with the
// bookmark of \l as its fragment.
func hyperlink(words []string) string {
	address, fragment := "", ""
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == `\l` && i+1 < len(words):
			i++
			fragment = words[i]
		case (w == `\o` || w == `\t` || w == `\s`) && i+1 < len(words):
			i++ // a tip, a frame
		case strings.HasPrefix(w, `\`) && !strings.HasPrefix(w, `\\`):
		case address == "":
			address = w
		}
	}
	if fragment != "" {
		address += "#" + fragment
	}
	return safeLink(address)
}

// safeLink returns a link that may stand in HTML: "" for those that run code.
func safeLink(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return -1
		}
		return r
	}, strings.TrimSpace(s))
	if strings.HasPrefix(s, `\\`) { // a file on a server
		return "file:" + strings.ReplaceAll(s, `\`, "/")
	}
	scheme, _, ok := strings.Cut(s, ":")
	if ok {
		switch strings.ToLower(strings.TrimSpace(scheme)) {
		case "javascript", "vbscript", "data":
			return ""
		}
	}
	return s
}

// endField writes what a field stands for that has no result.
func (x *renderer) endField(f *field) {
	if f.started {
		return
	}
	words := splitInstruction(string(f.inst))
	if len(words) < 2 {
		return
	}
	format := runFormat{char: x.r.st.char, font: int32(x.r.st.font)}
	switch strings.ToUpper(words[0]) {
	case "SYMBOL":
		if s := symbolField(words[1:]); s != "" {
			x.add([]byte(s), format)
		}
	case "HYPERLINK": // without a result the address is the text
		if href := hyperlink(words[1:]); href != "" {
			x.addLinked([]byte(href), format, &field{href: href, started: true})
		}
	}
}

// symbolField returns the character of a SYMBOL field: a number, and the font
// after \f.
func symbolField(words []string) string {
	n, err := strconv.ParseInt(words[0], 0, 32)
	if err != nil || n <= 0 || n > utf8.MaxRune {
		return ""
	}
	font := ""
	for i, w := range words {
		if w == `\f` && i+1 < len(words) {
			font = words[i+1]
		}
	}
	if s, ok := textenc.Symbol(font, rune(n)); ok {
		return string(s)
	}
	if n < 0x100 {
		return textenc.Decode(textenc.Windows1252, []byte{byte(n)})
	}
	return string(rune(n))
}

// sameLink reports whether the text of a link says its target already.
func sameLink(text, href string) bool {
	clean := func(s string) string {
		s = strings.ToLower(strings.TrimSpace(s))
		if u, err := url.PathUnescape(s); err == nil {
			s = u
		}
		for _, p := range []string{"mailto:", "http://", "https://", "tel:", "file:"} {
			s = strings.TrimPrefix(s, p)
		}
		return strings.TrimSuffix(s, "/")
	}
	return clean(text) == clean(href)
}
