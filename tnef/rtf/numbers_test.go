package rtf

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// TestNumberFormats: the kinds of [MS-OSHARED] 2.2.1.3, by what [MS-DOCX] 2.4
// shows of them and by where they begin anew or end.
func TestNumberFormats(t *testing.T) {
	for _, c := range []struct {
		nfc     int
		name    string
		numbers []int
		want    string
	}{
		{0, "decimal", []int{0, 1, 20}, "0 1 20"},
		{1, "upperRoman", []int{0, 1, 4}, "0 I IV"},
		{4, "lowerLetter", []int{1, 26, 27, 208, 209}, "a z aa zzzzzzzz 209"},
		{5, "ordinal", []int{0, 1, 2, 3, 4, 11, 12, 13, 21, 112}, "0 1st 2nd 3rd 4th 11th 12th 13th 21st 112th"},
		{6, "cardinalText", []int{1, 13, 20, 21, 100, 9999, 10000}, "One|Thirteen|Twenty|Twenty-one|One hundred|Nine thousand nine hundred ninety-nine|10000"},
		{7, "ordinalText", []int{1, 2, 3, 4, 5, 8, 9, 12, 14, 20, 21, 100, 1015, 10000},
			"First|Second|Third|Fourth|Fifth|Eighth|Ninth|Twelfth|Fourteenth|Twentieth|Twenty-first|One hundredth|One thousand fifteenth|10000th"},
		{8, "hex", []int{0, 9, 10, 255}, "0 9 A FF"},
		{9, "chicago", []int{1, 2, 3, 4, 5, 32, 33}, "* † ‡ § ** §§§§§§§§ 33"},
		{10, "ideographDigital", []int{1, 10, 100}, "一 一〇 一〇〇"},
		{11, "japaneseCounting", []int{1, 10, 11, 20, 100, 111, 1001, 10000, 11000}, "一 十 十一 二十 百 百十一 千一 一万 一万千"},
		{12, "aiueo", []int{1, 44, 45, 46, 47}, "ｱ ﾜ ｦ ﾝ ｱ"},
		{13, "iroha", []int{1, 2, 48, 49}, "ｲ ﾛ ﾝ ｲ"},
		{14, "decimalFullWidth", []int{1, 90}, "１ ９０"},
		{15, "decimalHalfWidth", []int{1, 90}, "1 90"},
		{16, "japaneseLegal", []int{1, 2, 3, 10, 111, 12345}, "壱 弐 参 壱拾 壱百壱拾壱 壱萬弐阡参百四拾伍"},
		{17, "japaneseDigitalTenThousand", []int{1, 10}, "一 一〇"},
		{18, "decimalEnclosedCircle", []int{0, 1, 20, 21}, "0 ① ⑳ 21"},
		{19, "decimalFullWidth2", []int{12}, "１２"},
		{20, "aiueoFullWidth", []int{1, 2, 3, 46, 47}, "ア イ ウ ン ア"},
		{21, "irohaFullWidth", []int{1, 2, 3, 48, 49}, "イ ロ ハ ン イ"},
		{22, "decimalZero", []int{0, 1, 10, 100}, "00 01 10 100"},
		{23, "bullet", []int{1}, ""},
		{24, "ganada", []int{1, 2, 3, 14, 15}, "가 나 다 하 가"},
		{25, "chosung", []int{1, 2, 3, 14, 15}, "ㄱ ㄴ ㄷ ㅎ ㄱ"},
		{26, "decimalEnclosedFullstop", []int{1, 20, 21}, "⒈ ⒛ 21"},
		{27, "decimalEnclosedParen", []int{1, 20, 21}, "⑴ ⒇ 21"},
		{28, "decimalEnclosedCircleChinese", []int{1, 10}, "① ⑩"},
		{29, "ideographEnclosedCircle", []int{1, 10, 11}, "㈠ ㈩ 11"},
		{30, "ideographTraditional", []int{1, 2, 3, 10, 11}, "甲 乙 丙 癸 11"},
		{31, "ideographZodiac", []int{1, 2, 3, 12, 13}, "子 丑 寅 亥 13"},
		{32, "ideographZodiacTraditional", []int{1, 2, 11, 13, 60, 61}, "甲子 乙丑 甲戌 丙子 癸亥 61"},
		{33, "taiwaneseCounting", []int{1, 10, 11, 20, 99, 100, 105}, "一 十 十一 二十 九十九 一○○ 一○五"},
		{34, "ideographLegalTraditional", []int{1, 2, 3, 10, 105}, "壹 貳 參 壹拾 壹佰零伍"},
		{35, "taiwaneseCountingThousand", []int{10, 100, 105, 110, 10001}, "十 一百 一百零五 一百一十 一萬零一"},
		{36, "taiwaneseDigital", []int{1, 10}, "一 一○"},
		{37, "chineseCounting", []int{1, 10, 100}, "一 十 一○○"},
		{38, "chineseLegalSimplified", []int{1, 2, 3, 10, 1010}, "壹 贰 叁 壹拾 壹仟零壹拾"},
		{39, "chineseCountingThousand", []int{1, 10, 15, 100, 1005, 1050, 10000, 100100, 1 << 27}, "一 十 十五 一百 一千零五 一千零五十 一万 十万零一百 134217728"},
		{40, "decimal", []int{7}, "7"},
		{41, "koreanDigital", []int{1, 10, 23}, "일 일영 이삼"},
		{42, "koreanCounting", []int{1, 10, 23, 100}, "일 십 이십삼 백"},
		{43, "koreanLegal", []int{1, 10, 23, 99, 100}, "하나 열 스물셋 아흔아홉 100"},
		{44, "koreanDigital2", []int{1, 10}, "一 一零"},
		{45, "hebrew1", []int{1, 10, 15, 16, 17, 100, 115, 500, 999, 1000}, "א י טו טז יז ק קטו ך ץצט 1000"},
		{46, "arabicAlpha", []int{1, 2, 3, 28, 29}, "أ ب ت ي أأ"},
		{47, "hebrew2", []int{1, 2, 3, 22, 23, 45}, "א ב ג ת את אתת"},
		{48, "arabicAbjad", []int{1, 2, 3, 28}, "أ ب ج غ"},
		{49, "hindiVowels", []int{1, 2, 3, 37, 38}, "क ख ग ह कक"},
		{50, "hindiConsonants", []int{1, 2, 3}, "अ आ इ"},
		{51, "hindiNumbers", []int{1, 10}, "१ १०"},
		{52, "hindiCounting", []int{5}, "5"},
		{53, "thaiLetters", []int{1, 2, 3, 4, 41, 42}, "ก ข ค ง ฮ กก"},
		{54, "thaiNumbers", []int{1, 10}, "๑ ๑๐"},
		{57, "numberInDash", []int{3}, "- 3 -"},
		{58, "russianLower", []int{1, 10, 29, 30}, "а к я аа"},
		{59, "russianUpper", []int{1, 10, 29}, "А К Я"},
		{255, "none", []int{1}, ""},
		{-1, "no such kind", []int{8}, "8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sep := " "
			if strings.Contains(c.want, "|") {
				sep = "|"
			}
			var got []string
			for _, n := range c.numbers {
				got = append(got, writeNumber(c.nfc, n))
			}
			if d := cmp.Diff(c.want, strings.Join(got, sep)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNumbersAreShort: no number makes a label long, and none is empty.
func TestNumbersAreShort(t *testing.T) {
	for nfc := -1; nfc < 256; nfc++ {
		if nfc == nfcBullet || nfc == nfcNone {
			continue
		}
		for _, n := range []int{0, 1, 2, 9, 10, 100, 208, 999, 1000, 9999, 10_000, 99_999_999, 100_000_000, maxNumber} {
			s := writeNumber(nfc, n)
			if s == "" || utf8.RuneCountInString(s) > 60 || !utf8.ValidString(s) {
				t.Errorf("kind %d writes %d as %q", nfc, n, s)
			}
			if n > 0 && n < 9 && nfc == 0 && s != strconv.Itoa(n) {
				t.Errorf("decimal %d is %q", n, s)
			}
		}
	}
}

// TestForeignNumbers: numbers that lists of HTML do not have are text in both
// renderings, also where the writer wrote them down, and count on.
func TestForeignNumbers(t *testing.T) {
	doc := func(nfc, text, body string) string {
		return `{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}}{\*\listtable{\list{\listlevel\levelnfc` + nfc + `\levelstartat1{\leveltext` + text +
			`;}{\levelnumbers\'01;}}\listid1}}{\*\listoverridetable{\listoverride\listid1\ls1}}\uc1\pard\f0\fs24 ` + body + "}"
	}
	for _, c := range []struct{ name, in, html, text string }{
		{"circled", doc("18", `\'01\'00`, `\ls1 a\par b\par`), p0 + "①&nbsp; a</p>\n" + p0 + "②&nbsp; b</p>\n", "① a\n② b\n"},
		{"circled, written down", doc("18", `\'01\'00`, `\ls1{\listtext\u9312 ?\tab}a\par b\par`), p0 + "①&nbsp; a</p>\n" + p0 + "②&nbsp; b</p>\n", "① a\n② b\n"},
		{"signs, written down", doc("9", `\'01\'00`, `\ls1{\listtext *\tab}a\par b\par`), p0 + "*&nbsp; a</p>\n" + p0 + "†&nbsp; b</p>\n", "* a\n† b\n"},
		{"without a list table", realDoc(`{\pntext\u9312 ?\tab}a\par`), p0 + "①&nbsp; a</p>\n", "① a\n"},
		{"Chinese", doc("39", `\'02\'00\u12289 ?`, `\ls1 a\par b\par`), p0 + "一、&nbsp; a</p>\n" + p0 + "二、&nbsp; b</p>\n", "一、 a\n二、 b\n"},
		{"Hebrew, written down", doc("45", `\'02\'00.`, `\ls1{\listtext\u1488 ?.\tab}a\par b\par`), p0 + "א.&nbsp; a</p>\n" + p0 + "ב.&nbsp; b</p>\n", "א. a\nב. b\n"},
		{"kana of Word 95", realDoc(`\pard{\*\pn\pnlvlbody\pnaiueod\pnstart1{\pntxta )}}a\par b\par`), p0 + "ア)&nbsp; a</p>\n" + p0 + "イ)&nbsp; b</p>\n", "ア) a\nイ) b\n"},
		{"words of Word 95", realDoc(`\pard{\*\pn\pnlvlbody\pncard\pnstart1{\pntxta .}}a\par b\par`), p0 + "One.&nbsp; a</p>\n" + p0 + "Two.&nbsp; b</p>\n", "One. a\nTwo. b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Convert([]byte(c.in), Options{})
			if err != nil || len(got.Warnings) > 0 {
				t.Fatalf("%v, %q", err, got.Warnings)
			}
			if d := cmp.Diff(c.html, content(t, got)); d != "" {
				t.Errorf("wrong HTML (-want +got):\n%s", d)
			}
			if d := cmp.Diff(strings.ReplaceAll(c.text, "\n", "\r\n"), got.Text); d != "" {
				t.Errorf("wrong text (-want +got):\n%s", d)
			}
		})
	}
}
