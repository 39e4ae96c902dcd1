package tnef

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// appendedMax is how much of a fallback text, in octets, is looked at for what was appended to it.
const appendedMax = 1 << 20

// appended is what list servers and gateways have added at the end of a fallback text: the lines behind the text of the stream's body, if it begins with
// that text. Programs render the same text in different ways: only letters and digits count, and what is not US-ASCII may have become a question
// mark or a similar letter; a little may be missing, or be written otherwise. When in doubt it is nothing: text must not be there twice. Line ends
// are CRLF.
func appended(text string, ct *content) string {
	body := ct.text // also of a body that is HTML
	rest, exact, ok := behind(text, body)
	if !ok {
		return ""
	}
	if hasWords(body) { // up to the end of the line it is punctuation of the body
		end := strings.IndexByte(rest, '\n')
		if end < 0 || hasWords(rest[:end]) {
			return ""
		}
		rest = rest[end:]
	}
	rest = strings.TrimSpace(rest)
	if !hasWords(rest) || !exact && echoes(rest, body) {
		return ""
	}
	return crlfLines(rest) + "\r\n"
}

// behind takes body off the beginning of text. Where they differ, it looks for the place from which they agree again; exact tells that there was none
// such. They must agree where body ends.
func behind(text, body string) (rest string, exact, ok bool) {
	a := aligner{want: letters{s: body}, have: letters{s: text, marks: true}}
	for {
		want, have := a.want, a.have
		w := a.want.next()
		if w < 0 {
			return a.have.s, !a.differ, !a.differ || a.same >= farRun
		}
		h := a.have.next()
		for h == '?' && (w <= unicode.MaxASCII || a.have.begin(w)) {
			h = a.have.next() // punctuation after all
		}
		switch {
		case h == w:
			a.same++
		case lost(w, h):
		default:
			a.want, a.have = want, have
			if h < 0 || !a.resync() {
				return "", false, false
			}
		}
	}
}

// lastLatin is the end of Latin Extended-B.
const lastLatin = 0x24F

// lost tells whether h can be what became of w: nothing known, a similar letter, or one of Latin in its place.
func lost(w, h rune) bool { return w > unicode.MaxASCII && 0 <= h && h <= lastLatin }

// How far apart, in letters, two texts may get where they differ, and how many letters must agree behind that: it may be a character that is written
// otherwise; or the text of a link, the number of an item, the name of a picture. Of the latter there may be maxFar, each of which takes
// (farSkip+farRun)^2 steps at the most.
const (
	nearSkip, nearRun = 3, 6
	farSkip, farRun   = 120, 16
	maxFar            = 32
)

// aligner goes through two texts that are to be the same.
type aligner struct {
	want, have letters
	same       int  // letters that agree since the last difference
	differ     bool // there was one
	near, far  int  // letters that may still differ, in small and in large differences
	fars       int  // large ones so far
}

// allow sets what may differ in a text of n letters: a tenth; and, of a short one, as much as a link has, but never a third.
func (a *aligner) allow(n int) {
	a.differ, a.near, a.far = true, n/10, min(farSkip+n/10, n/3)
}

// resync goes on where the texts agree again.
func (a *aligner) resync() bool {
	if !a.differ {
		n := a.same
		for rest := a.want; rest.next() >= 0; n++ {
		}
		a.allow(n)
	}
	a.same = 0
	if a.near > 0 {
		if i, j := a.meetNear(); i+j > 0 {
			a.near -= max(i, j)
			a.skip(i, j)
			return true
		}
	}
	if a.fars++; a.fars > maxFar {
		return false
	}
	i, j := a.meetFar(min(farSkip, a.far))
	a.far -= max(i, j)
	a.skip(i, j)
	return i+j > 0
}

func (a *aligner) skip(i, j int) {
	for range i {
		a.want.next()
	}
	for range j {
		a.have.next()
	}
}

// meetNear finds the places, a few letters from here, from which the texts agree; 0 and 0 if there are none.
func (a *aligner) meetNear() (i, j int) {
	var wantBuf, haveBuf [nearSkip + 2*nearRun]rune
	want, have := a.want.peek(wantBuf[:]), a.have.peek(haveBuf[:])
	for apart := 1; apart <= 2*nearSkip; apart++ {
		for i := max(0, apart-nearSkip); i <= min(apart, nearSkip); i++ {
			if j := apart - i; i <= len(want) && j <= len(have) && agree(want[i:], have[j:]) {
				return i, j
			}
		}
	}
	return 0, 0
}

