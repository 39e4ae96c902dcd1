package textenc

import (
	"strings"
	"unicode/utf8"
)

// The tables of symbol fonts, from byte 0x20 on. A position without a Unicode
// character holds U+FFFD.
//
// Sources: the Adobe Symbol mapping published by the Unicode Consortium, and
// the characters that Unicode 7.0 encoded for Wingdings and Webdings
// (ISO/IEC JTC1/SC2/WG2 N4384), but for a few arrows that Outlook types by
// itself ("-->"), which are given as characters that every font has.
const (
	symbolTable = " !∀#∃%&∍()∗+,−./0123456789:;<=>?" +
		"≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_" +
		"\u203eαβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼\ufffd" +
		noRow +
		"€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵" +
		"ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓" +
		"◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪\ufffd〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭\ufffd"

	wingdingsTable = " 🖉✂✁👓🕭🕮🕯🕿✆🖂🖃📪📫📬📭🗀🗁🗎🗏🗐🗄⌛🖮🖰🖲🖳🖴🖫🖬✇✍" +
		"🖎✌👌👍👎☜☞☝☟🖐☺😐☹💣☠🏳🏱✈☼💧❄🕆✞🕈✠✡☪☯ॐ☸♈♉" +
		"♊♋♌♍♎♏♐♑♒♓🙰🙵●🔾■□🞐❑❒⬧⧫◆❖⬥⌧⮹⌘🏵🏶🙶🙷\ufffd" +
		"⓪①②③④⑤⑥⑦⑧⑨⑩⓿❶❷❸❹❺❻❼❽❾❿🙢🙠🙡🙣🙞🙜🙝🙟·•" +
		"▪⚪🞆🞈◉◎🔿▪◻🟂✦★✶✴✹✵⯐⌖⟡⌑⯑✪✰🕐🕑🕒🕓🕔🕕🕖🕗🕘" +
		"🕙🕚🕛⮰⮱⮲⮳⮴⮵⮶⮷🙪🙫🙕🙔🙗🙖🙐🙑🙒🙓⌫⌦⮘➢⮙⮛⮈⮊⮉⮋←" +
		"→↑↓🡬🡭🡯🡮⬅➔🡹🡻🡼🡽🡿🡾⇦⇨⇧⇩⇔⇳⬁⬀⬃⬂🢬🢭🗶✔🗷🗹\ufffd"

	webdingsTable = " 🕷🕸🕲🕶🏆🎖🖇🗨🗩🗰🗱🌶🎗🙾🙼🗕🗖🗗⏴⏵⏶⏷⏪⏩⏮⏭⏸⏹⏺🗚🗳" +
		"🛠🏗🏘🏙🏚🏜🏭🏛🏠🏖🏝🛣🔍🏔👁👂🏞🏕🛤🏟🛳🕬🕫🕨🔈🎔🎕🗬🙽🗭🗪🗫" +
		"⮔✔🚲□🛡📦🛱■🚑🛈🛩🛰🟈🕴⚫🛥🚔🗘🗙❓🛲🚇🚍⛳🛇⊖🚭🗮|🗯🗲\ufffd" +
		"🚹🚺🛉🛊🚼👽🏋⛷🏂🏌🏊🏄🏍🏎🚘🗠🛢💰🏷💳👪🗡🗢🗣✯🖄🖅🖃🖆🖹🖺🖻" +
		"🕵🕰🖽🖾📋🗒🗓📖📚🗞🗟🗃🗂🖼🎭🎜🎘🎙🎧💿🎞📷🎟🎬📽📹📾📻🎚🎛📺💻" +
		"🖥🖦🖧🕹🎮🕻🕼📟🖁🖀🖨🖩🖿🖪🗜🔒🔓🗝📥📤🕳🌣🌤🌥🌦☁🌧🌨🌩🌪🌬🌫" +
		"🌜🌡🛋🛏🍽🍸🛎🛍Ⓟ♿🛆🖈🎓🗤🗥🗦🗧🛪🐿🐦🐟🐕🐈🙬🙮🙭🙯🗺🌍🌏🌎🕊"

	noRow = "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd" +
		"\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
)

