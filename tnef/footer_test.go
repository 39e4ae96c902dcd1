package tnef

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

const footer = "\r\n\r\n_____________\r\nThis mail was scanned by the gateway of Contoso, Ltd.\r\n"

// footerKept is what footer becomes.
var footerKept = strings.TrimSpace(footer) + "\r\n"

const letter = "Dear colleagues,\r\n\r\nthe figures for the third quarter are on the share of the sales department. Please look at them before Friday, " +
	"and tell me what is wrong.\r\n\r\nKind regards,\r\nDavid Alexander\r\nContoso, Ltd.\r\n"

// TestAppendedTolerance: small differences between the body and the text beside it do not lose what was put behind it; and large ones never
// make a part of the body look like that.
func TestAppendedTolerance(t *testing.T) {
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(letter) }
	list := "The agenda of the meeting on Monday:\r\n\r\n• opening of the meeting\r\n• figures of the third quarter\r\n• plans for the year to come\r\n\r\nSee you there in the large room\r\n"
	for _, c := range []struct{ name, body, text, want string }{
		{"the same", letter, letter + footer, footerKept},
		{"a link's text is missing", letter, swap("the share of ", "") + footer, footerKept},
		{"a link's address more", letter, swap("share", "share HYPERLINK \"https://www.contoso.com/share\"") + footer, footerKept},
		{"items numbered", list, strings.NewReplacer("• opening", "1. opening", "• figures", "2. figures", "• plans", "3. plans").Replace(list) + footer, footerKept},
		{"bullets are letters", list, strings.ReplaceAll(list, "•", "o") + footer, footerKept},
		{"umlauts in two letters", "Die Kisten aus München sind seit gestern da, aber niemand hat bisher die Zahlen darin geprüft.\r\nMit besten Wünschen aus der Ferne",
			"Die Kisten aus Muenchen sind seit gestern da, aber niemand hat bisher die Zahlen darin geprueft.\r\nMit besten Wuenschen aus der Ferne" + footer, footerKept},
		{"question mark before an umlaut at the end", "Wo? Überall? Ja", "Wo? Überall? Ja" + footer, footerKept},
		{"question mark before the last letter", "Wo? Ü", "Wo? Ü" + footer, footerKept},
		{"lost characters and a word", "Größe: was man über Übergänge weiß, ist nicht viel. Die Kisten sind jetzt da.", "Gr??e: was man ?ber ?berg?nge wei?, nicht viel. Die Kisten sind jetzt da." + footer, footerKept},
		{"letters lost without a trace", letter, swap("colleagues", "colleages", "quarter", "qarter") + footer, footerKept},
		{"words changed", letter, swap("Friday", "Monday evening") + footer, footerKept},
		{"a picture's name", letter, swap("Kind", "[image001.png]\r\nKind") + footer, footerKept},
		{"Cyrillic, read in another code page", "Привет всем, цифры в файле", "Ïðèâåò âñåì, öèôðû â ôàéëå" + footer, footerKept},
		{"Chinese with a word more", strings.Repeat("我们在会议室讨论了第三季度的销售数字。", 3) + "请在星期五之前回复，因为我们星期一要把报告交给总部的财务部门", strings.Repeat("我们在会议室讨论了第三季度的销售数字。", 3) + "请您在星期五之前回复，因为我们星期一要把报告交给总部的财务部门" + footer, footerKept},

		{"the end differs", letter, swap("David Alexander\r\nContoso, Ltd.", "Kim Akers\r\nFabrikam, Inc.") + footer, ""},
		{"the last letters differ", letter, swap("\r\nContoso, Ltd.", "\r\nContoso") + footer, ""},
		{"the end is missing", letter, swap("Kind regards,\r\nDavid Alexander\r\nContoso, Ltd.\r\n", "") + footer, ""},
		{"half of it", letter, letter[:len(letter)/2] + footer, ""},
		{"the beginning is missing", letter + letter, letter + footer, ""},
		{"another text", letter, "Good morning, the boxes that you have ordered are here." + footer, ""},
		{"every word changed", letter, strings.ReplaceAll(letter, " ", " x") + footer, ""},
		{"too much of it changed", letter, swap("the share of the sales department. Please look at them before Friday", "a machine that nobody knows any more, it seems") + footer, ""},
		{"the line goes on", letter, strings.TrimSpace(swap("Friday", "Monday")) + " and more" + footer, ""},
		{"twice", letter, swap("Friday", "Monday") + letter + footer, ""},
		{"a part of it again", letter, swap("Friday", "Monday") + "\r\nOn Monday David wrote:\r\n> the figures for the third quarter are on the share of the sales department.\r\n", ""},
		{"a name of it again", letter, swap("Friday", "Monday") + "\r\nDavid Alexander\r\n", ""},
		{"an essay behind it", letter, swap("Friday", "Monday") + footer + strings.Repeat("Lorem ipsum dolor sit amet. ", 300), ""},
		{"short and not the same", "Hello all there", "Hello you there" + footer, ""},
		{"nothing in the text", letter, "", ""},
		{"question marks alone", letter, strings.Repeat("?", 500) + footer, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := appended(c.text, &content{text: c.body}); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestAppendedEdits: whatever is taken from, put into or changed in the text, what is kept is the footer, or nothing.
func TestAppendedEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	words := strings.Fields(letter + " Größe ändern naïve 2,5 % 会议 数字 https://www.contoso.com/a?b=c [cid:image001.png@01D0] don’t")
	some := func(n int) []string {
		s := make([]string, n)
		for i := range s {
			s[i] = words[r.IntN(len(words))]
		}
		return s
	}
	kept := 0
	for i := range 1000 {
		body := some(2 + r.IntN(80))
		text := append([]string(nil), body...)
		for range r.IntN(6) {
			at := r.IntN(len(text) + 1)
			n := min(1+r.IntN(4), len(text)-at)
			text = append(text[:at:at], append(some(r.IntN(3)), text[at+n:]...)...)
		}
		got := appended(strings.Join(text, " ")+footer, &content{text: strings.Join(body, " ")})
		switch got {
		case footerKept:
			kept++
		case "":
		default:
			t.Fatalf("run %d: %q\nbody: %q\ntext: %q", i, got, body, text)
		}
	}
	if kept < 300 {
		t.Errorf("of 1000 footers %d are kept", kept)
	}
}

// bigTexts are pairs of large texts that are hard to compare. Each must take about as long as it takes to read them a few times.
func bigTexts(n int) map[string][2]string {
	r := rand.New(rand.NewPCG(3, 4))
	random := func(alphabet string) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	edited := func(s string, every int, with string) string {
		var b strings.Builder
		for len(s) >= 2*every { // the end stays
			b.WriteString(s[:every] + with)
			s = s[every:]
		}
		return b.String() + s
	}
	prose := strings.Repeat(letter, n/len(letter))
	noise, periodic := random("abcdefghijklmnopqrstuvwxyz0123456789"), strings.Repeat("abcdefghijklmno", n/15)
	return map[string][2]string{
		"the same":               {prose, prose + footer},
		"a letter here or there": {noise, edited(noise, 40, "x") + footer},
		"a link here or there":   {noise, edited(noise, n/30, "www.contoso.com/a/link/of/some/length") + footer},
		"another":                {noise, random("abcdefghijklmnopqrstuvwxyz")},
		"one letter":             {strings.Repeat("a", n), strings.Repeat("a", n/2) + "b" + strings.Repeat("a", n/2)},
		"two letters":            {random("ab"), random("ab")},
		"runs that just differ":  {periodic, edited(periodic, 15, "x")},
		"lost":                   {noise, strings.Repeat("?", n)},
		"lost here and there":    {noise, edited(noise, 7, strings.Repeat("?", 60))},
		"nothing to compare":     {"ab" + strings.Repeat("-", n) + noise[:100], "ac" + strings.Repeat("<", n) + noise[:100]},
		"brackets":               {edited(noise, 30, "["), edited(noise, 29, "<")},
		"twice":                  {prose, edited(prose, n/20, "x") + prose},
	}
}

func TestAppendedHostile(t *testing.T) {
	const n = 256 << 10 // BenchmarkAppended has 1 MiB
	for name, c := range bigTexts(n) {
		t.Run(name, func(t *testing.T) {
			got := appended(c[1], &content{text: c[0]})
			want := ""
			if strings.HasSuffix(c[1], footer) {
				want = footerKept
			}
			if got != want {
				t.Errorf("%.200q, want %q", got, want)
			}
		})
	}
}

func BenchmarkAppended(b *testing.B) {
	for _, n := range []int{4 << 10, 1 << 20} {
		for name, c := range bigTexts(n) {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(name, " ", "_"), n), func(b *testing.B) {
				b.SetBytes(int64(len(c[0]) + len(c[1])))
				b.ReportAllocs()
				for b.Loop() {
					appended(c[1], &content{text: c[0]})
				}
			})
		}
	}
}

// FuzzAppended: what is kept is the end of the text, and the same footer is found behind the body itself.
func FuzzAppended(f *testing.F) {
	f.Add(letter, letter+footer)
	f.Add(letter, strings.ReplaceAll(letter, "share", "shore")+footer)
	f.Add("Größe <https://www.contoso.com> 会议", "Gr??e ?? [cid:a@b]\r\nmore")
	f.Fuzz(func(t *testing.T, body, text string) {
		got := appended(text, &content{text: body})
		if end := string(lettersOf(got, len(got))); !strings.HasSuffix(string(lettersOf(text, len(text)+1)), end) {
			t.Errorf("%q is not the end of %q", got, text)
		}
		if strings.ContainsAny(body, "?") || !utf8.ValidString(body) { // which stands for anything
			return
		}
		if rest, exact, ok := behind(body, body); !exact || !ok || hasWords(rest) {
			t.Errorf("body %q does not agree with itself: %q", body, rest)
		}
	})
}
