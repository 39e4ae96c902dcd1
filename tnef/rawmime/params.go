package rawmime

import (
	"bytes"
	"io"
	"mime"
	"sort"
	"strings"

	"github.com/coexist-mail/coexist/tnef/textenc"
)

// maxParams caps the parameters of one field; nobody writes more than a dozen.
const maxParams = 200

// Param is one parameter of a Content-Type or Content-Disposition field.
type Param struct {
	Name  string // lower case, without the marks of RFC 2231
	Value string // UTF-8
}

// Params are the parameters of a field, in the order of their first occurrence.
type Params []Param

// Get returns the value of the parameter with this lower-case name, or "".
func (p Params) Get(name string) string {
	for _, x := range p {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}

// ParseValue reads the value of a Content-Type or Content-Disposition field (RFC 2045 5.1, RFC 2183): the part before the first
// semicolon in lower case, and the parameters. It reads RFC 2231 continuations and character sets, RFC 2047 encoded words in values
// (against that RFC, but common), values with spaces that are not quoted, and comments. Of a parameter given twice the
// first counts, except that the RFC 2231 form beats the plain one.
func ParseValue(value []byte) (main string, params Params) {
	v := Unfold(value)
	i := bytes.IndexByte(v, ';')
	if i < 0 {
		i = len(v)
	}
	main = strings.ToLower(string(stripComment(v[:i])))
	var raw []rawParam
	for i < len(v) && len(raw) < maxParams {
		var p rawParam
		p, i = nextParam(v, i+1)
		if p.name != "" {
			raw = append(raw, p)
		}
	}
	return main, joinParams(raw)
}

// rawParam is a parameter as written: name*index*= value.
type rawParam struct {
	name    string
	index   int  // section number (RFC 2231 3), 0 when there is none
	section bool // has a section number
	ext     bool // percent-encoded, with charset'language' in section 0 (RFC 2231 4)
	value   []byte
}

// nextParam reads one parameter at i and returns the offset of the semicolon that ends it, or len(v).
func nextParam(v []byte, i int) (rawParam, int) {
	for i < len(v) && (isBlank(v[i]) || v[i] == ';') {
		i++
	}
	start := i
	for i < len(v) && v[i] != '=' && v[i] != ';' {
		i++
	}
	if i == len(v) || v[i] == ';' {
		return rawParam{}, i // a name without value
	}
	p := splitName(strings.ToLower(string(trimSpace(v[start:i]))))
	i++
	for i < len(v) && isBlank(v[i]) {
		i++
	}
	if i < len(v) && v[i] == '"' {
		p.value, i = quoted(v, i)
		for i < len(v) && v[i] != ';' {
			i++
		}
		return p, i
	}
	start = i
	for i < len(v) && v[i] != ';' {
		i++
	}
	p.value = stripComment(v[start:i])
	return p, i
}

// quoted reads a quoted-string (RFC 5322 3.2.4) that begins at i. One that is never closed ends at the end.
func quoted(v []byte, i int) ([]byte, int) {
	var out []byte
	for i++; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"':
			return out, i + 1
		case c == '\\' && i+1 < len(v):
			i++
			out = append(out, v[i])
		default:
			out = append(out, c)
		}
	}
	return out, i
}

// stripComment removes white space around b and a comment at its end: `us-ascii (Plain text)`.
func stripComment(b []byte) []byte {
	b = trimSpace(b)
	if len(b) > 0 && b[len(b)-1] == ')' {
		if i := bytes.IndexByte(b, '('); i >= 0 && (i == 0 || isBlank(b[i-1])) {
			b = trimSpace(b[:i])
		}
	}
	return b
}

// splitName takes name*3*, name*3, name* apart.
func splitName(s string) rawParam {
	p := rawParam{name: s}
	if n, ok := strings.CutSuffix(s, "*"); ok {
		p.name, p.ext = n, true
	}
	i := strings.LastIndexByte(p.name, '*')
	if i < 0 || i+1 == len(p.name) {
		return p
	}
	n := 0
	for _, c := range p.name[i+1:] {
		if c < '0' || c > '9' || n > maxParams {
			return p
		}
		n = n*10 + int(c-'0')
	}
	p.name, p.index, p.section = p.name[:i], n, true
	return p
}

// joinParams puts sections together and decodes.
func joinParams(raw []rawParam) Params {
	var out Params
	seen := map[string]bool{}
	for _, p := range raw {
		if seen[p.name] {
			continue
		}
		seen[p.name] = true
		var plain []byte
		var ext []rawParam
		havePlain := false
		for _, q := range raw {
			switch {
			case q.name != p.name:
			case q.ext || q.section:
				ext = append(ext, q)
			case !havePlain:
				plain, havePlain = q.value, true
			}
		}
		if len(ext) > 0 {
			out = append(out, Param{p.name, joinSections(ext)})
			continue
		}
		out = append(out, Param{p.name, decodeWordsIn(plain)})
	}
	return out
}

func joinSections(ext []rawParam) string {
	sort.SliceStable(ext, func(i, j int) bool { return ext[i].index < ext[j].index })
	var buf []byte
	charset := ""
	last := -1
	for i, p := range ext {
		if p.section && p.index == last {
			continue
		}
		last = p.index
		v := p.value
		if i == 0 && p.ext {
			if a := bytes.IndexByte(v, '\''); a >= 0 {
				if b := bytes.IndexByte(v[a+1:], '\''); b >= 0 {
					charset, v = string(v[:a]), v[a+1+b+1:]
				}
			}
		}
		if p.ext {
			v = unpercent(v)
		}
		buf = append(buf, v...)
		if !p.section {
			break
		}
	}
	return ToUTF8(charset, buf)
}

func unpercent(v []byte) []byte {
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) {
			if h, l := hexVal(v[i+1]), hexVal(v[i+2]); h >= 0 && l >= 0 {
				out = append(out, byte(h<<4|l))
				i += 2
				continue
			}
		}
		out = append(out, v[i])
	}
	return out
}

func hexVal(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// ToUTF8 decodes text in a character set named as in MIME. Without a name, or with one nobody knows, it is taken as UTF-8 where it is valid
// UTF-8, else as windows-1252.
func ToUTF8(charset string, b []byte) string {
	if isASCII(b) {
		return string(b)
	}
	if cp := textenc.Charset(charset); cp != 0 {
		return textenc.Decode(cp, b)
	}
	return textenc.DecodeGuess(1252, b)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 || c == 0x1b { // ISO 2022 uses ESC
			return false
		}
	}
	return true
}

// DecodeWords decodes the RFC 2047 encoded words in a header value and returns UTF-8. What is not a well-formed word stays as it is.
func DecodeWords(value []byte) string {
	return decodeWordsIn(Unfold(value))
}

func decodeWordsIn(v []byte) string {
	if !bytes.Contains(v, []byte("=?")) {
		return ToUTF8("", v)
	}
	d := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		return strings.NewReader(ToUTF8(charset, b)), nil
	}}
	s, err := d.DecodeHeader(ToUTF8("", v))
	if err != nil {
		return ToUTF8("", v)
	}
	return s
}