// agree tells whether two texts begin with nearRun letters that are the same, apart from lost ones.
func agree(want, have []rune) bool {
	n := 0
	for _, w := range want {
		for len(have) > 0 && have[0] == '?' && w <= unicode.MaxASCII {
			have = have[1:]
		}
		switch {
		case len(have) == 0, have[0] != w && !lost(w, have[0]):
			return false
		case have[0] == w:
			n++
		}
		if n == nearRun {
			return true
		}
		have = have[1:]
	}
	return false
}

// meetFar finds the nearest places, at most most letters from here, from which farRun letters are the same; 0 and 0 if there are none.
func (a *aligner) meetFar(most int) (i, j int) {
	var wantBuf, haveBuf [farSkip + farRun]rune
	want, have := a.want.peek(wantBuf[:most+farRun]), a.have.peek(haveBuf[:most+farRun])
	nearest := len(want) + len(have)
	for shift := -most; shift <= most; shift++ { // by which j is more than i
		run := 0
		for k := max(0, -shift); k < len(want) && k+shift < len(have); k++ {
			if want[k] != have[k+shift] {
				run = 0
				continue
			}
			if run++; run < farRun {
				continue
			}
			if from := k + 1 - farRun; 2*from+shift < nearest {
				nearest, i, j = 2*from+shift, from, from+shift
			}
			break
		}
	}
	return i, j
}

// A text behind a body that is not quite the same may be of the body after all: no piece of echoSize octets of it may be there. One of more than
// echoMax is no footer.
const (
	echoSize = 24
	echoMax  = 3 << 10
)

// echoes tells whether text has a piece of body in it.
func echoes(text, body string) bool {
	t := lettersOf(text, echoMax+1)
	if len(t) > echoMax {
		return true
	}
	all := lettersOf(body, len(body))
	for end := min(echoSize, len(t)); ; end = min(end+echoSize, len(t)) {
		if bytes.Contains(all, t[max(0, end-echoSize):end]) {
			return true
		}
		if end == len(t) {
			return false
		}
	}
}

// lettersOf are at most about limit octets of the letters of s.
func lettersOf(s string, limit int) []byte {
	out := make([]byte, 0, min(len(s), limit)+utf8.UTFMax)
	for l := (letters{s: s}); len(out) < limit; {
		r := l.next()
		if r < 0 {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

// letters reads letters and digits, in lower case, from s, which is what is left. With marks, what stands for a lost character counts as well, as '?'.
type letters struct {
	s     string
	marks bool
}

// begin tells whether r comes next.
func (w letters) begin(r rune) bool { return w.next() == r }

// peek fills buf with what comes next, and returns what there is of it.
func (w letters) peek(buf []rune) []rune {
	for i := range buf {
		if buf[i] = w.next(); buf[i] < 0 {
			return buf[:i]
		}
	}
	return buf
}

// next returns -1 at the end.
func (w *letters) next() rune {
	for len(w.s) > 0 {
		c := w.s[0]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '?' && w.marks:
			w.s = w.s[1:]
			return rune(c)
		case 'A' <= c && c <= 'Z':
			w.s = w.s[1:]
			return rune(c) + 'a' - 'A'
		case c == '<' || c == '[':
			w.s = w.s[max(1, skipReference(w.s)):]
		case c < utf8.RuneSelf:
			w.s = w.s[1:]
		default:
			r, n := utf8.DecodeRuneInString(w.s)
			w.s = w.s[n:]
			if r == utf8.RuneError && w.marks {
				return '?'
			}
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
		}
	}
	return -1
}

func hasWords(s string) bool { return (&letters{s: s}).next() >= 0 }

// skipReference is the length of an address or a picture in brackets at the beginning of s: <https://www.contoso.com>, [cid:image001.png@01D0].
// Not every program writes them.
func skipReference(s string) int {
	if s == "" || s[0] != '<' && s[0] != '[' {
		return 0
	}
	// Another opening bracket ends it as well: of many in a row, each is looked at once.
	end := 1 + strings.IndexAny(s[1:min(len(s), maxURL)], "<[>] \t\r\n")
	if end < 1 || s[end] != '>' && s[end] != ']' || !strings.Contains(s[:end], ":") {
		return 0
	}
	return end + 1
}
