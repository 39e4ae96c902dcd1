package rtf

import "github.com/coexist-mail/coexist/tnef/textenc"

// control is what is known about a control word.
type control struct {
	name string
	// encap and render say what a group is for that the word begins, when
	// de-encapsulating and when rendering; destNone where it begins none.
	encap, render destination
	char          bool                       // stands for a character or a break
	header        func(r *reader, t token)   // what the reader does
	inText        bool                       // header does not end a run of text
	do            func(x *renderer, t token) // what the renderer does
	kind          wordKind                   // what do sets
	style         bool                       // names a style
	table         func(x *renderer, t token) // what it means inside a list table
}

// wordKind says what a control word sets.
type wordKind uint8

const (
	otherWord wordKind = iota
	charWord           // the format of characters
	paraWord           // the format of paragraphs
)

// controls are the control words that mean something here, by name. Built once
// from the tables; never changed.
var controls = buildControls()

func buildControls() map[string]*control {
	all := make(map[string]*control, 512)
	get := func(name string) *control {
		c := all[name]
		if c == nil {
			c = &control{name: name, encap: destNone, render: destNone}
			all[name] = c
		}
		return c
	}
	for name, d := range encapsulationDests {
		get(name).encap = d
	}
	for name, d := range renderDests {
		get(name).render = d
	}
	for _, name := range characters {
		get(name).char = true
	}
	for name, do := range headerWords {
		get(name).header = do
	}
	get("u").inText = true
	for kind, words := range map[wordKind]map[string]func(x *renderer, t token){otherWord: otherWords, charWord: charWords, paraWord: paraWords} {
		for name, do := range words {
			c := get(name)
			c.do, c.kind = do, kind
		}
	}
	for name, do := range listWords {
		get(name).table = do
	}
	for name, style := range lineStyles {
		get(name).do = func(x *renderer, _ token) { x.border(func(b *border) { b.style = style }) }
	}
	for _, name := range []string{"cs", "ds", "ts"} {
		get(name).style = true
	}
	get("sbasedon")
	get("objattph")
	return all
}

// characters are the control words that stand for a character or a break.
var characters = []string{
	"par", "line", "lbr", "tab", "sect", "page", "column", "softline",
	"lquote", "rquote", "ldblquote", "rdblquote", "bullet", "endash", "emdash",
	"emspace", "enspace", "qmspace", "zwj", "zwnj", "zwbo", "zwnbo", "ltrmark", "rtlmark",
	"cell", "nestcell", "row", "nestrow",
}

// headerWords are the control words that the reader acts upon itself.
var headerWords = map[string]func(r *reader, t token){
	"ansicpg": func(r *reader, t token) {
		if textenc.Known(t.param) && textenc.ASCIISuperset(t.param) {
			r.docCP = t.param
		}
	},
	"mac":  func(r *reader, _ token) { r.docCP = 10000 },
	"pc":   func(r *reader, _ token) { r.docCP = 437 },
	"pca":  func(r *reader, _ token) { r.docCP = 850 },
	"deff": func(r *reader, t token) { r.defFont, r.st.font = t.param, t.param },
	"uc":   func(r *reader, t token) { r.st.uc = max(0, min(t.param, 16)) },
	"u":    func(r *reader, t token) { r.unicode(t.param) },
	"f":    func(r *reader, t token) { r.st.font, r.st.charStyle, r.st.markStyle = t.param, 0, 0 },
	"af":   func(*reader, token) {},
	"plain": func(r *reader, _ token) {
		st := &r.st
		st.font, st.char, st.charStyle, st.markStyle = r.defFont, plainFormat, 0, 0
	},
	"htmlrtf": func(r *reader, t token) { r.st.htmlrtf = toggle(t) },
}