// symbolFonts are the fonts with a table, in decoded form for direct access.
var symbolFonts = map[string][]rune{
	"symbol":    []rune(symbolTable),
	"wingdings": []rune(wingdingsTable),
	"webdings":  []rune(webdingsTable),
	// Only what lists and forms use: the rest has no agreed mapping.
	"wingdings 2": sparse(map[byte]rune{'O': '✗', 'P': '✓', 'Q': '☒', 'R': '☑', 'S': '☒', 'T': '☒',
		0x97: '⬤', 0x98: '●', 0x99: '•', 0x9A: '·', 0x9E: '•', 0x9F: '●', 0xA0: '■', 0xA2: '▪', 0xA3: '□'}),
	"wingdings 3": sparse(map[byte]rune{0x66: '←', 0x67: '→', 0x68: '↑', 0x69: '↓',
		0x70: '▲', 0x71: '▼', 0x72: '△', 0x73: '▽', 0x74: '◀', 0x75: '▶', 0x76: '◁', 0x77: '▷', 0x7D: '▶'}),
	"zapfdingbats": zapfDingbats(),
}

// fontAliases are other names of the same fonts.
var fontAliases = map[string]string{
	"symbol mt": "symbol", "standardsyml": "symbol", "symbolps": "symbol",
	"zapf dingbats": "zapfdingbats", "itc zapf dingbats": "zapfdingbats", "monotype sorts": "zapfdingbats",
}

func sparse(m map[byte]rune) []rune {
	out := make([]rune, 0x100-0x20)
	for i := range out {
		out[i] = utf8.RuneError
	}
	out[0] = ' '
	for c, r := range m {
		out[c-0x20] = r
	}
	return out
}

// zapfDingbats computes the table of the font that Unicode's Dingbats block was
// laid out after: 0x21 is U+2701 and so on, with the gaps filled from elsewhere.
func zapfDingbats() []rune {
	out := sparse(nil)
	for c := 0x21; c <= 0x7E; c++ {
		out[c-0x20] = rune(0x2700 + c - 0x20)
	}
	for c := 0xA1; c <= 0xFE; c++ {
		out[c-0x20] = rune(0x2761 + c - 0xA1)
	}
	for c, r := range map[byte]rune{
		0x25: '☎', 0x2A: '☛', 0x2B: '☞', 0x48: '★', 0x6C: '●', 0x6E: '■', 0x73: '▲', 0x74: '▼', 0x75: '◆', 0x77: '◗',
		0xA8: '♣', 0xA9: '♦', 0xAA: '♥', 0xAB: '♠', 0xD5: '→', 0xD6: '↔', 0xD7: '↕', 0xF0: utf8.RuneError,
	} {
		out[c-0x20] = r
	}
	for i := range 10 { // circled digits live in Enclosed Alphanumerics
		out[0xAC-0x20+i] = '①' + rune(i)
	}
	return out
}

// IsSymbolFont reports whether the font (any case) has a table for Symbol.
func IsSymbolFont(font string) bool {
	return symbolFont(font) != nil
}

func symbolFont(font string) []rune {
	name := strings.ToLower(strings.Trim(font, " \t\"'"))
	if a, ok := fontAliases[name]; ok {
		name = a
	}
	return symbolFonts[name]
}

// Symbol returns the Unicode character that stands for c in a symbol font: c is
// a byte (0x20 to 0xFF) or the same byte in the private use area (U+F020 to
// U+F0FF), which is how Word keeps such characters. ok is false for a font or a
// character without an equivalent.
func Symbol(font string, c rune) (r rune, ok bool) {
	if c >= 0xF020 && c <= 0xF0FF {
		c -= 0xF000
	}
	table := symbolFont(font)
	i := int(c) - 0x20
	if i < 0 || i >= len(table) || table[i] == utf8.RuneError {
		return 0, false
	}
	return table[i], true
}
