package rtf

import (
	"strings"

	"github.com/coexist-mail/coexist/tnef/textenc"
)

// color is an entry of the colour table; auto is the one without values.
type color struct {
	r, g, b uint8
	set     bool
}

// maxFontName is longer than any font's name, in bytes.
const maxFontName = 256

// tableParser reads \fonttbl and \colortbl.
type tableParser struct {
	font    font
	number  int
	any     bool   // a font was begun
	name    []byte // as it stands
	decoded string // what came before name
	color   color
}

// families maps RTF's font families to CSS's generic ones.
var families = map[string]string{
	"froman": "serif", "fswiss": "sans-serif", "fmodern": "monospace", "fscript": "cursive", "fdecor": "fantasy",
}

func (p *tableParser) word(r *reader, t token) {
	if r.st.dest == destColors {
		p.colorWord(t)
		return
	}
	switch w := string(t.text); w {
	case "f":
		p.endFont(r)
		p.font, p.number, p.any = font{charset: -1}, t.param, true
	case "fcharset":
		p.font.charset = t.param
		p.font.symbol = t.param == textenc.FCharsetSymbol
		if p.font.codepage == 0 {
			p.font.codepage = textenc.FromFCharset(t.param)
		}
	case "cpg":
		if textenc.Known(t.param) && textenc.ASCIISuperset(t.param) {
			p.font.codepage = t.param
		}
	case "u": // a name in Unicode; the byte that stands in for it follows
		r.skip = r.st.uc
		p.decodeName(r)
		if len(p.decoded) < maxFontName {
			p.decoded += string(rune(uint16(t.param)))
		}
	default:
		if css, ok := families[w]; ok {
			p.font.family = css
		}
	}
}

func (p *tableParser) colorWord(t token) {
	v := uint8(max(0, min(t.param, 255)))
	switch string(t.text) {
	case "red":
		p.color.r, p.color.set = v, true
	case "green":
		p.color.g, p.color.set = v, true
	case "blue":
		p.color.b, p.color.set = v, true
	}
}

func (p *tableParser) text(r *reader, b []byte) {
	if r.st.dest == destColors {
		for _, c := range b {
			if c == ';' && len(r.colors) < maxColors {
				r.colors = append(r.colors, p.color)
				p.color = color{}
			}
		}
		return
	}
	for _, c := range b {
		if c == ';' {
			p.endFont(r)
			continue
		}
		if len(p.name) < maxFontName {
			p.name = append(p.name, c)
		}
	}
}

// suffixes are endings of font names that old versions of Windows used for
// the character sets of one font.
var suffixes = map[string]int{
	" CE": 1250, " Cyr": 1251, " CYR": 1251, " Greek": 1253, " Tur": 1254, " TUR": 1254,
	" (Hebrew)": 1255, " (Arabic)": 1256, " Baltic": 1257, " (Vietnamese)": 1258,
}

// decodeName moves the bytes of the name to its decoded part.
func (p *tableParser) decodeName(r *reader) {
	cp := p.font.codepage
	if cp == 0 {
		cp = r.docCP
	}
	if len(p.decoded) < maxFontName {
		p.decoded += textenc.DecodeGuess(cp, p.name)
	}
	p.name = p.name[:0]
}

// endFont puts the font that was read into the table.
func (p *tableParser) endFont(r *reader) {
	if p.any && len(r.fonts) < maxFonts {
		p.decodeName(r)
		p.addFont(r)
	}
	p.name, p.decoded, p.any = p.name[:0], "", false
}

func (p *tableParser) addFont(r *reader) {
	p.font.name = strings.Trim(p.decoded, " \t\"'")
	if p.font.charset <= 0 {
		for suffix, cp := range suffixes {
			if base, ok := strings.CutSuffix(p.font.name, suffix); ok {
				p.font.name, p.font.codepage = base, cp
				break
			}
		}
	}
	if textenc.IsSymbolFont(p.font.name) && p.font.charset <= textenc.FCharsetSymbol {
		p.font.symbol = true
	}
	r.fonts[p.number] = p.font
}
